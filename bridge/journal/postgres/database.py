"""Connections to the server, and what is done when it fails."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from struct import Struct
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.adapt import Dumper

from bridge.errors import JournalError
from bridge.journal.postgres.settings import PostgresSettings

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = psycopg.AsyncConnection[Row]
Cursor: TypeAlias = psycopg.AsyncCursor[Row]
Values: TypeAlias = Sequence[object] | Mapping[str, object]
Work: TypeAlias = Callable[[Connection], Awaitable[T]]

_BYTEA: Final = psycopg.adapters.types["bytea"].oid
_ARRAY: Final = Struct("!5i")
_EMPTY: Final = Struct("!3i").pack(0, 0, _BYTEA)
_IDLE: Final = psycopg.pq.TransactionStatus.IDLE
_INTRANS: Final = psycopg.pq.TransactionStatus.INTRANS
_VALUE: Final = re.compile(r"(?<!:):([a-z]\w*)")
_OWN: Final = 5  # connections for the journal itself, beside the one that listens
NAME: Final = "incs-bridge"  # as the server's `pg_stat_activity` shows it
AFTER_FAILURE: Final = 0.2  # seconds until the next try
ANSWERS_WITHIN: Final = 3  # times the patience, in which each use of a connection has to end
# What a later try may do better: the server is away, restarts, has no room, or is a standby now.
PASSING: Final = (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction)
# Where a process stops with a transaction open, others wait for it no longer than this.
_LIMITS: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '10s', true),
    set_config('lock_timeout', '10s', true)
"""
# A plan that was made while a table was empty, and is kept while it grows, must use its index.
_OPTIONS: Final = (
    "-c idle_in_transaction_session_timeout=10s -c lock_timeout=10s "
    "-c enable_seqscan=off -c jit=off"
)
# It warns of each connection that was lost; what that means is said here.
logging.getLogger("psycopg").setLevel(logging.ERROR)


class Column(list[bytes]):
    """The values of a parameter `bytea[]`, of which there are many: written in a few steps."""


class _ColumnDumper(Dumper):
    """Writes an array as https://github.com/postgres/postgres `array_recv` reads it."""

    format = psycopg.pq.Format.BINARY
    oid = psycopg.adapters.types["bytea"].array_oid

    def dump(self, obj: Column) -> Buffer:
        """Return dimensions, flags, the type and the length, and each value after its length."""
        parts = [_ARRAY.pack(1, 0, _BYTEA, len(obj), 1) if obj else _EMPTY]
        for each in obj:
            parts += (len(each).to_bytes(4), each)
        return b"".join(parts)


class Away(JournalError):
    """The server cannot be reached, or cannot do it now; another try may succeed."""


def told(error: BaseException) -> str:
    """Return what is wrong, on one line; the server's texts quote no values."""
    state = getattr(error, "sqlstate", None)
    first = str(error).strip().partition("\n")[0]
    return f"PostgreSQL: {first or type(error).__name__}{f' ({state})' if state else ''}"


class _Lent(psycopg.AsyncConnection[Row]):
    """A connection in the hands of a subscriber, whose transaction the bridge ends."""

    async def commit(self) -> None:
        """Refuse."""
        raise psycopg.ProgrammingError("no commit here: the bridge commits after the function")

    async def rollback(self) -> None:
        """Refuse."""
        raise psycopg.ProgrammingError("no rollback here: the bridge does that after an exception")


async def _commit(connection: Connection) -> None:
    if connection.info.transaction_status is not _INTRANS:  # a commit would be none, in silence
        raise errors.InFailedSqlTransaction("a statement failed in the transaction, or ended it")
    await psycopg.AsyncConnection.commit(connection)


@contextmanager
def ending_within(seconds: float, connection: Connection) -> Iterator[None]:
    """Cut a connection off whose use has not ended by then: it may lead to nowhere.

    What waits for the server raises an OperationalError at once. A cancellation would ask the
    server to cancel the statement, and wait for its answer.
    """
    loop = asyncio.get_running_loop()
    with _cut_off(connection, lambda cut: loop.call_later(seconds, cut)):
        yield


@contextmanager
def blocking_within(seconds: float, connection: psycopg.Connection[Row]) -> Iterator[None]:
    """Do as `ending_within` for a connection that blocks its thread."""

    def later(cut: Callable[[], None]) -> threading.Timer:
        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        return timer

    with _cut_off(connection, later):
        yield


class _Timer(Protocol):
    def cancel(self) -> None: ...


@contextmanager
def _cut_off(
    connection: psycopg.BaseConnection[Row], later: Callable[[Callable[[], None]], _Timer]
) -> Iterator[None]:
    is_cut = False

    def cut() -> None:
        nonlocal is_cut
        is_cut = True
        with (
            suppress(psycopg.Error, OSError),
            socket.socket(fileno=os.dup(connection.fileno())) as end,
        ):
            end.shutdown(socket.SHUT_RDWR)

    timer = later(cut)
    try:
        yield
    except psycopg.Error as error:
        if is_cut:
            raise psycopg.OperationalError("the server does not answer") from error
        raise
    finally:
        timer.cancel()


class _Pool:
    """At most so many connections, made when they are needed and kept while they work."""

    def __init__(self, most: int, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._free = asyncio.Semaphore(most)
        self._connect = connect
        self._idle: list[Connection] = []
        self.closed = True

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Give a connection, which commits each statement. Raises `JournalError` if closed."""
        self._check_open()
        async with self._free:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                yield connection
            finally:
                if self.closed or connection.info.transaction_status is not _IDLE:
                    await self.close(connection)  # where one is lost, the others are likely to be
                else:
                    self._idle.append(connection)

    def _check_open(self) -> None:
        if self.closed:
            raise JournalError("the journal is not open")

    async def close(self, *more: Connection) -> None:
        """Close what is idle, and these."""
        idle, self._idle = self._idle, []
        for connection in (*idle, *more):
            await connection.close()


class Database:
    """Connections while it is open, and SQL on the journal's own schema.

    `$.` in a statement stands for the schema: no search path is set, since a pooler would not
    keep it, and since a subscriber's transaction has its own. Values may be named as `:name`.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        parts = settings.conninfo
        self.schema = settings.schema
        self.patience = settings.patience
        self.ends_within = ANSWERS_WITHIN * settings.patience
        self.where = (
            f"the schema {settings.schema} of {parts.get('dbname', 'the database')} on "
            f"{parts.get('host', 'this machine')}"
        )
        self.qualified = cache(self._qualified)
        self._settings = settings
        self._arguments: dict[str, Any] = {
            "prepare_threshold": None if settings.pooler else 2,
            "connect_timeout": max(2, round(self.patience / 2)),
            "tcp_user_timeout": round(self.patience * 1000),  # of a network that is cut
            "application_name": NAME,
            **parts,
        }
        self._own = _Pool(_OWN, self.connect)
        self._effects = _Pool(settings.connections, self._lend)

    def _qualified(self, statement: str) -> str:
        return _VALUE.sub(r"%(\1)s", statement.replace("$.", f'"{self.schema}".'))

    def open(self) -> None:
        """Be ready to connect."""
        self._own.closed = self._effects.closed = False

    async def close(self) -> None:
        """Close all connections."""
        self._own.closed = self._effects.closed = True
        await self._own.close()
        await self._effects.close()

    async def connect(self, owner: str = "") -> Connection:
        """Return a connection that commits each statement, and shows whose it is."""
        arguments = self._arguments
        if not self._settings.pooler:  # which may take no options
            arguments = arguments | {"options": f"{arguments.get('options', '')} {_OPTIONS}"}
        if owner:
            arguments = arguments | {"application_name": f"{NAME} {owner}"}
        connection = await psycopg.AsyncConnection.connect(autocommit=True, **arguments)
        connection.adapters.register_dumper(Column, _ColumnDumper)
        return connection

    async def _lend(self) -> Connection:
        return await _Lent.connect(autocommit=True, **self._arguments)

    @asynccontextmanager
    async def connection(self, within: float | None = None) -> AsyncIterator[Connection]:
        """Give a connection, which commits each statement, for so many seconds at most.

        Raises `JournalError`, which is `Away` where it may pass.
        """
        try:
            async with self._own.connection() as connection:
                with ending_within(within or self.ends_within, connection):
                    yield connection
        except psycopg.Error as error:
            raise (Away if isinstance(error, PASSING) else JournalError)(told(error)) from error

    @asynccontextmanager
    async def transaction(self, within: float | None = None) -> AsyncIterator[Connection]:
        """Give a connection in a transaction, whose statements share round trips; raises so too."""
        async with (
            self.connection(within) as connection,
            connection.pipeline(),
            connection.transaction(),
        ):
            if self._settings.pooler:
                await connection.execute(_LIMITS)
            yield connection

    @asynccontextmanager
    async def effects(self, first: str, values: Values) -> AsyncIterator[Connection | None]:
        """Give a connection for a subscriber's own statements, in a transaction.

        None where the `first` statement returns false; it shares a round trip with the begin.
        These connections are others than the journal's own, so that subscribers who wait for an
        append cannot keep it from having one. Raises what psycopg does.
        """
        async with self._effects.connection() as connection:
            try:
                cursor = psycopg.AsyncClientCursor(connection)
                with ending_within(self.ends_within, connection):
                    await cursor.execute(f"BEGIN; {self.qualified(first)}", values)
                cursor.nextset()
                yield connection if await cursor.fetchone() == (True,) else None
                with ending_within(self.ends_within, connection):
                    await _commit(connection)
            except BaseException:
                with suppress(psycopg.Error), ending_within(self.ends_within, connection):
                    await psycopg.AsyncConnection.rollback(connection)
                raise

    async def run(self, work: Work[T], *, alone: bool = False) -> T:
        """Do some work in a transaction, again and again where it fails for a passing reason.

        One statement `alone` needs no transaction.
        """
        until = asyncio.get_running_loop().time() + self.patience
        while True:
            try:
                async with self.connection() if alone else self.transaction() as connection:
                    return await work(connection)
            except Away:
                if asyncio.get_running_loop().time() + AFTER_FAILURE > until:
                    raise
                await asyncio.sleep(AFTER_FAILURE)

    # --- statements --------------------------------------------------------------------------

    async def execute(self, connection: Connection, statement: str, values: Values = ()) -> Cursor:
        """Run one statement; its rows come as the server's own bytes."""
        return await connection.cursor(binary=True).execute(self.qualified(statement), values)

    async def rows(self, statement: str, values: Values = ()) -> list[Row]:
        """Return all rows that one statement gives."""
        return await (await self._ask(statement, values)).fetchall()

    async def change(self, statement: str, values: Values = ()) -> int:
        """Run one statement; return how many rows it concerned."""
        return (await self._ask(statement, values)).rowcount

    async def _ask(self, statement: str, values: Values) -> Cursor:
        return await self.run(lambda each: self.execute(each, statement, values), alone=True)
