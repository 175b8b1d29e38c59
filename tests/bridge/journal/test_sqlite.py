# ruff: noqa: ASYNC220, ASYNC240 - small files on a local disk, and a child to be killed
"""What the SQLite journal promises beyond the contract: the disk, restarts, what it lets go."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import apsw
import attrs
import pytest

from bridge.errors import JournalError
from bridge.journal.base import Appended, Cursor, Entry, Failure, Held, Settlement, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.journal.sqlite.entries import read_after
from bridge.model import Message, Status, StatusChange, Unrecognized
from tests.bridge.events import created, message, notice, status, unrecognized
from tests.bridge.journal.disks import Disk, restore

DAY = 86400.0
FOREVER = 1_000_000


@attrs.define
class Clock:
    """A clock that goes when it is told to."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.unregister()


async def everything(journal: SqliteJournal) -> list[Entry]:
    """Return all that is in the file."""
    return list(await journal.reading(partial(read_after, position=0, limit=FOREVER)))


async def ids(journal: SqliteJournal) -> list[str]:
    return [e.event.message_id for e in await everything(journal) if isinstance(e.event, Message)]


async def read(cursor: Cursor, count: int) -> list[Entry]:
    entries: list[Entry] = []
    while len(entries) < count:
        entries += await cursor.read(count - len(entries))
    return entries


async def run(journal: SqliteJournal, sql: str) -> object:
    """Run SQL on the writer's connection, outside a transaction."""
    return await journal._chore(lambda db: db.execute(sql).get)


def failure(entry: Entry) -> Failure:
    return Failure(entry=entry, tries=5, first_failed_at=1.5, failed_at=9.5, error="KeyError")


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
    """10,000 duplicates shuffled among 1,000 messages give 1,000 events."""
    told = [message(f"m{n}") for n in range(1000)] * 11
    random.Random(7).shuffle(told)
    batches = [told[start : start + 100] for start in range(0, len(told), 100)]
    async with SqliteJournal(path) as journal:
        done = await asyncio.gather(*map(journal.append, batches))
        assert sum(one.published for one in done) == 1000
        assert sum(one.duplicates for one in done) == 10_000
        assert sorted(await ids(journal)) == sorted(f"m{n}" for n in range(1000))


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


# --- the disk ------------------------------------------------------------------------------


async def test_disk_full(path: Path) -> None:
    """A full disk fails appends whole, readiness says why, and room brings it back."""
    big = "x" * 3000
    async with SqliteJournal(path) as journal:
        await run(journal, "PRAGMA max_page_count = 40")
        acknowledged = []
        with pytest.raises(JournalError, match="database or disk is full"):
            for n in range(1000):
                await journal.append([message(f"m{n}", text=big), message(f"n{n}", text=big)])
                acknowledged += [f"m{n}", f"n{n}"]
        assert acknowledged
        health = await journal.health()
        assert not health.ready
        assert health.reason is not None
        assert "full" in health.reason
        assert await ids(journal) == acknowledged
        await run(journal, "PRAGMA max_page_count = 4000")
        assert (await journal.health()).ready
        refused = f"m{len(acknowledged) // 2}"
        done = await journal.append([message(refused, text=big)])
        assert done == Appended(published=1, duplicates=0)


async def test_fsync_fails(path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """What could not be synced is not acknowledged, and the journal recovers with the disk."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        await journal.append([message("a")])
        disk.failing = True
        with pytest.raises(JournalError, match="IO"):
            await journal.append([message("b")])
        assert not (await journal.health()).ready
        disk.failing = False
        assert (await journal.health()).ready
        assert await journal.append([message("b")]) == Appended(published=1, duplicates=0)
        assert await ids(journal) == ["a", "b"]
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == [logging.ERROR, logging.WARNING]
    assert said[1][1] == "the journal can be written again"


async def test_fsync_fails_for_a_settlement(path: Path, disk: Disk) -> None:
    """A settlement that could not be kept says so, and can be made again."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        (a,) = await read(cursor, 1)
        settlement = Settlement(position=a.position, held=(Held(entry=a, due_at=5.0),))
        disk.failing = True
        with pytest.raises(JournalError):
            await cursor.settle(settlement)
        assert cursor.position < a.position
        disk.failing = False
        assert await cursor.waiting() == {}
        await cursor.settle(settlement)
        assert await cursor.waiting() == {a.lane: 5.0}


async def test_progress_outlives_a_failing_disk(path: Path, disk: Disk) -> None:
    """Progress that could not be saved at once is saved when the disk is back."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a"), message("b")])
        a, b = await read(cursor, 2)
        disk.failing = True
        await cursor.settle(Settlement(position=a.position))
        journal._save_progress()
        await asyncio.wait_for(until_failed(journal), 30)
        disk.failing = False
    async with SqliteJournal(path) as journal:
        (state,) = await journal.subscribers()
        assert state.position == a.position
        assert (await read(await journal.subscribe("crm"), 1)) == [b]


async def until_failed(journal: SqliteJournal) -> None:
    """Return when everything that was queued has been tried."""
    with pytest.raises(JournalError):
        await journal.append([message("refused")])


async def test_locked_by_another_program(path: Path) -> None:
    """A file that another program keeps locked fails appends, until it lets go."""
    async with SqliteJournal(path, busy_timeout=0.01) as journal:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            await journal.append([message("a")])
        assert not (await journal.health()).ready
        other.execute("ROLLBACK")
        other.close()
        assert (await journal.health()).ready
        assert await journal.append([message("a")]) == Appended(published=1, duplicates=0)


async def test_little_space(path: Path) -> None:
    """Readiness warns of a disk that is nearly full."""
    async with SqliteJournal(path, min_free_space=1 << 60) as journal:
        health = await journal.health()
    assert not health.ready
    assert health.reason is not None
    assert health.reason.startswith("only ")


async def test_disk_is_gone(path: Path) -> None:
    """Readiness tells where the disk cannot even be asked."""
    place = path.parent / "mounted"
    place.mkdir()
    async with SqliteJournal(place / "journal.db") as journal:
        place.rename(path.parent / "elsewhere")
        health = await journal.health()
        assert health.reason == "the disk cannot be asked: No such file or directory"
        (path.parent / "elsewhere").rename(place)
        assert (await journal.health()).ready


async def lose_power(path: Path, disk: Disk, synchronous: str) -> int:
    """Cut the power at moments of a busy minute; return how many acknowledged events are lost."""
    chance = random.Random(11)
    acknowledged: set[str] = set()
    moments = []

    async def provider(number: int) -> None:
        for n in range(40):
            event = message(f"m{number}-{n}", text="x" * 2000)
            await journal.append([event])
            acknowledged.add(event.key)
            if chance.random() < 0.02:
                moments.append((frozenset(acknowledged), disk.after_power_loss()))
            if chance.random() < 0.05:
                journal.checkpoint_soon()

    async with SqliteJournal(path, vfs=disk.name) as journal:
        await run(journal, f"PRAGMA synchronous = {synchronous}")
        await asyncio.gather(*map(provider, range(16)))
    assert len(moments) > 5
    lost = 0
    for number, (promised, files) in enumerate(moments):
        place = path.parent / f"restart-{number}"
        restore(files, place)
        async with SqliteJournal(place / path.name) as survivor:
            assert survivor.set_aside is None
            found = {entry.event.key for entry in await everything(survivor)}
        lost += len(promised - found)
    return lost


async def test_power_loss(path: Path, disk: Disk) -> None:
    """When the power goes, nothing that was acknowledged is lost."""
    assert await lose_power(path, disk, "FULL") == 0


async def test_power_loss_is_seen(path: Path, disk: Disk) -> None:
    """The same disk does lose events of a journal that does not sync: the test can see a loss."""
    assert await lose_power(path, disk, "OFF") > 0


# --- opening -----------------------------------------------------------------------------------


async def test_second_opener(path: Path) -> None:
    """A journal that is open cannot be opened again, and can once it is closed."""
    async with SqliteJournal(path):
        with pytest.raises(JournalError, match="is open in another journal or process"):
            await SqliteJournal(path).__aenter__()
    async with SqliteJournal(path) as journal:
        assert (await journal.health()).ready


async def test_only_the_owner_may_read(path: Path) -> None:
    """The files of a journal are nobody else's to read."""
    async with SqliteJournal(path) as journal:
        await journal.append([message()])
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def torn_header(path: Path) -> None:
    path.write_bytes(b"\0" * 512 + path.read_bytes()[512:])


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(3).randbytes(size - 4096))


def emptied(path: Path) -> None:
    os.truncate(path, 0)
    path.with_name(f"{path.name}-wal").write_bytes(b"acknowledged")


@pytest.mark.parametrize("damage", [torn_header, truncated, overwritten, emptied])
async def test_damaged_file(path: Path, damage, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file is set aside as it is and reported, and a new journal begins."""
    async with SqliteJournal(path) as journal:
        await journal.append([message(f"m{n}") for n in range(100)])
    damage(path)
    content = path.read_bytes()
    async with SqliteJournal(path) as journal:
        assert await everything(journal) == []
        assert await journal.append([message("m1")]) == Appended(published=1, duplicates=0)
        aside = journal.set_aside
    assert aside is not None
    assert aside.name.startswith("journal.db.damaged-")
    assert aside.read_bytes() == content
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert aside.name in record.getMessage()
    if damage is emptied:
        assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"acknowledged"


async def test_damaged_twice(path: Path) -> None:
    """Nothing that was set aside is overwritten by what is set aside next."""
    for content in (b"first" * 99, b"second" * 99, b"third" * 99):
        path.write_bytes(content)
        async with SqliteJournal(path):
            pass
    kept = {file.read_bytes()[:5] for file in path.parent.glob("*.damaged-*")}
    assert kept == {b"first", b"secon", b"third"}


async def test_cannot_be_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file that cannot be set aside is not replaced."""
    path.write_bytes(b"damaged" * 99)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(JournalError, match="cannot be set aside: Permission denied"):
        await SqliteJournal(path).__aenter__()
    assert path.read_bytes() == b"damaged" * 99


async def test_large_file_is_checked_in_part(path: Path) -> None:
    """Opening does not wait for the check of a file that is too large for it."""
    async with SqliteJournal(path) as journal:
        await journal.append([message(f"m{n}", text="x" * 500) for n in range(5000)])
    async with SqliteJournal(path, check_for=0.0) as journal:
        assert journal.set_aside is None
        assert await journal.append([message("m1")]) == Appended(published=0, duplicates=1)


async def test_foreign_database(path: Path) -> None:
    """Somebody else's database is refused and left as it is."""
    with apsw.Connection(str(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(JournalError, match="but not a journal"):
        await SqliteJournal(path).__aenter__()
    assert path.read_bytes() == content


async def test_other_version(path: Path) -> None:
    """A journal of another version is refused and left as it is."""
    async with SqliteJournal(path) as journal:
        await run(journal, "PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="another version"):
        await SqliteJournal(path).__aenter__()


async def test_no_such_directory(tmp_path: Path) -> None:
    """A path that leads nowhere is told as such."""
    with pytest.raises(JournalError, match="No such file or directory"):
        await SqliteJournal(tmp_path / "nowhere" / "journal.db").__aenter__()


async def test_path_is_a_directory(path: Path) -> None:
    """A directory in the file's place is told as such."""
    path.mkdir()
    with pytest.raises(JournalError, match="Is a directory"):
        await SqliteJournal(path).__aenter__()


# --- restarts ------------------------------------------------------------------------------


async def test_restart(path: Path) -> None:
    """A subscriber resumes after a restart with what it held, and its dead letters are there."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message(f"m{n}") for n in range(4)])
        first, second, third, fourth = await read(cursor, 4)
        held = Held(entry=first, tries=3, due_at=77.5, first_failed_at=70.0, error="OSError")
        await cursor.settle(
            Settlement(position=second.position, held=(held,), dead=(failure(second),))
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
        assert letter.failure == failure(second)
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


# --- retention ---------------------------------------------------------------------------------


async def test_keep(path: Path) -> None:
    """What is older than the journal keeps goes with its key and its tracks; the newest stays."""
    clock = Clock()
    async with SqliteJournal(path, keep=8 * DAY, clock=clock) as journal:
        old = [message(f"m{n}") for n in range(500)]
        await journal.append([*old, created("9001", "wamid.1")])
        clock.now += 7.9 * DAY
        await journal.append([message("young")])
        await journal.retain()
        assert len(await everything(journal)) == 502
        assert await journal.append(old) == Appended(published=0, duplicates=500)
        clock.now += 0.2 * DAY
        await journal.retain()
        assert await ids(journal) == ["young"]
        assert await run(journal, "SELECT count(*) FROM tracks") == 0
        clock.now += 9 * DAY
        await journal.retain()
        assert await ids(journal) == ["young"]
        assert await journal.append(old) == Appended(published=500, duplicates=0)


async def test_keep_waits_for_subscribers(path: Path) -> None:
    """What a subscriber has not seen, holds or has as a dead letter stays."""
    clock = Clock()
    async with SqliteJournal(path, keep=DAY, clock=clock) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message(f"m{n}") for n in range(6)])
        entries = await read(cursor, 6)
        clock.now += 2 * DAY
        await journal.retain()
        assert len(await everything(journal)) == 6
        await cursor.settle(
            Settlement(
                position=entries[3].position,
                held=(Held(entry=entries[0], due_at=1.0),),
                dead=(failure(entries[1]),),
            )
        )
        await journal.retain()
        assert await ids(journal) == ["m0", "m1", "m4", "m5"]
        (letter,) = await journal.dead_letters()
        assert letter.failure.entry == entries[1]
        await cursor.settle(
            Settlement(position=entries[5].position, released=(entries[0].position,))
        )
        await journal.drop(letter.id)
        await journal.retain()
        assert await ids(journal) == ["m5"]


async def test_absolute_limit(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Past the absolute limit an entry goes whoever waits for it, and that is said."""
    clock = Clock()
    async with SqliteJournal(path, absolute_limit=30 * DAY, clock=clock) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message(f"m{n}") for n in range(5)])
        entries = await read(cursor, 5)
        await cursor.settle(
            Settlement(
                position=entries[1].position,
                held=(Held(entry=entries[0], due_at=1.0),),
                dead=(failure(entries[1]),),
            )
        )
        clock.now += 31 * DAY
        await journal.append([message("young")])
        await journal.retain()
        assert await ids(journal) == ["young"]
        assert await cursor.waiting() == {}
        assert await journal.dead_letters() == ()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "past the absolute limit of 2592000 s and deleted: "
        "3 entries unseen by a subscriber, 1 held, 1 dead letters"
    )


async def test_max_size(path: Path) -> None:
    """Over its size a journal lets the oldest events go and still knows their keys."""
    limit = 400_000
    async with SqliteJournal(path, max_size=limit) as journal:
        for n in range(1000):
            try:
                await journal.append([message(f"m{n}", text="x" * 1000)])
            except JournalError:
                await journal.retain()
                await journal.append([message(f"m{n}", text="x" * 1000)])
        await journal.retain()
        kept = await ids(journal)
        assert 50 < len(kept) < 400
        assert kept == [f"m{n}" for n in range(1000 - len(kept), 1000)]
        assert await journal.append([message("m0")]) == Appended(published=0, duplicates=1)
        assert (await journal.health()).ready
    assert path.stat().st_size < 1.5 * limit


async def test_full_of_what_is_waited_for(path: Path) -> None:
    """A journal full of what a subscriber waits for refuses more, until that is done with."""
    async with SqliteJournal(path, max_size=300_000) as journal:
        cursor = await journal.subscribe("slow")
        count = 0
        with pytest.raises(JournalError, match="holds its limit of 300000 bytes"):
            for count in range(FOREVER):
                await journal.append([message(f"m{count}", text="x" * 1000)])
        await journal.retain()
        health = await journal.health()
        assert (health.ready, health.reason) == (
            False,
            "the journal holds its limit of 300000 bytes",
        )
        assert len(await ids(journal)) == count
        entries = await read(cursor, count)
        await cursor.settle(
            Settlement(position=entries[-1].position, held=(Held(entry=entries[-1]),))
        )
        await journal.retain()
        assert (await journal.health()).ready
        assert await journal.append([message("more")]) == Appended(published=1, duplicates=0)


async def test_retention_meets_a_failing_disk(path: Path, disk: Disk) -> None:
    """A pass of retention that fails says so and is made again later."""
    clock = Clock()
    async with SqliteJournal(path, keep=DAY, clock=clock, vfs=disk.name) as journal:
        await journal.append([message("a"), message("b")])
        clock.now += 2 * DAY
        disk.failing = True
        with pytest.raises(JournalError):
            await journal.retain()
        disk.failing = False
        await journal.retain()
        assert await ids(journal) == ["b"]


async def test_retention_comes_by_itself(path: Path) -> None:
    """Nobody has to ask for retention."""
    clock = Clock()
    async with SqliteJournal(path, keep=DAY, clock=clock, retention_every=0.0) as journal:
        await journal.append([message("a")])
        clock.now += 2 * DAY
        await journal.append([message("b")])
        async with asyncio.timeout(30):
            while await ids(journal) != ["b"]:
                await journal.append([message("b")])


async def test_log_starts_over(path: Path) -> None:
    """The write-ahead log does not grow with what is written."""
    async with SqliteJournal(path) as journal:
        for n in range(60):
            await journal.append([message(f"m{n}-{m}", text="x" * 2000) for m in range(100)])
        wal = path.with_name("journal.db-wal").stat().st_size
    written = path.stat().st_size
    assert wal < written / 2


# --- privacy -----------------------------------------------------------------------------------


async def test_purge_leaves_no_bytes(path: Path) -> None:
    """What is purged is in none of the journal's files any more."""
    secret = "+16505550000"
    async with SqliteJournal(path) as journal:
        for n in range(50):
            await journal.append([message(f"a{n}", user=secret, text=f"between us {n}")])
            await journal.append([message(f"b{n}")])
        await journal.append([created("9001", "wamid.9", user=secret, text="between us")])
        await journal.append([unrecognized("1", raw={"entry": [{"from": 16505550000}]})])
        await journal.append([unrecognized("2", raw={"entry": ["between others"]})])
        await journal.append([notice("1", raw={"wa_id": "16505550000"})])
        assert await journal.purge(secret) == 53
        files = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert b"6505550000" not in files
        assert b"between us" not in files
        assert b"between others" in files
        assert len(await everything(journal)) == 51


async def test_purge_and_the_tail(path: Path) -> None:
    """Who keeps up does not get from memory what has been purged."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a", user="+16505550000"), message("b")])
        await journal.purge("+16505550000")
        assert [e.event for e in await cursor.read(10)] == [message("b")]


async def test_settling_what_was_purged(path: Path) -> None:
    """What was purged while a subscriber had it is neither held nor buried."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a"), message("b")])
        a, b = await read(cursor, 2)
        await journal.purge("+16505551234")
        await cursor.settle(
            Settlement(position=b.position, held=(Held(entry=a),), dead=(failure(b),))
        )
        assert await cursor.waiting() == {}
        assert await journal.dead_letters() == ()


async def test_forgotten_cursor(path: Path) -> None:
    """The cursor of a forgotten subscriber keeps nothing."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        (a,) = await read(cursor, 1)
        await journal.forget("crm")
        await cursor.settle(Settlement(position=a.position, held=(Held(entry=a),)))
        assert await cursor.waiting() == {}
        assert await journal.subscribers() == ()


async def test_logs_name_nobody(path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged of failures holds neither a phone number nor a text."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        disk.failing = True
        with pytest.raises(JournalError) as caught:
            await journal.append([message(text="between us")])
        disk.failing = False
    said = caplog.text + str(caught.value)
    assert "6505551234" not in said
    assert "between us" not in said
