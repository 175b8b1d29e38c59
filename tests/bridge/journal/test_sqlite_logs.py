"""A write-ahead log that somebody damages while no bridge runs, after one was killed."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from bridge.errors import JournalError
from bridge.journal.sqlite import SqliteJournal
from tests.bridge.events import message
from tests.bridge.journal.files import ids

FRAME = 24 + 4096  # https://sqlite.org/fileformat.html#walformat
VICTIM = """
import asyncio, os, sys
from bridge.journal.sqlite import SqliteJournal
from tests.bridge.events import message

async def main():
    async with SqliteJournal(sys.argv[1]) as journal:
        for number in range(20):
            await journal.append([message("".join(sys.argv[3:]) + str(number))])
        if "checkpointed" in sys.argv:
            journal.checkpoint_soon()
            while journal.running().checkpoint_due.is_set():
                await asyncio.sleep(0.001)
            await journal.learn([])  # behind the checkpoint, and without a write
        os._exit(0)

asyncio.run(main())
"""


def killed(path: Path, *arguments: str) -> None:
    """Let a process append twenty events, and end without closing anything."""
    subprocess.run([sys.executable, "-c", VICTIM, str(path), *arguments], check=True)


def overwritten(log: BinaryIO) -> None:
    log.seek(32 + 20 * FRAME)
    log.write(bytes(FRAME))


def changed_in_one_byte(log: BinaryIO) -> None:
    log.seek(32 + 20 * FRAME + 1000)
    log.write(b"\xff")


def without_its_header(log: BinaryIO) -> None:
    log.write(bytes(32))


def cut_short(log: BinaryIO) -> None:
    log.truncate(32 + 20 * FRAME)


def torn(log: BinaryIO) -> None:
    log.truncate(log.seek(0, os.SEEK_END) - 1)


def emptied(log: BinaryIO) -> None:
    log.truncate(0)


@pytest.mark.parametrize(
    "damage",
    [overwritten, changed_in_one_byte, without_its_header, cut_short, torn, emptied],
)
async def test_what_a_log_has_lost_is_told(
    path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[BinaryIO], None]
) -> None:
    """A start goes on with what is left, says that it is not all, and keeps the log as it was.

    The metrics and the reason in readiness show it, the latter until the file is moved away.
    """
    killed(path)
    wal = path.with_name(f"{path.name}-wal")
    with wal.open("r+b") as log:
        damage(log)
    left = wal.read_bytes()
    async with SqliteJournal(path) as journal:
        told = [each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL]
        assert len(told) == 1
        assert told[0].startswith(f"{wal} was cut short or overwritten while no bridge ran: ")
        assert await ids(journal) == [str(number) for number in range(len(await ids(journal)))]
        assert len(await ids(journal)) < 20
        health = await journal.health()
        assert (health.ready, health.losses, health.set_aside) == (True, 1, 1)
        (kept,) = path.parent.glob("*.damaged-*")
        assert kept.name in str(health.reason)
        assert kept.read_bytes() == left
        assert kept.stat().st_mode & 0o777 == 0o600
        kept.unlink()
        assert (await journal.health()).reason is None
        await journal.append([message("next")])
    async with SqliteJournal(path) as journal:
        assert (await journal.health()).losses == 0
        assert (await ids(journal))[-1] == "next"


async def nothing(path: Path) -> None:
    killed(path)


async def torn_behind_its_end(path: Path) -> None:
    """What a transaction that was under way has left."""
    killed(path)
    with path.with_name(f"{path.name}-wal").open("ab") as log:
        log.write(os.urandom(10_000))


async def copied_before(path: Path) -> None:
    """All of the log is in the database."""
    killed(path, "checkpointed")
    path.with_name(f"{path.name}-wal").write_bytes(b"")


async def without_its_index(path: Path) -> None:
    """As in a copy of the database and its log."""
    killed(path)
    path.with_name(f"{path.name}-shm").unlink()


@pytest.mark.parametrize("leave", [nothing, torn_behind_its_end, copied_before, without_its_index])
async def test_where_nothing_is_lost_nothing_is_told(
    path: Path, caplog: pytest.LogCaptureFixture, leave: Callable[[Path], None]
) -> None:
    """After a kill everything is there, and nobody is alarmed."""
    await leave(path)
    async with SqliteJournal(path) as journal:
        assert await ids(journal) == [str(number) for number in range(20)]
        assert (await journal.health()).losses == 0
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
    assert list(path.parent.glob("*.damaged-*")) == []


async def test_after_a_reboot_the_index_says_nothing(path: Path) -> None:
    """The index is not synced with the log, so after a loss of power it may be any age."""
    killed(path)
    lock = path.with_name(f"{path.name}.lock")
    pid, identity, *_ = lock.read_text().split()
    lock.write_text(f"{pid}\n{identity}\nanother-boot\n")
    path.with_name(f"{path.name}-wal").write_bytes(b"")
    async with SqliteJournal(path) as journal:
        assert (await journal.health()).losses == 0


def backup(source: Path, target: Path) -> None:
    SqliteJournal(source).backup(target)


def copy_of_both(source: Path, target: Path) -> None:
    """As of a folder that was copied, whose log somebody then forgets."""
    shutil.copy(source, target)


@pytest.mark.parametrize(
    ("copy", "restore"),
    [(backup, shutil.copy), (backup, os.replace), (copy_of_both, os.replace)],
)
def test_a_database_is_not_mixed_with_the_log_of_another(
    path: Path, copy: Callable[[Path, Path], object], restore: Callable[[Path, Path], object]
) -> None:
    """A copy that was put into its place is refused while the log lies there, and loses nothing."""
    killed(path, "checkpointed")
    restored, wal = path.with_name("copy.db"), path.with_name(f"{path.name}-wal")
    copy(path, restored)
    expected = restored.read_bytes()
    killed(path, "later", "later")
    left = wal.read_bytes()
    restore(restored, path)
    with pytest.raises(JournalError, match=f"{path.name}-wal is the log of the file before"):
        asyncio.run(found_in(path))
    assert (path.read_bytes(), wal.read_bytes()) == (expected, left)
    wal.rename(path.with_name("moved-away"))
    assert asyncio.run(found_in(path)) == ([str(number) for number in range(20)], None)


def test_a_copy_of_all_its_files_is_a_journal(path: Path) -> None:
    """Also where one of them has the inode that another one's original had."""
    killed(path)
    for each in (path, path.with_name(f"{path.name}.lock")):
        shutil.copy(each, path.with_name("copy")).rename(each)
    assert asyncio.run(found_in(path)) == ([str(number) for number in range(20)], None)


async def found_in(path: Path) -> tuple[list[str], str | None]:
    async with SqliteJournal(path) as journal:
        return await ids(journal), (await journal.health()).reason
