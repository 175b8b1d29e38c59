"""Who has written into the database while it was open.

Nothing but a checkpoint writes there: commits go into the log. A checkpoint, whoever makes it, says
in the index of the log how far it means to copy before it writes, and how far it has copied once
that is synced. So where the database was written and its index says the same as before, another
program has put something in its place, such as a backup that was restored over the open file.
https://sqlite.org/walformat.html#the_wal_index_file_format
"""

from __future__ import annotations

import os
from typing import Final, Self

import attrs

_HEADER: Final = 100  # bytes of the database; any page that is allocated or freed changes it
_SIZE: Final = 132
_SALT: Final = slice(32, 40)  # another one each time that the log starts over
_COPIED: Final = slice(96, 100)
_TO_COPY: Final = slice(128, 132)


@attrs.frozen
class _Known:
    """The database as it was at some time, and how far the log had been copied before that."""

    copied: bytes
    is_being_copied: bool
    header: bytes
    written_at: int

    @classmethod
    def now(cls, database: int, index: int) -> Self:
        data = os.pread(index, _SIZE, 0)
        copied, to_copy = data[_COPIED], data[_TO_COPY]
        return cls(
            data[_SALT] + copied + to_copy,
            copied != to_copy,
            os.pread(database, _HEADER, 0),
            os.fstat(database).st_mtime_ns,
        )


class Writes:
    """Watches a database and the index of its log, by descriptors that stay open.

    Any thread may ask. `seen_at` is the time at which the database was written last, as far as that
    is known; for another one, ask.
    """

    def __init__(self, database: int, index: int) -> None:
        self._database, self._index = database, index
        self._known = _Known.now(database, index)
        self.seen_at = self._known.written_at

    def are_of_others(self) -> bool:
        """Return whether another program has put something else into the database."""
        known = self._known
        try:
            header = os.pread(self._database, _HEADER, 0)
            now = _Known.now(self._database, self._index)
        except OSError:  # others have closed them, which `Watch.cut_short` finds
            return False
        is_told = now.copied != known.copied or now.is_being_copied or known.is_being_copied
        if header != known.header and not is_told and known is self._known:
            return True
        self._known, self.seen_at = now, now.written_at
        return False
