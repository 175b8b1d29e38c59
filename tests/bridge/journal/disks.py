"""Disks that fail in ways that real ones do, as SQLite sees them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import apsw


class Disk(apsw.VFS):
    """A disk that remembers what was synced, and can refuse or delay the next syncs."""

    def __init__(self) -> None:
        self.name = f"disk-{uuid4()}"
        self.failing = False
        self.failing_once: set[str] = set()  # names of files of which the next sync is refused
        self.syncing = threading.Event()
        self.open_gate = threading.Event()
        self.open_gate.set()
        self._synced: dict[str, bytes] = {}
        self._lock = threading.Lock()
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        return _File(self, name, flags)

    def xDelete(self, name: str, sync_directory: bool) -> None:  # noqa: N802 - apsw's name
        # Counted as durable at once: the first sync of a new WAL is one of the directory too.
        with self._lock:
            self._synced.pop(Path(name).name, None)
        super().xDelete(name, sync_directory)

    def note_sync(self, path: str) -> None:
        self.syncing.set()
        self.open_gate.wait()
        name = Path(path).name
        if self.failing or name in self.failing_once:
            self.failing_once.discard(name)
            error = apsw.IOError("the disk does not answer")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC
            raise error
        # Read under the lock: of two threads that sync one file, the one that read first must
        # not be noted last, as if the disk had forgotten what it had.
        with self._lock:
            self._synced[name] = Path(path).read_bytes()

    def after_power_loss(self) -> Mapping[str, bytes]:
        """Return what would be found on the disk if the power went now."""
        with self._lock:
            return dict(self._synced)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        self._disk.note_sync(self._path)
        super().xSync(flags)


def restore(files: Mapping[str, bytes], place: Path) -> None:
    """Lay files out as a machine finds them when it comes up again."""
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
