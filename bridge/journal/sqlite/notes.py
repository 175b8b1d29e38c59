"""What the file of a journal's lock says: who holds it, and what has been a journal beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypeAlias

import attrs

Identity: TypeAlias = tuple[int, int]
"""The device and the inode of a file."""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@attrs.frozen
class Notes:
    """Who holds or held a lock, what was a journal and its log, in which run of the machine.

    What is not known is None, and the last nothing.
    """

    pid: int | None = None
    journal: Identity | None = None
    log: Identity | None = None
    boot: str = ""


def text(lock: Identity, journal: Identity | None, log: Identity | None) -> str:
    """Return what this process notes, once it is known which files are the journal's."""
    lines = [str(os.getpid())]
    if journal is not None:
        lines += [_written(journal), boot(), _written(log), _written(lock)]
    return "".join(f"{line}\n" for line in lines)


def read(path: Path) -> Notes:
    """Return what whoever held the lock last has noted.

    A copy tells of no files: others may have their inodes by now, such as copies of each other.
    """
    try:
        lines = path.read_text().splitlines()
        found = path.stat()
        pid, journal, booted, log, lock, *_ = [*lines, *[""] * 4]
        if _identity(lock) not in (None, (found.st_dev, found.st_ino)):
            return Notes(int(pid))
        return Notes(int(pid), _identity(journal), _identity(log), booted)
    except (OSError, ValueError):
        return Notes()


def _written(identity: Identity | None) -> str:
    return "" if identity is None else f"{identity[0]}:{identity[1]}"


def _identity(text: str) -> Identity | None:
    if not text:
        return None
    device, inode = text.split(":")
    return int(device), int(inode)


def boot() -> str:
    """Return what names this run of the machine; nothing where that is not told."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
