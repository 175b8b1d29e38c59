"""A journal's file while it is open: its connections and threads, and its recovery.

Where the files that are open turn out not to be those on disk, nothing more is acknowledged. The
data that the open descriptors still reach is then written into a new file, which takes their place,
and the journal goes on as after a restart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar, TypeVarTuple

import apsw
import attrs

from bridge.errors import JournalError
from bridge.journal.ledger import Record
from bridge.journal.protocol import Appended, Entry
from bridge.journal.sqlite.backup import copy
from bridge.journal.sqlite.checkpointer import Checkpointer
from bridge.journal.sqlite.cursor import Cursors
from bridge.journal.sqlite.entries import newest_at
from bridge.journal.sqlite.files import Damaged, Files
from bridge.journal.sqlite.key_index import Indexes
from bridge.journal.sqlite.ledger import Windows, find_records, read_windows
from bridge.journal.sqlite.patience import Patience
from bridge.journal.sqlite.retention import Retention, SteadyClock, monotonic
from bridge.journal.sqlite.schema import connect, open_file, usable
from bridge.journal.sqlite.writer import Append, Chore, Item, Job, Writer
from bridge.model import Event
from bridge.process.supervised import Deaths, Tasks
from bridge.process.threads import in_thread

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_LOG: Final = logging.getLogger("bridge.journal")

_DAY: Final = 86400.0
_RECOVERS_EVERY: Final = 1.0  # seconds between attempts
_RECOVERS_WITHIN: Final = 0.5  # seconds for which `health` waits for one
_LEFT: Final[list[object]] = []
_open_here: Final[set[Store]] = set()
os.register_at_fork(after_in_child=_open_here.clear)  # a child has no threads of theirs


@attrs.frozen
class _Opened:
    """What is open, to be closed in this order: `threads`, then `connections`."""

    files: Files
    source: apsw.Connection
    threads: ExitStack
    connections: ExitStack


@attrs.define(eq=False, slots=False, on_setattr=attrs.setters.NO_OP)  # it counts appends
class Store:
    """The part of `SqliteJournal` that knows of the file, its connections and its threads."""

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
    _windows_over: int = attrs.field(default=65_536, kw_only=True)
    _clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True)
    _monotonic: Callable[[], float] = attrs.field(default=monotonic, kw_only=True)
    _vfs: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Begin closed."""
        self.set_aside: Path | None = None
        self.losses = 0
        self.deaths = Deaths()
        self._loop: asyncio.AbstractEventLoop
        self._opened: _Opened | None = None
        self.writer: Writer | None = None
        self._trouble = "the journal is not open"
        self._recovering: Tasks | None = None
        self._where = self._path  # from when it opens on, wherever the program goes
        self._cursors = Cursors(self, self._tail_entries)
        self._waiting = 0
        self._asked: list[tuple[bytes, asyncio.Future[Record | None]]] = []
        self._closing = threading.Lock()

    # --- opening and closing ---------------------------------------------------------------

    async def _start(self) -> None:
        """Open; cancelled meanwhile, it leaves nothing open. Raises `JournalError`."""
        if any(store.is_abandoned for store in tuple(_open_here)):
            await _in_thread(_close_abandoned)
        self._loop = asyncio.get_running_loop()
        self._asked = []  # what was asked on the last loop is nobody's now
        patience = Patience(self._busy_timeout)
        try:
            await _in_thread(partial(self._open, patience), patience.give_up)
        except asyncio.CancelledError:
            self.writer = None
            await _in_thread(self._close)
            raise

    def _open(self, patience: Patience) -> None:
        with ExitStack() as connections, ExitStack() as threads:
            files = Files(self._where)
            connections.enter_context(files.locked())
            try:
                source, indexes, windows = self._open_file(files, patience)
            except Damaged as error:
                self.set_aside = files.set_aside(str(error))
                source, indexes, windows = self._open_file(files, patience)
            self.losses += files.has_lost
            connections.callback(files.finish_recovery)  # when its connections are closed
            connections.callback(source.close)
            self._reader = self._connect(files, connections)
            checkpoints = self._connect(files, connections)
            files.protect(patience)
            connections.callback(files.unprotect)
            if (told := files.readable_by_others()) is not None:
                _LOG.warning("%s", told)
            self._readers = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
            threads.callback(self._readers.shutdown)
            writer = self._start_writer(files, source, indexes, windows)
            threads.callback(writer.stop)
            checkpointer = Checkpointer(checkpoints, writer, sync=files.sync)
            checkpointer.start()
            threads.callback(checkpointer.stop)
            self._cursors.tail.open(writer.last)
            self._opened = _Opened(files, source, threads.pop_all(), connections.pop_all())
            self.writer = writer
            _open_here.add(self)

    def _open_file(
        self, files: Files, patience: Patience
    ) -> tuple[apsw.Connection, Indexes, Windows]:
        connection = open_file(
            files,
            vfs=self._vfs,
            busy_timeout=self._busy_timeout,
            check_for=self._check_for,
            patience=patience,
        )
        with usable(connection, self._path):
            indexes = Indexes.read(connection, in_memory=self._keys_in_memory)
            return connection, indexes, read_windows(connection, span=self._windows_over // 2)

    def _connect(self, files: Files, connections: ExitStack) -> apsw.Connection:
        try:
            connection = connect(files.database, vfs=self._vfs, busy_timeout=self._busy_timeout)
            connections.callback(connection.close)
            connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1")  # this opens the log
        except apsw.Error as error:
            raise JournalError(f"{self._path} cannot be opened: {error}") from error
        return connection

    def _start_writer(
        self, files: Files, connection: apsw.Connection, indexes: Indexes, windows: Windows
    ) -> Writer:
        clock = SteadyClock(self._clock, self._monotonic, newest=newest_at(connection))
        retention = Retention(
            keep=self._keep,
            max_size=self._max_size,
            absolute_limit=self._absolute_limit,
            every=self._retention_every,
            clock=clock,
        )
        writer = Writer(
            connection,
            indexes,
            windows,
            retention=retention,
            clock=clock.latest,
            monotonic=self._monotonic,
            max_group=self._max_group,
            loop=self._loop,
            answered=self._answered,
            lost=files.watch.lost,
            cut=files.watch.cut_short,
            abandoned=_close_abandoned_soon,
        )
        writer.start()
        return writer

    async def _end(self) -> None:
        """Close; readers that still wait get a `JournalError`."""
        self._cursors.save()
        self.writer = None
        self._trouble = "the journal is not open"
        self._cursors.tail.end(self._trouble)
        recovering, self._recovering = self._recovering, None
        if recovering is not None:
            await recovering.close()
        try:
            await _in_thread(self._close)
        except JournalError as error:
            _LOG.critical("the journal was closed, and what was not on disk is lost: %s", error)
            opened, self._opened = self._opened, None
            _open_here.discard(self)
            if opened is not None:
                await _in_thread(opened.connections.close)

    def _close(self) -> None:
        """Close what is open, after a copy of what would be lost. Raises `JournalError`."""
        with self._closing:
            if self._opened is None:
                return
            files = self._opened.files
            self._opened.threads.close()
            if files.watch.lost() is not None:
                if not files.recovered.exists():
                    copy(self._opened.source, files.recovered, check="quick_check")
                files.make_room()
            opened, self._opened = self._opened, None
            _open_here.discard(self)
            opened.connections.close()

    @property
    def is_abandoned(self) -> bool:
        """Whether it is open, and its event loop closed."""
        return self._opened is not None and self._loop.is_closed()

    def close_abandoned(self) -> None:
        """Let others open the file, as nobody can close this journal any more; blocks."""
        self.writer = self._recovering = None
        self._cursors = Cursors(self, self._tail_entries)  # the others are that loop's
        self._waiting = 0
        self._trouble = "the journal is not open: its event loop was closed before it"
        _LOG.critical("%s: its event loop was closed before it, so it is closed now", self._path)
        try:
            self._close()
        except JournalError as error:
            _LOG.critical("%s: it cannot be closed: %s", self._path, error)

    # --- recovery --------------------------------------------------------------------------

    def _look_after(self, reason: str) -> None:
        """Begin to recover, unless that is under way."""
        if self.writer is not None:
            has_died, self.writer = self.writer.has_died, None
            self._trouble = self._cursors.tail.trouble = reason
            if has_died:
                self.deaths()
            else:
                self.losses += 1
            _LOG.critical("the journal takes nothing more: %s", reason)
            self._try_now, self._recovered = asyncio.Event(), asyncio.Event()
            self._recovering = Tasks("journal", self.deaths)
            self._recovering.start("recovery", self._recover)

    def _leave_alone(self, opened: _Opened) -> None:
        """Do nothing more with descriptors that may lead to the files of others by now."""
        opened.threads.close()
        for connection in apsw.connections():
            if connection.filename == str(opened.files.database):
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        _LEFT.append(opened)

    async def _recover(self) -> None:
        opened = self._opened
        if opened is not None and opened.files.watch.are_closed:
            self._opened = self._recovering = None
            _open_here.discard(self)
            await in_thread(self._leave_alone, opened)
            return
        while True:
            try:
                await _in_thread(self._close)
                await self._start()
            except JournalError as error:
                if str(error) != self._trouble:
                    _LOG.critical("the journal cannot be written anew: %s", error)
                self._trouble = str(error)
            else:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(_RECOVERS_EVERY):
                    await self._try_now.wait()
            self._try_now.clear()
        self._recovering = None
        _LOG.warning("the journal takes events again")
        self._recovered.set()
        self._cursors.tail.wake()

    async def _trouble_now(self) -> str | None:
        """Return why the journal takes nothing, after another attempt where it recovers."""
        if self._opened is not None and self.writer is not None:
            lost = self._opened.files.watch.lost()
            if lost is not None:
                self._look_after(lost)
        if self._recovering is not None:
            self._try_now.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(_RECOVERS_WITHIN):
                    await self._recovered.wait()
        return self._trouble if self.writer is None else None

    # --- writing and reading -----------------------------------------------------------------

    def running(self) -> Writer:
        """Return the writer. Raises `JournalError` while there is none."""
        if self.writer is None:
            raise JournalError(self._trouble)
        return self.writer

    def _answered(self, items: Sequence[Item], lost: str | None) -> None:
        """Tell everyone of a group what became of it; the writer calls this on the loop."""
        fresh: list[Entry] = []
        for item in items:
            if isinstance(item, Append):
                self._waiting -= len(item.events)
                if item.error is None:
                    fresh += item.entries
            if item.done is None or item.done.done():  # nobody asked, or has gone away
                continue
            if item.error is not None:
                item.done.set_exception(item.error)
            else:
                item.done.set_result(item.result)
        if fresh:  # last, so that answers go out before subscribers begin
            tail = self._cursors.tail
            tail.add(tail.last, fresh, fresh[-1].position)
        if lost is not None:
            self._look_after(lost)

    async def append(self, events: Sequence[Event]) -> Appended:
        """See `Journal.append`."""
        writer = self.running()
        if self._waiting >= self._max_waiting:
            raise JournalError(f"{self._waiting} events wait for the disk")
        done: asyncio.Future[Appended] = self._loop.create_future()
        self._waiting += len(events)
        writer.put(Append(tuple(events), done))
        if self._cursors.saving is not None:
            self._cursors.save()  # with what is being appended, which takes no longer
        return await done

    async def reading(
        self, query: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a query beside the writer. Raises `JournalError`."""
        self.running()
        try:
            run = partial(query, self._reader, *args, **kwargs)
            return await self._loop.run_in_executor(self._readers, run)
        except apsw.Error as error:
            raise JournalError(f"the journal cannot be read: {error}") from error

    async def looked_up(self, name: bytes) -> Record | None:
        """Return the record of a name; those asked for in one turn of the loop are read as one.

        Raises `JournalError`.
        """
        self.running()
        done: asyncio.Future[Record | None] = self._loop.create_future()
        self._asked.append((name, done))
        if len(self._asked) == 1:
            self._loop.call_soon(self._look_up)
        return await done

    def _look_up(self) -> None:
        asked, self._asked = self._asked, []

        def answer(found: asyncio.Future[Sequence[Record | None]]) -> None:
            error = found.exception()
            for number, (_, done) in enumerate(asked):
                if done.done():  # whoever asked has gone away
                    continue
                if error is None:
                    done.set_result(found.result()[number])
                else:
                    done.set_exception(JournalError(f"the journal cannot be read: {error}"))

        names = [name for name, _ in asked]
        try:
            writer = self.running()
            find = partial(find_records, self._reader, writer.indexes.names, writer.windows, names)
            self._loop.run_in_executor(self._readers, find).add_done_callback(answer)
        except (JournalError, RuntimeError) as error:  # closed meanwhile
            for _, done in asked:
                if not done.done():
                    done.set_exception(JournalError(str(error)))

    def writing(self, work: Callable[[apsw.Connection, *Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Make a change with the next group commit. The future raises `JournalError`."""
        writer = self.running()
        done: asyncio.Future[T] = self._loop.create_future()
        writer.put(Job(work, args, done))
        return done

    def _chore(self, work: Callable[[apsw.Connection], T]) -> asyncio.Future[T]:
        writer = self.running()
        done: asyncio.Future[T] = self._loop.create_future()
        writer.put(Chore(work, done))
        return done


def _close_abandoned() -> None:
    for store in tuple(_open_here):
        if store.is_abandoned:
            store.close_abandoned()


def _close_abandoned_soon() -> None:
    threading.Thread(target=_close_abandoned, name="journal-closer", daemon=True).start()


async def _in_thread(work: Callable[[], None], cancelled: Callable[[], None] | None = None) -> None:
    """Run something in a thread, and wait for its end even where the caller is cancelled.

    That is told to `cancelled`.
    """
    working = asyncio.ensure_future(in_thread(work))
    ended: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError as error:
            ended = error
            if cancelled is not None:
                cancelled()
    if ended is not None:
        working.exception()
        raise ended
    working.result()
