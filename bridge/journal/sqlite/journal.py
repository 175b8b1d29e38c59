"""The journal that `bridge serve` keeps, and embedders too: a file, and no server to install.

An append is one item of the writer's next group commit and returns when that is on disk. The newest
entries are also in memory, so that a subscriber who keeps up reads nothing from disk; one who lags
reads on a connection of its own, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import apsw
import attrs

from bridge.errors import JournalError
from bridge.journal.ephemeral import EphemeralCursor
from bridge.journal.erasure import Subject
from bridge.journal.ledger import Record
from bridge.journal.overlay import digest
from bridge.journal.protocol import (
    Appended,
    Cursor,
    DeadLetter,
    Entry,
    Health,
    Held,
    Journal,
    Outcome,
    Start,
    SubscriberState,
)
from bridge.journal.query import Query
from bridge.journal.sqlite import entries, search, states, subscriptions
from bridge.journal.sqlite.backup import copy
from bridge.journal.sqlite.cursor import SubscriberCursor
from bridge.journal.sqlite.files import Files
from bridge.journal.sqlite.ledger import forget_records, known_from
from bridge.journal.sqlite.retention import used_size
from bridge.journal.sqlite.store import Store
from bridge.journal.sqlite.writer import FULL, Erase, Learn, Sweep
from bridge.journal.states import State
from bridge.settings import JournalSettings

_PAGE: Final = 1000
_STATES: Final = 100  # each may be large
_WINDOW: Final = 2000  # rows that a purge looks at in one go


@attrs.define(eq=False, slots=False, on_setattr=attrs.setters.NO_OP)
class SqliteJournal(Store, Journal):
    """Keeps events in one SQLite file; what `append` returned for survives power loss.

    Events and keys are kept for `keep` seconds, and longer while a subscriber is not done with
    them, up to `absolute_limit`. Over `max_size` bytes (0: no limit) the oldest events that
    everyone is done with go early, their keys stay; where nothing can go, `append` raises.
    Below `min_free_space` bytes on the disk, the journal is not ready.

    `busy_timeout` is how long another program may lock the file before appends fail,
    `check_for` how many seconds opening may spend on checking a large file, and
    `max_waiting` how many events may queue for the disk. `max_group` bounds one commit,
    `tail` how many of the newest events stay in memory, and `keys_in_memory` how many of the
    newest keys wait there before they are merged into the file's index of keys.
    `clock` and `vfs` are for tests.

    `set_aside` names the damaged file, if one was found on opening and set aside.
    """

    durable = True

    @classmethod
    def from_settings(cls, settings: JournalSettings, **_local: object) -> Self:
        """See `JournalClass.from_settings`."""
        return cls(
            settings.path,
            keep=settings.keep,
            max_size=settings.max_size,
            absolute_limit=settings.absolute_limit,
            min_free_space=settings.min_free_space,
        )

    @property
    def location(self) -> str:
        """See `Journal.location`."""
        return f"sqlite in {self._path}"

    # --- opening and closing ---------------------------------------------------------------

    def backup(self, target: Path) -> None:
        """See `FileJournal.backup`."""
        files = Files(self._path)
        if not files.database.exists():
            raise JournalError(f"{self._path} does not exist")
        if not files.is_open_here:
            files.check_kind()
        with ExitStack() as connections:
            copy(self._connect(files, connections), target, check="integrity_check")

    async def __aenter__(self) -> Self:
        """Open; a damaged file is set aside, which the log and `health` say."""
        self._where = self._path.absolute()
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish what is queued, and close; readers that still wait get a `JournalError`."""
        self._cursors.by_name.clear()
        await self._end()

    # --- subscribers -----------------------------------------------------------------------

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """See `Journal.subscribe`."""
        cursors = self._cursors
        cursor = cursors.by_name.get(name)
        if cursor is None:
            position = await self.writing(subscriptions.join, name, self._begin(start))
            # Somebody else may have asked for the same name meanwhile.
            cursor = cursors.by_name.setdefault(name, SubscriberCursor(cursors, name, position))
        cursor.rewind()
        return cursor

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """See `Journal.follow`."""
        self.running()
        return EphemeralCursor(self._begin(start), self._cursors.next_after)

    def _begin(self, start: Start | int) -> int:
        self.running()
        if isinstance(start, int):
            return start
        return self._cursors.tail.last if start is Start.END else 0

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        self._cursors.forget(name)
        return await self.writing(subscriptions.forget, name)

    async def subscribers(self) -> Sequence[SubscriberState]:
        """See `Journal.subscribers`; a lag beyond 10,000 is an estimate from above."""
        return await self.reading(subscriptions.states, self._cursors.positions())

    async def find(self, key: str) -> Entry | None:
        """See `Journal.find`."""
        name = digest(key)
        position = self.running().indexes.keys.position(name)
        return await self.reading(entries.find, name, position)

    async def record(self, name: str) -> Record | None:
        """See `Journal.record`."""
        return await self.looked_up(digest(name))

    async def scan(self, query: Query) -> AsyncGenerator[Sequence[Entry]]:
        """See `Journal.scan`."""
        span = await self.reading(search.span_of, query)
        for piece in search.steps(span, query):
            yield await self.reading(search.step, query, piece)

    async def outcomes(self, position: int) -> Sequence[Outcome]:
        """See `Journal.outcomes`."""
        return await self.reading(subscriptions.outcomes, position, self._cursors.positions())

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`."""
        return await self.writing(
            subscriptions.replay, positions, subscriber, self._cursors.positions(), self._clock()
        )

    async def unsettled(self, subscriber: str) -> AsyncGenerator[Sequence[Held]]:
        """See `Journal.unsettled`."""
        after = 0
        while page := await self.reading(
            subscriptions.unsettled, subscriber, self._cursors.positions(), after, _PAGE
        ):
            yield page
            after = page[-1].entry.position

    async def known(self) -> AsyncGenerator[Sequence[bytes]]:
        """See `Journal.known`."""
        after = 0
        while page := await self.reading(entries.without_event, after, _PAGE):
            yield [key for _, key in page]
            after, _ = page[-1]

    async def learn(self, digests: Sequence[bytes]) -> None:
        """See `Journal.learn`."""
        done: asyncio.Future[Appended] = self._loop.create_future()
        self.running().put(Learn(done=done, digests=digests))
        await done

    async def mark_reparsed(self, positions: Sequence[int]) -> None:
        """See `Journal.mark_reparsed`."""
        await self.writing(entries.mark_reparsed, positions)

    async def dead_letters(
        self, subscriber: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """See `Journal.dead_letters`."""
        return await self.reading(subscriptions.dead_letters, subscriber, after, limit)

    async def drop(self, letter: int) -> bool:
        """See `Journal.drop`."""
        return await self.writing(subscriptions.drop, letter)

    # --- what subscribers remember -----------------------------------------------------------

    async def read_state(self, conversation: str, name: str) -> State | None:
        """See `Journal.read_state`."""
        return await self.reading(states.read, conversation, name)

    async def write_state(self, state: State) -> None:
        """See `Journal.write_state`; a journal over `max_size` takes none."""
        if not await self.writing(states.write, state, self._max_size):
            raise JournalError(FULL.format(self._max_size))

    async def erase_state(self, conversation: str, name: str) -> None:
        """See `Journal.erase_state`."""
        await self.writing(states.erase, conversation, name)

    async def states(self, name: str | None = None) -> AsyncGenerator[Sequence[State]]:
        """See `Journal.states`."""
        after = 0
        while page := await self.reading(states.page, name, after, _STATES):
            yield [state for _, state in page]
            after, _ = page[-1]

    # --- keeping house -------------------------------------------------------------------

    async def purge(self, subject: str) -> int:
        """See `Journal.purge`; goes over the whole journal, a little at a time.

        Events that are appended while it runs are not looked at. When it returns, nothing of what
        it erased is left in the file or in its WAL.
        """
        whom = await self._known_from(Subject.of(subject))
        erased = await self._erase_waiting(whom)
        first, last = await self.reading(entries.first), self._cursors.tail.last
        for start in range(first - 1, last, _WINDOW):
            span = (start, min(start + _WINDOW, last))
            found = await self.reading(entries.about, whom, span)
            if found:
                await self.writing(entries.erase, found)
                erased += len(found)
        forget = partial(forget_records, limit=_WINDOW)
        record: int | None = 0
        while record is not None:
            writer = self.running()
            record = await self.writing(forget, writer.indexes, writer.records, whom, record)
        await self.writing(states.purge, whom)
        self._cursors.tail.erase(whom)
        await self._chore(_truncate_wal)
        return erased

    async def _known_from(self, subject: Subject) -> Subject:
        """Return the subject with all names of the users who go by it."""
        record: int | None = 0
        whole = subject
        while record is not None:
            record, whole = await self.reading(known_from, whole, record, _WINDOW)
        return whole

    async def _erase_waiting(self, subject: Subject) -> int:
        done: asyncio.Future[int] = self._loop.create_future()
        self.running().put(Erase(done=done, subject=subject))
        return await done

    @property
    def commits(self) -> int:
        """How many transactions have been committed since the journal was opened."""
        return self.running().commits

    def checkpoint_soon(self) -> None:
        """Copy the write-ahead log into the database now, rather than when it has grown."""
        self.running().checkpoint_due.set()

    async def retain(self) -> None:
        """Go over the journal now, deleting what need not be kept, and return when done."""
        writer = self.running()
        sweep = Sweep(self._loop.create_future())
        writer.put(sweep)
        await sweep.done

    async def health(self) -> Health:
        """See `Journal.health`; after a failure a rehearsal tells whether the disk is back."""
        try:
            free = shutil.disk_usage(self._where.parent).free
            if (trouble := await self._trouble_now()) is not None:
                return self._health(trouble)
            writer = self.running()
            if writer.fault is not None:
                await self._chore(writer.rehearse)
            size = await self.reading(used_size)
            if self._max_size and size > self._max_size:
                await self._chore(writer.sweep_soon)  # a subscriber may have made room
                return self._health(FULL.format(self._max_size), size, free)
        except JournalError as error:
            return self._health(str(error))
        except OSError as error:
            return self._health(f"the disk cannot be asked: {error.strerror}")
        if free < self._min_free_space:
            return self._health(f"only {free} bytes are free on the disk", size, free)
        return self._health(None, size, free)

    def _health(
        self, trouble: str | None, size: int | None = None, free: int | None = None
    ) -> Health:
        aside: Sequence[Path] = ()
        try:
            if self._opened is not None:
                aside = self._opened.files.aside()
        except OSError as error:  # for example where no file descriptor is left
            trouble = trouble or f"the journal's folder cannot be listed: {error.strerror}"
        names = ", ".join(path.name for path in aside)
        return Health(
            ready=trouble is None,
            reason=trouble or (f"set aside, and not moved away since: {names}" if aside else None),
            set_aside=len(aside),
            losses=self.losses,
            deaths=self.deaths.count,
            size=size,
            free=free,
        )


def _truncate_wal(connection: apsw.Connection) -> None:
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
