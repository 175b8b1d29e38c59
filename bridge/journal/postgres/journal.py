"""The journal in PostgreSQL, for any number of bridge processes on any number of machines."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Self, TypeVar
from uuid import uuid4

import attrs

from bridge.errors import JournalError
from bridge.journal.dialect import Dialect, Row
from bridge.journal.ephemeral import EphemeralCursor
from bridge.journal.erasure import Subject
from bridge.journal.grouping import Append
from bridge.journal.lanes import lane_bytes, lane_text
from bridge.journal.ledger import Record, decode_record
from bridge.journal.newest import Newest
from bridge.journal.overlay import MOST_TIES, digest
from bridge.journal.postgres import schema
from bridge.journal.postgres.appender import Appender
from bridge.journal.postgres.cursor import SubscriberCursor
from bridge.journal.postgres.database import HEAD_IS_EMPTY, Connection, Database
from bridge.journal.postgres.database import Cursor as DatabaseCursor
from bridge.journal.postgres.effects import Effects
from bridge.journal.postgres.members import LAST, Members
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Appended, Cursor, Entry, Health, Start
from bridge.journal.sql import SqlJournal
from bridge.model import Event
from bridge.process.supervised import Deaths, Tasks
from bridge.settings import JournalSettings

T = TypeVar("T")

_LOG: Final = logging.getLogger("bridge.journal")

_DAY: Final = 86400.0
_LARGEST_PAGE: Final = 8 << 20  # bytes of JSON
_NEWEST: Final = 4096  # entries in memory
_PURGED: Final = "\r"  # no subscriber is called that
_WINDOW: Final = 4000  # positions that a step of the sweep looks at
_ANSWERS_WITHIN: Final = 4.0  # seconds: whether the server is well
_DIALECT: Final = Dialect(
    cursors="$.cursors",
    serves="entries.partition = cursors.partition",
    forget="DELETE FROM $.cursors WHERE subscriber = :subscriber",
    copied=("partition", "lane"),
    notes=("dead", "done"),
    reparsed="reparsed",
    among="= ANY(:positions)",
    holds="position({} IN event) > 0",
    mine=(
        "partition IN (SELECT partition FROM $.cursors AS own "
        "WHERE own.subscriber = :subscriber AND own.owner = :owner)"
    ),
    records=(
        "SELECT name, record FROM $.records WHERE name > :after AND record IS NOT NULL "
        "ORDER BY name LIMIT :page"
    ),
    before_records=b"",
    no_lane="''",
    indexed="sha256({})",
    write_lane=lane_bytes,
    read_lane=lane_text,
    stride=2,
)

# A step over the oldest entries. Up to the limit one stays for whoever waits for it: the subscriber
# that is furthest behind, those that hold it, and its dead letters.
_SWEEP: Final = """
WITH few AS (
    SELECT position, extract(epoch FROM now()) - at AS age, (
        position <= (SELECT coalesce(min(position), 9223372036854775807) FROM $.cursors)
        AND NOT EXISTS (SELECT FROM $.held WHERE held.position = entries.position)
        AND NOT EXISTS (SELECT FROM $.dead WHERE dead.position = entries.position)
    ) AS is_done FROM $.entries WHERE position > :after ORDER BY position LIMIT :step
), gone AS (
    DELETE FROM $.entries USING few WHERE entries.position = few.position
    AND age > :keep AND (is_done OR age > :limit) RETURNING is_done
)
SELECT max(position), bool_or(age > :keep), (SELECT count(*) FROM gone WHERE NOT is_done),
    set_config('synchronous_commit', 'off', true)
FROM few
"""
_AFTERWARDS: Final = (
    "DELETE FROM $.held WHERE NOT EXISTS (SELECT FROM $.entries WHERE position = held.position)",
    "DELETE FROM $.dead WHERE NOT EXISTS (SELECT FROM $.entries WHERE position = dead.position)",
    # What transactions have taken is known by the position once that is beyond it. A crash that
    # loses the position loses this too, which comes after it in the log.
    """
    DELETE FROM $.done USING $.cursors WHERE done.subscriber = cursors.subscriber
    AND done.partition = cursors.partition AND done.position <= cursors.position AND NOT EXISTS (
        SELECT FROM $.held WHERE held.subscriber = done.subscriber AND held.position = done.position
    )
    """,
    """
    DELETE FROM $.records
    WHERE position < coalesce((SELECT min(position) FROM $.entries), 9223372036854775807)
    """,
    "DELETE FROM $.states WHERE expires_at < extract(epoch FROM now())",
)
# What an append does, with nothing to append.
_REHEARSAL: Final = f"SELECT $.keep(NULL, {', '.join(['NULL'] * 15)})"


@attrs.define(eq=False, slots=False)
class PostgresJournal(SqlJournal):
    """Keeps events in tables of a PostgreSQL server; an append returns when that has committed.

    Events and keys are kept for `keep` seconds, and longer while a subscriber is not done with
    them, up to `absolute_limit`. At most `max_waiting` events wait for the server, each for
    `settings.patience`. `sweep_every` is in seconds.
    """

    settings: PostgresSettings
    _keep: float = attrs.field(default=8 * _DAY, kw_only=True)
    _absolute_limit: float = attrs.field(default=30 * _DAY, kw_only=True)
    _max_waiting: int = attrs.field(default=20_000, kw_only=True)
    _sweep_every: float = attrs.field(default=60.0, kw_only=True)
    _changed: Callable[[str], Awaitable[None]] | None = attrs.field(default=None, init=False)
    _deaths: Deaths = attrs.field(factory=Deaths, init=False)
    _losses: int = attrs.field(default=0, init=False)

    durable = True
    _dialect = _DIALECT

    @classmethod
    def from_settings(cls, settings: JournalSettings, **_local: object) -> Self:
        """See `JournalClass.from_settings`."""
        return cls(settings.own, keep=settings.keep, absolute_limit=settings.absolute_limit)

    def __attrs_post_init__(self) -> None:
        """Have parts before the journal is open, too."""
        self._make()

    def _make(self) -> None:
        """Make the parts, which belong to one event loop and one time of being open."""
        self.database = Database(self.settings)
        self.effects = Effects(self.database, self.settings.connections)
        self.tail = Newest(_NEWEST, self.read_after)
        self.cursors: dict[str, SubscriberCursor] = {}
        self.appender = Appender(self, self._max_waiting)
        self.partitions = self.settings.partitions
        self.owner = uuid4().hex
        self.members = Members(self)

    @property
    def location(self) -> str:
        """See `Journal.location`."""
        return self.database.where

    async def __aenter__(self) -> Self:
        """Open; makes the tables where they are missing. The server has to be there."""
        self._make()
        async with AsyncExitStack() as resources:
            resources.push_async_callback(self.effects.aclose)
            resources.push_async_callback(self.database.aclose)
            self.database.closed = False
            self.partitions, doubts = await schema.prepare(
                self.database, self.partitions, self.appender.write
            )
            for doubt in doubts:
                _LOG.warning("%s", doubt)
            self._tasks = Tasks("journal", self._deaths)
            resources.push_async_callback(self._stop)
            members = self.members
            for run in (self.appender.run, members.run, members.run_announcing, self._sweep):
                self._tasks.start(run.__qualname__, run)
            try:
                async with asyncio.timeout(self.database.ends_within):
                    await members.looked.wait()
            except TimeoutError:
                raise JournalError("PostgreSQL: the server does not answer") from None
            if members.fault is not None:
                raise JournalError(members.fault)
            self.tail.open(self.tail.reach)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let others go on, and disconnect; callers that wait get a `JournalError`."""
        await self._resources.aclose()

    async def _stop(self) -> None:
        self.tail.end("the journal is not open")
        await self._tasks.close()
        self.appender.fail(JournalError("the journal was closed"))
        await self.members.leave()

    async def append(self, events: Sequence[Event]) -> Appended:
        """See `Journal.append`.

        Where the connection is lost in the midst of a commit, the events are appended once more:
        those that were committed count as duplicates.
        """
        self.tail.check()
        new = (await self.appender.put(Append(events=events))).published
        return Appended(published=new, duplicates=len(events) - new)

    def hear_of(self, last: int, known: int) -> None:
        """Take note of the last position, which `known` was one before.

        A server that is behind that has lost what it had committed; it goes on beyond. If positions
        came twice, then subscribers, who are beyond them, would not be given what comes.
        """
        if last < known:
            self._losses += 1
            _LOG.critical(
                "PostgreSQL has lost the last of what it had committed: it was restored from a "
                "backup, or a standby without all of it was promoted; what comes from now on is "
                "kept"
            )
        self.tail.hear_of(last)

    async def learn(self, digests: Sequence[bytes]) -> None:
        """See `Journal.learn`."""
        self.tail.check()
        await self.appender.put(Append(learned=digests))

    async def heard(self, word: str) -> None:
        """Take note of what another process announces."""
        if word.startswith(LAST):
            self.tail.hear_of(int(word))
            return
        if word == _PURGED:
            self.tail.clear()
        for name in tuple(self.cursors):
            if word in (name, _PURGED):
                await self._look_again(name)

    async def _look_again(self, name: str) -> None:
        """Let delivery look for what a subscriber holds."""
        if self._changed is None:
            await self.cursors[name].waiting()
            return
        try:
            await self._changed(name)
        except JournalError as error:
            _LOG.warning("%s has to look again for what it holds: %s", name, error)
            self.members.announce(name)

    def watch(self, changed: Callable[[str], Awaitable[None]]) -> None:
        """See `SharedJournal.watch`."""
        self._changed = changed

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """See `Journal.subscribe`."""
        cursor = self.cursors.get(name)
        if cursor is not None:
            await cursor.rewind()
            return cursor
        beginning = "(SELECT last FROM $.head)" if start is Start.END else "0"
        await self.database.ask(
            f"INSERT INTO $.cursors SELECT %s, partition, {beginning} "  # noqa: S608
            "FROM generate_series(0, %s - 1) AS partition ON CONFLICT DO NOTHING",
            (name, self.partitions),
        )
        cursor = self.cursors.setdefault(name, SubscriberCursor(self, name))
        await self.members.serve()
        await cursor.waiting()
        self.members.announce("")
        return cursor

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        async with self.members.looking:  # which would put its progress back
            if (cursor := self.cursors.pop(name, None)) is not None:
                cursor.partitions.clear()
            return await super().forget(name)

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """See `Journal.follow`."""
        if start is Start.END:  # of what any process has appended
            rows = await self.database.rows("SELECT last FROM $.head")
            start = max((last for (last,) in rows), default=self.tail.reach)
        position = start if isinstance(start, int) else 0
        return EphemeralCursor(position, self.tail.next_after)

    async def read_after(
        self, position: int, limit: int, partitions: Sequence[int] | None = None
    ) -> Sequence[Entry]:
        """Return stored entries beyond a position, of some partitions; fewer where they are large.

        Raises `JournalError`.
        """
        chosen = "" if partitions is None else "AND partition = ANY(:partitions)"
        return await self._rows(
            f"""
            SELECT position, at, lane, event, reparsed FROM (
                SELECT {self._dialect.columns},
                    sum(octet_length(event)) OVER (ORDER BY position) AS total
                FROM $.entries WHERE position > :position AND event IS NOT NULL {chosen}
                ORDER BY position LIMIT :limit
            ) AS page WHERE total <= :most OR total = octet_length(event) ORDER BY position
            """,  # noqa: S608 - our own text
            self._entry,
            position=position,
            partitions=list(partitions or ()),
            limit=limit,
            most=_LARGEST_PAGE,
        )

    async def _rows(
        self, statement: str, make: Callable[[Row], T], **values: object
    ) -> tuple[T, ...]:
        return tuple(map(make, await self.database.rows(statement, values)))

    async def _change(self, *statements: str, **values: object) -> int:
        async def work(connection: Connection) -> list[DatabaseCursor]:
            return [await self.database.execute(connection, each, values) for each in statements]

        first, *_ = await self.database.run(work, alone=len(statements) == 1)
        return first.rowcount

    async def find(self, key: str) -> Entry | None:
        """See `Journal.find`."""
        found = await self._rows(
            f"SELECT {self._dialect.columns} FROM $.entries WHERE key = :key "  # noqa: S608
            "AND event IS NOT NULL",
            self._entry,
            key=digest(key),
        )
        return found[0] if found else None

    async def record(self, name: str) -> Record | None:
        """See `Journal.record`."""
        rows = await self.database.rows(
            "WITH RECURSIVE found AS (SELECT tied_to, record, 1 AS ties FROM $.records "
            "WHERE name = %b UNION ALL SELECT other.tied_to, other.record, ties + 1 "
            "FROM found JOIN $.records AS other ON other.name = found.tied_to WHERE ties <= %s) "
            "SELECT record FROM found WHERE record IS NOT NULL",
            (digest(name), MOST_TIES),
        )
        return decode_record(rows[0][0]) if rows else None

    async def is_served(self, name: str) -> bool:
        """See `SharedJournal.is_served`."""
        served = "SELECT FROM $.cursors JOIN $.members USING (owner) WHERE subscriber = %s"
        return bool(await self.database.rows(served, (name,)))

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`; all processes are told."""
        count = await super().replay(positions, subscriber)
        self.members.announce(subscriber)
        return count

    async def _erase_waiting(self, whom: Subject) -> int:
        return (await self.appender.put(Append(erase=whom))).erased

    async def _forget_records(self, marks: Sequence[bytes]) -> None:
        await self.database.ask("DELETE FROM $.records WHERE name = ANY(%b)", (list(marks),))

    async def _overwrite(self) -> None:
        """Let no process have it in memory, nor the tables.

        The server's write-ahead log and its backups keep what they have.
        """
        self.tail.clear()
        self.members.announce(_PURGED)
        vacuum = "VACUUM $.entries, $.records, $.queues, $.held, $.states"
        try:
            async with self.database.connection(math.inf) as connection:
                await self.database.execute(connection, vacuum)
        except JournalError as error:
            _LOG.warning("what was erased stays on the server's disk until a VACUUM: %s", error)

    async def retain(self) -> None:
        """Delete now what is older than `keep` and done with, and all beyond `absolute_limit`."""
        overdue, upto, is_old = 0, 0, True
        keep, limit = self._keep, self._absolute_limit
        while is_old:
            step = {"after": upto, "step": _WINDOW, "keep": keep, "limit": limit}
            ((upto, is_old, waited_for, _),) = await self.database.rows(_SWEEP, step)
            overdue += waited_for
            await asyncio.sleep(0)
        if overdue:
            _LOG.warning(
                "past the absolute limit of %d s and deleted: %d entries that somebody had yet to "
                "take, or had as dead letters",
                limit,
                overdue,
            )
        for statement in _AFTERWARDS:
            await self.database.ask(statement)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every)
            try:
                await self.retain()
            except JournalError as error:
                _LOG.warning("old entries cannot be deleted now: %s", error)

    async def health(self) -> Health:
        """See `Journal.health`: tries whether the server would take an append, and all else."""
        reason = self.members.fault
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                await self.database.run(self._rehearse, alone=True, patience=1)
        except TimeoutError:
            reason = "PostgreSQL does not answer"
        except JournalError as error:
            reason = str(error)
        losses, deaths = self._losses, self._deaths.count
        return Health(ready=reason is None, reason=reason, losses=losses, deaths=deaths)

    async def _rehearse(self, connection: Connection) -> None:
        async with connection.transaction(force_rollback=True):
            await schema.refuse_lacks(connection, self.database.schema)
            tried = await self.database.execute(connection, _REHEARSAL)
            if await tried.fetchone() == (None,):
                raise JournalError(HEAD_IS_EMPTY)
