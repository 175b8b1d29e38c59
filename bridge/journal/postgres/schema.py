"""The journal's tables, and how its schema is made and brought up to date."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final, TypeAlias

import psycopg

from bridge.errors import ConfigurationError, JournalError, Problem
from bridge.journal.domains import TO_BE_MOVED
from bridge.journal.hindsight import PAGE, note_terms
from bridge.journal.ledger import decode_queue, encode_record
from bridge.journal.postgres.database import told
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.reading import read_event
from bridge.model import Event

_LOG: Final = logging.getLogger("bridge.journal")

FORMAT: Final = 3
_OLDEST_SERVER: Final = 140000

_TABLES: Final = files(__package__).joinpath("schema.sql").read_text("utf-8")
_, _STATES, _KEEP = re.split("-- since format .*\n", _TABLES)

_MAYBE_WITHOUT_DOMAINS: Final = 1
_WITH_TERMS: Final = 3
_QUEUES_WITH_KEYS: Final = """
ALTER TABLE head ADD queued bigint NOT NULL DEFAULT 0;
ALTER TABLE records ADD position bigint NOT NULL DEFAULT 0;
UPDATE records SET position = last FROM head;
ALTER TABLE records ALTER position DROP DEFAULT, DROP at;
ALTER TABLE queues ADD keys bytea[] NOT NULL DEFAULT '{}';
UPDATE queues SET keys = ARRAY(SELECT key FROM waiting WHERE waiting.lane = queues.lane);
ALTER TABLE queues ALTER keys DROP DEFAULT;
DROP TABLE waiting;
CREATE INDEX queues_by_key ON queues USING gin (keys) WITH (fastupdate = off);
"""
_STEPS: Final = {1: _STATES, 2: _QUEUES_WITH_KEYS + _KEEP}
"""What leads from each format to the next; processes of an earlier version answer 503 from then."""

_COLUMNS: Final = tuple(
    (table, column)
    for table, columns in re.findall(
        r"CREATE TABLE (\w+) \((.*?)\)(?: WITH .*?)?;", _TABLES, re.DOTALL
    )
    for column in re.findall(r"(?:^|, |\n    )([a-z_]+) ", columns)
)
LACKS: Final = """
SELECT name || '.' || part FROM unnest(%s::text[], %s::text[]) AS whole (name, part)
WHERE NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s || '.' || name) AND attname = part
    AND NOT attisdropped AND has_table_privilege(attrelid, 'SELECT')
    AND has_table_privilege(attrelid, 'INSERT') AND has_table_privilege(attrelid, 'UPDATE')
    AND has_table_privilege(attrelid, 'DELETE')
)
"""
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


def prepare(settings: PostgresSettings) -> int:
    """Make the tables where they are missing; return how many partitions there are. Blocks.

    Raises `JournalError`.
    """
    with _connected(settings) as connection:
        for doubt in _doubts(connection):
            _LOG.warning("%s", doubt)
        # Processes that start together make the tables once.
        name = settings.schema
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('incs-bridge'))")
        connection.execute("SELECT set_config('search_path', %s, true)", (name,))
        if (found := _found(connection, name)) is None:
            schemas = "SELECT FROM pg_namespace WHERE nspname = %s"
            if not connection.execute(schemas, (name,)).fetchone():
                connection.execute(f'CREATE SCHEMA "{name}"'.encode())
            connection.execute(_TABLES.encode())
            found = (FORMAT, settings.partitions)
            connection.execute("INSERT INTO meta VALUES (%s, %s)", found)
        if found[0] == _MAYBE_WITHOUT_DOMAINS:
            _check_domains(connection, name)
        for step in range(found[0], FORMAT):
            connection.execute(_STEPS[step].encode())
            connection.execute("UPDATE meta SET format = %s", (step + 1,))
        if found[0] < _WITH_TERMS:
            _note_terms(connection)
        _check_whole(connection, name)
        return found[1]


def _note_terms(connection: Connection) -> None:
    """Note in the records of users on what terms to write to them."""

    def read(name: bytes) -> tuple[bytes | None, bytes | None] | None:
        return connection.execute(
            "SELECT tied_to, record FROM records WHERE name = %s", (name,), binary=True
        ).fetchone()

    for last, events in _pages(connection):
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO records (name, position, record) VALUES (%s, %s, %s)"
                " ON CONFLICT (name) DO UPDATE SET record = excluded.record",
                [
                    (name, last, encode_record(record))
                    for name, record in note_terms(events, read).items()
                ],
            )


def _pages(connection: Connection) -> Iterator[tuple[int, Iterable[Event]]]:
    """Yield all events, and up to which position; those that wait come last."""
    last = 0
    while rows := connection.execute(
        "SELECT position, event FROM entries WHERE position > %s AND event IS NOT NULL"
        " ORDER BY position LIMIT %s",
        (last, PAGE),
        binary=True,
    ).fetchall():
        last = rows[-1][0]
        yield last, (read_event(data, position) for position, data in rows)
    for (items,) in connection.execute("SELECT items FROM queues", binary=True).fetchall():
        yield last, (item.event for item in decode_queue("", items).items)


def _check_domains(connection: Connection, name: str) -> None:
    """Raise `JournalError` where an event has no trust domain."""
    statement = f"""SELECT FROM "{name}".events WHERE event ->> 'domain' IS NULL LIMIT 1"""
    if connection.execute(statement.encode()).fetchone() is not None:
        raise JournalError(f"the schema {name} {TO_BE_MOVED}")


def check(settings: PostgresSettings) -> Sequence[Problem]:
    """Return what needs attention. Raises `ConfigurationError` where opening would fail."""
    try:
        with _connected(settings) as connection:
            found = list(_doubts(connection))
            kept = _found(connection, settings.schema)
            if kept is None:
                _check_may_make(connection, settings.schema)
            if kept is not None and kept[1] != settings.partitions:
                found.append(f"the schema has {kept[1]} partitions, and keeps them")
            if kept is not None and kept[0] == FORMAT:
                _check_whole(connection, settings.schema)
    except JournalError as error:
        raise ConfigurationError((Problem("postgres.dsn", str(error)),)) from error
    return [Problem("postgres.dsn", told) for told in found]


def _check_may_make(connection: Connection, name: str) -> None:
    may = """
    SELECT has_database_privilege(current_database(), 'CREATE')
        OR EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)
    """
    if connection.execute(may, (name,)).fetchone() == (False,):
        user, database = connection.info.user, connection.info.dbname
        raise JournalError(
            f"the user {user} may not make the schema {name} in {database}; "
            f"an owner of the database runs: CREATE SCHEMA {name} AUTHORIZATION {user}"
        )


def _check_whole(connection: Connection, name: str) -> None:
    refuse_lacks(connection.execute(LACKS, wanted(name)).fetchall(), name, connection.info.user)


def wanted(name: str) -> Sequence[object]:
    """Return the values for `LACKS` in a schema."""
    return (*map(list, zip(*_COLUMNS, strict=True)), name)


def refuse_lacks(lacks: Sequence[tuple[Any, ...]], name: str, user: str) -> None:
    """Raise `JournalError` where `LACKS` gives something."""
    if lacks:
        raise JournalError(
            f"the schema {name} lacks {', '.join(part for (part,) in lacks)}, or the user "
            f"{user} may not read and write there: restore it, or grant that"
        )


@contextmanager
def _connected(settings: PostgresSettings) -> Iterator[Connection]:
    try:
        with psycopg.connect(
            settings.dsn.reveal(), connect_timeout=5, prepare_threshold=None
        ) as connection:
            pid = connection.execute("SELECT pg_backend_pid()").fetchone()
            if pid != (connection.info.backend_pid,) and not settings.pooler:
                raise JournalError(
                    "dsn leads to a pooler such as pgbouncer: set pooler = true in "
                    "[journal.postgres], or let dsn lead to the server itself"
                )
            yield connection
    except psycopg.Error as error:
        raise JournalError(told(error)) from error


def _doubts(connection: Connection) -> Iterator[str]:
    """Yield what makes the server less than safe. Raises `JournalError` where it is of no use."""
    version = connection.info.server_version
    if version < _OLDEST_SERVER:
        raise JournalError(f"PostgreSQL {version // 10000} is too old: 14 or newer is needed")
    if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
        raise JournalError(
            "this server is a standby, which takes no events: let dsn name the primary too, with "
            "target_session_attrs=read-write"
        )
    for name in _DURABLE:
        if connection.execute("SELECT current_setting(%s)", (name,)).fetchone() == ("off",):
            yield f"PostgreSQL runs with {name} = off: acknowledged events may not survive a crash"


def _found(connection: Connection, name: str) -> tuple[int, int] | None:
    """Return the format and partitions of the tables, if there are any."""
    if connection.execute("SELECT to_regclass(%s)", (f"{name}.meta",)).fetchone() == (None,):
        return None
    statement = f'SELECT format, partitions FROM "{name}".meta'.encode()  # noqa: S608 - our own
    row = connection.execute(statement).fetchone()
    if row is None or not min(_STEPS) <= row[0] <= FORMAT:
        raise JournalError(
            f"the schema {name} has the format {row and row[0]}, and this version of the bridge "
            f"reads {min(_STEPS)} to {FORMAT}"
        )
    return int(row[0]), int(row[1])
