"""The journal in PostgreSQL, for any number of bridge processes on any number of machines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

import attrs

from bridge.errors import JournalError
from bridge.journal.ephemeral import EphemeralCursor
from bridge.journal.grouping import Append
from bridge.journal.newest import Newest
from bridge.journal.postgres import housekeeping, schema
from bridge.journal.postgres.appender import Appender
from bridge.journal.postgres.cursor import SubscriberCursor
from bridge.journal.postgres.database import Database
from bridge.journal.postgres.entries import COLUMNS, read_entry
from bridge.journal.postgres.members import Members
from bridge.journal.postgres.operations import Operations
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Appended, Cursor, Entry, Health, Start
from bridge.model import Event
from bridge.settings import JournalSettings
from bridge.supervised import Deaths, Tasks
from bridge.threads import in_thread

_LOG: Final = logging.getLogger("bridge.journal")

_DAY: Final = 86400.0
_PAGE: Final = 1000
_LARGEST_PAGE: Final = 8 << 20  # bytes of JSON
_NEWEST: Final = 4096  # entries in memory
_FAR: Final = 10_000  # positions behind others, where the newest entries begin anew
_PURGED: Final = "\r"  # no subscriber is called that


class PostgresJournal(Operations):
    """Keeps events in tables of a PostgreSQL server; an append returns when that has committed.

    Events and keys are kept for `keep` seconds, and longer while a subscriber is not done with
    them, up to `absolute_limit`. At most `max_waiting` events wait for the server, each for
    `settings.patience`. `sweep_every` is in seconds.
    """

    durable = True

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
        self._open = False
        self._deaths = Deaths()
        self._make()

    def _make(self) -> None:
        """Make the parts, which belong to one event loop and one time of being open."""
        self.database = Database(self.settings)
        self.tail = Newest(_NEWEST)
        self.partitions = self.settings.partitions
        self.cursors: dict[str, SubscriberCursor] = {}
        self.appender = Appender(
            self.database,
            partitions=self.partitions,
            committed=self._committed,
            known=lambda: self.committed,
            lost=self.lost,
            max_waiting=self._max_waiting,
        )
        self._members = Members(self)
        self._reach = 0  # the last position that this process has heard of
        self.committed = 0  # the last one that the server has told it itself
        self._losses = 0
        self._catching_up = asyncio.Lock()

    @property
    def owner(self) -> str:
        """The name of this process among those that serve subscribers."""
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
            await resources.enter_async_context(self.database)
            self.partitions = await in_thread(schema.prepare, self.settings)
            self.appender.partitions = self.partitions
            ((last,),) = await self.database.rows("SELECT last FROM $.head")
            self.tail.begin(last)
            self._reach = self.committed = last
            self._tasks = Tasks("journal", self._deaths)
            resources.push_async_callback(self._stop)
            for run in (
                self.appender.run,
                self._members.run,
                self._members.run_announcing,
                self._sweep,
            ):
                self._tasks.start(run.__qualname__, run)
            await self._members.joined.wait()
            self._open = True
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let others go on, and disconnect; callers that wait get a `JournalError`."""
        self._open = False
        await self._resources.aclose()

    async def _stop(self) -> None:
        for cursor in self.cursors.values():
            cursor.close()
        self.tail.wake()
        await self._tasks.close()
        self.appender.fail("the journal was closed")
        await self._members.leave()

    def _running(self) -> None:
        if not self._open:
            raise JournalError("the journal is not open")

    # --- appending -------------------------------------------------------------------------

    async def append(self, events: Sequence[Event]) -> Appended:
        """See `Journal.append`.

        Where the connection is lost in the midst of a commit, the events are appended once more:
        those that were committed count as duplicates.
        """
        self._running()
        new = (await self.appender.put(Append(events=events))).published
        return Appended(published=new, duplicates=len(events) - new)

    def _committed(self, before: int, entries: Sequence[Entry], last: int) -> None:
        self.committed = max(self.committed, last)
        if not self.tail.add(before, entries, last):
            self.heard_of(last)
        self._members.announce_last(last)

    async def lost(self) -> None:
        """Go on where the server is behind what it had committed, and tell that."""
        self._losses += 1
        await housekeeping.go_beyond(self.database, self.committed)

    async def learn(self, digests: Sequence[bytes]) -> None:
        """See `Journal.learn`."""
        self._running()
        await self.appender.put(Append(learned=digests))

    # --- what others do ------------------------------------------------------------------------

    async def heard(self, word: str) -> None:
        """Take note of what another process announces."""
        if word == _PURGED:
            self.tail.begin(max(self._reach, self.tail.last))
            self.tail.wake()
        elif word and self._changed is not None and word in self.cursors:
            try:
                await self._changed(word)
            except JournalError as error:
                _LOG.warning("%s has to look again for what it holds: %s", word, error)
                self._members.announce(word)
        elif word in self.cursors:
            await self.cursors[word].waiting()

    def heard_of(self, last: int) -> None:
        """Take note that there are entries up to a position."""
        if last > max(self._reach, self.tail.last):
            self._reach = last
            if last - self.tail.last > _FAR:  # nobody here reads
                self.tail.begin(last)
            self.tail.wake()

    async def catch_up(self) -> bool:
        """Read some of what others have appended; return False where nothing is missing."""
        async with self._catching_up:
            after = self.tail.last
            if after >= self._reach:
                return False
            try:
                entries, upto = await self.read_up_to(after, _PAGE, at_least=self._reach)
            except JournalError as error:
                _LOG.debug("cannot read what others have appended: %s", error)
                await asyncio.sleep(self.settings.poll)
            else:
                self.tail.add(after, entries, upto)
            return True

    def watch(self, changed: Callable[[str], Awaitable[None]]) -> None:
        """See `SharedJournal.watch`."""
        self._changed = changed

    # --- cursors -----------------------------------------------------------------------------

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """See `Journal.subscribe`."""
        self._running()
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
        await self._members.serve(cursor)
        self._members.announce("")
        return cursor

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        self._running()
        if (cursor := self.cursors.pop(name, None)) is not None:
            cursor.drop(tuple(cursor.partitions))
        return await super().forget(name)

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """See `Journal.follow`."""
        self._running()
        if isinstance(start, int):
            return EphemeralCursor(start, self._next_after)
        ((last,),) = await self.database.rows("SELECT last FROM $.head")
        return EphemeralCursor(last if start is Start.END else 0, self._next_after)

    async def _next_after(self, position: int, limit: int) -> Sequence[Entry]:
        while True:
            changed = self.tail.changed
            self._running()
            if position >= self.tail.since:
                entries = self.tail.after(position, limit)
            else:
                entries, position = await self.read_up_to(position, limit)
                if not entries:
                    continue
            if entries:
                return entries
            if not await self.catch_up():
                await changed.wait()

    async def read_up_to(
        self,
        position: int,
        limit: int,
        partitions: Sequence[int] | None = None,
        *,
        at_least: int = 0,
    ) -> tuple[Sequence[Entry], int]:
        """Return entries beyond a position, and up to where these are all there are.

        They are of some partitions or of all, and fewer where they are large. Every entry up to
        `at_least` has been committed.
        """
        last = max(self.tail.last, at_least, position)
        chosen = "" if partitions is None else " AND partition = ANY(%s)"
        values: Sequence[object] = () if partitions is None else (list(partitions),)
        rows = await self.database.rows(
            f"SELECT position, at, lane, reparsed, event FROM (SELECT *, "  # noqa: S608
            "sum(octet_length(event)) OVER (ORDER BY position) AS total FROM "
            f"(SELECT {COLUMNS} FROM $.entries WHERE position > %s AND event IS NOT NULL{chosen} "
            "ORDER BY position LIMIT %s) AS page) AS page "
            "WHERE total <= %s OR total = octet_length(event) ORDER BY position",
            (position, *values, limit, _LARGEST_PAGE),
        )
        entries = list(map(read_entry, rows))
        return entries, entries[-1].position if entries else last

    # --- keeping house -----------------------------------------------------------------------

    async def purge(self, subject: str) -> int:
        """See `Operations.purge`; all processes are told."""
        self._running()
        erased = await super().purge(subject)
        self.tail.begin(self.tail.last)
        self._members.announce(_PURGED)
        for name in self.cursors:
            self._members.announce(name)
        return erased

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
        if not self._open:
            return Health(ready=False, reason="the journal is not open")
        health = await housekeeping.health(self.database)
        if health.ready and self._members.fault is not None:
            health = Health(ready=False, reason=self._members.fault)
        return attrs.evolve(health, losses=self._losses, deaths=self._deaths.count)
