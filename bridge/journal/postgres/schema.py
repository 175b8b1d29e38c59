"""The journal's tables, and how its schema is made and brought up to date."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Final

import psycopg

from bridge.errors import ConfigurationError, JournalError, Problem
from bridge.journal.postgres.database import Connection, Database
from bridge.journal.postgres.settings import PostgresSettings

FORMAT: Final = 6
_OLDEST_FORMAT: Final = 3
_OLDEST_SERVER: Final = 140000
_AFTER_LOCKED: Final = 0.05  # seconds until the next try

_TABLES: Final = files(__package__).joinpath("schema.sql").read_text("utf-8")
_UPGRADE: Final = (
    "DROP TABLE members; DROP INDEX held_by_lane; ALTER TABLE queues DROP CONSTRAINT queues_pkey;"
    + _TABLES.partition("-- From here on: new in format 6")[2].partition("\n")[2]
)
"""What leads to the newest format; processes of an earlier version answer 503 from then on."""

_COLUMNS: Final = tuple(
    (table, column)
    for table, columns in re.findall(
        r"CREATE TABLE (\w+) \((.*?)\)(?: WITH .*?)?;", _TABLES, re.DOTALL
    )
    for column in re.findall(r"(?:^|, |\n    )([a-z_]+) ", columns)
)
_LACKS: Final = """
SELECT string_agg(name || '.' || part, ', ')
FROM unnest(%s::text[], %s::text[]) AS whole (name, part) WHERE NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s || '.' || name) AND attname = part
    AND NOT attisdropped AND (
        SELECT bool_and(has_table_privilege(attrelid, needed))
        FROM unnest('{SELECT, INSERT, UPDATE, DELETE}'::text[]) AS needed
    )
)
"""


async def prepare(
    database: Database, partitions: int, *, is_kept: bool = True
) -> tuple[int, list[str]]:
    """Make the tables where they are missing, and bring them up to date, if that is to be kept.

    Return how many partitions there are, and what makes the server less than safe. Raises
    `JournalError`.
    """
    while True:  # processes that start together make the tables once
        async with (
            database.connection() as connection,
            connection.transaction(force_rollback=not is_kept),
        ):
            doubts = await _doubts(connection)
            lock = "SELECT pg_try_advisory_xact_lock(hashtext('incs-bridge'))"
            if await _asked(connection, lock):
                path = "SELECT set_config('search_path', %s, true)"
                await connection.execute(path, (database.schema,))
                partitions = await _make(connection, database.schema, partitions)
                await refuse_lacks(connection, database.schema)
                return partitions, doubts
        await asyncio.sleep(_AFTER_LOCKED)


def check(settings: PostgresSettings) -> Sequence[Problem]:
    """Return what needs attention. Raises `ConfigurationError` where opening would fail."""

    async def look() -> tuple[int, list[str]]:
        database = Database(settings)
        database.closed = False
        try:
            return await prepare(database, settings.partitions, is_kept=False)
        finally:
            await database.close()

    try:
        with ThreadPoolExecutor(1) as thread:  # this one may have an event loop
            partitions, doubts = thread.submit(asyncio.run, look()).result()
    except JournalError as error:
        raise ConfigurationError((Problem("postgres.dsn", str(error)),)) from error
    if partitions != settings.partitions:
        doubts.append(f"the schema has {partitions} partitions, and keeps them")
    return [Problem("postgres.dsn", doubt) for doubt in doubts]


async def _asked(connection: Connection, statement: str, *values: object) -> object:
    """Return the only value that a statement gives."""
    row = await (await connection.execute(statement.encode(), values)).fetchone()
    return row and row[0]


async def _doubts(connection: Connection) -> list[str]:
    """Return what makes the server less than safe. Raises `JournalError` where it is of no use."""
    version = connection.info.server_version
    if version < _OLDEST_SERVER:
        raise JournalError(f"PostgreSQL {version // 10000} is too old: 14 or newer is needed")
    if await _asked(connection, "SELECT current_setting('transaction_read_only')") == "on":
        raise JournalError(
            "this server is a standby or read-only, and takes no events: let dsn name the primary "
            "too, with target_session_attrs=read-write"
        )
    off = (
        "SELECT name FROM pg_settings WHERE setting = 'off' "
        "AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name"
    )
    return [
        f"PostgreSQL runs with {name} = off: acknowledged events may not survive a crash"
        for (name,) in await (await connection.execute(off)).fetchall()
    ]


async def _make(connection: Connection, name: str, partitions: int) -> int:
    """Make the tables, or bring them up to date; return how many partitions there are."""
    if await _asked(connection, "SELECT to_regclass(%s)", f"{name}.meta") is None:
        await _make_schema(connection, name)
        await connection.execute(_TABLES.encode())
        await connection.execute("INSERT INTO meta VALUES (%s, %s)", (FORMAT, partitions))
    rows = await (await connection.execute("SELECT format, partitions FROM meta")).fetchall()
    ((found, partitions),) = rows or ((0, 0),)
    if 0 < found < _OLDEST_FORMAT:
        raise JournalError(
            f"the schema {name} has the format {found}, which only its own version of the bridge "
            "reads: `bridge export` with that, and `bridge import` into a new schema"
        )
    if not _OLDEST_FORMAT <= found <= FORMAT:
        raise JournalError(
            f"the schema {name} has the format {found}, and this version of the bridge "
            f"reads {_OLDEST_FORMAT} to {FORMAT}"
        )
    if found < FORMAT:
        await connection.execute(_UPGRADE.encode())
        await connection.execute("UPDATE meta SET format = %s", (FORMAT,))
    return partitions


async def _make_schema(connection: Connection, name: str) -> None:
    if await _asked(connection, "SELECT 1 FROM pg_namespace WHERE nspname = %s", name):
        return
    try:
        await connection.execute(f'CREATE SCHEMA "{name}"'.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        user, database = connection.info.user, connection.info.dbname
        raise JournalError(
            f"the user {user} may not make the schema {name} in {database}; "
            f"an owner of the database runs: CREATE SCHEMA {name} AUTHORIZATION {user}"
        ) from error


async def refuse_lacks(connection: Connection, name: str) -> None:
    """Raise `JournalError` where a table or column is missing, or a right to it."""
    if lacks := await _asked(connection, _LACKS, *map(list, zip(*_COLUMNS, strict=True)), name):
        raise JournalError(
            f"the schema {name} lacks {lacks}, or the user {connection.info.user} may not read "
            "and write there: restore it, or grant that"
        )
