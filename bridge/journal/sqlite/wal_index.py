"""What SQLite's index of the write-ahead log says of it, after a process that was killed.

The log ends where the first frame is that does not fit, so a log that was cut short or overwritten
while no bridge ran looks as if nothing had been behind that. Its index, the -shm file, is left by
the process as it was, and knows how many frames had been committed and synced. After a reboot it
may be older than the log, and says nothing.
https://sqlite.org/walformat.html#the_wal_index_file_format
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Final

import attrs

_HEADER: Final = 48  # bytes; there are two copies of it
_SIZE: Final = 100


@attrs.frozen
class Index:
    """How many frames of the log are committed, and how many of them the database has."""

    frames: int
    copied: int

    def lost(self, found: Index) -> int:
        """Return how many frames are nowhere any more, where only those `found` are left."""
        return max(0, self.frames - max(self.copied, found.frames))


NOTHING: Final = Index(0, 0)


def index_of(descriptor: int) -> Index:
    """Return what an index says; nothing where it was not finished."""
    return _read(descriptor) or NOTHING


def is_empty(descriptor: int) -> bool:
    """Return whether the log holds nothing, as a checkpoint says before it cuts it short."""
    index = _read(descriptor)
    return index is not None and index.frames == 0


def _read(descriptor: int) -> Index | None:
    with suppress(OSError):
        data = os.pread(descriptor, _SIZE, 0)
        is_whole = len(data) == _SIZE and data[:_HEADER] == data[_HEADER : 2 * _HEADER]
        if is_whole and data[12] == 1:  # it has been begun with
            return Index(*struct.unpack_from("=I", data, 16), *struct.unpack_from("=I", data, 96))
    return None
