"""The spool, by itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest

from bridge.errors import CodecError, JournalError
from bridge.journal.nats.messages import Away, Unfit
from bridge.journal.nats.spool import Spool
from bridge.journal.protocol import Appended
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Event, Party, Status, Text
from bridge.model.codec import to_dict
from tests.bridge.events import USER_PHONE, created, message, numbered_status, status
from tests.bridge.journal.accounts import USER_ID, poorly, told


class Stream:
    """What a spool flows into, for as long as `refuse` raises nothing."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.keys: list[str] = []
        self.events: list[Event] = []
        self.asked = 0

    def refuse(self, event: Event) -> None:
        """Take everything."""

    async def append(self, events: Sequence[Event]) -> Appended:
        for event in events:
            self.refuse(event)
        self.keys += [event.key for event in events]
        self.events += events
        return Appended(published=len(events), duplicates=0)

    async def until_ready(self) -> None:
        self.asked += 1
        await self.ready.wait()


@asynccontextmanager
async def flowing(journal: SqliteJournal, stream: Stream) -> AsyncIterator[Spool]:
    spool = Spool(journal, append=stream.append, ready=stream.until_ready)
    await spool.open()
    running = asyncio.create_task(spool.run())
    try:
        yield spool
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await spool.close()


async def until_empty(spool: Spool) -> None:
    async with asyncio.timeout(10):
        while spool.active:
            await asyncio.sleep(0)


async def test_an_empty_spool_waits_for_what_is_being_taken_in(tmp_path, disk):
    """While the disk is slow to take something in, nobody goes round and round."""
    stream = Stream()
    stream.ready.set()
    async with flowing(SqliteJournal(tmp_path / "spool.db", vfs=disk.name), stream) as spool:
        disk.open_gate.clear()
        spool.activate("a test")
        taking = asyncio.create_task(spool.take([message("a")]))
        for _ in range(10_000):
            await asyncio.sleep(0)
        assert not taking.done()
        assert spool.active
        assert stream.asked < 10
        disk.open_gate.set()
        await taking
        await until_empty(spool)
    assert stream.keys == [message("a").key]


async def test_a_spool_becomes_empty_under_load(tmp_path):
    """However many come all the time, the spool is emptied, and they are sent to the stream."""
    stream = Stream()
    async with flowing(SqliteJournal(tmp_path / "spool.db"), stream) as spool:
        taken: list[str] = []

        async def come(who: int) -> None:
            for number in itertools.count():
                event = message(f"{who}.{number}")
                if await spool.take([event]) is None:
                    return
                taken.append(event.key)

        spool.activate("a test")
        coming = [asyncio.create_task(come(who)) for who in range(32)]
        while len(taken) < 1000:
            await asyncio.sleep(0)
        stream.ready.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*coming)
    assert not spool.active
    assert sorted(stream.keys) == sorted(taken)


async def test_nothing_flows_before_its_time(tmp_path):
    """What was taken waits for the streams and the places in them, and then flows in order."""
    stream = Stream()
    async with flowing(SqliteJournal(tmp_path / "spool.db"), stream) as spool:
        spool.activate("a test")
        for name in "abc":
            await spool.take([message(name)])
        assert (spool.waiting, stream.keys) == (3, [])
        stream.ready.set()
        await until_empty(spool)
    assert stream.keys == [message(name).key for name in "abc"]


@pytest.mark.parametrize("error", [Unfit("too large"), CodecError("not a valid message")])
async def test_an_event_that_nobody_takes_holds_nobody_up(tmp_path, error):
    """It stays in the spool as a dead letter, through retention, and the others arrive."""

    class Picky(Stream):
        def refuse(self, event: Event) -> None:
            if event.key == message("b").key:
                raise error

    journal, stream = SqliteJournal(tmp_path / "spool.db", keep=0), Picky()
    stream.ready.set()
    async with flowing(journal, stream) as spool:
        spool.activate("a test")
        await spool.take([message(name) for name in "abc"])
        await until_empty(spool)
        await journal.retain()
        (letter,) = await journal.dead_letters()
    assert stream.keys == [message("a").key, message("c").key]
    assert letter.entry.event.raw == to_dict(message("b"))
    assert letter.retry.error == str(error)


async def test_a_failure_is_tried_again(tmp_path):
    """What fails on the way, or in the spool's own file, is given again from where it was."""
    failures = [Away("gone"), JournalError("too many wait")]

    class Shaky(Stream):
        def refuse(self, event: Event) -> None:
            if failures:
                raise failures.pop()

    stream = Shaky()
    stream.ready.set()
    async with flowing(SqliteJournal(tmp_path / "spool.db"), stream) as spool:
        spool.activate("a test")
        await spool.take([message(name) for name in "abc"])
        await until_empty(spool)
    assert stream.keys == [message(name).key for name in "abc"]


async def test_whoever_goes_away_hides_nothing(tmp_path):
    """What was taken for a caller who did not wait for the answer leaves the spool as well."""
    stream = Stream()
    async with flowing(SqliteJournal(tmp_path / "spool.db"), stream) as spool:
        spool.activate("a test")
        taking = asyncio.create_task(spool.take([message("a")]))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        await spool.take([message("b")])
        stream.ready.set()
        await until_empty(spool)
    assert stream.keys == [message("a").key, message("b").key]


async def test_the_stream_alone_correlates(tmp_path):
    """What flows is what the callbacks told: accounts that wait, differ or repeat each other."""
    full = told("wamid.1", party=Party(phone=USER_PHONE), content=Text(text="Taj Mahal"))
    taken = [
        poorly(full),
        full,
        created("9001", "wamid.out"),
        numbered_status(Status.READ),
        status(Status.READ, "wamid.out"),
        attrs.evolve(status(Status.READ, "wamid.out"), raw={"n": 2}, correlation="order-17"),
        told("wamid.2", party=Party(phone=USER_PHONE, user_id=USER_ID)),
        told("wamid.3", party=Party(user_id=USER_ID)),
    ]
    stream = Stream()
    async with flowing(SqliteJournal(tmp_path / "spool.db"), stream) as spool:
        spool.activate("a test")
        for event in taken:
            await spool.take([event])
        assert await spool.take(taken) == Appended(published=0, duplicates=len(taken))
        stream.ready.set()
        await until_empty(spool)
    assert stream.events == taken


async def test_a_spool_is_purged(tmp_path):
    """What is about somebody goes, though it is wrapped."""
    stream = Stream()
    async with flowing(SqliteJournal(tmp_path / "spool.db"), stream) as spool:
        spool.activate("a test")
        await spool.take([message("a"), message("b", user="+16505559876")])
        assert await spool.purge(USER_PHONE) == 1
        stream.ready.set()
        await until_empty(spool)
    assert stream.keys == [message("b").key]
