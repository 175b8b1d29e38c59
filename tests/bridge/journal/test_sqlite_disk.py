# ruff: noqa: ASYNC240 - small files on a local disk
"""What the SQLite journal does when the disk, the power or the file fails."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import attrs
import pytest

from bridge.errors import JournalError
from bridge.journal.protocol import Appended, Held, Retry, Settlement
from bridge.journal.sqlite import SqliteJournal, schema
from bridge.testing.sample_events import read
from tests.bridge.events import message
from tests.bridge.journal.disks import Disk, restore
from tests.bridge.journal.files import everything, ids, run

PATIENCE = 30.0

# --- the disk --------------------------------------------------------------------------------


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
        assert health.size
        assert health.free
        assert await ids(journal) == acknowledged
        await run(journal, "PRAGMA max_page_count = 4000")
        assert (await journal.health()).ready
        refused = f"m{len(acknowledged) // 2}"
        done = await journal.append([message(refused, text=big)])
        assert done == Appended(published=1, duplicates=0)


async def test_a_log_that_may_not_grow(path: Path) -> None:
    """Where nothing more fits into the log, it is copied into the database, and starts over."""
    async with SqliteJournal(path) as journal:
        acknowledged = []

        async def take() -> bool:
            name = f"m{len(acknowledged)}"
            try:
                await journal.append([message(name)])
            except JournalError:
                return False
            acknowledged.append(name)
            return True

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        try:
            while await take():
                pass
            async with asyncio.timeout(PATIENCE):
                while not await take():
                    await asyncio.sleep(0.01)
            assert (await journal.health()).ready
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert await ids(journal) == acknowledged


async def test_full_disk_lets_subscribers_go_on(path: Path, disk: Disk) -> None:
    """What does not fit fails alone: a settlement in the same commit is kept."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        (a,) = await read(cursor, 1)
        await run(journal, "PRAGMA max_page_count = 1")
        disk.syncing.clear()
        disk.open_gate.clear()
        first = asyncio.create_task(journal.append([message("b")]))
        await asyncio.to_thread(disk.syncing.wait)
        append = asyncio.create_task(journal.append([message("big", text="x" * 100_000)]))
        settle = asyncio.create_task(
            cursor.settle(
                Settlement(position=a.position, held=(Held(entry=a, retry=Retry(due_at=5.0)),))
            )
        )
        await asyncio.sleep(0)
        disk.open_gate.set()
        await first
        with pytest.raises(JournalError, match="full"):
            await append
        await settle
        assert await cursor.waiting() == {a.lane: 5.0}


async def test_what_cannot_be_kept_fails_alone(path: Path) -> None:
    """A settlement that does not fit into the file fails, and its neighbours succeed."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        (a,) = await read(cursor, 1)
        broken = Held(entry=attrs.evolve(a, position=1 << 70))
        done = await asyncio.gather(
            cursor.settle(Settlement(position=a.position, held=(broken,))),
            journal.append([message("b")]),
            return_exceptions=True,
        )
        assert str(done[0]) == "this cannot be kept: OverflowError"
        assert done[1] == Appended(published=1, duplicates=0)
        assert await cursor.waiting() == {}


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


async def test_a_table_that_is_taken_away(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While a table is missing the log says so once, whatever else can be written."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a"), message("b")])
        a, b = await read(cursor, 2)
        await run(journal, "ALTER TABLE held RENAME TO elsewhere")
        for entry in (a, b):
            held = (Held(entry=entry, retry=Retry(due_at=5.0)),)
            with pytest.raises(JournalError, match="no such table"):
                await cursor.settle(Settlement(position=entry.position, held=held))
            await journal.append([message(f"after-{entry.position}")])
        assert (await journal.health()).reason == (
            "somebody removed from the journal: held; restore it from a backup"
        )
        await run(journal, "ALTER TABLE elsewhere RENAME TO held")
        await journal.append([message("c")])
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "no such table" in said[0]
    assert said[1] == "the journal can be written again"


async def test_fsync_fails_for_a_settlement(path: Path, disk: Disk) -> None:
    """A settlement that could not be kept says so, and can be made again."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        (a,) = await read(cursor, 1)
        settlement = Settlement(position=a.position, held=(Held(entry=a, retry=Retry(due_at=5.0)),))
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
        journal._cursors.save()
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


async def test_checkpoint_fails(path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """A checkpoint that fails is said, costs nothing that was appended, and is made again."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        await journal.append([message("a")])
        disk.failing = True
        journal.checkpoint_soon()
        async with asyncio.timeout(30):
            while not caplog.records:
                await run(journal, "SELECT 1")
        disk.failing = False
        journal.checkpoint_soon()
        assert await journal.append([message("b")]) == Appended(published=1, duplicates=0)
    assert caplog.records[0].getMessage().startswith("a checkpoint failed: ")
    async with SqliteJournal(path) as journal:
        assert await ids(journal) == ["a", "b"]


async def test_a_sync_of_the_database_fails_once(
    path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said even where the next sync succeeds, as a disk that fails may have lost a page."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        await journal.append([message("a")])
        disk.failing_once.add(path.name)
        journal.checkpoint_soon()
        async with asyncio.timeout(PATIENCE):
            while not caplog.records:
                await run(journal, "SELECT 1")
        assert await ids(journal) == ["a"]
    (record,) = caplog.records
    assert record.getMessage() == "a checkpoint failed: IOError: the disk does not answer"


async def test_locked_by_another_program(path: Path) -> None:
    """A file that another program keeps locked fails appends, until it lets go."""
    async with SqliteJournal(path, busy_timeout=0.01) as journal:
        other = apsw.Connection(str(path))
        other.set_busy_timeout(10_000)  # the journal may be writing just now
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="another program keeps its file locked"):
            await journal.append([message("a")])
        assert not (await journal.health()).ready
        other.execute("ROLLBACK")
        other.close()
        assert (await journal.health()).ready
        assert await journal.append([message("a")]) == Appended(published=1, duplicates=0)


def as_a_log(other: apsw.Connection) -> None:
    other.execute("BEGIN IMMEDIATE")


def as_a_rollback_journal(other: apsw.Connection) -> None:
    other.pragma("journal_mode", "delete")
    other.execute("BEGIN EXCLUSIVE")


def for_good(other: apsw.Connection) -> None:
    other.pragma("locking_mode", "exclusive")
    other.execute("BEGIN EXCLUSIVE; COMMIT")


@pytest.mark.parametrize("lock", [as_a_log, as_a_rollback_journal, for_good])
async def test_a_start_under_a_lock(path: Path, lock: Callable[[apsw.Connection], None]) -> None:
    """A start waits so long for another program, says what to do, and lets itself be cancelled."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
    other = apsw.Connection(str(path))
    lock(other)
    with pytest.raises(JournalError, match="is locked by another program: end what has it open"):
        await SqliteJournal(path, busy_timeout=0.01).__aenter__()
    for turns in (0, 1, 10, 1000, 100_000):
        starting = asyncio.create_task(SqliteJournal(path, busy_timeout=1e6).__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(starting, 60)
    waiting = asyncio.create_task(SqliteJournal(path, busy_timeout=1e6).__aenter__())
    for _ in range(1000):
        await asyncio.sleep(0)
    other.close()
    journal = await waiting
    assert await ids(journal) == ["a"]
    await journal.__aexit__(None, None, None)


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


async def lose_power(
    path: Path, disk: Disk, *, sync: bool = True, seed: int = 11
) -> tuple[int, int]:
    """Cut the power at moments of a busy minute.

    Return how often that was, and how many acknowledged events are lost.
    """
    chance = random.Random(seed)
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
        if not sync:
            await run(journal, "PRAGMA synchronous = OFF")
        await asyncio.gather(*map(provider, range(8)))
    lost = 0
    for number, (promised, files) in enumerate(moments):
        place = path.parent / f"restart-{number}"
        restore(files, place)
        async with SqliteJournal(place / path.name) as survivor:
            assert survivor.set_aside is None or not sync
            found = {entry.event.key for entry in await everything(survivor)}
        lost += len(promised - found)
        shutil.rmtree(place)
    return len(moments), lost


async def test_power_loss(tmp_path: Path, disk: Disk, pytestconfig: pytest.Config) -> None:
    """When the power goes, nothing that was acknowledged is lost."""
    cuts = 0
    for seed in itertools.count(11):
        folder = tmp_path / str(seed)
        folder.mkdir()
        some, lost = await lose_power(folder / "journal.db", disk, seed=seed)
        assert lost == 0
        cuts += some
        if cuts >= pytestconfig.getoption("--power-cuts"):
            break
    assert cuts


async def test_power_loss_is_seen(path: Path, disk: Disk) -> None:
    """The same disk does lose events of a journal that does not sync: the test can see a loss."""
    cuts, lost = await lose_power(path, disk, sync=False)
    assert cuts
    assert lost > 0


# --- opening ---------------------------------------------------------------------------------


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
        async with SqliteJournal(path):
            pass
        path.write_bytes(content)
    async with SqliteJournal(path):
        pass
    kept = {file.read_bytes()[:5] for file in path.parent.glob("*.damaged-*")}
    assert kept == {b"first", b"secon", b"third"}


async def test_cannot_be_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file that cannot be set aside is not replaced."""
    async with SqliteJournal(path):
        pass
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


async def test_damage_beyond_the_check(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage that only reading the newest keys comes upon is treated as any other."""
    async with SqliteJournal(path) as journal:
        await journal.append([message(f"m{n}", text="x" * 500) for n in range(5000)])
    with path.open("r+b") as file:
        file.seek(20 * 4096)  # among the oldest, while the check begins with the newest
        file.write(b"\0" * 4096)
    # The check of a file as small as this one is over before it looks at the time.
    monkeypatch.setattr(schema, "_STEPS_BETWEEN_LOOKS", 1)
    async with SqliteJournal(path, check_for=0.0) as journal:
        assert journal.set_aside is not None
        assert await journal.append([message("m1")]) == Appended(published=1, duplicates=0)


async def test_no_file_descriptor_left(path: Path) -> None:
    """Where a subscriber has used up the process's files, readiness says so, until it has not."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("m1")])
        before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        try:
            health = await journal.health()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
        assert not health.ready
        assert "Too many open files" in str(health.reason)
        assert (await journal.health()).ready
        assert await ids(journal) == ["m1"]


async def test_foreign_database(path: Path) -> None:
    """Somebody else's database is refused and left as it is."""
    with apsw.Connection(str(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(JournalError, match="but not a journal"):
        await SqliteJournal(path).__aenter__()
    assert path.read_bytes() == content


async def test_no_such_directory(tmp_path: Path) -> None:
    """A path that leads nowhere is told as such."""
    with pytest.raises(JournalError, match="No such file or directory"):
        await SqliteJournal(tmp_path / "nowhere" / "journal.db").__aenter__()


async def test_path_is_a_directory(path: Path) -> None:
    """A directory in the file's place is told as such."""
    path.mkdir()
    with pytest.raises(JournalError, match="Is a directory"):
        await SqliteJournal(path).__aenter__()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda place: place.symlink_to("/dev/zero")])
async def test_what_is_no_file(path: Path, suffix: str, make: Callable[[Path], None]) -> None:
    """A folder, a pipe or a device in the place of one of the files is told, and left alone."""
    place = path.with_name(path.name + suffix)
    make(place)
    told = f"{place if suffix else place.resolve()} cannot be opened: Is (a dir|no file, but a)"
    with pytest.raises(JournalError, match=told):
        await SqliteJournal(path).__aenter__()
    assert list(path.parent.iterdir()) == [place]


async def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    """It is the journal's name that is told."""
    path = tmp_path / f"{'x' * 250}.db"
    with pytest.raises(JournalError, match="File name too long"):
        await SqliteJournal(path).__aenter__()
