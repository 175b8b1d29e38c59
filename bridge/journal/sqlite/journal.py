"""The journal that `bridge serve` keeps, and embedders too: a file, and no server to install.

An append is one item of the writer's next group commit and returns when that is on disk. What
was appended lately is also in memory, so that a subscriber who keeps up reads nothing from disk;
one who lags reads on a connection of its own, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

import apsw
import attrs

from bridge.errors import JournalError
from bridge.journal.ephemeral import EphemeralCursor
from bridge.journal.erasure import Subject
from bridge.journal.protocol import (
    Appended,
    Cursor,
    DeadLetter,
    Entry,
    Health,
    Journal,
    Outcome,
    Start,
    SubscriberState,
)
from bridge.journal.query import Query
from bridge.journal.sqlite import entries, search, subscriptions
from bridge.journal.sqlite.checkpointer import Checkpointer
from bridge.journal.sqlite.cursor import SubscriberCursor
from bridge.journal.sqlite.entries import Tail
from bridge.journal.sqlite.key_index import KeyIndex
from bridge.journal.sqlite.ledger import digest, forget_records, known_from
from bridge.journal.sqlite.retention import Retention, used_size
from bridge.journal.sqlite.schema import (
    Damaged,
    connect,
    exclusive,
    open_file,
    set_aside,
    usable,
)
from bridge.journal.sqlite.writer import FULL, Append, Chore, Item, Job, Sweep, Writer
from bridge.model import Event
from bridge.settings import JournalSettings, NoSettings

P = ParamSpec("P")
T = TypeVar("T")

_DAY: Final = 86400.0
_TAIL_SIZE: Final = 16 << 20
_SAVE_EVERY: Final = 0.03  # seconds; what a kill repeats also depends on the delivery
_WINDOW: Final = 2000  # rows that a purge looks at in one go


@attrs.define(eq=False, slots=False)
class SqliteJournal(Journal):
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

    _path: Path = attrs.field(converter=Path)
    _keep: float = attrs.field(default=8 * _DAY, kw_only=True)
    _max_size: int = attrs.field(default=0, kw_only=True)
    _absolute_limit: float = attrs.field(default=30 * _DAY, kw_only=True)
    _min_free_space: int = attrs.field(default=64 << 20, kw_only=True)
    _retention_every: float = attrs.field(default=60.0, kw_only=True)
    _busy_timeout: float = attrs.field(default=5.0, kw_only=True)
    _check_for: float = attrs.field(default=1.0, kw_only=True)
    _max_waiting: int = attrs.field(default=20_000, kw_only=True)
    _max_group: int = attrs.field(default=1024, kw_only=True)
    _tail_entries: int = attrs.field(default=2048, kw_only=True, alias="tail")
    _keys_in_memory: int = attrs.field(default=65_536, kw_only=True)
    _clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True)
    _vfs: str | None = attrs.field(default=None, kw_only=True)

    Settings = NoSettings
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

    def __attrs_post_init__(self) -> None:
        """Begin closed."""
        self.set_aside: Path | None = None
        self._resources = ExitStack()
        self._writer: Writer | None = None
        self._cursors: dict[str, SubscriberCursor] = {}
        self._progress: dict[str, int] = {}
        self._saving: asyncio.TimerHandle | None = None
        self._saved_at = 0.0  # of the event loop's clock
        self._grown = asyncio.Event()
        self._waiting = 0

    # --- opening and closing ---------------------------------------------------------------

    def check(self) -> None:
        """See `Journal.check`."""

    async def __aenter__(self) -> Self:
        """Open; a damaged file is set aside and said loudly."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)
        return self

    def _open(self) -> None:
        with ExitStack() as resources:
            resources.enter_context(exclusive(self._path))
            try:
                connection, keys = self._open_file()
            except Damaged as error:
                self.set_aside = set_aside(self._path, str(error))
                connection, keys = self._open_file()
            resources.callback(connection.close)
            self._reader = self._connect(resources)
            self._threads = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
            resources.callback(self._threads.shutdown)
            writer = Writer(
                connection,
                keys,
                retention=Retention(
                    keep=self._keep,
                    max_size=self._max_size,
                    absolute_limit=self._absolute_limit,
                    every=self._retention_every,
                    clock=self._clock,
                ),
                clock=self._clock,
                max_group=self._max_group,
                loop=self._loop,
                answered=self._answered,
            )
            self._tail = Tail(writer.last, max_entries=self._tail_entries, max_size=_TAIL_SIZE)
            checkpointer = Checkpointer(self._connect(resources), writer)
            writer.start()
            resources.callback(writer.stop)
            checkpointer.start()
            resources.callback(checkpointer.stop)
            self._writer = writer
            self._resources = resources.pop_all()

    def _open_file(self) -> tuple[apsw.Connection, KeyIndex]:
        connection = open_file(
            self._path,
            vfs=self._vfs,
            busy_timeout=self._busy_timeout,
            check_for=self._check_for,
        )
        with usable(connection, self._path):
            return connection, KeyIndex(connection, in_memory=self._keys_in_memory)

    def _connect(self, resources: ExitStack) -> apsw.Connection:
        try:
            connection = connect(self._path, vfs=self._vfs, busy_timeout=self._busy_timeout)
        except apsw.Error as error:
            raise JournalError(f"{self._path} cannot be opened: {error}") from error
        resources.callback(connection.close)
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish what is queued, and close; readers that still wait get a `JournalError`."""
        self._save_progress()
        self._writer = None
        self._cursors.clear()
        self._grow()
        await asyncio.to_thread(self._resources.close)

    def _running(self) -> Writer:
        if self._writer is None:
            raise JournalError("the journal is not open")
        return self._writer

    # --- appending -------------------------------------------------------------------------

    async def append(self, events: Sequence[Event]) -> Appended:
        """See `Journal.append`."""
        writer = self._running()
        if self._waiting >= self._max_waiting:
            raise JournalError(f"{self._waiting} events wait for the disk")
        done: asyncio.Future[Appended] = self._loop.create_future()
        self._waiting += len(events)
        writer.put(Append(tuple(events), done))
        return await done

    def _answered(self, items: Sequence[Item]) -> None:
        """Tell everyone of a group what became of it; the writer calls this on the loop."""
        fresh: list[Entry] = []
        size = 0
        for item in items:
            if isinstance(item, Append):
                self._waiting -= len(item.events)
                if item.error is None:
                    fresh += item.entries
                    size += item.size
            if item.done is None or item.done.done():  # nobody asked, or has gone away
                continue
            if item.error is not None:
                item.done.set_exception(item.error)
            else:
                item.done.set_result(item.result)
        if fresh:  # last, so that answers go out before subscribers begin
            self._tail.extend(fresh, size)
            self._grow()

    def _grow(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    # --- what cursors ask for ----------------------------------------------------------------

    async def next_after(self, position: int, limit: int) -> Sequence[Entry]:
        """Return the entries beyond a position, waiting for at least one."""
        while True:
            self._running()
            grown = self._grown
            found = (
                self._tail.after(position, limit)
                if position >= self._tail.since
                else await self.reading(entries.read_after, position, limit)
            )
            if found:
                return found
            await grown.wait()

    async def reading(
        self, query: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a query beside the writer. Raises `JournalError`."""
        self._running()
        try:
            run = partial(query, self._reader, *args, **kwargs)
            return await self._loop.run_in_executor(self._threads, run)
        except apsw.Error as error:
            raise JournalError(f"the journal cannot be read: {error}") from error

    def writing(
        self, work: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Make a change with the next group commit. The future raises `JournalError`."""
        writer = self._running()
        done: asyncio.Future[T] = self._loop.create_future()
        writer.put(Job(lambda connection: work(connection, *args, **kwargs), done))
        return done

    def save_soon(self, name: str, position: int) -> None:
        """Keep how far a subscriber is, a little later and together with others."""
        self._running()
        self._progress[name] = position
        if self._saving is None:
            at = max(self._saved_at + _SAVE_EVERY, self._loop.time())
            self._saving = self._loop.call_at(at, self._save_progress)

    def _save_progress(self) -> None:
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        self._saved_at = self._loop.time()
        progress, self._progress = self._progress, {}
        if not progress:
            return

        def save(connection: apsw.Connection) -> None:
            for name, position in progress.items():
                subscriptions.advance(connection, name, position)

        def saved(done: asyncio.Future[None]) -> None:
            if done.exception() is not None:  # comes again with what is settled next
                self._progress = progress | self._progress

        self.writing(save).add_done_callback(saved)

    # --- subscribers ---------------------------------------------------------------------

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """See `Journal.subscribe`."""
        cursor = self._cursors.get(name)
        if cursor is None:
            position = await self.writing(subscriptions.join, name, self._begin(start))
            # Somebody else may have asked for the same name meanwhile.
            cursor = self._cursors.setdefault(name, SubscriberCursor(self, name, position))
        cursor.rewind()
        return cursor

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """See `Journal.follow`."""
        self._running()
        return EphemeralCursor(self._begin(start), self.next_after)

    def _begin(self, start: Start | int) -> int:
        self._running()
        if isinstance(start, int):
            return start
        return self._tail.last if start is Start.END else 0

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        self._cursors.pop(name, None)
        self._progress.pop(name, None)
        return await self.writing(subscriptions.forget, name)

    async def subscribers(self) -> Sequence[SubscriberState]:
        """See `Journal.subscribers`; a lag beyond 10,000 is an estimate from above."""
        return await self.reading(subscriptions.states, self._positions())

    def _positions(self) -> dict[str, int]:
        """Return how far subscribers are, which may not have been written yet."""
        return {name: cursor.position for name, cursor in self._cursors.items()}

    async def find(self, key: str) -> Entry | None:
        """See `Journal.find`."""
        name = digest(key)
        position = self._running().keys.position(name)
        return await self.reading(entries.find, name, position)

    async def scan(self, query: Query) -> AsyncGenerator[Sequence[Entry]]:
        """See `Journal.scan`."""
        span = await self.reading(search.span_of, query)
        for piece in search.steps(span, query):
            yield await self.reading(search.step, query, piece)

    async def outcomes(self, position: int) -> Sequence[Outcome]:
        """See `Journal.outcomes`."""
        return await self.reading(subscriptions.outcomes, position, self._positions())

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`."""
        return await self.writing(
            subscriptions.replay, positions, subscriber, self._positions(), self._clock()
        )

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

    # --- keeping house -------------------------------------------------------------------

    async def purge(self, subject: str) -> int:
        """See `Journal.purge`; goes over the whole journal, a little at a time.

        What is appended while it runs is not looked at. When it returns, nothing of what it
        erased is left in the file or in its WAL.
        """
        whom = await self._known_from(Subject.of(subject))
        erased = await self._erase_waiting(whom)
        first, last = await self.reading(entries.first), self._tail.last
        for start in range(first - 1, last, _WINDOW):
            span = (start, min(start + _WINDOW, last))
            found = await self.reading(entries.about, whom, span)
            if found:
                await self.writing(entries.erase, found)
                erased += len(found)
        record: int | None = 0
        while record is not None:
            cache = self._running().records
            record = await self.writing(forget_records, cache, whom, record, _WINDOW)
        self._tail.erase(whom)
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
        self._running().put(Append(done=done, erase=subject))
        return await done

    @property
    def commits(self) -> int:
        """How many transactions have been committed since the journal was opened."""
        return self._running().commits

    def checkpoint_soon(self) -> None:
        """Copy the write-ahead log into the database now, rather than when it has grown."""
        self._running().checkpoint_due.set()

    async def retain(self) -> None:
        """Go over the journal now, deleting what need not be kept, and return when done."""
        writer = self._running()
        sweep = Sweep(self._loop.create_future())
        writer.put(sweep)
        await sweep.done

    def _chore(self, work: Callable[[apsw.Connection], T]) -> asyncio.Future[T]:
        writer = self._running()
        done: asyncio.Future[T] = self._loop.create_future()
        writer.put(Chore(work, done))
        return done

    async def health(self) -> Health:
        """See `Journal.health`; after a failure a rehearsal tells whether the disk is back."""
        writer = self._writer
        if writer is None:
            return Health(ready=False, reason="the journal is not open")
        try:
            if writer.fault is not None:
                await self._chore(writer.rehearse)
            size = await self.reading(used_size)
            free = shutil.disk_usage(self._path.parent).free
        except JournalError as error:
            return Health(ready=False, reason=str(error))
        except OSError as error:
            return Health(ready=False, reason=f"the disk cannot be asked: {error.strerror}")
        reason = None
        if self._max_size and size > self._max_size:
            await self._chore(writer.sweep_soon)  # a subscriber may have made room
            reason = FULL.format(self._max_size)
        elif free < self._min_free_space:
            reason = f"only {free} bytes are free on the disk"
        return Health(ready=reason is None, reason=reason, size=size, free=free)


def _truncate_wal(connection: apsw.Connection) -> None:
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
