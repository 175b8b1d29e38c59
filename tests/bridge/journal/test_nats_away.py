"""The NATS servers go away and come back, with and without what they had stored."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.errors import JournalError
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.protocol import Cursor, Entry, Health, Settlement, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.testing import sample_events
from bridge.testing.sample_events import ids
from tests.bridge.events import message
from tests.bridge.journal.nats_servers import Fuse, NatsServer

PHONES = [f"+1650555{number:04}" for number in range(5)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def make(
    server: NatsServer | Fuse, spool: Path | None, *, patience: float = 0.1, **limits
) -> NatsJournal:
    servers = tuple(server.urls)
    return NatsJournal(
        NatsSettings(servers=servers, partitions=2, timeout=1.0, patience=patience),
        spool=None if spool is None else SqliteJournal(spool, keep=0, **limits),
    )


@pytest.fixture
async def journal(server: NatsServer, tmp_path: Path) -> AsyncIterator[NatsJournal]:
    async with make(server, tmp_path / "spool.db") as journal:
        yield journal


async def read(cursor: Cursor, count: int) -> list[Entry]:
    """Read and settle."""
    entries = await sample_events.read(cursor, count)
    await cursor.settle(Settlement(position=entries[-1].position))
    return entries


async def until_ready(journal: NatsJournal) -> None:
    async with asyncio.timeout(30):
        while True:
            health = await journal.health()
            if health.ready and health.reason is None:
                return
            await asyncio.sleep(0.01)


def in_order(entries: list[Entry]) -> bool:
    lanes: dict[str, list[str]] = {}
    for entry in entries:
        lanes.setdefault(entry.lane, []).append(entry.event.message_id)
    return all(mine == sorted(mine) for mine in lanes.values())


async def test_spool_flows_back(server, journal):
    """Events taken while the server is away flow into the stream by themselves, in order."""
    cursor = await journal.subscribe("crm")
    for n in range(20):
        await journal.append([message(f"{n:03}", user=PHONES[n % 5])])
    server.end()
    for n in range(20, 60):
        await journal.append([message(f"{n:03}", user=PHONES[n % 5])])
    health = await journal.health()
    server.start()
    for n in range(60, 80):
        await journal.append([message(f"{n:03}", user=PHONES[n % 5])])
    entries: list[Entry] = []
    async with asyncio.timeout(30):
        while len({entry.position for entry in entries}) < 80:
            entries += await cursor.read(80)
    await until_ready(journal)
    assert health.ready
    assert (health.reason, health.spooled) == ("NATS is away: 40 events are in the spool", 40)
    # What had been given and not settled when the server went away may come again.
    first_time = list({entry.position: entry for entry in entries}.values())
    assert sorted(ids(first_time)) == [f"{n:03}" for n in range(80)]
    assert in_order(first_time)


async def test_tasks_that_somebody_cancels(server, journal, caplog):
    """A subscriber that cancels every task of ours is told of, and nothing stops for it."""
    cursor = await journal.subscribe("crm")
    await journal.append([message("a")])
    assert ids(await read(cursor, 1)) == ["a"]
    ours = {
        task
        for task in asyncio.all_tasks()
        if task.get_name().startswith(("journal: ", "subscriber crm: "))
    }
    assert len(ours) >= 5  # two partitions, and what writes, prepares and empties the spool
    for task in ours:
        task.cancel()
    await asyncio.wait(ours)
    await journal.append([message("b")])
    server.end()
    await journal.append([message("c")])
    server.start()
    assert ids(await read(cursor, 2)) == ["b", "c"]
    critical = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(critical) == len(ours)
    assert (await journal.health()).deaths == len(ours)


async def test_a_lost_stream_begins_anew(server, journal):
    """With its storage wiped, the server gets what had not reached it, without a restart."""
    cursor = await journal.subscribe("crm")
    follower = await journal.follow()
    await journal.append([message("lost")])
    assert ids(await read(cursor, 1)) == ["lost"]
    assert ids(await read(follower, 1)) == ["lost"]
    server.end()
    await journal.append([message("spooled")])
    shutil.rmtree(server.store)
    server.start()
    await until_ready(journal)
    await journal.append([message("later")])
    assert ids(await read(cursor, 2)) == ["spooled", "later"]
    assert ids(await read(follower, 2)) == ["spooled", "later"]
    assert (await journal.health()).losses >= 1


async def test_a_lost_stream_that_another_process_replaced(server, tmp_path, caplog):
    """A process that finds a new stream in place of its own goes on in it, without a restart."""
    async with make(server, None) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("lost")])
        await read(cursor, 1)
        server.end()
        shutil.rmtree(server.store)
        server.start()
        async with make(server, None) as another:
            await another.append([message("later")])
        assert ids(await read(cursor, 1)) == ["later"]
    assert "has been forgotten" not in caplog.text


async def test_a_restart_takes_nothing_back(server, journal):
    """What was settled while the server was away does not come again when it is back."""
    cursor = await journal.subscribe("crm")
    await journal.append([message("a")])
    (a,) = await cursor.read(5)
    server.end()
    with suppress(JournalError):  # nobody can be told yet
        await cursor.settle(Settlement(position=a.position))
    server.start()
    await until_ready(journal)
    await journal.append([message("b")])
    assert ids(await read(cursor, 1)) == ["b"]


async def test_begins_without_servers(server, tmp_path):
    """A bridge that starts while the servers are away takes events, and its subscribers wait."""
    server.end()
    async with make(server, tmp_path / "spool.db") as journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        follower = await journal.follow(start=Start.BEGINNING)
        await journal.append([message("a")])
        server.start()
        assert ids(await read(cursor, 1)) == ["a"]
        assert ids(await read(follower, 1)) == ["a"]


async def test_who_comes_while_the_servers_are_away_misses_nothing(server, tmp_path):
    """Who begins at the end without servers gets all that is taken from then on.

    Even where taking the place fails again and again while the streams are there.
    """
    server.end()
    async with Fuse(server) as fuse, make(fuse, tmp_path / "spool.db") as journal:
        cursor = await journal.subscribe("crm")
        follower = await journal.follow()
        for n in range(40):
            await journal.append([message(f"{n:03}")])
        fuse.blow(b"bridge-state.subscribers.crm", times=3)
        server.start()
        assert ids(await read(cursor, 40)) == [f"{n:03}" for n in range(40)]
        assert ids(await read(follower, 40)) == [f"{n:03}" for n in range(40)]
        assert fuse.blown == 3


async def test_spool_survives_a_restart(server, tmp_path):
    """What is in the spool when the process ends goes into the stream in the next one's time."""
    server.end()
    async with make(server, tmp_path / "spool.db") as journal:
        await journal.append([message("a")])
    server.start()
    async with make(server, tmp_path / "spool.db") as journal:
        assert ids(await read(await journal.follow(start=Start.BEGINNING), 1)) == ["a"]


async def test_a_short_absence_is_waited_out(server, tmp_path):
    """An append that meets a restart waits for it, so that no other process overtakes it."""
    async with make(server, tmp_path / "spool.db", patience=60.0) as journal:
        cursor = await journal.follow()
        server.end()
        async with asyncio.timeout(30):
            while (await journal.health()) == Health(ready=True):
                await asyncio.sleep(0)
        appending = asyncio.create_task(journal.append([message("a")]))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not appending.done()
        assert not journal._spool.active
        server.start()
        assert (await appending).published == 1
        assert ids(await read(cursor, 1)) == ["a"]


async def test_too_many_do_not_wait(server, tmp_path):
    """Where as many wait as may, the next one opens the spool, and nothing is lost of either."""
    spool = SqliteJournal(tmp_path / "spool.db", keep=0)
    settings = NatsSettings(servers=(server.url,), patience=60.0, timeout=1.0)
    async with NatsJournal(settings, spool=spool, max_waiting=3) as journal:
        server.end()
        async with asyncio.timeout(30):
            while (await journal.health()) == Health(ready=True):
                await asyncio.sleep(0)
            waiting = [asyncio.create_task(journal.append([message(n)])) for n in "abc"]
            await asyncio.sleep(0)
            assert (await journal.append([message("d")])).published == 1
        assert not any(task.done() for task in waiting)
        server.start()
        await asyncio.gather(*waiting)
        cursor = await journal.follow(start=Start.BEGINNING)
        assert sorted(ids(await read(cursor, 4))) == ["a", "b", "c", "d"]


async def test_what_is_too_large_stays_out_of_the_spool(server, journal):
    """What no message could hold is refused at once, since it would block the spool for good."""
    server.end()
    with pytest.raises(JournalError):
        await journal.append([message("huge", text="x" * (9 << 20))])
    await journal.append([message("a")])
    assert (await journal.health()).reason == "NATS is away: 1 events are in the spool"


async def test_what_the_stream_does_not_take_stays_out_of_the_spool(server, tmp_path):
    """An event that is larger than an operator lets the stream take is refused for good."""
    async with make(server, tmp_path / "spool.db") as journal:
        config = (await journal._broker.api("STREAM.INFO.bridge"))["config"]
        await journal._broker.api("STREAM.UPDATE.bridge", {**config, "max_msg_size": 20_000})
    async with make(server, tmp_path / "spool.db") as journal:
        with pytest.raises(JournalError, match="larger than the server takes"):
            await journal.append([message("huge", text="x" * 20_000)])
        assert await journal.health() == Health(ready=True)
        assert (await journal.append([message("a")])).published == 1


async def test_a_purge_reaches_the_spool(server, journal):
    """What about a person still lies in the spool's file is erased as well."""
    await journal.append([message("a"), message("b", user=PHONES[0])])
    assert await journal.purge("+16505551234") == 1
    assert await journal.find(message("a").key) is None
    assert await journal.find(message("b").key) is not None


async def test_a_full_spool_refuses(server, tmp_path):
    """A spool takes no more than its limit, and health says so."""
    async with make(server, tmp_path / "spool.db", max_size=200_000) as journal:
        server.end()
        with pytest.raises(JournalError, match="limit of 200000 bytes"):
            for n in range(10_000):
                await journal.append([message(f"{n}", text="x" * 1000)])
        health = await journal.health()
    assert not health.ready
    assert "limit of 200000 bytes" in health.reason


async def test_without_a_spool(server):
    """Without a spool nothing is taken while the server is away, and again when it is back."""
    async with make(server, None) as journal:
        server.end()
        with pytest.raises(JournalError):
            await journal.append([message("a")])
        assert await journal.health() == Health(ready=False, reason="NATS is away")
        server.start()
        await until_ready(journal)
        assert (await journal.append([message("a")])).published == 1


async def test_without_servers_and_spool(server):
    """A journal without a spool does not open while no server answers."""
    server.end()
    with pytest.raises(JournalError, match="no NATS server answers"):
        async with make(server, None):
            pass
