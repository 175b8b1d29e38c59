"""The journal's tables, and how its database is opened, checked and brought up to date."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import apsw

from bridge.errors import JournalError
from bridge.journal.sqlite.files import LOCKED, Damaged, Files
from bridge.journal.sqlite.formats import FORMAT, check_format
from bridge.journal.sqlite.headers import APPLICATION_ID
from bridge.journal.sqlite.patience import Patience
from bridge.journal.sqlite.upgrades import upgrade

_STEPS_BETWEEN_LOOKS: Final = 10_000
# APSW forgets the statement that has not been run for so many runs, and each row that `executemany`
# writes is one: with its 100, a merge of keys makes it compile all other statements anew.
_STATEMENTS: Final = 256

# A row of `entries` is an event for delivery and a key for deduplication; where `event` is null,
# only the key, and `lane` may be the key of its event in hexadecimal. A key is the BLAKE2b of the
# event's own, or of the name of a record in `tracks`, and no two rows share one (`key_index.py`).
# `keys` is the index of the entries and `names` that of `tracks`: of all rows up to the position
# in `merged`, and of those up to `merging_up_to` the ones in the parts before `part`. A record that
# changes gets a row at the end: what was touched last is forgotten last. For `windows`, `position`
# is the entry up to which the records tell what follows from entries (`ledger.py`).
# `mended` is 1 for an event that could not be read and has been read since.
# `queues` holds what is durable and not published yet. `retry` is the JSON of a `Retry`, and
# `due_at` repeats its own. `states` is what subscribers remember of conversations. There is no
# index for searching: it would be written at random places, a page an append.
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
CREATE TABLE names (
    key BLOB PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE merged (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    merging_up_to INTEGER NOT NULL,
    part INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tracks (
    position INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
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
CREATE TABLE states (
    id INTEGER PRIMARY KEY,
    conversation TEXT NOT NULL,
    name TEXT NOT NULL,
    expires_at REAL NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (conversation, name)
) STRICT;
CREATE INDEX states_by_expiry ON states (expires_at);
CREATE TABLE rehearsal (page BLOB NOT NULL) STRICT;
"""
_NAMES: Final = frozenset(re.findall(r"CREATE TABLE (\w+)", _TABLES))


def lacking(connection: apsw.Connection) -> str | None:
    """Return which tables somebody has taken away, in words."""
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    gone = ", ".join(sorted(_NAMES - found))
    return f"somebody removed from the journal: {gone}; restore it from a backup" if gone else None


def connect(
    path: Path, *, vfs: str | None, busy_timeout: float, patience: Patience | None = None
) -> apsw.Connection:
    """Open a connection that is as durable as a journal has to be.

    It waits for locks with this patience, until somebody sets its time-out.
    """
    connection = apsw.Connection(str(path), vfs=vfs, statementcachesize=_STATEMENTS)
    try:
        if patience is None:
            connection.set_busy_timeout(int(busy_timeout * 1000))
        else:
            connection.set_busy_handler(patience)
        connection.pragma("synchronous", "FULL")
        connection.pragma("secure_delete", "ON")  # purged means gone, free pages included
        connection.pragma("cache_size", -32_768)  # KiB; keys are looked up at random
        connection.wal_autocheckpoint(0)  # the writer and its background helper take turns
    except BaseException:
        connection.close()
        raise
    return connection


def open_file(
    files: Files, *, vfs: str | None, busy_timeout: float, check_for: float, patience: Patience
) -> apsw.Connection:
    """Open the journal's file, making it where there is none, and bring it up to date.

    Checks the whole of a small file, and of a large one what `check_for` seconds allow.
    Raises `Damaged`, or `JournalError` where the file cannot be used for any other reason, which
    may be that another program has it locked for longer than `patience`.
    """
    files.claim()
    connection = None
    try:
        connection = connect(files.database, vfs=vfs, busy_timeout=busy_timeout, patience=patience)
        _check_pages(connection, check_for)
        files.compare_log()
        _prepare(connection, files)
        connection.execute("BEGIN IMMEDIATE; ROLLBACK")  # whether it can be written at all
        connection.set_busy_timeout(int(busy_timeout * 1000))
    except BaseException as error:  # noqa: BLE001 - it is raised again
        if connection is not None:
            connection.close()
        _refuse(files.path, error)
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
    if isinstance(error, apsw.BusyError):
        raise JournalError(LOCKED.format(path)) from error
    if isinstance(error, apsw.Error | OSError):
        raise JournalError(f"{path} cannot be opened: {error}") from error
    raise error


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


def _prepare(connection: apsw.Connection, files: Files) -> None:
    known, found = connection.pragma("application_id"), connection.pragma("user_version")
    is_empty = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").get is None
    if known != APPLICATION_ID:
        if known or not is_empty:
            raise JournalError(f"{files.path} is an SQLite file, but not a journal")
        # Before there is a log, so that the file's own header tells what it is.
        connection.pragma("application_id", APPLICATION_ID)
    if not is_empty:
        check_format(files.path, found)
    if connection.pragma("journal_mode", "wal") != "wal":
        raise JournalError(f"{files.path} is on a file system that cannot keep a write-ahead log")
    if is_empty:
        with connection:
            connection.execute(_TABLES)
            connection.pragma("user_version", FORMAT)
    elif found < FORMAT:
        upgrade(connection, files, found)
    if is_empty or found < FORMAT:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
