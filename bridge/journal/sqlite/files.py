"""The journal's files: who may use them, and what is set aside.

POSIX locks, which SQLite uses, belong to a process: another SQLite in this process does not see
them, and whoever opens and closes the file drops them. Such a SQLite takes itself for the last
user when it closes, and unlinks the write-ahead log. Locks of open file descriptions
(`fcntl(2)`, F_OFD_SETLK) have neither fault: one of them excludes other bridges whatever name
they know the file by, and others stand in for the locks that SQLite itself would look for.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bridge.errors import JournalError
from bridge.journal.sqlite import notes
from bridge.journal.sqlite.headers import (
    APPLICATION_ID,
    MAGIC,
    application_in,
    application_in_log,
    format_in,
    has_no_log,
)
from bridge.journal.sqlite.locks import OURS, SHARED, SHM_IN_USE, lock
from bridge.journal.sqlite.notes import Identity, Notes
from bridge.journal.sqlite.patience import Patience
from bridge.journal.sqlite.wal_index import NOTHING, index_of
from bridge.journal.sqlite.watch import Watch

_LOG: Final = logging.getLogger("bridge.journal")

LOCKED: Final = (
    "{} is locked by another program: end what has it open, such as a transaction in a shell of "
    "SQLite or a copy that is being made, and start again"
)
PRIVATE: Final = 0o600  # what a journal holds is personal data

_SIBLINGS: Final = ("", "-wal")
_DAMAGED: Final = "damaged"
_REPLACED: Final = "replaced"
_EVIDENCE: Final = b"CREATE TABLE entries ("
_EVIDENCE_WITHIN: Final = 64 << 10

_held: Final[set[int]] = set()
"""Descriptors that keep locks: a forked child closes its copies, or it would keep them, too."""
_open: Final[set[Identity]] = set()
"""The databases that are open in this process: to close another descriptor drops SQLite's locks."""


def _let_go() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()
    _open.clear()


os.register_at_fork(after_in_child=_let_go)


class Damaged(JournalError):
    """The file was a journal once, and cannot be trusted any more."""


class Files:
    """The files of one journal while it is open.

    `path` is how the journal is configured, `database` where that leads to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.database = Path(os.path.realpath(path))
        self.wal = sibling(self.database, "-wal")
        self.shm = sibling(self.database, "-shm")
        self.recovered = sibling(self.database, ".recovered")
        self._lock_path = sibling(self.database, ".lock")
        self._lock = -1
        self._descriptor = -1
        self._shm_descriptor = -1
        self._wal_descriptor = -1
        self._database_is: Identity | None = None
        self.watch: Watch  # from `protect` on
        self._wal_is: Identity | None = None
        self._noted = Notes()
        self._is_copy = False
        self._index = NOTHING  # as it was left
        self.has_lost = False

    # --- who may use them --------------------------------------------------------------------

    @property
    def is_open_here(self) -> bool:
        """Whether this process has the database open."""
        try:
            return _identity(self.database.stat()) in _open
        except OSError:
            return False

    @property
    def format(self) -> int:
        """Which format the database's header says it has; 0 is none."""
        try:
            head = self._head()
        except OSError:
            return 0
        return format_in(head)

    def _head(self) -> bytes:
        # Another descriptor, once closed, would drop SQLite's locks.
        if self.is_open_here:
            return b""
        with self.database.open("rb") as file:
            return file.read(_EVIDENCE_WITHIN)

    def user(self) -> str | None:
        """Return who has the journal open, in words, without disturbing them."""
        if self.is_open_here:
            return "this process"
        try:
            with self.database.open("rb") as file:
                is_free = lock(file.fileno(), fcntl.F_RDLCK, OURS)
        except OSError:
            return None
        return None if is_free else f"process {notes.read(self._lock_path).pid}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other bridge away; the kernel lets go when the process dies.

        Raises `JournalError` where one has the journal open, or where what is in its place never
        was a journal.
        """
        with ExitStack() as stack:
            with suppress(Damaged):
                self.check_kind()  # before anything is made beside somebody else's file
            stack.callback(self._release)
            # Never deleted: whoever waited for a deleted file's lock would get it for nothing.
            self._lock = self._held_open(self._lock_path)
            noted = notes.read(self._lock_path)
            self._noted = noted
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                by = "" if noted.pid is None else f" (process {noted.pid})"
                raise JournalError(
                    f"{self.path} is open in another journal or process{by}. One process has a "
                    "journal in SQLite: run one worker; or run `bridge serve` beside the workers; "
                    "or use an engine that several processes share (docs/embed.md)"
                ) from error
            self._note_lock(noted.journal, noted.log)
            self.finish_recovery()
            yield

    def claim(self) -> None:
        """Make the database's file where there is none, and lock it under all of its names."""
        self.check_kind()
        self._descriptor = self._held_open(self.database)
        if not lock(self._descriptor, fcntl.F_WRLCK, OURS):
            raise JournalError(f"{self.path} is open in another process, under another name")
        self._database_is = _identity(os.fstat(self._descriptor))
        _open.add(self._database_is)
        is_same = self._noted.journal == self._database_is and not self._is_copy
        if is_same and self._noted.boot == notes.boot() != "" and self.shm.exists():
            self._shm_descriptor = self._held_open(self.shm)
            self._index = index_of(self._shm_descriptor)

    def compare_log(self) -> None:
        """Tell what the log has lost since it was left; once SQLite has read it.

        What is left of it is kept, as the next commit overwrites it.
        """
        left, self._index = self._index, NOTHING
        lost = left.lost(index_of(self._shm_descriptor)) if left.frames else 0
        if not lost:
            return
        self.has_lost = True
        kept = ""
        with suppress(OSError):
            data = self.wal.read_bytes()
            target = sibling(self.database, f".{_DAMAGED}-{_now()}.log")
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT, PRIVATE), "wb") as file:
                file.write(data)
            kept = f"; what is left of it is kept in {target.name}"
        _LOG.critical(
            "%s was cut short or overwritten while no bridge ran: %d of its frames are gone, and "
            "with them what was acknowledged last%s",
            self.wal,
            lost,
            kept,
        )

    def _held_open(self, path: Path) -> int:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        except OSError as error:
            raise JournalError(f"{self.path} cannot be opened: {error.strerror}") from error
        _held.add(descriptor)
        return descriptor

    def _release(self) -> None:
        self._close_database()
        if self._lock in _held:
            _held.discard(self._lock)
            os.close(self._lock)
        self._lock = -1

    def protect(self, patience: Patience) -> None:
        """Let no other SQLite take itself for the last user; once ours has opened the files.

        From here on `watch` compares with what is there now. Raises `JournalError` where another
        program has them locked for too long.
        """
        if self._shm_descriptor >= 0 and not _leads_to(self._shm_descriptor, self.shm):
            # The SQLite of another program has removed it, while ours had not opened it yet.
            _held.discard(self._shm_descriptor)
            os.close(self._shm_descriptor)
            self._shm_descriptor = -1
        if self._shm_descriptor < 0:
            self._shm_descriptor = self._held_open(self.shm)
        for descriptor, part in ((self._descriptor, SHARED), (self._shm_descriptor, SHM_IN_USE)):
            while not lock(descriptor, fcntl.F_RDLCK, part):
                if not patience():
                    raise JournalError(LOCKED.format(self.path))
        self._wal_descriptor = self._held_open(self.wal)
        descriptors = self._descriptor, self._wal_descriptor, self._shm_descriptor
        self.watch = Watch(self.path, self.database, self.wal, descriptors=descriptors)
        self._wal_is = self.watch.wal_is
        self._note_lock(self._database_is, self._wal_is)
        if (reason := self.watch.lost()) is not None:
            raise JournalError(reason)

    def sync(self) -> None:
        """Make durable what has been written into the database; blocks. Raises `OSError`."""
        getattr(os, "fdatasync", os.fsync)(self._descriptor)

    def unprotect(self) -> None:
        """Let our own SQLite be the last user, which is about to close."""
        for descriptor, part in ((self._descriptor, SHARED), (self._shm_descriptor, SHM_IN_USE)):
            if descriptor in _held:
                lock(descriptor, fcntl.F_UNLCK, part)

    def _note_lock(self, journal: Identity | None, log: Identity | None) -> None:
        """Say in the lock's file who holds it, and which files have been a journal here."""
        text = notes.text(_identity(os.fstat(self._lock)), journal, log)
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, text.encode(), 0)
        except OSError as error:  # such as a full disk
            raise JournalError(f"{self._lock_path} cannot be written: {error.strerror}") from error

    # --- what is wrong with them --------------------------------------------------------------

    def readable_by_others(self) -> str | None:
        """Return what is wrong with the permissions of the files, if others may use them."""
        found = []
        for path in (self.database, self.wal, self.shm):
            with suppress(OSError):
                if path.stat().st_mode & 0o077:
                    found.append(str(path))
        if not found:
            return None
        names = " ".join(found)
        return f"others may use {names}, which hold personal data: chmod 600 {names}"

    def check_kind(self) -> None:
        """Look what is in the database's place, without changing anything.

        Raises `JournalError` for a file that never was a journal or is open in this process, and
        `Damaged` for one that was a journal.
        """
        if self.is_open_here:
            raise JournalError(f"{self.path} is open in another journal or process (this one)")
        self._check_places()
        try:
            head, identity = self._head(), _identity(self.database.stat())
        except FileNotFoundError:
            head, identity = b"", None
        except OSError as error:
            raise JournalError(f"{self.path} cannot be opened: {error.strerror}") from error
        noted, self._is_copy = notes.read(self._lock_path), has_no_log(head)
        left = sibling(self.path, "-wal")
        if left != self.wal and left.exists() and left.stat().st_size:
            raise JournalError(
                f"{self.path} has become a link without its log: move {left} to {self.wal}"
            )
        has_wal = self.wal.exists() and self.wal.stat().st_size
        if head.startswith(MAGIC):
            application = application_in(head)
            if not application and has_wal:  # the log may hold what belongs into the header
                application = application_in_log(self.wal)
            if application != APPLICATION_ID:
                raise JournalError(f"{self.path} is an SQLite file, but not a journal")
            if has_wal:
                self._check_log(identity, noted)
            return
        if not head and not has_wal:
            return
        # SQLite would delete a log without a database, and what it holds has been acknowledged.
        fault = "it is empty and its WAL is not" if not head else "it is no SQLite database"
        if _EVIDENCE in head or (identity and identity == noted.journal):
            raise Damaged(f"{self.path} is damaged: {fault}")
        raise JournalError(f"{self.path} is not a journal, and is left alone: {fault}")

    def _check_log(self, identity: Identity | None, noted: Notes) -> None:
        """Refuse a log that was another database's: SQLite would mix the two."""
        is_another = identity != noted.journal
        if self._is_copy or (is_another and noted.log == _identity(self.wal.stat())):
            raise JournalError(
                f"{self.path} has been replaced, such as by a backup, and {self.wal} is the log of "
                "the file before: move the log away, and start again"
            )

    def _check_places(self) -> None:
        """Refuse what is no file: to open a pipe, for one, may take for ever."""
        for place in (self.database, self.wal, self.shm, self._lock_path):
            try:
                mode = place.stat().st_mode
            except FileNotFoundError:
                continue
            except OSError as error:
                raise JournalError(f"{place} cannot be opened: {error.strerror}") from error
            if not stat.S_ISREG(mode):
                what = "a directory" if stat.S_ISDIR(mode) else "no file, but a pipe or a device"
                raise JournalError(f"{place} cannot be opened: Is {what}")

    # --- what is set aside -----------------------------------------------------------------------

    def set_aside(self, reason: str) -> Path:
        """Rename a damaged journal with its WAL, so that it can be examined, and claim the name."""
        target = self._rename(_DAMAGED, reason)
        _LOG.critical("%s; set aside as %s, a new journal begins", reason, target.name)
        self._close_database()
        return target

    def _close_database(self) -> None:
        if self._database_is is not None:
            _open.discard(self._database_is)
        for descriptor in (self._wal_descriptor, self._shm_descriptor, self._descriptor):
            if descriptor in _held:  # and not in a child that has been forked meanwhile
                _held.discard(descriptor)
                os.close(descriptor)
        self._wal_descriptor = self._shm_descriptor = self._descriptor = -1

    def _rename(self, word: str, reason: str, *, spared: Sequence[Identity | None] = ()) -> Path:
        stem = f"{self.database.name}.{word}-{_now()}"
        target = self.database.with_name(stem)
        count = 1
        while any(sibling(target, suffix).exists() for suffix in _SIBLINGS):
            count += 1
            target = self.database.with_name(f"{stem}-{count}")
        try:
            for suffix in _SIBLINGS:
                source = sibling(self.database, suffix)
                if source.exists() and _identity(source.stat()) not in spared:
                    source.rename(sibling(target, suffix))
            self.shm.unlink(missing_ok=True)  # nothing but an index of the log
        except OSError as error:
            raise JournalError(f"{reason}; it cannot be set aside: {error.strerror}") from error
        return target

    def aside(self) -> Sequence[Path]:
        """Return the files that were set aside and have not been moved away since."""
        found = (
            path
            for word in (_DAMAGED, _REPLACED)
            for path in self.database.parent.glob(f"{self.database.name}.{word}-*")
        )
        return sorted(path for path in found if not path.name.endswith("-wal"))

    # --- recovery --------------------------------------------------------------------------------

    def make_room(self) -> None:
        """Move what has come in the place of our own files out of the way of `recovered`.

        Raises `JournalError` where that is no journal, or is open in another process.
        """
        try:
            identity = _identity(self.database.stat())
        except FileNotFoundError:
            identity = None
        if identity is not None and identity != self._database_is:
            if self.is_open_here:
                raise JournalError(f"{self.path} is open in another journal")
            with self.database.open("rb") as file:
                if application_in(file.read(_EVIDENCE_WITHIN)) != APPLICATION_ID:
                    raise JournalError(f"{self.path} is another file now, and no journal")
                if not lock(file.fileno(), fcntl.F_RDLCK, OURS):
                    raise JournalError(f"{self.path} is open in another process")
        reason = f"another file is in the place of {self.path}"
        target = self._rename(_REPLACED, reason, spared=(self._database_is, self._wal_is))
        if target.exists():
            _LOG.critical("%s; it is now %s", reason, target.name)

    def finish_recovery(self) -> None:
        """Let a finished copy of the journal be the database, if there is one.

        Until then it is complete under another name, so that a crash in between costs nothing.
        """
        if self.recovered.exists():
            self.make_room()
            for path in (self.wal, self.shm):
                path.unlink(missing_ok=True)
            self.recovered.rename(self.database)
            sync_folder(self.database)
            _LOG.warning("%s has been written anew, with all that was in it", self.path)


def sibling(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to a database."""
    return path.with_name(path.name + suffix)


def sync_folder(path: Path) -> None:
    """Make the names in a file's folder durable."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _leads_to(descriptor: int, path: Path) -> bool:
    with suppress(OSError):
        return _identity(os.fstat(descriptor)) == _identity(path.stat())
    return False


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
