"""The journal's tables, and how its schema is made and brought up to date."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.resources import files
from typing import Any, Final, TypeAlias

import psycopg

from bridge.errors import ConfigurationError, JournalError, Problem
from bridge.journal.domains import TO_BE_MOVED
from bridge.journal.hindsight import note_terms
from bridge.journal.postgres.database import ANSWERS_WITHIN, blocking_within, told
from bridge.journal.postgres.settings import PostgresSettings

_LOG: Final = logging.getLogger("bridge.journal")

FORMAT: Final = 4
_OLDEST_SERVER: Final = 140000
_AFTER_LOCKED: Final = 0.05  # seconds until the next try

_TABLES: Final = files(__package__).joinpath("schema.sql").read_text("utf-8")
_, _STATES, _KEEP, _MEMBERS = re.split("-- since format .*\n", _TABLES)

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
_STEPS: Final = {
    1: _STATES,
    2: _QUEUES_WITH_KEYS + _KEEP,
    3: "DROP TABLE members; DROP INDEX held_by_lane;" + _MEMBERS,
}
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
    AND NOT attisdropped AND (
        SELECT bool_and(has_table_privilege(attrelid, needed))
        FROM unnest('{SELECT, INSERT, UPDATE, DELETE}'::text[]) AS needed
    )
)
"""
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


def prepare(settings: PostgresSettings) -> int:
    """Make the tables where they are missing; return how many partitions there are. Blocks.

    Raises `JournalError`.
    """
    doubts, (_, partitions) = _prepare(settings, for_good=True)
    for doubt in doubts:
        _LOG.warning("%s", doubt)
    return partitions


def check(settings: PostgresSettings) -> Sequence[Problem]:
    """Return what needs attention. Raises `ConfigurationError` where opening would fail."""
    try:
        doubts, (_, partitions) = _prepare(settings, for_good=False)
    except JournalError as error:
        raise ConfigurationError((Problem("postgres.dsn", str(error)),)) from error
    if partitions != settings.partitions:
        doubts.append(f"the schema has {partitions} partitions, and keeps them")
    return [Problem("postgres.dsn", doubt) for doubt in doubts]


def _prepare(settings: PostgresSettings, *, for_good: bool) -> tuple[list[str], tuple[int, int]]:
    """Return what makes the server less than safe, and the format and partitions of the tables.

    They are made or brought up to date where that is `for_good`, and else made to be undone.
    """
    name = settings.schema
    with _connected(settings) as connection:
        answering = partial(blocking_within, ANSWERS_WITHIN * settings.patience, connection)
        with answering():
            _check_way(connection, settings)
            doubts = list(_doubts(connection))
        # Processes that start together make the tables once; one may upgrade them for long.
        while not _locked(connection, answering):
            time.sleep(_AFTER_LOCKED)
        with answering():
            connection.execute("SELECT set_config('search_path', %s, true)", (name,))
            found = _found(connection, name)
        if found is None:
            found = _make(connection, settings)
        elif for_good and found[0] < FORMAT:
            _upgrade(connection, name, found[0])
        with answering():
            if for_good or found[0] == FORMAT:
                lacks = connection.execute(LACKS, wanted(name)).fetchall()
                refuse_lacks(lacks, name, connection.info.user)
            if for_good:
                connection.commit()
            else:
                connection.rollback()
        return doubts, found


def _locked(connection: Connection, answering: Callable[[], AbstractContextManager[None]]) -> bool:
    with answering():
        found = connection.execute("SELECT pg_try_advisory_xact_lock(hashtext('incs-bridge'))")
        return found.fetchone() == (True,)


def _make(connection: Connection, settings: PostgresSettings) -> tuple[int, int]:
    name, found = settings.schema, (FORMAT, settings.partitions)
    if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).fetchone():
        try:
            connection.execute(f'CREATE SCHEMA "{name}"'.encode())
        except psycopg.errors.InsufficientPrivilege as error:
            user, database = connection.info.user, connection.info.dbname
            raise JournalError(
                f"the user {user} may not make the schema {name} in {database}; "
                f"an owner of the database runs: CREATE SCHEMA {name} AUTHORIZATION {user}"
            ) from error
    connection.execute(_TABLES.encode())
    connection.execute("INSERT INTO meta VALUES (%s, %s)", found)
    return found


def _upgrade(connection: Connection, name: str, found: int) -> None:
    if (
        found == _MAYBE_WITHOUT_DOMAINS
        and connection.execute(
            "SELECT 1 FROM events WHERE event ->> 'domain' IS NULL LIMIT 1"
        ).fetchone()
    ):
        raise JournalError(f"the schema {name} {TO_BE_MOVED}")
    for step in range(found, FORMAT):
        connection.execute(_STEPS[step].encode())
        connection.execute("UPDATE meta SET format = %s", (step + 1,))
    if found < _WITH_TERMS:
        note_terms(
            lambda statement: connection.execute(statement.encode(), binary=True).fetchall(),
            lambda name: connection.execute(
                "SELECT tied_to, record FROM records WHERE name = %s", (name,), binary=True
            ),
            lambda records: connection.cursor().executemany(
                "INSERT INTO records (name, position, record) SELECT %s, last, %s FROM head"
                " ON CONFLICT (name) DO UPDATE SET record = excluded.record",
                records.items(),
            ),
        )


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
            yield connection
    except psycopg.Error as error:
        raise JournalError(told(error)) from error


def _check_way(connection: Connection, settings: PostgresSettings) -> None:
    pid = connection.execute("SELECT pg_backend_pid()").fetchone()
    if pid != (connection.info.backend_pid,) and not settings.pooler:
        raise JournalError(
            "dsn leads to a pooler such as pgbouncer: set pooler = true in "
            "[journal.postgres], or let dsn lead to the server itself"
        )


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
