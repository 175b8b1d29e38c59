# ruff: noqa: ASYNC221, ASYNC240 - small files and short processes
"""The journal's files: who may use them, and what happens when they are taken away.

What would be found after a kill is what lies under the journal's name: it is copied, and opened
as another journal.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from bridge.errors import JournalError
from bridge.journal.protocol import Appended, Held, Retry, Settlement
from bridge.journal.sqlite import SqliteJournal, files, locks
from bridge.testing.sample_events import failed, read
from tests.bridge.events import message
from tests.bridge.journal.files import everything, ids, run

PATIENCE = 30.0


async def after_a_kill(path: Path) -> list[str]:
    """Return the ids of the messages that a journal would find if its process died now."""
    place = path.parent / "after-a-kill"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for suffix in ("", "-wal"):
        found = path.with_name(path.name + suffix)
        if found.exists():
            # In another process: this one would drop SQLite's locks as it closes the file.
            subprocess.run(["cp", found, place], check=True)
    async with SqliteJournal(place / path.name) as journal:
        return await ids(journal)


async def append(journal: SqliteJournal, name: str) -> bool:
    """Return whether an event has been acknowledged."""
    try:
        await journal.append([message(name)])
    except JournalError:
        return False
    return True


async def until_ready(journal: SqliteJournal) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (await journal.health()).ready:
            await asyncio.sleep(0.01)


# --- others who look into it -------------------------------------------------------------------


def peek(path: Path) -> None:
    """Look as a program does that has the standard library only."""
    connection = sqlite3.connect(path, timeout=1)
    connection.execute("SELECT count(*) FROM entries").fetchone()
    connection.close()


def elsewhere(path: Path, statement: str) -> None:
    code = f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute({statement!r})"
    subprocess.run([sys.executable, "-c", f"{code}.fetchall(); c.close()"], check=True)


def peek_elsewhere(path: Path) -> None:
    elsewhere(path, "SELECT 1 FROM entries")


@pytest.mark.parametrize("table", ["entries", "held", "names"])
async def test_a_table_that_is_gone_is_missed(path, table):
    """Whoever needs a table, appends or a subscriber: without it nothing is ready."""
    async with SqliteJournal(path) as journal:
        assert await append(journal, "a")
        elsewhere(path, f"ALTER TABLE {table} RENAME TO gone")
        health = await journal.health()
        assert not health.ready
        assert f"removed from the journal: {table}" in health.reason
        elsewhere(path, f"ALTER TABLE gone RENAME TO {table}")
        await until_ready(journal)
        assert await append(journal, "b")


def copy_and_peek_elsewhere(path: Path) -> None:
    shutil.copy(path, path.with_name("copied"))  # this closes the file, and its locks are gone
    peek_elsewhere(path)


@pytest.mark.parametrize("look", [peek, peek_elsewhere, copy_and_peek_elsewhere])
async def test_whoever_looks_into_it_takes_nothing_away(path: Path, look) -> None:
    """Another SQLite that opens the file and closes it leaves the log where it is."""
    async with SqliteJournal(path) as journal:
        for number in range(5):
            await journal.append([message(f"m{number}")])
            look(path)
        await journal.append([message("m5")])
        assert await after_a_kill(path) == [f"m{number}" for number in range(6)]
        assert journal.losses == 0
    async with SqliteJournal(path) as journal:
        assert len(await everything(journal)) == 6


async def test_whoever_looks_where_no_lock_can_keep_them_away(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another SQLite does unlink the log, that is noticed before anything is acknowledged."""
    monkeypatch.setattr(locks, "_OFD_SETLK", None)
    acknowledged = []
    async with SqliteJournal(path) as journal:
        for number in range(20):
            if await append(journal, f"m{number}"):
                acknowledged.append(f"m{number}")
                assert set(acknowledged) <= set(await after_a_kill(path))
            if number % 5 == 4:
                peek(path)
            await until_ready(journal)
        assert 1 <= journal.losses <= 4
        assert set(acknowledged) <= set(await ids(journal))


async def test_the_log_is_gone_once_the_journal_is_closed(path: Path) -> None:
    """A journal that was closed is one file, as the locks are let go of in time."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


# --- files that are taken away -----------------------------------------------------------------


def everything_deleted(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def log_deleted(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def database_deleted(path: Path) -> None:
    path.unlink()


def database_moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def log_moved(path: Path) -> None:
    wal = path.with_name(f"{path.name}-wal")
    wal.rename(path.with_name("elsewhere.db-wal"))


def log_replaced(path: Path) -> None:
    wal = path.with_name(f"{path.name}-wal")
    content = wal.read_bytes()
    wal.unlink()
    wal.write_bytes(content + bytes(1 << 20))  # its length does not give it away


def replaced_by_a_copy(path: Path) -> None:
    subprocess.run(["cp", path, path.with_name("copy.db")], check=True)
    path.with_name("copy.db").rename(path)


@pytest.mark.parametrize(
    "take_away",
    [
        everything_deleted,
        log_deleted,
        database_deleted,
        database_moved,
        log_moved,
        log_replaced,
        replaced_by_a_copy,
    ],
)
async def test_files_that_are_taken_away(
    path: Path, take_away, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing more is acknowledged, and all that was is soon in a sound file, without a restart."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a"), message("b"), message("c")])
        a, b, _ = await read(cursor, 3)
        held = Held(entry=a, retry=Retry(tries=1, due_at=9.0))
        await cursor.settle(Settlement(position=b.position, held=(held,), dead=(failed(b),)))
        take_away(path)
        assert not await append(journal, "d")
        assert not (await journal.health()).ready or journal.losses == 1
        await until_ready(journal)
        assert await journal.append([message("e")]) == Appended(published=1, duplicates=0)
        assert await after_a_kill(path) in (["a", "b", "c", "e"], ["a", "b", "c", "d", "e"])
        assert [one.entry for one in await cursor.held(a.lane, 5)] == [a]
        assert [letter.entry for letter in await journal.dead_letters()] == [b]
        assert await journal.append([message("a")]) == Appended(published=0, duplicates=1)
        health = await journal.health()
        assert (health.ready, health.losses) == (True, 1)
    (record,) = [each for each in caplog.records if each.levelno == logging.CRITICAL][:1]
    assert "takes nothing more" in record.getMessage()
    async with SqliteJournal(path) as journal:
        assert (await ids(journal))[-1] == "e"


async def test_subscribers_go_on_after_a_recovery(path: Path) -> None:
    """A cursor that waits gets what comes next, also what was not acknowledged but kept."""
    async with SqliteJournal(path) as journal:
        crm, follower = await journal.subscribe("crm"), await journal.follow()
        await journal.append([message("a")])
        for cursor in (crm, follower):
            (a,) = await read(cursor, 1)
            await cursor.settle(Settlement(position=a.position))
        log_deleted(path)
        kept = await append(journal, "b")
        assert not kept
        await until_ready(journal)
        await journal.append([message("b"), message("c")])
        for cursor in (crm, follower):
            entries = await read(cursor, 2)
            assert [entry.event.message_id for entry in entries] == ["b", "c"]


async def test_it_is_noticed_while_nothing_is_appended(path: Path) -> None:
    """Readiness tells that the files are gone though nobody appends, and brings them back."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
        everything_deleted(path)
        async with asyncio.timeout(PATIENCE):
            while not journal.losses:  # the idle writer looks too
                await asyncio.sleep(0.01)
        await until_ready(journal)
        assert await after_a_kill(path) == ["a"]


async def test_a_python_that_calls_no_foreign_functions(path: Path) -> None:
    """Where Python was built without libffi, a journal works, and misses its log as elsewhere."""
    code = """if True:
        import asyncio, sys
        from pathlib import Path
        sys.modules["_ctypes"] = None
        from bridge.errors import JournalError
        from bridge.journal.sqlite import SqliteJournal
        from tests.bridge.events import message
        async def main():
            async with SqliteJournal(sys.argv[1]) as journal:
                print((await journal.append([message("a")])).published)
                log = Path(f"{sys.argv[1]}-wal")
                log.rename(f"{log}.elsewhere")
                try:
                    await journal.append([message("b")])
                except JournalError as error:
                    print(error)
        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"1\n{path}-wal is gone (No such file or directory)\n"


async def test_deleted_before_it_is_closed(path: Path) -> None:
    """A journal that is closed after its files were deleted leaves all of it in new ones."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
        everything_deleted(path)
    async with SqliteJournal(path) as journal:
        assert await ids(journal) == ["a"]


async def test_a_folder_that_is_moved_and_comes_back(tmp_path: Path) -> None:
    """While the folder is away nothing is acknowledged, and when it is back all is well."""
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "journal.db"
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
        folder.rename(tmp_path / "elsewhere")
        assert not await append(journal, "b")
        health = await journal.health()
        assert not health.ready
        (tmp_path / "elsewhere").rename(folder)
        await until_ready(journal)
        assert await append(journal, "c")
    async with SqliteJournal(path) as journal:
        assert (await ids(journal))[0] == "a"
        assert (await ids(journal))[-1] == "c"


async def test_somebody_elses_file_in_its_place(path: Path) -> None:
    """A file that is no journal is never renamed: the journal waits until it is moved away."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
        everything_deleted(path)
        path.write_text("my notes")
        assert not await append(journal, "b")
        async with asyncio.timeout(PATIENCE):
            while (reason := (await journal.health()).reason) is None or "no journal" not in reason:
                await asyncio.sleep(0.01)
        assert path.read_text() == "my notes"
        path.unlink()
        await until_ready(journal)
        assert (await after_a_kill(path))[0] == "a"


async def test_a_recovery_that_somebody_cancels(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A subscriber that cancels every task it finds is told of, and the journal recovers."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
        everything_deleted(path)
        path.write_text("my notes")
        assert not await append(journal, "b")
        (recovery,) = (each for each in asyncio.all_tasks() if "recovery" in each.get_name())
        recovery.cancel()
        await asyncio.wait({recovery})
        path.unlink()
        await until_ready(journal)
        assert (await journal.health()).deaths == 1
        assert (await after_a_kill(path))[0] == "a"
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL]
    assert any("the task 'recovery' ended with CancelledError" in each for each in told)


async def test_another_journal_in_its_place(path: Path) -> None:
    """Another journal that comes in its place is set aside, as it may hold something."""
    other = path.with_name("other.db")
    async with SqliteJournal(other) as journal:
        await journal.append([message("other")])
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
        everything_deleted(path)
        other.rename(path)
        assert not await append(journal, "b")
        await until_ready(journal)
        health = await journal.health()
        assert health.set_aside == 1
        (aside,) = path.parent.glob(f"{path.name}.replaced-*")
        assert aside.name in (health.reason or "")
        assert (await after_a_kill(path))[0] == "a"
    async with SqliteJournal(aside) as journal:
        assert await ids(journal) == ["other"]


@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_what_is_cut_short_counts_as_gone(path: Path, suffix: str) -> None:
    """A file that was emptied from outside is noticed, and written anew from what is in memory."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a", text="x" * 20_000)])
        if not suffix:
            await run(journal, "PRAGMA wal_checkpoint(TRUNCATE)")
            await journal.append([message("b")])
        os.truncate(path.with_name(path.name + suffix), 0)
        async with asyncio.timeout(PATIENCE):
            while not journal.losses:
                await asyncio.sleep(0.01)
        await until_ready(journal)
        assert (await after_a_kill(path))[0] == "a"


def until_files_get_another_time(path: Path) -> None:
    """Wait for the tick of the kernel's clock after the one in which a file was written last."""
    probe = path.with_name("probe")
    probe.touch()
    while probe.stat().st_mtime_ns <= path.stat().st_mtime_ns:
        probe.touch()


@pytest.mark.parametrize("copied", ["backup", "cp"])
async def test_a_copy_that_is_written_over_the_open_file(path: Path, copied: str) -> None:
    """A restore in place, which leaves the file's size and inode, is noticed; nothing is lost."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a", text="x" * 20_000)])
        await run(journal, "PRAGMA wal_checkpoint(PASSIVE)")
        await journal.retain()
        copy = path.with_name("copy.db")
        if copied == "backup":
            journal.backup(copy)
        else:
            subprocess.run(["cp", path, copy], check=True)
        await journal.append([message("b", text="x" * 20_000)])
        await run(journal, "PRAGMA wal_checkpoint(PASSIVE)")
        assert await append(journal, "c")
        assert not journal.losses
        until_files_get_another_time(path)
        over = [f"if={copy}", f"of={path}", "conv=notrunc", "status=none"]
        subprocess.run(["dd", *over], check=True)
        assert not await append(journal, "d")
        await until_ready(journal)
        assert journal.losses == 1
        assert await append(journal, "e")
        assert {"a", "b", "c", "e"} <= set(await after_a_kill(path))


async def test_who_may_write_into_the_open_file(path: Path) -> None:
    """Checkpoints, of ours or of others, and a new time of change are no loss."""
    async with SqliteJournal(path) as journal:
        for number in range(20):
            assert await append(journal, f"m{number}")
            match number % 6:
                case 0:
                    await run(journal, "PRAGMA wal_checkpoint(PASSIVE)")
                case 1:
                    elsewhere(path, "PRAGMA wal_checkpoint(PASSIVE)")
                case 2:
                    journal.checkpoint_soon()
                case 3:
                    os.utime(path)
                case 4:
                    elsewhere(path, "PRAGMA wal_checkpoint(RESTART)")
                case 5:  # as scripts do that copy the file afterwards
                    elsewhere(path, "PRAGMA wal_checkpoint(TRUNCATE)")
                    assert (await journal.health()).ready
        assert not journal.losses
        assert len(await after_a_kill(path)) == 20


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_log_that_is_cut_short_under_load(path: Path, part: int) -> None:
    """A log that grows again to its length before anybody looks is noticed all the same."""
    acknowledged = ["a"]
    async with SqliteJournal(path) as journal:
        await journal.append([message("a", text="x" * 20_000)])
        wal = path.with_name(f"{path.name}-wal")
        os.truncate(wal, wal.stat().st_size * part // 3)
        names = [f"m{number}" for number in range(100)]
        acknowledged += [name for name in names if await append(journal, name)]
        await until_ready(journal)
        assert journal.losses == 1
        assert set(acknowledged) <= set(await after_a_kill(path))


async def test_a_link_in_the_place_of_the_journal(path: Path) -> None:
    """A journal that was moved, with a link in its place, is written anew where its log is."""
    elsewhere = path.with_name("elsewhere.db")
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        assert not await append(journal, "b")
        await until_ready(journal)
        assert (await after_a_kill(path))[0] == "a"
    assert not path.is_symlink()


async def test_a_link_without_the_log(path: Path, tmp_path: Path) -> None:
    """A journal that was moved without its log is refused, as long as the log lies there."""
    kept, moved = tmp_path / "kept.db", tmp_path / "moved.db"
    log, moved_log = tmp_path / "kept.db-wal", tmp_path / "moved.db-wal"
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
        shutil.copy(path, moved)
        shutil.copy(path.with_name(f"{path.name}-wal"), log)
    kept.symlink_to(moved)
    with pytest.raises(JournalError) as caught:
        await SqliteJournal(kept).__aenter__()
    assert f"a link without its log: move {log} to {moved_log}" in str(caught.value)
    log.rename(moved_log)
    async with SqliteJournal(kept) as journal:
        assert await ids(journal) == ["a"]


@pytest.mark.parametrize("stage", ["copied", "made room", "renamed"])
async def test_a_recovery_that_is_cut_short(
    path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever moment of a recovery the process dies, the next one finds everything."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_at(
        name: str, function: Callable[..., object], *, after: bool
    ) -> Callable[..., object]:
        def stopping(*arguments: object, **options: object) -> object:
            result = function(*arguments, **options) if after else None
            if stage == name:
                loop.call_soon_threadsafe(reached.set)
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            return result if after else function(*arguments, **options)

        return stopping

    async with SqliteJournal(path) as journal:
        await journal.append([message("a"), message("b")])
        make_room, finish = files.Files.make_room, files.Files.finish_recovery
        monkeypatch.setattr(files.Files, "make_room", stop_at("copied", make_room, after=False))
        both = stop_at("renamed", stop_at("made room", finish, after=False), after=True)
        monkeypatch.setattr(files.Files, "finish_recovery", both)
        log_deleted(path)
        assert not await append(journal, "c")
        async with asyncio.timeout(PATIENCE):
            await reached.wait()
        place = path.parent / "after-a-kill"
        place.mkdir()
        for each in path.parent.iterdir():
            if each.is_file() and not each.name.endswith((".lock", "-shm")):
                subprocess.run(["cp", each, place], check=True)
        go_on.set()
        await until_ready(journal)
        monkeypatch.undo()
    async with SqliteJournal(place / path.name) as journal:
        assert (await ids(journal))[:2] == ["a", "b"]


# --- who may open it ---------------------------------------------------------------------------


def hard_link(path: Path, other: Path) -> None:
    other.hardlink_to(path)


def symbolic_link(path: Path, other: Path) -> None:
    other.symlink_to(path)


@pytest.mark.parametrize("link", [hard_link, symbolic_link])
async def test_two_names_are_one_file(path: Path, link) -> None:
    """A journal that is open cannot be opened under another name, here or in another process."""
    other = path.with_name("other.db")
    async with SqliteJournal(path):
        link(path, other)
        with pytest.raises(JournalError, match="is open in another journal"):
            await SqliteJournal(other).__aenter__()
        code = (
            "import asyncio, sys; from bridge.journal.sqlite import SqliteJournal;"
            "asyncio.run(SqliteJournal(sys.argv[1]).__aenter__())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, other], capture_output=True, text=True, check=False
        )
        assert "is open in another" in done.stderr
    other.unlink()
    async with SqliteJournal(path) as journal:
        assert await append(journal, "a")


async def test_a_symbolic_link_is_no_other_file(path: Path) -> None:
    """A journal that is configured by a link is the one that it leads to."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    async with SqliteJournal(link) as journal:
        await journal.append([message("a")])
    async with SqliteJournal(path) as journal:
        assert await ids(journal) == ["a"]


async def test_the_holder_is_named(path: Path) -> None:
    """Who cannot open a journal is told which process has it."""
    code = (
        "import asyncio, sys; from bridge.journal.sqlite import SqliteJournal;"
        "asyncio.run(SqliteJournal(sys.argv[1]).__aenter__())"
    )
    async with SqliteJournal(path):
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
        )
    assert f"is open in another journal or process (process {os.getpid()})" in done.stderr


async def test_a_forked_child_does_not_keep_it(path: Path) -> None:
    """A child that lives on does not keep the journal from the next process."""
    code = """if True:
        import asyncio, os, sys, time
        from bridge.journal.sqlite import SqliteJournal
        async def main():
            async with SqliteJournal(sys.argv[1]) as journal:
                await journal.subscribe("crm")
                child = os.fork()
                if not child:
                    os.close(1)
                    os.close(2)
                    time.sleep(60)
                    os._exit(0)
                print(child, flush=True)
                os.kill(os.getpid(), 9)
        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    child = int(done.stdout)
    try:
        async with SqliteJournal(path) as journal:
            assert [state.name for state in await journal.subscribers()] == ["crm"]
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 50])
async def test_a_start_that_is_cancelled_leaves_nothing_open(path: Path, turns: int) -> None:
    """Whoever gives up while a journal opens can open it again at once."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    opening = asyncio.create_task(SqliteJournal(path).__aenter__())
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    async with SqliteJournal(path) as journal:
        assert await append(journal, "a")


def a_text(path: Path) -> None:
    path.write_text("dear diary")


def a_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def a_database_with_a_log(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE theirs (x)")
    files_now = {each: each.read_bytes() for each in path.parent.iterdir()}
    connection.close()
    for each, content in files_now.items():
        if not each.name.endswith("-shm"):
            each.write_bytes(content)


def a_log_alone(path: Path) -> None:
    path.touch()
    path.with_name(f"{path.name}-wal").write_bytes(b"somebody's")


@pytest.mark.parametrize("make", [a_text, a_database, a_database_with_a_log, a_log_alone])
async def test_a_file_that_is_no_journal_is_left_alone(path: Path, make) -> None:
    """What never was a journal is refused: not renamed, not written, nothing beside it."""
    make(path)
    content = path.read_bytes()
    for _ in range(2):
        with pytest.raises(JournalError, match="not a journal"):
            await SqliteJournal(path).__aenter__()
        assert path.read_bytes() == content
        assert not list(path.parent.glob(f"{path.name}.damaged-*"))
    if make in (a_text, a_database):
        assert [each.name for each in path.parent.iterdir()] == [path.name]


# --- what is said about them -------------------------------------------------------------------


async def test_files_that_others_may_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that others may read is said, with what to do, and is left as it is."""
    async with SqliteJournal(path):
        pass
    assert caplog.records == []
    path.chmod(0o644)
    async with SqliteJournal(path):
        pass
    (record,) = caplog.records
    assert f"chmod 600 {path} {path}-wal {path}-shm" in record.getMessage()
    assert path.stat().st_mode & 0o777 == 0o644


async def test_a_damaged_journal_is_shown_until_it_is_moved_away(path: Path) -> None:
    """What was set aside stands in the health of this and the next process."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
    path.write_bytes(b"\0" * 512 + path.read_bytes()[512:])
    for _ in range(2):
        async with SqliteJournal(path) as journal:
            health = await journal.health()
            (aside,) = path.parent.glob(f"{path.name}.damaged-*")
            assert (health.ready, health.set_aside) == (True, 1)
            assert aside.name in (health.reason or "")
    async with SqliteJournal(path) as journal:
        aside.rename(path.with_name("looked-at.db"))
        health = await journal.health()
        assert (health.ready, health.reason, health.set_aside) == (True, None, 0)


async def test_a_commit_that_writes_nothing_is_no_loss(path: Path) -> None:
    """A log that the journal itself has emptied is as it should be."""
    async with SqliteJournal(path) as journal:
        await journal.append([message("a", text="x" * 20_000)])
        await journal.purge("+16505551234")
        await journal.drop(12345)
        await run(journal, "PRAGMA wal_checkpoint(TRUNCATE)")
        assert await journal.append([message("a")]) == Appended(published=0, duplicates=1)
        assert (await journal.health()).losses == 0


@pytest.mark.parametrize("instead", [None, os.devnull, __file__])
async def test_files_that_others_have_closed_are_left_alone(path: Path, instead) -> None:
    """Descriptors that somebody closed, or that lead elsewhere by now, are used no more.

    Nothing is acknowledged, the reason says what to do, and the next process finds everything.
    """
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
        names = {str(path), f"{path}-wal"}
        links = Path("/proc/self/fd")
        opened = [int(each.name) for each in links.iterdir() if os.path.realpath(each) in names]
        copies = {each: os.dup(each) for each in opened}
        if instead is not None:
            other = os.open(instead, os.O_RDWR)
        for each in opened:
            os.close(each) if instead is None else os.dup2(other, each)
        assert not await append(journal, "b")
        health = await journal.health()
        assert (health.ready, health.losses) == (False, 1)
        assert "other code of this process has closed the files" in health.reason
        assert not await append(journal, "c")
        if instead == __file__:
            assert Path(__file__).read_text().startswith("# ruff")
    for each, copy in copies.items():  # or this process could not close them well
        os.dup2(copy, each)
        os.close(copy)
    if instead is not None:
        os.close(other)
    assert await after_a_kill(path) == ["a"]


async def test_a_lock_that_cannot_be_written(path: Path) -> None:
    """Where the file of the lock cannot be written, as on a full disk, a start says so."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(JournalError, match=r"journal\.db\.lock cannot be written"):
            await SqliteJournal(path).__aenter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    async with SqliteJournal(path) as journal:
        assert (await journal.health()).ready


# --- an event loop that is closed first ------------------------------------------------------


def opened_on_a_closed_loop(journal: SqliteJournal, name: str) -> None:
    async def begin() -> None:
        await journal.__aenter__()
        await journal.append([message(name)])

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()


def test_an_event_loop_that_is_closed_first(path: Path) -> None:
    """A journal whose event loop was closed before it is opened again, by itself or another."""

    async def everything_in(journal: SqliteJournal) -> list[str]:
        async with journal:
            return await ids(journal)

    first, second = SqliteJournal(path), SqliteJournal(path)
    opened_on_a_closed_loop(first, "a")
    opened_on_a_closed_loop(second, "b")
    assert asyncio.run(everything_in(second)) == ["a", "b"]
    assert asyncio.run(everything_in(first)) == ["a", "b"]


def test_an_event_loop_that_is_closed_for_good(path: Path) -> None:
    """A journal whose event loop was closed before it lets other processes have the file."""
    opened_on_a_closed_loop(SqliteJournal(path), "a")
    look = f"""
import asyncio, time
from bridge.errors import JournalError
from bridge.journal.sqlite import SqliteJournal

async def look():
    until = time.monotonic() + {PATIENCE}
    while True:
        try:
            async with SqliteJournal({str(path)!r}) as journal:
                return
        except JournalError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.05)

asyncio.run(look())
"""
    subprocess.run([sys.executable, "-c", look], check=True, stdout=subprocess.DEVNULL)
