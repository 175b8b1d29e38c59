"""Connections to the server, and what is done when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg_pool import AsyncConnectionPool, PoolClosed

from bridge.errors import JournalError
from bridge.journal.postgres.settings import PostgresSettings

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = psycopg.AsyncConnection[Row]
Cursor: TypeAlias = psycopg.AsyncCursor[Row]
Work: TypeAlias = Callable[[Connection], Awaitable[T]]

_OWN: Final = 5  # connections for the journal itself, beside the one that listens
_AFTER_FAILURE: Final = 0.2  # seconds until the next try
# What a later try may do better: the server is away, restarts, has no room, or is a standby now.
_PASSING: Final = (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction)
# Where a process stops with its transaction open, others wait for it no longer than this.
_LIMITS: Final = (
    "SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL lock_timeout = '10s'"
)
# The pool logs each connection that fails; what that means is logged here.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


class Away(JournalError):
    """The server cannot be reached, or cannot do it now; another try may succeed."""


def told(error: BaseException) -> str:
    """Return what is wrong, on one line; the server's texts quote no values."""
    state = getattr(error, "sqlstate", None)
    first = str(error).strip().partition("\n")[0]
    return f"PostgreSQL: {first or type(error).__name__}{f' ({state})' if state else ''}"


class Database:
    """A pool of connections while the context is open, and SQL on the journal's own schema.

    `$.` in a statement stands for the schema: no search path is set, since a pooler would not
    keep it, and since a subscriber's transaction has its own.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        parts = settings.conninfo
        self.schema = settings.schema
        self.patience = settings.patience
        self.where = (
            f"the schema {settings.schema} of {parts.get('dbname', 'the database')} on "
            f"{parts.get('host', 'this machine')}"
        )
        self._settings = settings
        self.qualified = cache(self._qualified)
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._effects: AsyncConnectionPool[Connection] | None = None

    def _qualified(self, statement: str) -> str:
        return statement.replace("$.", f'"{self.schema}".')

    async def __aenter__(self) -> Self:
        """Open the pool; it fills itself later where the server is away."""
        self._pool = self._made(1, _OWN)
        self._effects = self._made(0, self._settings.connections)
        await self._pool.open()
        await self._effects.open()
        return self

    def _made(self, least: int, most: int) -> AsyncConnectionPool[Connection]:
        return AsyncConnectionPool(
            self._settings.dsn.reveal(),
            kwargs=self._arguments,
            min_size=least,
            max_size=most,
            timeout=self.patience,
            reconnect_timeout=self.patience,
            open=False,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        pools, self._pool, self._effects = (self._pool, self._effects), None, None
        for pool in pools:
            if pool is not None:
                await pool.close()

    @property
    def _arguments(self) -> dict[str, Any]:
        return {
            "prepare_threshold": None if self._settings.pooler else 2,
            "connect_timeout": max(2, round(self.patience / 2)),
            **({} if self._settings.pooler else {"application_name": "incs-bridge"}),
            **{k: v for k, v in self._settings.conninfo.items() if k == "application_name"},
        }

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """Give a connection of its own, which commits each statement."""
        connection = await psycopg.AsyncConnection.connect(
            self._settings.dsn.reveal(), autocommit=True, **self._arguments
        )
        async with connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Give a connection in a transaction. Raises `JournalError`, `Away` where it may pass."""
        if self._pool is None:
            raise JournalError("the journal is not open")
        try:
            async with self._pool.connection() as connection:
                yield connection
        except PoolClosed as error:
            raise JournalError("the journal is not open") from error
        except psycopg.Error as error:
            raise (Away if isinstance(error, _PASSING) else JournalError)(told(error)) from error

    @asynccontextmanager
    async def effects(self) -> AsyncIterator[Connection]:
        """Give a connection for a subscriber's own statements, in a transaction.

        These connections are others than the journal's own, so that subscribers who wait for an
        append cannot keep it from having one. Raises what psycopg does.
        """
        if self._effects is None:
            raise JournalError("the journal is not open")
        async with self._effects.connection() as connection, connection.transaction():
            yield connection

    async def run(self, work: Work[T]) -> T:
        """Do some work in a transaction, again and again where it fails for a passing reason."""
        until = asyncio.get_running_loop().time() + self.patience
        while True:
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except Away:
                if asyncio.get_running_loop().time() + _AFTER_FAILURE > until:
                    raise
                await asyncio.sleep(_AFTER_FAILURE)

    # --- statements --------------------------------------------------------------------------

    async def limit(self, connection: Connection) -> None:
        """Bound how long this transaction keeps others waiting."""
        for statement in _LIMITS.split(";"):
            await connection.execute(statement)

    async def execute(
        self, connection: Connection, statement: str, values: Sequence[object] = ()
    ) -> Cursor:
        """Run one statement; its rows come as the server's own bytes."""
        return await connection.cursor(binary=True).execute(self.qualified(statement), values)

    async def row(
        self, connection: Connection, statement: str, values: Sequence[object] = ()
    ) -> Row | None:
        """Return the first row that a statement gives."""
        return await (await self.execute(connection, statement, values)).fetchone()

    async def rows(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        """Return all rows that a statement gives, in a transaction of its own."""

        async def work(connection: Connection) -> list[Row]:
            return await (await self.execute(connection, statement, values)).fetchall()

        return await self.run(work)

    async def change(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run a statement in a transaction of its own; return how many rows it concerned."""

        async def work(connection: Connection) -> int:
            return (await self.execute(connection, statement, values)).rowcount

        return await self.run(work)
