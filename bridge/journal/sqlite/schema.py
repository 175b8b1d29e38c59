"""The journal's file: its tables, its lock, and what happens when it is damaged.

Nothing is ever replaced in silence. A damaged file is set aside whole, with its WAL, and said
loudly; a file that is not a journal of ours is left alone and refused.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import apsw

from bridge.errors import JournalError

_LOG: Final = logging.getLogger("bridge.journal")

_APPLICATION_ID: Final = 0x494E4353  # "INCS"
_VERSION: Final = 4
_MAGIC: Final = b"SQLite format 3\x00"
_SIBLINGS: Final = ("", "-wal", "-shm")
_STEPS_BETWEEN_LOOKS: Final = 10_000
_PRIVATE: Final = 0o600  # what a journal holds is personal data

# A row of `entries` is an event for delivery and a key for deduplication; where `event` is null,
# only the key, and `lane` may be the key of its event in hexadecimal. A key is the BLAKE2b of the
# event's own, and `key_index.py` sees to it that no two entries share one. `keys` holds those of
# all entries up to the position in `merged`, and of those up to `merging_up_to` the ones in the
# parts before `part`. `mended` is 1 for an event that could not be read and has been read since.
# `queues` holds what is durable and not published yet. `retry` is the JSON of a `Retry`, and
# `due_at` repeats its own. There is no index for searching: it would be written at random places,
# a page an append.
_TABLES: Final = """
CREATE TABLE entries (
    position INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    at INTEGER NOT NULL,
    lane TEXT,
    event BLOB,
    mended INTEGER
) STRICT;
CREATE TABLE keys (
    key BLOB PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE merged (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    position INTEGER NOT NULL,
    merging_up_to INTEGER NOT NULL,
    part INTEGER NOT NULL
) STRICT;
CREATE TABLE tracks (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    tied_to BLOB,
    track BLOB
) STRICT;
CREATE TABLE queues (
    lane TEXT PRIMARY KEY,
    items BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE subscribers (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE held (
    subscriber TEXT NOT NULL,
    position INTEGER NOT NULL,
    lane TEXT NOT NULL,
    due_at REAL,
    retry BLOB NOT NULL,
    PRIMARY KEY (subscriber, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_by_lane ON held (subscriber, lane, position);
CREATE INDEX held_by_position ON held (position);
CREATE TABLE dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subscriber TEXT NOT NULL,
    position INTEGER NOT NULL,
    retry BLOB NOT NULL
) STRICT;
CREATE INDEX dead_by_position ON dead (position);
CREATE TABLE rehearsal (page BLOB NOT NULL) STRICT;
"""


class Damaged(JournalError):
    """The file was a journal once, and cannot be trusted any more."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep every other process away from a journal; the kernel lets go when a process dies.

    A file of its own, since SQLite's locks could not tell a second bridge from our own reader.
    It is never deleted: whoever waits for a deleted file's lock would get it for nothing.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    except OSError as error:
        raise JournalError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JournalError(f"{path} is open in another journal or process") from error
        yield
    finally:
        os.close(descriptor)


def connect(path: Path, *, vfs: str | None, busy_timeout: float) -> apsw.Connection:
    """Open a connection that is as durable as a journal has to be."""
    connection = apsw.Connection(str(path), vfs=vfs)
    try:
        connection.set_busy_timeout(int(busy_timeout * 1000))
        connection.pragma("synchronous", "FULL")
        connection.pragma("secure_delete", "ON")  # purged means gone, free pages included
        connection.pragma("cache_size", -32_768)  # KiB; keys are looked up at random
        connection.wal_autocheckpoint(0)  # the writer and its background helper take turns
    except BaseException:
        connection.close()
        raise
    return connection


def open_file(
    path: Path, *, vfs: str | None, busy_timeout: float, check_for: float
) -> apsw.Connection:
    """Open the journal's file, making it where there is none.

    Checks the whole of a small file, and of a large one what `check_for` seconds allow.
    Raises `Damaged`, or `JournalError` where the file cannot be used for any other reason.
    """
    _check_header(path)
    connection = None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
        connection = connect(path, vfs=vfs, busy_timeout=busy_timeout)
        _check_pages(connection, check_for)
        _prepare(connection, path)
    except BaseException as error:  # noqa: BLE001 - it is raised again
        if connection is not None:
            connection.close()
        _refuse(path, error)
    return connection


@contextmanager
def usable(connection: apsw.Connection, path: Path) -> Iterator[None]:
    """Close a connection whose file turns out to be of no use after all; raises as `open_file`."""
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - it is raised again
        connection.close()
        _refuse(path, error)


def _refuse(path: Path, error: BaseException) -> NoReturn:
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        raise Damaged(f"{path} is damaged: {error}") from error
    if isinstance(error, apsw.Error | OSError):
        raise JournalError(f"{path} cannot be opened: {error}") from error
    raise error


def _check_header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except FileNotFoundError:
        magic = b""
    except OSError as error:
        raise JournalError(f"{path} cannot be opened: {error.strerror}") from error
    if magic and magic != _MAGIC:
        raise Damaged(f"{path} is damaged: it does not begin as an SQLite file does")
    wal = _sibling(path, "-wal")
    if not magic and wal.exists() and wal.stat().st_size:
        # SQLite would delete this WAL, and what it holds has been acknowledged.
        raise Damaged(f"{path} is damaged: it is empty and its WAL is not")


def _check_pages(connection: apsw.Connection, seconds: float) -> None:
    until = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN_LOOKS)
    try:
        found = connection.execute("PRAGMA quick_check(1)").get
    except apsw.InterruptError:
        return
    finally:
        connection.set_progress_handler(None)
    if found != "ok":
        raise apsw.CorruptError(" ".join(str(found).split()))


def _prepare(connection: apsw.Connection, path: Path) -> None:
    known = connection.pragma("application_id")
    if known != _APPLICATION_ID:
        if known or connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").get is not None:
            raise JournalError(f"{path} is an SQLite file, but not a journal")
    elif connection.pragma("user_version") != _VERSION:
        raise JournalError(f"{path} was written by another version of bridge")
    if connection.pragma("journal_mode", "wal") != "wal":
        raise JournalError(f"{path} is on a file system that cannot keep a write-ahead log")
    if known != _APPLICATION_ID:
        with connection:
            connection.execute(_TABLES)
            connection.pragma("application_id", _APPLICATION_ID)
            connection.pragma("user_version", _VERSION)


def set_aside(path: Path, reason: str) -> Path:
    """Rename a damaged journal with its WAL, so that it can be examined, and say so."""
    stem = f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    target = path.with_name(stem)
    count = 1
    while target.exists():
        count += 1
        target = path.with_name(f"{stem}-{count}")
    try:
        for suffix in _SIBLINGS:
            if (source := _sibling(path, suffix)).exists():
                source.rename(_sibling(target, suffix))
    except OSError as error:
        raise JournalError(f"{reason}; it cannot be set aside: {error.strerror}") from error
    _LOG.critical("%s; set aside as %s, a new journal begins", reason, target.name)
    return target


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
