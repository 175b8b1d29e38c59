"""The journal's tables, and how its schema is made and brought up to date."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from importlib.resources import files
from typing import Final, TypeAlias

import psycopg

from bridge.errors import ConfigurationError, JournalError, Problem
from bridge.journal.domains import TO_BE_MOVED
from bridge.journal.grouping import Append
from bridge.journal.ledger import decode_queue
from bridge.journal.postgres.database import Connection, Database
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.reading import read_event

Write: TypeAlias = Callable[[Sequence[Append], Connection], Awaitable[object]]

FORMAT: Final = 6
_OLDEST_SERVER: Final = 140000
_AFTER_LOCKED: Final = 0.05  # seconds until the next try
_PAGE: Final = 256  # events of before whose terms are noted in one go

_TABLES: Final = files(__package__).joinpath("schema.sql").read_text("utf-8")
_UPGRADE: Final = (
    files(__package__).joinpath("upgrade.sql").read_text("utf-8")
    + _TABLES[_TABLES.index("-- From here on") :]
)
_MAYBE_WITHOUT_DOMAINS: Final = 1
_WITH_TERMS: Final = 3
_COLUMNS: Final = [
    f"{table}.{column}"
    for table, columns in re.findall(
        r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)\)(?: WITH .*?)?;", _TABLES, re.DOTALL
    )
    for column in re.findall(r"(?:^|, |\n    )([a-z_]+) ", columns)
]
_LACKS: Final = """
SELECT string_agg(place, ', ') FROM unnest(%s) AS place WHERE NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s || '.' || split_part(place, '.', 1))
    AND attname = split_part(place, '.', 2) AND NOT attisdropped AND (
        SELECT bool_and(has_table_privilege(attrelid, needed))
        FROM unnest('{SELECT, INSERT, UPDATE, DELETE}'::text[]) AS needed
    )
)
"""


async def prepare(
    database: Database, partitions: int, write: Write | None = None
) -> tuple[int, list[str]]:
    """Make the tables where they are missing, and bring them up to date.

    Return how many partitions there are, and what makes the server less than safe. `write`
    notes the terms of events of before; without it, nothing is kept. Raises `JournalError`.
    """
    within = None
    while True:  # processes that start together make the tables once; one may upgrade them for long
        async with (
            database.connection(within) as connection,
            connection.transaction(force_rollback=write is None),
        ):
            doubts = await _doubts(connection)
            lock = "SELECT pg_try_advisory_xact_lock(hashtext('incs-bridge'))"
            if await _asked(connection, lock):
                # Nobody's temporary tables come before the journal's.
                path = f'SET LOCAL search_path = "{database.schema}", pg_temp'
                await connection.execute(path.encode())
                found, partitions = await _find(connection, database.schema, partitions)
                if found < FORMAT and write is not None:
                    if within is None:
                        within = math.inf
                        continue
                    await _upgrade(connection, found, write)
                    found = FORMAT
                if found == FORMAT:
                    await refuse_lacks(connection, database.schema)
                return partitions, doubts
        await asyncio.sleep(_AFTER_LOCKED)


def check(settings: PostgresSettings) -> Sequence[Problem]:
    """Return what needs attention. Raises `ConfigurationError` where opening would fail."""

    async def look() -> tuple[int, list[str]]:
        async with aclosing(Database(settings)) as database:
            database.closed = False
            return await prepare(database, settings.partitions)

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


async def _find(connection: Connection, name: str, partitions: int) -> tuple[int, int]:
    """Return the format of the tables, which are made where they are missing, and partitions."""
    if await _asked(connection, "SELECT to_regclass(%s)", f"{name}.meta") is None:
        await _make_schema(connection, name)
        await connection.execute(_TABLES.encode())
        await connection.execute("INSERT INTO meta VALUES (%s, %s)", (FORMAT, partitions))
    rows = await (await connection.execute("SELECT format, partitions FROM meta")).fetchall()
    ((found, partitions),) = rows or ((0, 0),)
    if not _MAYBE_WITHOUT_DOMAINS <= found <= FORMAT:
        raise JournalError(
            f"the schema {name} has the format {found}, and this version of the bridge "
            f"reads {_MAYBE_WITHOUT_DOMAINS} to {FORMAT}"
        )
    without_domain = "SELECT 1 FROM events WHERE event ->> 'domain' IS NULL LIMIT 1"
    if found == _MAYBE_WITHOUT_DOMAINS and await _asked(connection, without_domain):
        raise JournalError(f"the schema {name} {TO_BE_MOVED}")
    return found, partitions


async def _upgrade(connection: Connection, found: int, write: Write) -> None:
    """Bring tables up to date."""
    await connection.execute(_UPGRADE.encode())
    await connection.execute("UPDATE meta SET format = %s", (FORMAT,))
    if found >= _WITH_TERMS:
        return
    async with connection.cursor("past", binary=True) as entries:
        await entries.execute(
            "SELECT position, event FROM entries WHERE event IS NOT NULL ORDER BY position"
        )
        while page := await entries.fetchmany(_PAGE):
            past = [read_event(data, position) for position, data in page]
            await write([Append(past=past)], connection)
    queues = await connection.cursor(binary=True).execute("SELECT items FROM queues")
    async for (items,) in queues:
        past = [item.event for item in decode_queue("", items).items]
        await write([Append(past=past)], connection)


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
    if lacks := await _asked(connection, _LACKS, _COLUMNS, name):
        raise JournalError(
            f"the schema {name} lacks {lacks}, or the user {connection.info.user} may not read "
            "and write there: restore it, or grant that"
        )
