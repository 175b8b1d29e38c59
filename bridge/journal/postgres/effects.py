"""Transactions of subscribers, which the bridge begins and ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Self, TypeAlias, TypeVar

import attrs
import psycopg
from psycopg import errors, generators
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import tuple_row
from psycopg.waiting import READY_R, WAIT_R, Ready, Wait

from bridge.journal.postgres.database import Database, Row, ending_within, telling

T = TypeVar("T")

_IDLE: Final = TransactionStatus.IDLE
_CANCELS_WITHIN: Final = 5.0  # seconds, as with psycopg
_LEAVES_WITHIN: Final = 0.1  # seconds for who waits for a connection that is given up
_FAILED: Final = ExecStatus.FATAL_ERROR
# What is reset has to be committed before the transaction begins: its isolation is among that, and
# where it is rolled back nothing would be reset. The first BEGIN spares a warning for the COMMIT.
_AFRESH: Final = "RESET SESSION AUTHORIZATION; RESET ALL; BEGIN; COMMIT; BEGIN; "
# Who has committed is told so at most this late, where the next one has to wait to begin.
_SOON: Final = "SET LOCAL lock_timeout = '100ms'; {}; RESET lock_timeout"
# Take an entry for a subscriber in the transaction with its effects, once, by the process that
# serves its lane. A claim of the partition waits for the transaction.
_TAKE: Final = """
INSERT INTO $.done SELECT subscriber, partition, {} FROM $.cursors WHERE partition = {}
AND subscriber = convert_from({}, 'UTF8') AND owner = convert_from({}, 'UTF8')
FOR KEY SHARE ON CONFLICT DO NOTHING
"""
_NO_COMMIT: Final = "a statement failed in the transaction, or ended it"
_PREPARE: Final = "PREPARE bridge_take (bigint, smallint, bytea, bytea) AS "
_PARAMETERS: Final = ("$1", "$2", "$3", "$4")


@attrs.define(eq=False)
class _Use:
    """The use of a connection by a subscriber's function, and by the tasks that it has started."""

    is_over: bool = False


_use: Final[ContextVar[_Use | None]] = ContextVar("use", default=None)


class _Lent(psycopg.AsyncConnection[Row]):
    """A connection in the hands of a subscriber, whose transaction the bridge ends.

    It waits as psycopg does, but has the event loop watch the socket all the time: to ask for that
    with each wait takes longer than the rest of it.
    """

    takes = False
    """Whether it has the statement that takes an entry."""
    _watched = -1
    _coming: asyncio.Future[None] | None = None

    def as_opened(self, prepare_threshold: int | None) -> Self:
        """Leave nothing on it that whoever had it before has set there; return it."""
        self.prepare_threshold, self.prepared_max = prepare_threshold, 100
        self._notice_handlers.clear()
        self._notify_handlers.clear()
        self.row_factory = tuple_row
        self.cursor_factory = psycopg.AsyncCursor
        self.server_cursor_factory = psycopg.AsyncServerCursor
        self._adapters = None
        return self

    async def commit(self) -> None:
        """Refuse."""
        raise psycopg.ProgrammingError("no commit here: the bridge commits after the function")

    async def rollback(self) -> None:
        """Refuse."""
        raise psycopg.ProgrammingError("no rollback here: the bridge does that after an exception")

    async def close(self) -> None:
        """See psycopg."""
        self._watch_no_more()
        await super().close()

    def is_in_use(self) -> bool:
        """Return whether something is half done on it, as by what a function has left behind."""
        return (
            self.pgconn.transaction_status == TransactionStatus.ACTIVE
            or self.pgconn.pipeline_status != PipelineStatus.OFF
            or self.lock.locked()
        )

    async def give_up(self) -> None:
        """Close it, after who waits for the server has failed: the socket has another user then."""
        with suppress(TimeoutError), ending_within(0, self):
            async with asyncio.timeout(_LEAVES_WITHIN), self.lock:
                pass
        await self.close()

    async def tell(self, statements: str, within: float) -> list[PGresult]:
        """Send statements in one message; return what came of each, up to the first that fails."""
        with ending_within(within, self):
            async with self.lock:
                return await self._wait(_exchange(self.pgconn, statements.encode()))

    async def undo(self, within: float) -> None:
        """Roll back, and forget what is prepared, as psycopg does: tables may be others again."""
        await self.tell("ROLLBACK", within)
        self._prepared.clear()

    def _deallocate(self, name: bytes | None) -> PQGen[None]:
        """See psycopg, which does that with all statements after what may have changed a table."""
        self.takes = self.takes and name is not None
        return super()._deallocate(name)

    async def wait(self, gen: PQGen[T], *how: Any, **more: Any) -> T:  # noqa: ANN401
        """See psycopg, which does it where it is no mere wait for an answer."""
        if (use := _use.get()) is not None and use.is_over:
            gen.close()
            raise psycopg.ProgrammingError("the transaction has ended")
        if how or more:
            self._watch_no_more()
            return await super().wait(gen, *how, **more)
        return await self._wait(gen)

    async def _wait(self, gen: PQGen[T]) -> T:
        ready: Any = None
        try:
            while (state := gen.send(ready)) == WAIT_R:
                ready = await self._readable()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self._watch_no_more()
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error), ending_within(_CANCELS_WITHIN, self):
                    await self.cancel_safe(timeout=_CANCELS_WITHIN)
                    await super().wait(_going_on(gen, state))
            raise
        except psycopg.Error:
            self._watch_no_more()  # the socket may be closed
            raise
        self._watch_no_more()
        return await super().wait(_going_on(gen, state))

    async def _readable(self) -> Ready:
        loop = asyncio.get_running_loop()
        if self._watched < 0:
            self._watched = self.pgconn.socket
            loop.add_reader(self._watched, self._come)
        self._coming = loop.create_future()
        await self._coming
        return READY_R

    def _come(self) -> None:
        if self._coming is None or self._coming.done():
            self._watch_no_more()
        else:
            self._coming.set_result(None)

    def _watch_no_more(self) -> None:
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = -1


def _going_on(gen: PQGen[T], state: Wait) -> PQGen[T]:
    try:
        while True:
            state = gen.send((yield state))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _exchange(pgconn: PGconn, statements: bytes) -> PQGen[list[PGresult]]:
    pgconn.send_query(statements)
    results: list[PGresult] = yield from generators.execute(pgconn)
    return results


_Entry: TypeAlias = tuple[str, str, str, str]


@attrs.frozen(eq=False)
class _Turn:
    """Somebody who waits to begin: for leave to open a connection, or for one that has begun."""

    entry: _Entry
    come: asyncio.Future[tuple[_Lent, bool] | None]


class Effects:
    """Transactions for subscribers' own statements, so many at once at most.

    Their connections are others than the journal's own, so that subscribers who wait for an append
    cannot keep it from having one. Nothing that was set on one before is left of it. Where others
    wait, one commits and the next begins in one round trip.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._free = most
        self._idle: list[_Lent] = []
        self._waiting: deque[_Turn] = deque()
        self._take = database.qualified(_TAKE)

    async def aclose(self) -> None:
        """Close all connections that nobody uses."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    @asynccontextmanager
    async def taking(self, entry: _Entry) -> AsyncIterator[_Lent | None]:
        """Give a connection in a transaction that takes an entry.

        That is its position and partition, for whom and by whom, all as SQL. None where it was
        taken, or another process serves its lane. Both are tried again for a passing reason.
        """
        begin = partial(self._begin, entry)
        connection, may = await self._database.again(begin, self._database.patience)
        is_handed_over = False
        use, before = _Use(), _use.get()
        _use.set(use)
        try:
            try:
                yield connection.as_opened(self._database.prepare_threshold) if may else None
            finally:
                use.is_over = True
                _use.set(before)
            is_handed_over = await self._commit(connection)
        finally:
            if not is_handed_over:
                await self._end(connection)

    def _taken(self, entry: _Entry, connection: _Lent) -> str:
        if self._database.pooler:
            return self._take.format(*entry)
        prepare = "" if connection.takes else f"{_PREPARE}{self._take.format(*_PARAMETERS)}; "
        connection.takes = True
        return f"{prepare}EXECUTE bridge_take ({', '.join(entry)})"

    async def _begin(self, entry: _Entry) -> tuple[_Lent, bool]:
        if self._free:
            self._free -= 1
        elif (begun := await self._turn(entry)) is not None:
            return begun
        connection = None
        try:
            with telling():
                connection = self._idle.pop() if self._idle else await self._database.open(_Lent)
                statements = _AFRESH + self._taken(entry, connection)
                results = await connection.tell(statements, self._database.ends_within)
                _check(results[-1])
                return connection, results[-1].command_tuples == 1
        except BaseException as error:
            if connection is not None and error.__cause__ is not None:
                await connection.close()  # another may do better: to the primary, with nothing lost
            await self._end(connection)
            raise

    async def _turn(self, entry: _Entry) -> tuple[_Lent, bool] | None:
        turn = _Turn(entry, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        try:
            return await turn.come
        except BaseException:
            if turn.come.done() and not turn.come.cancelled():  # it comes too late
                begun = turn.come.result()
                await self._end(None if begun is None else begun[0])
            raise

    def _next(self) -> _Turn | None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.come.done():
                return turn
        return None

    async def _commit(self, connection: _Lent) -> bool:
        """Commit, and begin with what somebody waits for; return whether that has the connection.

        Where that cannot begin at once, it has its turn again.
        """
        if connection.is_in_use():
            raise psycopg.ProgrammingError(
                "something on the connection was not brought to its end, such as the rows of a "
                "statement, a pipeline or a task that was left behind"
            )
        # A commit would be none, in silence.
        if connection.pgconn.transaction_status != TransactionStatus.INTRANS:
            raise errors.InFailedSqlTransaction(_NO_COMMIT)
        turn = self._next()
        statements = "COMMIT"
        if turn is not None:
            statements += f"; {_AFRESH}{_SOON.format(self._taken(turn.entry, connection))}"
        try:
            committed, *begun = await connection.tell(statements, self._database.ends_within)
            _check(committed)
            if committed.command_status != b"COMMIT":  # a statement came before it, and failed
                raise errors.InFailedSqlTransaction(_NO_COMMIT)
            if turn is None or turn.come.done() or begun[-1].status == _FAILED:
                return False
            turn.come.set_result((connection, begun[-2].command_tuples == 1))
            return True
        finally:
            if turn is not None and not turn.come.done():
                self._waiting.appendleft(turn)

    async def _end(self, connection: _Lent | None) -> None:
        """Roll back what is not committed, and let somebody else begin."""
        try:
            if connection is not None and connection.is_in_use():
                await connection.give_up()
            elif connection is not None and connection.pgconn.transaction_status != _IDLE:
                with suppress(psycopg.Error):
                    await connection.undo(self._database.ends_within)
        finally:
            if connection is not None:
                self._idle.append(connection)
                if self._database.closed or connection.pgconn.transaction_status != _IDLE:
                    await self.aclose()  # where one is lost, the others are likely to be
            if (turn := self._next()) is not None:
                turn.come.set_result(None)
            else:
                self._free += 1


def _check(result: PGresult) -> None:
    """Raise `psycopg.Error` where that is what came."""
    if result.status == _FAILED:
        raise errors.error_from_result(result)
