# ruff: noqa: ASYNC220 - a child to be killed
"""What the SQLite journal promises beyond the contract: commits, restarts, reading."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import JournalError
from bridge.journal.memory import MemoryJournal
from bridge.journal.overlay import digest
from bridge.journal.protocol import Appended, Held, Journal, Retry, Settlement, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Event, Message, Status, StatusChange, Unrecognized
from bridge.testing.sample_events import failed, read
from tests.bridge.events import created, message, status
from tests.bridge.journal.disks import Disk
from tests.bridge.journal.files import FOREVER, everything, ids, run
from tests.bridge.journal.interleavings import callbacks

# --- group commit ----------------------------------------------------------------------------


async def test_group_commit(path: Path, disk: Disk) -> None:
    """Whatever queued up while a commit ran goes into the next one."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        disk.syncing.clear()
        disk.open_gate.clear()
        first = asyncio.create_task(journal.append([message("first")]))
        await asyncio.to_thread(disk.syncing.wait)
        before = journal.commits
        others = [asyncio.create_task(journal.append([message(f"m{n}")])) for n in range(64)]
        await asyncio.sleep(0)
        disk.open_gate.set()
        assert await first == Appended(published=1, duplicates=0)
        await asyncio.gather(*others)
        assert journal.commits - before <= 2


async def test_a_key_is_learned_while_its_event_waits(path: Path) -> None:
    """A key that another journal knew too is known once, and its event still comes out."""
    poor = message("a", settle=60.0, received_at=datetime(2099, 1, 1, tzinfo=UTC))
    async with SqliteJournal(path) as journal:
        await journal.append([poor])
        await journal.learn([digest(poor.key), digest(message("b").key)])
        assert await ids(journal) == []
        assert await journal.append([message("a")]) == Appended(published=0, duplicates=1)
        assert await journal.append([message("b")]) == Appended(published=0, duplicates=1)
        assert await ids(journal) == ["a"]
        assert await run(journal, "SELECT count(*) = count(DISTINCT key) FROM entries") == 1


async def test_duplicate_waits_for_its_original(path: Path, disk: Disk) -> None:
    """A duplicate is not answered before its original is on disk."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        disk.syncing.clear()
        disk.open_gate.clear()
        original = asyncio.create_task(journal.append([message("a")]))
        await asyncio.to_thread(disk.syncing.wait)
        duplicate = asyncio.create_task(journal.append([message("a")]))
        await asyncio.sleep(0)
        assert not original.done()
        assert not duplicate.done()
        disk.open_gate.set()
        assert await duplicate == Appended(published=0, duplicates=1)
        assert original.done()


async def test_many_duplicates(path: Path) -> None:
    """2,000 duplicates shuffled among 200 messages give 200 events."""
    told = [message(f"m{n}") for n in range(200)] * 11
    random.Random(7).shuffle(told)
    batches = [told[start : start + 20] for start in range(0, len(told), 20)]
    async with SqliteJournal(path) as journal:
        done = await asyncio.gather(*map(journal.append, batches))
        assert sum(one.published for one in done) == 200
        assert sum(one.duplicates for one in done) == 2000
        assert sorted(await ids(journal)) == sorted(f"m{n}" for n in range(200))


async def test_broken_event_fails_alone(path: Path) -> None:
    """An event that breaks the model fails its own append and nobody else's."""
    broken = attrs.evolve(message("a"), conversation=None)
    async with SqliteJournal(path) as journal:
        done = await asyncio.gather(
            journal.append([broken]), journal.append([message("b")]), return_exceptions=True
        )
        assert str(done[0]) == "not a valid message: AttributeError"
        assert done[1] == Appended(published=1, duplicates=0)


async def test_queue_is_bounded(path: Path, disk: Disk) -> None:
    """While too many events wait for the disk, an append is refused at once."""
    async with SqliteJournal(path, vfs=disk.name, max_waiting=2) as journal:
        disk.open_gate.clear()
        waiting = [asyncio.create_task(journal.append([message(f"m{n}")])) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(JournalError, match="2 events wait for the disk"):
            await journal.append([message("one too many")])
        disk.open_gate.set()
        await asyncio.gather(*waiting)
        assert await journal.append([message("later")]) == Appended(published=1, duplicates=0)


async def test_caller_gives_up(path: Path, disk: Disk) -> None:
    """An append whose caller is gone is made durable all the same."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        disk.syncing.clear()
        disk.open_gate.clear()
        caller = asyncio.create_task(journal.append([message("a")]))
        await asyncio.to_thread(disk.syncing.wait)
        caller.cancel()
        disk.open_gate.set()
        assert await journal.append([message("a")]) == Appended(published=0, duplicates=1)


@settings(max_examples=25, deadline=None)
@given(told=callbacks(tied_first=False), data=st.data())
def test_decides_as_memory_does(told: list[Event], data: st.DataObject) -> None:
    """However callbacks fall into appends, the file publishes what the memory journal does."""
    batches = []
    while told:
        size = data.draw(st.integers(min_value=1, max_value=len(told)))
        batches.append(told[:size])
        told = told[size:]

    async def published(journal: Journal) -> list[Event]:
        async with journal:
            for batch in batches:
                await journal.append(batch)
            cursor = await journal.follow(start=Start.BEGINNING)
            return [entry.event for entry in await cursor.read(FOREVER)]

    with TemporaryDirectory() as place:
        kept = asyncio.run(
            published(SqliteJournal(Path(place) / "journal.db", tail=0, keys_in_memory=2))
        )
    assert kept == asyncio.run(published(MemoryJournal()))


# --- restarts --------------------------------------------------------------------------------


async def test_restart(path: Path) -> None:
    """A subscriber resumes after a restart with what it held, and its dead letters are there."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message(f"m{n}") for n in range(4)])
        first, second, third, fourth = await read(cursor, 4)
        held = Held(
            entry=first, retry=Retry(tries=3, due_at=77.5, first_failed_at=70.0, error="OSError")
        )
        await cursor.settle(
            Settlement(position=second.position, held=(held,), dead=(failed(second),))
        )
        await cursor.settle(Settlement(position=third.position))
    async with SqliteJournal(path) as journal:
        (state,) = await journal.subscribers()
        assert (state.lag, state.held, state.dead) == (1, 1, 1)
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        assert await cursor.waiting() == {first.lane: 77.5}
        assert list(await cursor.held(first.lane, 9)) == [held]
        assert await read(cursor, 1) == [fourth]
        (letter,) = await journal.dead_letters()
        assert (letter.entry, letter.retry) == (second, failed(second).retry)
        assert await journal.append([message("m0")]) == Appended(published=0, duplicates=1)


async def test_tracks_survive(path: Path) -> None:
    """Where a message stands, and by which names it goes, is known after a restart."""
    async with SqliteJournal(path) as journal:
        await journal.append([created("9001", "wamid.1"), status(Status.READ, "wamid.1")])
    async with SqliteJournal(path) as journal:
        await journal.append([status(Status.SENT, "wamid.1")])
        change = (await everything(journal))[-1].event
    assert isinstance(change, StatusChange)
    assert (change.advanced, change.current) == (False, Status.READ)
    assert change.aliases == ("9001",)


async def test_group_statuses_survive(path: Path) -> None:
    """What each participant of a group has seen is known after a restart."""
    anne, bert = "+16505551234", "+16505559876"
    async with SqliteJournal(path) as journal:
        await journal.append([status(Status.READ, participant=anne)])
    async with SqliteJournal(path) as journal:
        told = [status(Status.DELIVERED, participant=who) for who in (anne, bert)]
        await journal.append(told)
        changes = [entry.event for entry in await everything(journal)][1:]
    assert [c.current for c in changes if isinstance(c, StatusChange)] == [
        Status.READ,
        Status.DELIVERED,
    ]


async def test_close_finishes(path: Path) -> None:
    """Closing finishes what is queued, and whoever waits for more is told."""
    journal = await SqliteJournal(path).__aenter__()
    cursor = await journal.subscribe("crm")
    waiting = asyncio.create_task(cursor.read(1))
    queued = [asyncio.create_task(journal.append([message(f"m{n}")])) for n in range(50)]
    await asyncio.sleep(0)
    await journal.__aexit__(None, None, None)
    done = await asyncio.gather(*queued)
    assert sum(one.published for one in done) == 50
    await asyncio.wait([waiting])
    async with SqliteJournal(path) as journal:
        assert len(await everything(journal)) == 50
    with pytest.raises(JournalError, match="not open"):
        await cursor.read(1)


async def test_read_ends_with_the_journal(path: Path) -> None:
    """A cursor that waits is told when the journal closes."""
    async with SqliteJournal(path) as journal:
        waiting = asyncio.create_task((await journal.subscribe("crm")).read(1))
        await asyncio.sleep(0)
    with pytest.raises(JournalError, match="not open"):
        await waiting


VICTIM = """
import asyncio, sys
from bridge.journal.sqlite import SqliteJournal
from tests.bridge.events import message

async def provider(journal, number):
    for n in range(1_000_000):
        await journal.append([message(f"m{number}-{n}")])
        print(f"m{number}-{n}", flush=True)

async def main():
    async with SqliteJournal(sys.argv[1]) as journal:
        await asyncio.gather(*(provider(journal, number) for number in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 20, 500])
async def test_kill(path: Path, after: int) -> None:
    """A process that is killed leaves a journal that opens without repair and lacks nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path)], stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        acknowledged = [victim.stdout.readline().strip() for _ in range(after)]
        victim.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in victim.stdout if line.endswith("\n")]
    async with SqliteJournal(path) as journal:
        assert journal.set_aside is None
        assert await run(journal, "PRAGMA integrity_check") == "ok"
        found = await ids(journal)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)


# --- reading ---------------------------------------------------------------------------------


async def test_lagging_subscriber(path: Path) -> None:
    """One who lags gets everything from disk, in order, and then catches up from memory."""
    async with SqliteJournal(path, tail=16) as journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        for start in range(0, 200, 10):
            await journal.append([message(f"m{n}") for n in range(start, start + 10)])
        entries = []
        while len(entries) < 200:
            entries += await cursor.read(7)
        await journal.append([message("last")])
        entries += await cursor.read(7)
    got = [entry.event.message_id for entry in entries if isinstance(entry.event, Message)]
    assert got == [*(f"m{n}" for n in range(200)), "last"]


async def test_who_catch_up_together_share_what_is_read(path: Path) -> None:
    """Subscribers that ask for the same entries meanwhile have them read once; one may give up."""
    async with SqliteJournal(path, tail=0) as journal:
        await journal.append([message("a"), message("b")])
        cursors = [await journal.subscribe(name, start=Start.BEGINNING) for name in "abc"]
        reading = [asyncio.create_task(cursor.read(2)) for cursor in cursors]
        await asyncio.sleep(0)
        reading[0].cancel()
        one, other = await reading[1], await reading[2]
        later = await cursors[0].read(2)
    assert [entry.position for entry in later] == [entry.position for entry in one]
    assert all(mine is yours for mine, yours in zip(one, other, strict=True))
    assert reading[0].cancelled()


async def test_far_lag_is_told_by_distance(path: Path) -> None:
    """A lag too long to count is told by how far apart the positions are."""
    async with SqliteJournal(path) as journal:
        await journal.subscribe("crm")
        await journal.append([message(f"m{n}") for n in range(10_500)])
        (state,) = await journal.subscribers()
    assert state.lag == 10_500


@pytest.mark.parametrize("data", [b'{"kind": "message"}', b"no JSON \xff"])
async def test_unreadable_entry(path: Path, data: bytes) -> None:
    """An entry that cannot be read comes out as unrecognized and stops nobody."""
    async with SqliteJournal(path, tail=0) as journal:
        await journal.append([message("a"), message("b")])
        await journal._chore(
            lambda db: db.execute("UPDATE entries SET event = ? WHERE position = 1", (data,)).get
        )
        first, second = await everything(journal)
    assert isinstance(first.event, Unrecognized)
    assert first.event.source == "journal"
    assert isinstance(second.event, Message)


async def test_reading_fails(path: Path) -> None:
    """What SQLite cannot read is a `JournalError`."""
    async with SqliteJournal(path) as journal:
        with pytest.raises(JournalError, match="cannot be read"):
            await journal.reading(lambda db: db.execute("SELECT * FROM nothing").get)


# --- what is held ----------------------------------------------------------------------------


async def test_what_others_hold_costs_a_lane_nothing(path: Path) -> None:
    """To find what one conversation holds takes few steps, however many hold something."""
    steps = []
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        held = 0
        for lanes in (3, 500):
            users = [f"+4000000{n:04}" for n in range(held, lanes)]
            await journal.append([message(user, user=user) for user in users])
            entries = await read(cursor, len(users))
            holding = Settlement(
                position=entries[-1].position, held=tuple(Held(entry=e) for e in entries)
            )
            await cursor.settle(holding)
            held = lanes
            count = _Steps()
            await journal.reading(lambda db, count=count: db.set_progress_handler(count, 1))
            assert len(await cursor.held(entries[0].lane, 8)) == 1
            await journal.reading(lambda db: db.set_progress_handler(None))
            steps.append(count.taken)
    assert steps[1] < 2 * steps[0]


class _Steps:
    """How many steps SQLite's machine takes."""

    taken = 0

    def __call__(self) -> bool:
        self.taken += 1
        return False
