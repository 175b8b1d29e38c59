"""Whether a journal's files that are open are still those on disk.

That is looked at around every commit, without asking when the log was written. Since Linux 6.13,
whoever asks makes the system note the time of the next write exactly, not just to some
milliseconds: then each commit changes the inode, and its `fdatasync` takes half as long again on
ext4. `os.stat` asks for everything, statx(2) for what one names.
https://docs.kernel.org/filesystems/multigrain-ts.html
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridge.journal.sqlite.notes import Identity
from bridge.journal.sqlite.wal_index import is_empty
from bridge.journal.sqlite.writes import Writes

CLOSED: Final = (
    "other code of this process has closed the files of {}: nothing more can be written or saved, "
    "so start the process again"
)

# https://man7.org/linux/man-pages/man2/statx.2.html and /usr/include/linux/stat.h
_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_INODE_AND_SIZE: Final = 0x100 | 0x200
_FIELDS: Final = struct.Struct("=32xQQ88xII")  # inode, size, the two numbers of the device
_SIZE: Final = 256


class Watch:
    """Compares the files of one journal that are open with those that its paths lead to.

    `path` is how the journal is configured, `database` where that leads to. The descriptors stay
    open. Any thread may ask. Raises `OSError` where a descriptor leads nowhere.
    """

    def __init__(
        self, path: Path, database: Path, wal: Path, *, descriptors: tuple[int, int, int]
    ) -> None:
        self.are_closed = False  # by others, so that nothing may be written any more
        self._path, self._wal = path, wal
        # As strings, looking for them takes half the time.
        self._database_named = str(database)
        self._link_named = str(path) if path != database else None
        self._look_at_wal = _look_at(str(wal))
        self._descriptor, self._wal_descriptor, self._shm_descriptor = descriptors
        self._database_is = _identity(os.fstat(self._descriptor))
        self.wal_is = _identity(os.fstat(self._wal_descriptor))
        self._writes = Writes(self._descriptor, self._shm_descriptor)
        self._size = self._wal_size = 0
        self._wal_end = -1

    def lost(self, wal_size: int | None = None) -> str | None:
        """Return why what is open is not what is on disk, or None where it is.

        Cheap enough for every commit. `wal_size` is how long the log has to be at least from now
        on.
        """
        if wal_size is not None:
            self._wal_size = wal_size
        known = self._size, self._wal_size
        try:
            # A link in the file's place would lead the next start to another log.
            database = os.lstat(self._database_named)
            wal_is, wal_end = self._look_at_wal()
            linked = database if self._link_named is None else os.stat(self._link_named)  # noqa: PTH116
        except OSError as error:
            return f"{error.filename} is gone ({error.strerror})"
        is_ours = _identity(database) == self._database_is
        if not is_ours or _identity(linked) != self._database_is:
            return f"{self._path} is another file now"
        if wal_is != self.wal_is:
            return f"{self._wal} is another file now"
        is_shorter = database.st_size < known[0] or (
            wal_end < known[1] and not is_empty(self._shm_descriptor)
        )
        if is_shorter and known == (self._size, self._wal_size):  # else another thread has looked
            return f"{self._path} has been cut short"
        if database.st_mtime_ns != self._writes.seen_at and self._writes.are_of_others():
            return f"another program has written over {self._path}"
        self._size = database.st_size
        return None

    def cut_short(self, wal_size: int) -> str | None:
        """Return why nothing may be written, or None.

        A log that was cut short would grow to its length; `lost` finds it only until then. A
        descriptor that was closed may lead to another file by now. `wal_size` is how long the log
        has to be.
        """
        try:
            size = os.lseek(self._wal_descriptor, 0, os.SEEK_END)
            if size != self._wal_end or size < wal_size:  # to ask which file it is takes longer
                self.are_closed = _identity(os.fstat(self._wal_descriptor)) != self.wal_is
                self._wal_end = size
        except OSError:
            self.are_closed = True
        if self.are_closed:
            return CLOSED.format(self._path)
        if self._wal_end < wal_size and not is_empty(self._shm_descriptor):
            return f"{self._wal} has been cut short"
        return None


def _look_at(path: str) -> Callable[[], tuple[Identity, int]]:
    """Return what tells which file is at a path, and its size; links are not followed.

    It raises `OSError`. Where there is no statx, as in some systems and sandboxes, it is `lstat`,
    and so it is for a Python that was built without libffi.
    """

    def lstat() -> tuple[Identity, int]:
        found = os.lstat(path)
        return _identity(found), found.st_size

    named = os.fsencode(path)
    try:
        import ctypes  # noqa: PLC0415 - as told

        statx = ctypes.CDLL(None).statx
    except (ImportError, OSError, AttributeError):
        return lstat
    room = ctypes.c_char * _SIZE
    statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, room]

    def look() -> tuple[Identity, int]:
        buffer = room()  # for each of the threads
        if statx(_AT_FDCWD, named, _AT_SYMLINK_NOFOLLOW, _INODE_AND_SIZE, buffer):
            return lstat()  # which says what is wrong
        inode, size, major, minor = _FIELDS.unpack_from(buffer)
        return (os.makedev(major, minor), inode), size

    return look


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
