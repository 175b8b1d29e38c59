"""Locks of open file descriptions, which stand in for those that SQLite looks for."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

# https://sqlite.org/src/file/src/os.h and os_unix.c
_PENDING_BYTE: Final = 0x40000000
SHARED: Final = (_PENDING_BYTE + 2, 510)  # what a reader locks, and the last user exclusively
OURS: Final = (_PENDING_BYTE + 1024, 1)  # a byte that SQLite leaves alone
SHM_IN_USE: Final = (128, 1)  # without it, the next user truncates the -shm file

_FLOCK: Final = "hhqqi"
_OFD_SETLK: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None)


def lock(descriptor: int, kind: int, part: tuple[int, int]) -> bool:
    """Lock a part of a file for this open file description; return whether that was possible."""
    if _OFD_SETLK is None:
        return True
    start, length = part
    try:
        fcntl.fcntl(
            descriptor, _OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)
        )
    except BlockingIOError:
        return False
    except OSError:  # a file system without such locks: `lost` notices what they would prevent
        return True
    return True
