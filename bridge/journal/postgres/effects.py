"""Transactions in which subscribers write themselves, on connections of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import attrs
import psycopg
from psycopg import errors

from bridge.errors import JournalError
from bridge.journal.postgres.database import (
    Connection,
    Cursor,
    Database,
    Row,
    Values,
    ending_within,
)

_State: TypeAlias = psycopg.pq.TransactionStatus


class _Lent(psycopg.AsyncConnection[Row]):
    """A connection in the hands of a subscriber, whose transaction the bridge ends."""

    async def commit(self) -> None:
        """Refuse."""
        raise psycopg.ProgrammingError("no commit here: the bridge commits after the function")

    async def rollback(self) -> None:
        """Refuse."""
        raise psycopg.ProgrammingError("no rollback here: the bridge does that after an exception")


@attrs.define(eq=False)
class _Turn:
    """A transaction that begins with a statement; one that commits may have begun it."""

    first: str
    values: Values
    given: asyncio.Future[None] = attrs.field(factory=asyncio.Future)
    connection: Connection | None = None
    begun: Cursor | None = None
    passed_on: bool = False


class Effects:
    """At most so many transactions at once, each on a connection that is kept while it works.

    Where one waits for its turn, it begins in the round trip in which another commits. These
    connections are others than the journal's own, so that subscribers who wait for an append
    cannot keep it from having one.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._arguments = database.arguments
        self._within = database.ends_within
        self._free = most
        self._idle: list[Connection] = []
        self._waiting: deque[_Turn] = deque()
        self.closed = True

    async def close(self, *more: Connection) -> None:
        """Close what is idle, and these."""
        idle, self._idle = self._idle, []
        for connection in (*idle, *more):
            await connection.close()

    @asynccontextmanager
    async def transaction(self, first: str, values: Values) -> AsyncIterator[Connection | None]:
        """Give a connection for a subscriber's own statements, in a transaction.

        None where the `first` statement returns false; it shares a round trip with the begin.
        Raises what psycopg does, and `JournalError` if closed.
        """
        if self.closed:
            raise JournalError("the journal is not open")
        turn = _Turn(first, values)
        self._waiting.append(turn)
        if self._free:
            self._free -= 1
            self._give()
        try:
            await turn.given
            connection, begun = turn.connection, turn.begun
            if connection is None or begun is None:
                connection = self._idle.pop() if self._idle else await self._lend()
                turn.connection = connection
                begun = await self._execute(connection, "BEGIN", turn)
            yield connection if await begun.fetchone() == (True,) else None
            await self._commit(turn, connection)
        except BaseException:
            if turn.connection is not None:
                await self._rollback(turn.connection)
            raise
        finally:
            if turn.given.done() and not (turn.given.cancelled() or turn.passed_on):
                await self._pass_on(turn.connection)

    async def _lend(self) -> Connection:
        return await _Lent.connect(autocommit=True, **self._arguments)

    def _next(self) -> _Turn | None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.given.done():
                return turn
        return None

    def _give(self) -> None:
        """Let the next one have a turn that has become free."""
        if (following := self._next()) is None:
            self._free += 1
        else:
            following.given.set_result(None)

    async def _pass_on(self, connection: Connection | None) -> None:
        if connection is None:
            pass
        elif _status(connection) is _State.IDLE and not self.closed:
            self._idle.append(connection)
        else:
            await self.close(connection)  # where one is lost, the others are likely to be
        self._give()

    async def _execute(self, connection: Connection, before: str, turn: _Turn) -> Cursor:
        cursor = psycopg.AsyncClientCursor(connection)
        with ending_within(self._within, connection):
            await cursor.execute(f"{before}; {turn.first}", turn.values)
        while cursor.nextset():
            pass
        return cursor

    async def _commit(self, turn: _Turn, connection: Connection) -> None:
        if _status(connection) is not _State.INTRANS:  # a commit would be none, in silence
            raise errors.InFailedSqlTransaction(
                "a statement failed in the transaction, or ended it"
            )
        if (following := self._next()) is None:
            with ending_within(self._within, connection):
                await psycopg.AsyncConnection.commit(connection)
            return
        try:
            begun = await self._execute(connection, "COMMIT; BEGIN", following)
        except BaseException as error:
            self._waiting.appendleft(following)  # it begins by itself
            if not isinstance(error, psycopg.Error) or _status(connection) is not _State.INERROR:
                raise
            await self._rollback(connection)  # of that one: this one is committed
            return
        if following.given.done():  # it has gone away
            await self._rollback(connection)
            return
        turn.passed_on = True
        following.connection, following.begun = connection, begun
        following.given.set_result(None)

    async def _rollback(self, connection: Connection) -> None:
        with suppress(psycopg.Error), ending_within(self._within, connection):
            await psycopg.AsyncConnection.rollback(connection)


def _status(connection: Connection) -> _State:
    return connection.info.transaction_status
