"""One thread writes, and whatever queued up during a commit goes into the next one.

The writer alone changes the file. A group of appends and jobs is one transaction: it is on disk
before anyone of the group hears of it, and if the disk refuses, nobody's part of it happened.
Between groups the writer does what must not delay them: a chunk of retention, the rest of a
checkpoint. It has no state that a failed commit could leave behind, so it goes on as soon as the
disk does.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import apsw
import attrs

from bridge.errors import CodecError, JournalError
from bridge.journal.correlation import correlate
from bridge.journal.erasure import Subject, leave_numbers
from bridge.journal.protocol import Appended, Entry
from bridge.journal.sqlite.entries import last_position
from bridge.journal.sqlite.headers import FRAME_HEADER, WAL_HEADER
from bridge.journal.sqlite.key_index import Indexes
from bridge.journal.sqlite.ledger import GroupLedger, RecordCache, Windows, read_queues
from bridge.journal.sqlite.retention import Retention, used_size
from bridge.journal.sqlite.schema import lacking
from bridge.journal.waiting import Published, Queues, release, withdraw
from bridge.model import Event
from bridge.model.codec import encode_brief
from bridge.model.frozen import builder
from bridge.process.raised import kind_of
from bridge.process.supervised import report

_LOG: Final = logging.getLogger("bridge.journal")

FULL: Final = "the journal holds its limit of {} bytes"

_CHECKPOINT_AT: Final = 1000  # pages in the WAL: 4 MB, so that none of them takes long
_REHEARSAL: Final = 64 << 10
_WIDTH: Final = 5  # values of a row
# Many rows at once where there are many, which takes less time than one after another. A failure
# ends the transaction, so no row needs to be undone by itself, for which SQLite would keep pages.
_INSERT: Final = [
    (
        count * _WIDTH,
        "INSERT OR FAIL INTO entries (position, key, at, lane, event) VALUES "  # noqa: S608 - our own words
        + ", ".join(["(?, ?, ?, ?, ?)"] * count),
    )
    for count in (32, 8, 1)
]
_FULL_SWEEP_EVERY: Final = 1.0
_NO_ROOM: Final = (apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE)
_LOOK_EVERY: Final = 1.0  # seconds between looks at the files while nothing is written

_ONE: Final = Appended(published=1, duplicates=0)  # by far the most
_new_entry: Final = builder(Entry)

Work: TypeAlias = Callable[[apsw.Connection], Any]


@attrs.define(eq=False)
class Append:
    """Events to be made durable, and who waits for it."""

    events: Sequence[Event] = ()
    done: Future[Any] | None = None
    entries: Sequence[Entry] = ()
    result: Appended | int = _ONE  # how many of the events are new, or how many were erased
    error: JournalError | CodecError | None = None

    def decide(self, ledger: GroupLedger, _: Queues) -> Sequence[Published]:
        """Return what this publishes. Raises `CodecError`."""
        new = 0
        published: list[Published] = []
        for event in self.events:
            try:
                is_new, found = correlate(event, ledger)
            except (apsw.Error, JournalError, CodecError):
                raise
            except Exception as error:
                # A third party's event that breaks the model must not fail its neighbours.
                raise CodecError(f"not a valid {event.kind}: {type(error).__name__}") from error
            ledger.publish(found)
            published += found
            new += is_new
        if not new == 1 == len(self.events):
            self.result = Appended(published=new, duplicates=len(self.events) - new)
        return published


@attrs.define(eq=False, kw_only=True)
class Release(Append):
    """Lanes that are `due`, with the times for which they were."""

    due: Sequence[tuple[str, float]]

    def decide(self, ledger: GroupLedger, _: Queues) -> Sequence[Published]:
        """See `Append.decide`."""
        return [each for lane, due in self.due for each in release(lane, due, ledger)]


@attrs.define(eq=False, kw_only=True)
class Erase(Append):
    """Somebody whose events wait no more; what waited behind them may be published for it.

    Whoever had the somebody's numbers before keeps no conversation by these.
    """

    subject: Subject

    def decide(self, ledger: GroupLedger, queues: Queues) -> Sequence[Published]:
        """See `Append.decide`."""
        published: list[Published] = []
        self.result = 0
        leave_numbers(self.subject, ledger)
        for waiting in queues.all():
            erased, freed = withdraw(waiting.lane, self.subject.is_in, ledger)
            self.result += erased
            published += freed
        return published


@attrs.define(eq=False, kw_only=True)
class Learn(Append):
    """The digests of keys to be made known, from elsewhere."""

    digests: Sequence[bytes]

    def decide(self, ledger: GroupLedger, _: Queues) -> Sequence[Published]:
        """See `Append.decide`."""
        ledger.learn(self.digests)
        return ()


@attrs.define(eq=False)
class Job:
    """A change beside the appends: part of its group's transaction, after the group's appends.

    `work` is called with the connection and `args`.
    """

    work: Callable[..., Any]
    args: Sequence[object]
    done: Future[Any]
    result: object = None
    error: JournalError | None = None


@attrs.define(eq=False)
class Chore:
    """What has to be done outside a transaction, once its group is committed."""

    work: Work
    done: Future[Any] | None = None
    result: object = None
    error: JournalError | None = None


@attrs.define(eq=False)
class Sweep:
    """A wish for a whole pass of retention now; done when it is."""

    done: Future[Any]
    result: None = None
    error: JournalError | None = None


Item: TypeAlias = Append | Job | Chore | Sweep


class Writer:
    """The thread that owns the writing connection.

    `answered` is called on the event loop, once for each group, with its items.
    `last` is the position of the newest entry on disk.
    `fault` says what went wrong with the last write, until one succeeds.
    `put` queues an item, whose future tells what became of it.

    `lost` returns why the open files are not those on disk, given how long the log has to be.
    `cut` returns it before a commit, where what is written would hide it. Once one of them
    has, everything fails, and `answered` gets the reason. `abandoned` is called every second
    once the event loop is closed.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        indexes: Indexes,
        windows: Windows,
        *,
        retention: Retention,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        max_group: int,
        loop: AbstractEventLoop,
        answered: Callable[[Sequence[Item], str | None], None],
        lost: Callable[[int], str | None],
        cut: Callable[[int], str | None],
        abandoned: Callable[[], None],
    ) -> None:
        self.fault: str | None = None
        self._is_at_fault = False  # and has been told so
        self.commits = 0
        self.last = last_position(connection)
        self.indexes = indexes
        self.windows = windows
        self.records = RecordCache()
        self._queues = Queues(clock=clock)
        read_queues(connection, self._queues)
        self._connection = connection
        self._retention = retention
        self._clock = clock
        self._monotonic = monotonic
        self._now = 0  # as it is until the clock is asked again
        self._asked_at = -math.inf
        self._max_group = max_group
        self._loop = loop
        self._answered = answered
        self._find_lost, self._find_cut = lost, cut
        self._abandoned = abandoned
        self._lost: str | None = None
        self._frame_size = connection.pragma("page_size") + FRAME_HEADER
        self._wal_size = 0
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self.put: Callable[[Item], None] = self._queue.put
        self._swept_at = time.monotonic()
        self._sweep_at = self._swept_at
        self._wishes: list[Sweep] = []
        self._is_sweeping = False
        self._sweeps_up_to = 0
        self.checkpoint_due = threading.Event()
        connection.set_wal_hook(self._committed)
        self.has_died = False
        self._running = True
        self._group: Sequence[Item] = ()  # of which nobody has been told yet
        self._thread = threading.Thread(target=self._stay, name="journal-writer", daemon=True)

    def start(self) -> None:
        """Begin to take what is put."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, and return when the thread has ended; blocks."""
        self._queue.put(None)
        self._thread.join()

    def rehearse(self, connection: apsw.Connection) -> None:
        """Write and erase as much as an append might; a chore, for when the last one failed."""
        connection.execute("INSERT INTO rehearsal VALUES (zeroblob(?))", (_REHEARSAL,))
        connection.execute("DELETE FROM rehearsal")

    def sweep_soon(self, _: apsw.Connection) -> None:
        """Begin a pass of retention within a second; a chore, for while the journal is full."""
        self._sweep_at = min(self._sweep_at, self._swept_at + _FULL_SWEEP_EVERY)

    def write_windows(self, _: apsw.Connection) -> None:
        """Let the records tell all windows; a chore. Raises `JournalError`."""
        while self._lost is None and self.windows.up_to < self.last:
            self._write_windows()

    # --- the thread ----------------------------------------------------------------------

    def _stay(self) -> None:
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001 - whatever it is, callers are waiting
            report("journal", "writer", error)
            self.has_died = True
            self._roll_back()
            self._refuse(f"the journal's writer failed: {kind_of(error)}")

    def _refuse(self, reason: str) -> None:
        """Fail everything, save chores, until somebody stops the thread."""
        self._lost = reason
        failed = [*self._group, *self._wishes]
        self._fail(failed, reason)
        self._answer(failed)
        while self._running and (item := self._queue.get()) is not None:
            if isinstance(item, Chore):
                self._do(item)
            else:
                self._fail((item,), reason)
            self._answer((item,))

    def _run(self) -> None:
        while self._running:
            group, self._running = self._next_group()
            self._group = group
            if self._queues.deadline is not None and (due := self._queues.due()):
                group.insert(0, Release(due=due))
            if group:
                self._take(group)
                if self.last > self.windows.due_after:
                    with suppress(JournalError):  # it is due again with the next group
                        self._write_windows()
            elif self._running:
                self._lost = self._find_lost(self._wal_size)
                if self._lost is not None:
                    self._answer(())
                if self._loop.is_closed():
                    self._abandoned()
            if self._wishes or time.monotonic() >= self._sweep_at:
                self._sweep()
            if self._is_at_fault and self.fault is None:
                self._look_whether_it_is_over()
        with suppress(JournalError):  # else they are found in the entries
            self.write_windows(self._connection)
        for wish in self._wishes:
            wish.error = JournalError("the journal was closed")
        self._answer(self._wishes)

    def _take(self, group: Sequence[Item]) -> None:
        """Write what a group holds, do its chores, and answer."""
        appends = [item for item in group if isinstance(item, Append)]
        # Few, and mostly none, which need not be looked for again and again.
        others = [] if len(appends) == len(group) else group
        jobs = [item for item in others if isinstance(item, Job)]
        self._lost = self._lost or self._find_cut(self._wal_size)
        if self._lost is not None:
            self._fail((*appends, *jobs), self._lost)
        elif appends or jobs:
            self._commit(appends, jobs)
        for item in others:
            if isinstance(item, Chore):
                self._do(item)
        self._group = ()
        wishes = [item for item in others if isinstance(item, Sweep)]
        self._answer([item for item in group if item not in wishes] if wishes else group)
        if wishes:
            self._wishes += wishes
            self._retention.begin()
            self._is_sweeping = False

    def _next_group(self) -> tuple[list[Item], bool]:
        """Return everything that is queued, waiting for something; False says it was the last."""
        group: list[Item] = []
        room = self._max_group
        until = min(self._sweep_at, self._queues.deadline or self._sweep_at)
        patience = min(max(0.0, until - time.monotonic()), _LOOK_EVERY)
        with suppress(queue.Empty):
            item = self._queue.get(not (self._is_sweeping or self._wishes), patience)
            while item is not None:
                group.append(item)
                room -= len(item.events) if type(item) is Append else 1
                if room <= 0:
                    return group, True
                item = self._queue.get_nowait()
            return group, False
        return group, True

    def _commit(self, appends: Sequence[Append], jobs: Sequence[Job]) -> None:
        """Write a group in one transaction, or fail all of it."""
        connection = self._connection
        ledger = None
        try:
            connection.execute("BEGIN IMMEDIATE")
            last = self.last
            if appends:
                ledger = self._ledger(appends)
                last = self._write_appends(appends, ledger, now=self._seconds())
            for job in jobs:
                self._work(job)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the writer outlives whatever the disk does
            self._roll_back()
            self.indexes.roll_back()
            self.records.clear()
            fault = self._failed(error)
            if isinstance(error, apsw.ConstraintError) and "entries.position" in str(error):
                self._lost = "another program has written into the journal"
            for append in appends:
                append.error = append.error or JournalError(fault)
            if appends and jobs:
                # Where nothing more fits, subscribers must still be able to make room.
                self._commit((), jobs)
            else:
                for job in jobs:
                    job.error = JournalError(fault)
        else:
            self.indexes.commit()
            if ledger is not None:
                ledger.commit()
            self.last = last
            self._lost = self._lost or self._find_lost(self._wal_size)
            if self._lost is not None:  # committed to files that are not those on disk any more
                self._fail((*appends, *jobs), self._lost)
                self._answer(())

    def _write_windows(self) -> None:
        """Write the first windows, in a transaction of their own. Raises `JournalError`."""
        self._check_cut()
        places, up_to = self.windows.first()
        try:
            with self._connection:
                self._ledger().write_windows(places, up_to, self._seconds())
        except Exception as error:
            self.indexes.roll_back()
            self.records.clear()
            raise JournalError(self._failed(error)) from error
        self.indexes.commit()
        self.windows.forget(places, up_to, self.last)

    def _check_cut(self) -> None:
        """Raise `JournalError` where what is written now would hide what has become of the log."""
        self._lost = self._lost or self._find_cut(self._wal_size)
        if self._lost is not None:
            raise JournalError(self._lost)

    def _seconds(self) -> int:
        """Return the time to the second, for which `clock` is asked once a second."""
        if (monotonic := self._monotonic()) - self._asked_at >= 1:
            self._now, self._asked_at = int(self._clock()), monotonic
        return self._now

    def _fail(self, items: Sequence[Item], reason: str) -> None:
        for item in items:
            item.error = JournalError(reason)

    def _work(self, job: Job) -> None:
        try:
            with self._connection:
                job.result = job.work(self._connection, *job.args)
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 - what one caller gave must not fail others
            job.error = JournalError(f"this cannot be kept: {type(error).__name__}")

    def _ledger(self, appends: Sequence[Append] = ()) -> GroupLedger:
        events = [event for append in appends for event in append.events]
        known = self.indexes, self._queues, self.records, self.windows
        return GroupLedger(self._connection, *known, events=events)

    def _write_appends(self, appends: Sequence[Append], ledger: GroupLedger, *, now: int) -> int:
        """Decide what is new, write it, and return the position of the last entry."""
        last = self.last
        ids = ledger.ids
        values: list[Any] = []  # of the rows, one after another
        full = self._is_full()
        for append in appends:
            if full is not None and append.events:
                append.error = full
                continue
            entries: list[Entry] = []
            before, start = last, len(values)
            try:
                for event, lane in append.decide(ledger, self._queues):
                    data = encode_brief(event)
                    last += 1
                    values += (last, ids[event.key], now, lane, data)
                    size = len(data)
                    entries.append(_new_entry(position=last, lane=lane, event=event, size=size))
            except CodecError as error:
                append.error = error
                ledger.undo()
                last = before
                del values[start:]
                continue
            append.entries = entries
            claims = ledger.accept()
            if len(claims) > len(entries):  # known from now on, and not published under this key
                names = set(values[start + 1 :: _WIDTH])
                for name, of in claims.items():
                    if name not in names:
                        last += 1
                        values += (last, name, now, None if of is None else of.hex(), None)
        if values:  # else a disk that is full need not refuse what is known already
            self.indexes.keys.add(values[1::_WIDTH], self.last)
            self._insert(values)
            self.indexes.keys.merge()
        if ledger.records or ledger.queues:  # else all of them are of users as they are known
            ledger.write(now)
        return last

    def _insert(self, values: list[Any]) -> None:
        """Write entries, which it takes out of the list of their values."""
        execute = self._connection.execute
        for size, statement in _INSERT:
            while len(values) > size:
                execute(statement, values[:size])
                del values[:size]
            if len(values) == size:
                execute(statement, values)
                return

    def _is_full(self) -> JournalError | None:
        limit = self._retention.max_size
        if limit and used_size(self._connection) > limit:
            self.sweep_soon(self._connection)
            return JournalError(FULL.format(limit))
        return None

    def _do(self, chore: Chore) -> None:
        self._wal_size = 0  # it may empty the log, of which whoever looks meanwhile knows as well
        self._find_lost(self._wal_size)
        try:
            chore.result = chore.work(self._connection)
        except Exception as error:  # noqa: BLE001 - as in _commit
            chore.error = JournalError(self._failed(error))

    def _sweep(self) -> None:
        """Take one step of a retention pass; a pass that fails is tried again at the next."""
        if not self._is_sweeping:
            self._sweeps_up_to = self.last
        finished = False
        try:
            if self.windows.up_to < self._sweeps_up_to:  # before the entries go that tell them
                self._write_windows()
            else:
                self._check_cut()
                finished = self._retention.step(self._connection, self.indexes)
        except Exception as error:  # noqa: BLE001 - as in _commit
            fault = self._failed(error)
            for wish in self._wishes:
                wish.error = JournalError(fault)
            finished = True
        self._is_sweeping = not finished
        if finished:
            self._swept_at = time.monotonic()
            self._sweep_at = self._swept_at + self._retention.every
            self._answer(self._wishes)
            self._wishes = []

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(apsw.Error):
                self._connection.execute("ROLLBACK")

    def _failed(self, error: Exception) -> str:
        """Note what went wrong with the disk, once for each spell of it; return it in words."""
        if isinstance(error, JournalError):  # our own refusal: the disk is well
            return str(error)
        fault = f"the journal cannot be written: {type(error).__name__}"
        if isinstance(error, apsw.BusyError):
            fault = "the journal cannot be written: another program keeps its file locked"
        elif isinstance(error, apsw.Error):  # SQLite's texts name tables and columns, never values
            fault += f": {error}"
        if not self._is_at_fault:
            _LOG.error("%s", fault)
            if getattr(error, "extendedresult", None) in _NO_ROOM:
                self.checkpoint_due.set()  # a log that starts over needs no more room
        self._is_at_fault = True
        self.fault = fault
        return fault

    def _look_whether_it_is_over(self) -> None:
        """Say that the journal can be written again, unless somebody took away a table.

        What needs none of that table is written all the time.
        """
        with suppress(apsw.Error):
            if lacking(self._connection) is None:
                self._is_at_fault = False
                _LOG.warning("the journal can be written again")

    def _committed(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        """Take note of a commit that wrote something; SQLite's hook for the write-ahead log."""
        self.commits += 1
        self.fault = None
        self._wal_size = WAL_HEADER + pages * self._frame_size
        if pages >= _CHECKPOINT_AT:
            self.checkpoint_due.set()
        return apsw.SQLITE_OK

    def _answer(self, items: Sequence[Item]) -> None:
        if items or self._lost:
            with suppress(RuntimeError):  # the loop is closed, so nobody waits
                self._loop.call_soon_threadsafe(self._answered, items, self._lost)
