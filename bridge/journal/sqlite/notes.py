"""What the file of a journal's lock says: who holds it, and what has been a journal beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypeAlias

Identity: TypeAlias = tuple[int, int]
"""The device and the inode of a file."""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def text(journal: Identity | None) -> str:
    """Return what this process notes, once it is known which file is the journal."""
    known = "" if journal is None else f"{journal[0]}:{journal[1]}\n{boot()}\n"
    return f"{os.getpid()}\n{known}"


def read(path: Path) -> tuple[int | None, Identity | None, str]:
    """Return who holds or held a lock, which file was a journal, and in which run of the machine.

    What is not known is None, and the last nothing.
    """
    try:
        pid, *known = path.read_text().split()
        device, inode = known[0].split(":") if known else ("", "")
        return int(pid), (int(device), int(inode)) if known else None, "".join(known[1:2])
    except (OSError, ValueError):
        return None, None, ""


def boot() -> str:
    """Return what names this run of the machine; nothing where that is not told."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
