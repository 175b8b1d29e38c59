"""What serves one subscriber; the package's docstring draws it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Self

from bridge.delivery.attempt import FIRST, NEW, Attempt, Later
from bridge.delivery.failures import Failures
from bridge.delivery.gathering import Gathered
from bridge.delivery.holding import Holding
from bridge.delivery.lanes import QUEUE, Lane, Lanes
from bridge.delivery.pauses import Pauses
from bridge.delivery.progress import Progress
from bridge.delivery.running import Runner, Running
from bridge.errors import JournalError, Stop
from bridge.journal.lanes import lane_of
from bridge.journal.protocol import Cursor, Entry, Held, Retry
from bridge.model import Event
from bridge.observer import Observers, Result
from bridge.process.clock import SYSTEM_CLOCK, Clock
from bridge.process.raised import described, is_a
from bridge.process.supervised import Tasks, report
from bridge.process.throttle import Throttle
from bridge.settings import DeliverySettings

_BATCH: Final = 256
_WINDOW: Final = 1024  # entries taken and not settled
_MAX_SIZE: Final = 32 << 20  # bytes of JSON of those entries; beyond, nothing new is read
_WAITING_LANES: Final = 10_000  # lanes with a retry to come; beyond, nothing new is read
_SLICE: Final = 0.0005  # seconds in which entries are begun with before others have their turn
_AFTER_JOURNAL_ERROR: Final = 1.0  # seconds
_TO_CLOSE: Final = 1.0  # seconds for functions to end once they are cancelled

_log: Final = logging.getLogger(__name__)


class Delivery:
    """Serves one subscriber while the context is open.

    `policy.timeout` limits what is awaited; a plain function runs in a thread that cannot be
    interrupted, and keeps its conversation until it returns. From its timeout on, the journal holds
    what waits for it, so that nothing else does. The delivery of a plain receiver has no dead
    letters. With `pauses`, users' messages in paused conversations are passed over. `new_after`,
    which may be set, is the position beyond which what comes has come in this life of the process.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Event], object],
        cursor: Cursor,
        *,
        wants: Callable[[Event], bool],
        policy: DeliverySettings,
        observers: Observers | None = None,
        request_id_of: Callable[[str], int | str | None] | None = None,
        is_plain: bool = False,
        clock: Clock = SYSTEM_CLOCK,
        gather: float | None = None,
        pauses: Pauses | None = None,
        in_transactions: bool = False,
    ) -> None:
        self.name = name
        self.new_after = math.inf
        self._who = f"receiver {name}" if is_plain else f"subscriber {name}"
        self._cursor = cursor
        self._progress = Progress(cursor, in_transactions=in_transactions)
        self._function = function
        self._wants = wants
        self._policy = policy
        self._observers = Observers() if observers is None else observers
        self._clock = clock
        self._pauses = pauses
        self._gathered = None if gather is None else Gathered(function)
        self._failures = Failures(
            subscriber=name,
            who=self._who,
            last="the last try" if is_plain else "a dead letter",
            function=function,
            policy=policy,
            clock=clock,
        )
        self._runner = Runner(
            self._who,
            function if self._gathered is None else self._gathered.call,
            subscriber=name,
            timeout=policy.timeout,
            observers=self._observers,
            request_id_of=request_id_of,
            result_of=self._result_of,
            pauses=pauses,
        )
        self._tasks = Tasks(self._who, self._died)
        self._throttle = Throttle(_log)
        self._loop = asyncio.get_running_loop()
        self._draining = asyncio.Event()
        self._is_closing = False
        self._is_stopped = False
        self._is_verbose = False
        self._is_at_end = True  # as far as it is known
        self._batch: deque[Entry] = deque()
        self._taken: Entry | None = None  # of which the function runs, and has not waited yet
        self._expected: dict[str, str] = {}  # keys, and the lanes of their events
        self._reader: asyncio.Task[None] | None = None
        self._is_called = False
        self._busy = 0
        self._room = asyncio.Event()
        self._moved = asyncio.Event()
        self._lanes = Lanes(
            self._progress,
            clock,
            max_delay=policy.max_delay,
            call=self._call,
            moved=self._moved,
            silence=gather or 0.0,
        )
        self._holding = Holding(
            cursor=cursor,
            progress=self._progress,
            lanes=self._lanes,
            runner=self._runner,
            failures=self._failures,
            clock=clock,
            gathered=self._gathered,
            done=self._done,
            stop=self._stop,
            moved=self._moved_on,
        )
        self._begun = self._holding.begun

    async def __aenter__(self) -> Self:
        """Take up where the subscriber stopped. Raises `JournalError`."""
        await self.wake()
        self._tasks.start("save", partial(self._progress.keep_saved, self._not_saved))
        self._tasks.start("read", self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, saving what is done; what is under way comes again. See `drain`.

        Functions are cancelled. One that does not end within a second is left behind.
        """
        self._is_closing = True
        self._lanes.close()
        self._progress.close()
        await self._tasks.close()
        await self._runner.close(_TO_CLOSE)
        with suppress(JournalError):
            await self._progress.save()

    async def drain(self, *, up_to: int | None = None) -> None:
        """Take in nothing more and return when what is under way has ended.

        With `up_to`, first take in everything up to that position of the journal, and also
        finish what is held and need not wait for its next try.
        """
        while up_to is not None and self._progress.taken_up_to < up_to and not self._is_stopped:
            await self._next_move()
        self._take_no_more()
        if up_to is not None:
            self._lanes.end_gathering()
        while self._is_busy(with_held=up_to is not None):
            await self._next_move()

    def _take_no_more(self) -> None:
        self._draining.set()
        self._batch.clear()
        if self._reader is not None:
            self._reader.cancel()

    async def caught_up(self, up_to: int) -> None:
        """Return when everything up to a position has been tried, and what failed waits.

        Something may come meanwhile, or be due.
        """
        while self._is_busy(with_held=True) or (
            self._progress.taken_up_to < up_to and not self._is_stopped
        ):
            await self._next_move()

    def _is_busy(self, *, with_held: bool) -> bool:
        if self._is_stopped:
            return bool(self._runner.under_way)
        return bool(self._progress.under_way or self._holding.overdue) or (
            with_held and any(lane.queued for lane in self._lanes.by_name.values())
        )

    async def _next_move(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    @property
    def is_stopped(self) -> bool:
        """Return whether the subscriber asked for nothing more."""
        return self._is_stopped

    @property
    def held_lanes(self) -> int:
        """Return how many conversations wait for a retry."""
        return self._lanes.waiting

    @property
    def at_work(self) -> tuple[str, ...]:
        """Return the keys of the events with which the function is at work."""
        return tuple(running.event.key for running in self._runner.under_way)

    async def note_begun(self, event: Event) -> None:
        """Note durably that the function begins with what cannot be undone.

        If the process ends before the function does, `Attempt.begun` tells the next try. For the
        function alone. Raises `JournalError`, and `TimeoutError` where it took so long that it was
        given up.
        """
        lane = self._lanes.by_name.get(lane_of(event))
        if lane is None and self._taken is not None and self._taken.event is event:
            lane = self._lanes.busy_with(self._taken)
        await self._holding.note_begun(lane, event)

    def has_begun(self, event: Event) -> None:
        """Note the same of an event that says so itself, which is durable already."""
        self._begun[event.key] = False

    def expect(self, event: Event) -> bool:
        """Return whether an event that is about to be appended has its turn as soon as it is.

        Then it counts as under way until it is taken, or until `expect_no_more`.
        """
        lane, expected = lane_of(event), self._expected
        ahead = len(self._progress.under_way) + self._lanes.waiting + len(expected)
        if (
            ahead >= 2 * self._policy.concurrency
            or self._batch
            or not self._is_at_end
            or self._cursor.reached < self.new_after  # what is left of an earlier life
            or lane in self._lanes.by_name
            or lane in expected.values()
            or self._draining.is_set()
        ):
            return False
        expected[event.key] = lane
        return True

    def expect_no_more(self, event: Event) -> None:
        """Take note that an event has not been appended."""
        self._expected.pop(event.key, None)

    async def wake(self, *, at_once: bool = False) -> None:
        """Look for held entries again, as after a dead letter was given back.

        With `at_once`, the first of each lane is due now.
        """
        self._lanes.wake(await self._cursor.waiting(), at_once=at_once)

    # --- taking in -----------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        """Return whether something new may be read."""
        return (
            not self._batch
            and len(self._progress.under_way) < _WINDOW
            and self._lanes.waiting < _WAITING_LANES
            and self._progress.size <= _MAX_SIZE
        )

    async def _read(self) -> None:
        if self._pauses is not None:
            await self._pauses.known()
        while not self._draining.is_set():
            if not self._has_room:
                self._room.clear()
                await self._room.wait()
                continue
            if self._progress.taken_up_to != self._cursor.reached:
                self._progress.taken_up_to = self._cursor.reached  # what is between is held
                self._call()
            self._reader = asyncio.current_task()
            try:
                room = min(_BATCH, _WINDOW - len(self._progress.under_way))
                entries = await self._cursor.read(room)
            except JournalError as error:
                self._log_error("cannot read the journal", error)
                await asyncio.sleep(_AFTER_JOURNAL_ERROR)
                continue
            except asyncio.CancelledError:
                if not self._draining.is_set():
                    raise
                return
            finally:
                self._reader = None
            self._is_verbose = _log.isEnabledFor(logging.DEBUG)  # asked once for many
            self._is_at_end = len(entries) < room
            if entries:
                self._progress.taken_up_to = entries[0].position - 1
            self._batch.extend(entries)
            self._call()

    def _call(self) -> None:
        """Begin with what may begin, in the next turn of the loop."""
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._safely, self._begin)

    def _begin(self) -> None:
        self._is_called = False
        concurrency, ready, batch = self._policy.concurrency, self._lanes.ready, self._batch
        until = time.monotonic() + _SLICE
        while self._busy < concurrency and not (self._is_closing or self._is_stopped):
            if ready:
                self._serve(ready.popleft())
            elif batch:
                entry = batch.popleft()
                try:
                    self._take(entry)
                except Exception as error:  # noqa: BLE001 - a bug, which must not lose an entry
                    self._break(entry, error)
            else:
                break
            if time.monotonic() > until:
                self._call()  # a function that never waits must not hold up others
                break
        if not self._progress.changed.is_set():
            self._progress.save_in_a_while()
        self._moved_on()

    def _take(self, entry: Entry) -> None:
        """Begin with an entry, or put it behind what its lane is busy with."""
        self._progress.taken_up_to = entry.position
        if self._pauses is not None and isinstance(entry.event, self._pauses.heeded):
            self._pauses.note(entry.event)
        if self._expected:
            self._expected.pop(entry.event.key, None)
        if not self._wants(entry.event):
            return
        lane = self._lanes.by_name.get(entry.lane)
        if self._gathered is not None:
            self._lanes.gather(entry)
        elif lane is None:
            self._taken = entry
            try:
                running = self._runner.begin(entry, self._first(entry))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the subscriber's
                self._after(self._lane_with(entry), entry, error)
            else:
                if running is not None:
                    self._follow(self._lane_with(entry), entry, running)
                elif (lane := self._lanes.by_name.get(entry.lane)) is not None:
                    self._after(lane, entry, None)  # it has noted that it began
                else:
                    if self._begun:
                        self._begun.pop(entry.event.key, None)
                    self._progress.changed.set()
                    self._done(entry)
            finally:
                self._taken = None
        elif lane.held or len(lane.entries) >= QUEUE:
            self._holding.hold_back(lane)
            self._lanes.hold(lane, Held(entry=entry))
        else:
            self._progress.begin(entry)
            lane.entries.append(entry)

    def _lane_with(self, entry: Entry) -> Lane:
        """Return the lane that is busy with an entry, a new one where there is none."""
        return self._lanes.by_name.get(entry.lane) or self._lanes.busy_with(entry)

    def _break(self, entry: Entry, error: Exception) -> None:
        """Hold an entry with which our own code has failed."""
        report(self._who, "delivery", error)
        self._died()
        lane = self._lanes.get(entry.lane)
        self._holding.hold_back(lane)
        self._lanes.hold(lane, Held(entry=entry))
        if not lane.queued:
            self._lanes.schedule(lane, _AFTER_JOURNAL_ERROR)

    # --- trying ----------------------------------------------------------------------------

    def _serve(self, lane: Lane) -> None:
        """Deliver the next that a lane has, in memory or else in the journal."""
        if not lane.entries:
            self._busy += 1
            self._tasks.start("retry", partial(self._resume, lane), partial(self._resumed, lane))
            return
        entry = lane.entries[0]
        try:
            running = self._runner.begin(entry, self._first(entry))
        except BaseException as error:  # noqa: BLE001 - as in _take
            self._after(lane, entry, error)
        else:
            if running is None:
                self._after(lane, entry, None)
            else:
                self._follow(lane, entry, running)

    def _first(self, entry: Entry) -> Attempt:
        return NEW if entry.position > self.new_after else FIRST

    def _follow(self, lane: Lane, entry: Entry, running: Running) -> None:
        """Go on with the lane when a function has ended."""
        self._busy += 1
        lane.is_running = True

        def ended(error: BaseException | None) -> None:
            self._busy -= 1
            lane.is_running = False
            self._call()
            self._after(lane, entry, error)

        running.ended = ended
        running.overdue = partial(self._safely, self._holding.let_go, lane, entry)

    def _after(self, lane: Lane, entry: Entry, error: BaseException | None) -> None:
        """Note what became of the first entry of a lane; the next one has its turn later."""
        try:
            self._go_on(lane, entry, error)
        except Exception as bug:  # noqa: BLE001 - a bug, which must lose neither entry nor lane
            lane.queued = False
            self._break(entry, bug)

    def _go_on(self, lane: Lane, entry: Entry, error: BaseException | None) -> None:
        if self._is_closing:
            return  # it was cut off, and comes again
        held, lane.trying = lane.trying, None
        if held is not None:
            self._holding.overdue -= 1
        elif (
            is_a(error, Later)
            and entry.event.key not in self._begun
            and not self._draining.is_set()
            and self._lanes.park(lane, error)
        ):
            return
        else:
            lane.entries.popleft()
        is_held = self._begun.pop(entry.event.key, None)
        if is_held or held is not None:
            self._progress.rest(entry)
        if error is None:
            self._done(entry)
            if is_held or held is not None:
                self._progress.release(entry)
        elif not self._holding.fail(
            lane, Held(entry=entry, retry=Retry(begun=is_held is not None)), error
        ):
            self._holding.hold_back(lane)  # what waited behind it
            self._settle(entry)
            return
        self._settle(entry)
        if lane.entries or lane.held:
            self._lanes.enqueue(lane)
        else:
            self._lanes.remove(lane)

    async def _resume(self, lane: Lane) -> None:
        """Deliver what the journal holds for a lane, as far as it is due."""
        try:
            if self._pauses is not None:
                await self._pauses.known()
            await self._holding.deliver(lane)
        except JournalError as error:
            self._log_error("cannot reach what is held", error)
            self._lanes.schedule(lane, _AFTER_JOURNAL_ERROR)

    def _resumed(self, lane: Lane, error: BaseException | None) -> None:
        self._busy -= 1
        self._call()
        if error is not None:
            # It was ended by others, or there is a bug: what it was at work on has failed.
            held, lane.trying = lane.trying, None
            if held is None or self._holding.fail(lane, held, error):
                self._lanes.schedule(lane, _AFTER_JOURNAL_ERROR)

    def _result_of(self, error: BaseException | None, tries: int) -> Result | None:
        """Return what an attempt means after so many tries; None where our own end cut it off."""
        if error is not None and self._is_closing:
            return None
        return self._failures.result_of(error, tries)

    def _done(self, entry: Entry) -> None:
        if self._is_verbose:
            extra = {"subscriber": self.name, "key": entry.event.key}
            self._runner.context.run(partial(_log.debug, "delivered", extra=extra))

    def _stop(self, error: Stop) -> None:
        """Give the subscriber nothing more, as it asks for."""
        if not self._is_stopped:
            self._is_stopped = True
            self._take_no_more()
            told = "%s is given nothing more until the bridge starts again: %s"
            _log.error(told, self._who, described(error), extra={"subscriber": self.name})

    def _settle(self, entry: Entry) -> None:
        self._progress.settle(entry)
        self._moved_on()

    def _moved_on(self) -> None:
        if self._has_room:  # else whoever reads would wake for nothing
            self._room.set()
        self._moved.set()

    # --- our own -------------------------------------------------------------------------

    async def _not_saved(self, error: JournalError) -> None:
        self._log_error("cannot save progress", error)
        await asyncio.sleep(_AFTER_JOURNAL_ERROR)

    def _safely(self, step: Callable[..., None], *args: object) -> None:
        """Go on whatever happens, as a task of ours does."""
        try:
            step(*args)
        except Exception as error:  # noqa: BLE001 - a bug, which must not end the delivery
            report(self._who, "delivery", error)
            self._died()
            self._call()

    def _died(self) -> None:
        self._observers.died(self.name)

    def _log_error(self, what: str, error: JournalError) -> None:
        message = f"{self._who} {what}: {error}"
        self._throttle.log(logging.ERROR, message, key=what, subscriber=self.name)
