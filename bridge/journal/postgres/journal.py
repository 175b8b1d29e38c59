"""The journal in PostgreSQL, for any number of bridge processes on any number of machines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Self, TypeVar

import attrs

from bridge.errors import JournalError
from bridge.journal.dialect import Dialect, Row
from bridge.journal.ephemeral import EphemeralCursor
from bridge.journal.erasure import Subject
from bridge.journal.grouping import Append
from bridge.journal.lanes import lane_bytes, lane_text
from bridge.journal.ledger import Record, decode_record
from bridge.journal.newest import Newest
from bridge.journal.overlay import digest
from bridge.journal.postgres import housekeeping, schema
from bridge.journal.postgres.appender import Appender
from bridge.journal.postgres.cursor import SubscriberCursor
from bridge.journal.postgres.database import Away, Connection, Database
from bridge.journal.postgres.database import Cursor as DatabaseCursor
from bridge.journal.postgres.members import LAST, Members
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Appended, Cursor, Entry, Health, Start
from bridge.journal.sql import SqlJournal
from bridge.model import Event
from bridge.settings import JournalSettings
from bridge.supervised import Deaths, Tasks
from bridge.threads import in_thread

T = TypeVar("T")

_LOG: Final = logging.getLogger("bridge.journal")

_DAY: Final = 86400.0
_LARGEST_PAGE: Final = 8 << 20  # bytes of JSON
_NEWEST: Final = 4096  # entries in memory
_PURGED: Final = "\r"  # no subscriber is called that
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
    write_lane=lane_bytes,
    read_lane=lane_text,
    stride=2,
)


class PostgresJournal(SqlJournal):
    """Keeps events in tables of a PostgreSQL server; an append returns when that has committed.

    Events and keys are kept for `keep` seconds, and longer while a subscriber is not done with
    them, up to `absolute_limit`. At most `max_waiting` events wait for the server, each for
    `settings.patience`. `sweep_every` is in seconds.
    """

    durable = True
    _dialect = _DIALECT

    @classmethod
    def from_settings(cls, settings: JournalSettings, **_local: object) -> Self:
        """See `JournalClass.from_settings`."""
        return cls(settings.own, keep=settings.keep, absolute_limit=settings.absolute_limit)

    def __init__(
        self,
        settings: PostgresSettings,
        *,
        keep: float = 8 * _DAY,
        absolute_limit: float = 30 * _DAY,
        max_waiting: int = 20_000,
        sweep_every: float = 60.0,
    ) -> None:
        self.settings = settings
        self._keep = keep
        self._absolute_limit = absolute_limit
        self._max_waiting = max_waiting
        self._sweep_every = sweep_every
        self._changed: Callable[[str], Awaitable[None]] | None = None
        self._deaths = Deaths()
        self._losses = 0
        self._make()

    def _make(self) -> None:
        """Make the parts, which belong to one event loop and one time of being open."""
        self.database = Database(self.settings)
        self.tail = Newest(_NEWEST, self.read_after)
        self.cursors: dict[str, SubscriberCursor] = {}
        self.appender = Appender(self, self._max_waiting)
        self._members = Members(self)
        self.confirmed = 0  # the last position that the server itself has told

    @property
    def owner(self) -> str:
        """See `SqlJournal.owner`."""
        return self._members.owner

    @property
    def location(self) -> str:
        """See `Journal.location`."""
        return self.database.where

    # --- opening and closing ---------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open; makes the tables where they are missing. The server has to be there."""
        self._make()
        async with AsyncExitStack() as resources:
            resources.push_async_callback(self.database.close)
            self.database.open()
            self.partitions = await in_thread(schema.prepare, self.settings)
            ((last,),) = await self.database.rows("SELECT last FROM $.head")
            self.tail.open(last)
            self.confirmed = last
            self._tasks = Tasks("journal", self._deaths)
            resources.push_async_callback(self._stop)
            for run in (
                self.appender.run,
                self._members.run,
                self._members.run_announcing,
                self._sweep,
            ):
                self._tasks.start(run.__qualname__, run)
            await self._joined()
            self._resources = resources.pop_all()
        return self

    async def _joined(self) -> None:
        try:
            async with asyncio.timeout(self.database.ends_within):
                await self._members.joined.wait()
        except TimeoutError:
            raise Away("PostgreSQL: the server does not answer") from None

    async def __aexit__(self, *_: object) -> None:
        """Let others go on, and disconnect; callers that wait get a `JournalError`."""
        await self._resources.aclose()

    async def _stop(self) -> None:
        self.tail.end("the journal is not open")
        await self._tasks.close()
        self.appender.fail("the journal was closed")
        await self._members.leave()

    # --- appending -------------------------------------------------------------------------

    async def append(self, events: Sequence[Event]) -> Appended:
        """See `Journal.append`.

        Where the connection is lost in the midst of a commit, the events are appended once more:
        those that were committed count as duplicates.
        """
        self.tail.check()
        new = (await self.appender.put(Append(events=events))).published
        return Appended(published=new, duplicates=len(events) - new)

    def committed(self, before: int, entries: Sequence[Entry], last: int) -> None:
        """Take note of all entries from one position up to another."""
        self.confirmed = max(self.confirmed, last)
        self.tail.add(before, entries, last)
        self._members.announce_last(last)

    async def behind(self) -> None:
        """Go on where the server is behind what it had committed, and tell that."""
        self._losses += 1
        await housekeeping.go_beyond(self.database, self.confirmed)

    async def learn(self, digests: Sequence[bytes]) -> None:
        """See `Journal.learn`."""
        self.tail.check()
        await self.appender.put(Append(learned=digests))

    # --- what others do ------------------------------------------------------------------------

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
            self._members.announce(name)

    def watch(self, changed: Callable[[str], Awaitable[None]]) -> None:
        """See `SharedJournal.watch`."""
        self._changed = changed

    # --- cursors -----------------------------------------------------------------------------

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """See `Journal.subscribe`."""
        cursor = self.cursors.get(name)
        if cursor is not None:
            await cursor.rewind()
            return cursor
        beginning = "(SELECT last FROM $.head)" if start is Start.END else "0"
        await self.database.change(
            f"INSERT INTO $.cursors SELECT %s, partition, {beginning} "  # noqa: S608
            "FROM generate_series(0, %s - 1) AS partition ON CONFLICT DO NOTHING",
            (name, self.partitions),
        )
        cursor = self.cursors.setdefault(name, SubscriberCursor(self, name))
        await self._members.serve()
        await cursor.waiting()
        self._members.announce("")
        return cursor

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        if (cursor := self.cursors.pop(name, None)) is not None:
            cursor.partitions.clear()
        return await super().forget(name)

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """See `Journal.follow`."""
        if not isinstance(start, int):
            ((last,),) = await self.database.rows("SELECT last FROM $.head")
            start = last if start is Start.END else 0
        return EphemeralCursor(start, self.tail.next_after)

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
                SELECT *, sum(octet_length(event)) OVER (ORDER BY position) AS total FROM (
                    SELECT {self._dialect.columns} FROM $.entries
                    WHERE position > :position AND event IS NOT NULL {chosen}
                    ORDER BY position LIMIT :limit
                ) AS page
            ) AS page WHERE total <= :most OR total = octet_length(event) ORDER BY position
            """,  # noqa: S608 - our own text
            self._entry,
            position=position,
            partitions=list(partitions or ()),
            limit=limit,
            most=_LARGEST_PAGE,
        )

    # --- statements --------------------------------------------------------------------------

    async def _rows(
        self, statement: str, make: Callable[[Row], T], **values: object
    ) -> tuple[T, ...]:
        return tuple(map(make, await self.database.rows(statement, values)))

    async def _change(self, *statements: str, **values: object) -> int:
        async def work(connection: Connection) -> list[DatabaseCursor]:
            return [await self.database.execute(connection, each, values) for each in statements]

        first, *_ = await self.database.run(work, alone=len(statements) == 1)
        return first.rowcount

    # --- what operators ask --------------------------------------------------------------------

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
            "SELECT coalesce(own.record, other.record) FROM $.records AS own "
            "LEFT JOIN $.records AS other ON other.name = own.tied_to WHERE own.name = %b",
            (digest(name),),
        )
        return decode_record(rows[0][0]) if rows and rows[0][0] is not None else None

    async def is_served(self, name: str) -> bool:
        """See `SharedJournal.is_served`."""
        return bool(
            await self.database.rows(
                "SELECT 1 FROM $.cursors JOIN $.members USING (owner) WHERE subscriber = %s",
                (name,),
            )
        )

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`; all processes are told."""
        count = await super().replay(positions, subscriber)
        self._members.announce(subscriber)
        return count

    # --- erasing somebody --------------------------------------------------------------------

    async def _erase_waiting(self, whom: Subject) -> int:
        return (await self.appender.put(Append(erase=whom))).erased

    async def _forget_records(self, marks: Sequence[bytes]) -> None:
        await self.database.change("DELETE FROM $.records WHERE name = ANY(%b)", (list(marks),))

    async def _overwrite(self) -> None:
        """Let no process have it in memory, nor the tables.

        The server's write-ahead log and its backups keep what they have.
        """
        self.tail.clear()
        self._members.announce(_PURGED)
        await housekeeping.vacuum(self.database)

    # --- keeping house -----------------------------------------------------------------------

    async def retain(self) -> None:
        """Delete now what need not be kept; one process at a time does."""
        await housekeeping.sweep(self.database, self._keep, self._absolute_limit)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every)
            try:
                await self.retain()
            except JournalError as error:
                _LOG.warning("old entries cannot be deleted now: %s", error)

    async def health(self) -> Health:
        """See `Journal.health`: asks the server whether it would take an event."""
        health = await housekeeping.health(self.database)
        if health.ready and self._members.fault is not None:
            health = Health(ready=False, reason=self._members.fault)
        return attrs.evolve(health, losses=self._losses, deaths=self._deaths.count)
