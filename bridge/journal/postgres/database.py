"""Connections to the server, and what is done when it fails."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_attempts
from psycopg.types.array import ListBinaryDumper

from bridge.errors import JournalError
from bridge.journal.postgres.settings import PostgresSettings
from bridge.process.threads import in_thread

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = psycopg.AsyncConnection[Row]
C = TypeVar("C", bound=Connection)
Cursor: TypeAlias = psycopg.AsyncCursor[Row]
Values: TypeAlias = Sequence[object] | Mapping[str, object]
Work: TypeAlias = Callable[[Connection], Awaitable[T]]

_IDLE: Final = psycopg.pq.TransactionStatus.IDLE
_VALUE: Final = re.compile(r"(?<!:):([a-z]\w*)")
_OWN: Final = 5  # connections for the journal itself, beside the one that listens
HEAD_IS_EMPTY: Final = (
    "the table head has lost its only row: restore it, with a position beyond all in entries"
)
_NAME: Final = "incs-bridge"  # as the server's `pg_stat_activity` shows it, and `look` reads it
AFTER_FAILURE: Final = 0.2  # seconds until the next try
ANSWERS_WITHIN: Final = 3  # times the patience, in which each use of a connection has to end
# What a later try may do better: the server is away, restarts, has no room, or is a standby now;
# or another connection has what was prepared on it, and nothing else.
_PASSING: Final = (
    *(psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction),
    *(errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement),
)
# Where a process stops with a transaction open, others wait for it no longer than ten seconds. How
# long a statement may take is said here for each use, and a plan that was made while a table was
# empty, and is kept while it grows, must use its index.
_SESSION: Final = """
SELECT pg_backend_pid(), set_config('idle_in_transaction_session_timeout', '10s', %(local)s),
    set_config('lock_timeout', '10s', %(local)s), set_config('statement_timeout', '0', %(local)s),
    set_config('default_transaction_isolation', 'read committed', %(local)s),
    set_config('enable_seqscan', 'off', %(local)s), set_config('jit', 'off', %(local)s)
"""
_SET: Final = {"local": False}
_SET_HERE: Final = {"local": True}
# It warns of each connection that was lost; what that means is said here.
logging.getLogger("psycopg").setLevel(logging.ERROR)


class Away(JournalError):
    """The server cannot be reached, or cannot do it now; another try may succeed."""


@contextmanager
def telling() -> Iterator[None]:
    """Raise `JournalError`, which is `Away` where it may pass, for what psycopg raises.

    It tells what is wrong, on one line; the server's texts quote no values.
    """
    try:
        yield
    except psycopg.Error as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        told = f"PostgreSQL: {first}{f' ({error.sqlstate})' if error.sqlstate else ''}"
        raise (Away if isinstance(error, _PASSING) else JournalError)(told) from error


@contextmanager
def ending_within(seconds: float, connection: Connection) -> Iterator[None]:
    """Cut a connection off whose use has not ended by then: it may lead to nowhere.

    What waits for the server raises an OperationalError at once. A cancellation would ask the
    server to cancel the statement, and wait for its answer.
    """
    is_cut = False

    def cut() -> None:
        nonlocal is_cut
        is_cut = True
        with (
            suppress(psycopg.Error, OSError),
            socket.socket(fileno=os.dup(connection.fileno())) as end,
        ):
            end.shutdown(socket.SHUT_RDWR)

    timer = asyncio.get_running_loop().call_later(seconds, cut)
    try:
        yield
    except psycopg.Error as error:
        if is_cut:
            raise psycopg.OperationalError("the server does not answer") from error
        raise
    finally:
        timer.cancel()


def columns(rows: Sequence[Sequence[object]], width: int) -> Sequence[list[object]]:
    """Return rows as so many arrays."""
    return [*map(list, zip(*rows, strict=True))] if rows else [[]] * width


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
        self.pooler = settings.pooler
        self.prepare_threshold = None if settings.pooler else 2
        self.closed = True
        self._arguments: dict[str, Any] = {
            "prepare_threshold": self.prepare_threshold,
            "connect_timeout": max(2, round(self.patience / 2)),
            "tcp_user_timeout": round(self.patience * 1000),  # of a network that is cut
            "application_name": _NAME,
            **parts,
            "client_encoding": "utf8",
        }
        self._free = asyncio.Semaphore(_OWN)
        self._idle: list[Connection] = []  # those that work are kept

    def _qualified(self, statement: str) -> str:
        return _VALUE.sub(r"%(\1)s", statement.replace("$.", f'"{self.schema}".'))

    async def aclose(self) -> None:
        """Close all connections of the journal itself."""
        self.closed = True
        await self._close_idle()

    async def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    async def connect(self, owner: str = "") -> Connection:
        """Return a connection that commits each statement, and shows whose it is."""
        shown = {"application_name": f"{_NAME} {owner}"} if owner else {}
        connection = await self.open(psycopg.AsyncConnection, **shown)
        connection.adapters.register_dumper(list, ListBinaryDumper)
        if self.pooler:  # where nothing can be set for longer than a transaction
            return connection
        try:
            with ending_within(self.ends_within, connection):
                ((pid, *_),) = await (await connection.execute(_SESSION, _SET)).fetchall()
            if pid != connection.info.backend_pid:
                raise JournalError(  # noqa: TRY301
                    "dsn leads to a pooler such as pgbouncer: set pooler = true in "
                    "[journal.postgres], or let dsn lead to the server itself"
                )
        except BaseException:
            await connection.close()
            raise
        return connection

    async def open(self, kind: type[C], **more: str) -> C:
        """Return a connection of a kind, as anybody of the role has it."""
        if self.closed:
            raise JournalError("the journal is not open")
        arguments = self._arguments | more
        # The event loop's executor, where psycopg looks up names, others may fill or shut down.
        attempts = await in_thread(conninfo_attempts, arguments)
        for key in ("host", "hostaddr", "port"):
            if any(attempt.get(key) for attempt in attempts):
                arguments[key] = ",".join(str(attempt.get(key) or "") for attempt in attempts)
        return await kind.connect(autocommit=True, **arguments)

    @asynccontextmanager
    async def connection(self, within: float | None = None) -> AsyncIterator[Connection]:
        """Give a connection, which commits each statement, for so many seconds at most.

        Raises `JournalError`, which is `Away` where it may pass.
        """
        with telling():
            async with self._free:
                connection = self._idle.pop() if self._idle else await self.connect()
                try:
                    with ending_within(within or self.ends_within, connection):
                        yield connection
                except errors.ReadOnlySqlTransaction:
                    await connection.close()  # another server may be the primary by now
                    raise
                finally:
                    self._idle.append(connection)
                    if self.closed or connection.info.transaction_status is not _IDLE:
                        await self._close_idle()  # where one is lost, others are likely to be

    async def run(self, work: Work[T], *, alone: bool = False, patience: float | None = None) -> T:
        """Do some work in a transaction, again and again where it fails for a passing reason.

        Its statements share round trips. One `alone` needs no transaction.
        """
        patience = patience or self.patience

        async def attempt() -> T:
            async with self.connection(ANSWERS_WITHIN * patience) as connection:
                if alone:
                    return await work(connection)
                async with connection.pipeline(), connection.transaction():
                    if self.pooler:
                        await connection.execute(_SESSION, _SET_HERE)
                    return await work(connection)

        return await self.again(attempt, patience)

    async def again(self, attempt: Callable[[], Awaitable[T]], patience: float) -> T:
        """Attempt something, again and again where it fails for a passing reason."""
        until = asyncio.get_running_loop().time() + patience
        while True:
            try:
                return await attempt()
            except Away:
                if asyncio.get_running_loop().time() + AFTER_FAILURE > until:
                    raise
                await asyncio.sleep(AFTER_FAILURE)

    async def execute(self, connection: Connection, statement: str, values: Values = ()) -> Cursor:
        """Run one statement; its rows come as the server's own bytes."""
        return await connection.cursor(binary=True).execute(self.qualified(statement), values)

    async def rows(self, statement: str, values: Values = ()) -> list[Row]:
        """Return all rows that one statement gives."""
        return await (await self.ask(statement, values)).fetchall()

    async def ask(self, statement: str, values: Values = ()) -> Cursor:
        """Run one statement, by itself; return what it gives."""
        return await self.run(lambda each: self.execute(each, statement, values), alone=True)
