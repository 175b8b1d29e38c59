"""The workers that serve one subscriber; how they share the work, the package's docstring says."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import attrs

from bridge.delivery.attempt import FIRST, Attempt, attempt, begin, delay, finish
from bridge.delivery.functions import as_async, is_async, raised_at
from bridge.delivery.progress import Progress
from bridge.errors import JournalError
from bridge.journal.protocol import Cursor, Entry, Held, Retry
from bridge.model import Event
from bridge.observer import Result, Tried
from bridge.settings import DeliverySettings

_BATCH: Final = 256
_WINDOW: Final = 1024  # entries taken and not settled
_LANE_QUEUE: Final = 64  # of those, at most this many wait in one lane's memory
_WAITING_LANES: Final = 10_000  # lanes with a retry to come; beyond, nothing new is read
_BURST: Final = 8  # entries of one lane before another lane has its turn
_SLICE: Final = 0.0005  # seconds that a worker goes on for while it need not wait
_SAVE_EVERY: Final = 0.05  # seconds; progress is at-least-once anyway
_AFTER_JOURNAL_ERROR: Final = 1.0  # seconds
_ERROR_LENGTH: Final = 1000

_log: Final = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Lane:
    """A conversation that has something to deliver: in memory, or held in the journal."""

    name: str
    entries: deque[Entry] = attrs.field(factory=deque)
    held: bool = False
    queued: bool = False  # a worker has it, or will
    look_again: bool = False
    timer: asyncio.TimerHandle | None = None


class Delivery:
    """Serves one subscriber while the context is open.

    `policy.timeout` limits one try of an async function; a plain function runs in a thread that
    cannot be interrupted, and keeps its conversation until it returns.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Event], object],
        cursor: Cursor,
        *,
        wants: Callable[[Event], bool],
        policy: DeliverySettings,
        observe: Callable[[Tried], None] | None = None,
        recall: Callable[[Event], None] | None = None,
    ) -> None:
        self.name = name
        self._cursor = cursor
        self._progress = Progress(cursor)
        self._wants = wants
        self._policy = policy
        self._observe = observe
        self._success = Tried(subscriber=name, result=Result.DONE)
        self._recall = recall
        self._timeout = policy.timeout if is_async(function) else None
        self._threads = ThreadPoolExecutor(policy.concurrency, thread_name_prefix=name)
        self._function = as_async(function, self._threads)
        self._tasks: list[asyncio.Task[None]] = []
        self._reader: asyncio.Task[None] | None = None
        self._is_draining = False
        self._is_verbose = False

        self._batch: deque[Entry] = deque()
        self._read_up_to = cursor.position
        self._is_led = False
        self._busy = 0
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[_Lane] = deque()  # bounded by window and lanes
        self._idle: list[asyncio.Future[None]] = []
        self._waiting = 0
        self._room = asyncio.Event()
        self._moved = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Take up where the subscriber stopped. Raises `JournalError`."""
        await self.wake()
        self._tasks = [
            asyncio.create_task(self._save(), name=f"{self.name}: save"),
            *(
                asyncio.create_task(self._work(), name=f"{self.name}: work {n}")
                for n in range(self._policy.concurrency + 1)  # one of them reads
            ),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop at once, saving what is done; what is under way comes again. See `drain`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes.values():
            if lane.timer is not None:
                lane.timer.cancel()
        # A thread cannot be interrupted: whoever waits for one that hangs waits forever.
        self._threads.shutdown(wait=False, cancel_futures=True)
        with suppress(JournalError):
            await self._progress.save()

    async def drain(self, *, up_to: int | None = None) -> None:
        """Take in nothing more and return when what is under way has ended.

        With `up_to`, first take in everything up to that position of the journal, and also
        finish what is held and need not wait for its next try.
        """
        while up_to is not None and self._progress.taken_up_to < up_to:
            self._moved.clear()
            await self._moved.wait()
        self._is_draining = True
        self._batch.clear()
        self._read_up_to = self._progress.taken_up_to
        if self._reader is not None:
            self._reader.cancel()
        while self._progress.under_way or (
            up_to is not None and any(lane.queued for lane in self._lanes.values())
        ):
            self._moved.clear()
            await self._moved.wait()

    @property
    def held_lanes(self) -> int:
        """Return how many conversations wait for a retry."""
        return self._waiting

    async def wake(self) -> None:
        """Look for held entries again, as after a dead letter was given back."""
        for name, due_at in (await self._cursor.waiting()).items():
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = _Lane(name)
            self._mark_held(lane)
            if lane.queued:
                lane.look_again = True
            else:
                self._schedule(lane, due_at)

    # --- taking in -----------------------------------------------------------------------

    async def _lead(self) -> None:
        """Read entries and serve each at once; end where one takes longer than a moment."""
        self._is_led = True
        since = time.monotonic()
        waiting: tuple[_Lane, Awaitable[object]] | None = None
        while waiting is None:
            if not self._batch:
                self._progress.taken_up_to = self._read_up_to
                self._progress.changed.set()
                self._moved_on()
                if not await self._read():
                    return
                since = time.monotonic()
            while self._busy >= self._policy.concurrency:
                self._room.clear()
                await self._room.wait()
            if not self._batch:
                continue  # nothing is wanted, or the batch was let go of meanwhile
            entry = self._batch.popleft()
            waiting = self._take(entry)
            self._progress.taken_up_to = entry.position
            if waiting is None and time.monotonic() - since > _SLICE:
                await asyncio.sleep(0)  # a subscriber that never waits must not hold up others
                since = time.monotonic()
        self._is_led = False
        self._call_a_worker()
        await self._serve(*waiting)

    async def _read(self) -> bool:
        """Read the next batch; return False where nothing more is to be taken in."""
        while not self._is_draining:
            if self._progress.under_way >= _WINDOW or self._waiting >= _WAITING_LANES:
                self._room.clear()
                await self._room.wait()
                continue
            limit = min(_BATCH, _WINDOW - self._progress.under_way)
            self._reader = asyncio.current_task()
            try:
                entries = await self._cursor.read(limit)
            except JournalError as error:
                self._complain("cannot read the journal", error)
                await asyncio.sleep(_AFTER_JOURNAL_ERROR)
                continue
            finally:
                self._reader = None
            self._is_verbose = _log.isEnabledFor(logging.DEBUG)  # asked once for many
            self._batch.extend([entry for entry in entries if self._wants(entry.event)])
            self._read_up_to = entries[-1].position
            if not self._batch:
                await asyncio.sleep(0)  # a journal in memory never waits
            return True
        return False

    def _take(self, entry: Entry) -> tuple[_Lane, Awaitable[object]] | None:
        """Begin with an entry, or put it behind what its lane is busy with.

        Return the lane and the rest of the function where that has to wait.
        """
        lane = self._lanes.get(entry.lane)
        if lane is not None:
            if lane.held or len(lane.entries) >= _LANE_QUEUE:
                self._hold(lane, Held(entry=entry))
            else:
                self._progress.begin(entry)
                lane.entries.append(entry)
            return None
        try:
            rest = self._begin(entry, FIRST)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, as in _try
            lane = self._lanes[entry.lane] = _Lane(entry.lane)
            if self._fail(lane, Held(entry=entry), error):
                del self._lanes[entry.lane]
            return None
        if rest is None:
            self._done(entry)
            return None
        self._progress.begin(entry)
        lane = self._lanes[entry.lane] = _Lane(entry.lane, deque((entry,)), queued=True)
        return lane, rest

    # --- giving out ----------------------------------------------------------------------

    async def _work(self) -> None:
        since = time.monotonic()
        while True:
            if self._ready and self._busy < self._policy.concurrency:
                await self._serve(self._ready.popleft())
            elif not self._is_led:
                await self._lead()
            else:
                await self._until_called()
                since = time.monotonic()
            if time.monotonic() - since > _SLICE:
                await asyncio.sleep(0)
                since = time.monotonic()

    async def _until_called(self) -> None:
        called = asyncio.get_running_loop().create_future()
        self._idle.append(called)
        await called

    def _call_a_worker(self) -> None:
        while self._idle:
            called = self._idle.pop()
            if not called.done():  # it may have been cancelled
                called.set_result(None)
                return

    async def _serve(self, lane: _Lane, begun: Awaitable[object] | None = None) -> None:
        """Deliver what a lane has; its first entry may have been begun with."""
        self._busy += 1
        try:
            if lane.entries:
                await self._advance(lane, begun)
            else:
                await self._resume(lane)
        except JournalError as error:
            self._complain("cannot reach what is held", error)
            self._schedule(lane, time.time() + _AFTER_JOURNAL_ERROR)
        finally:
            self._busy -= 1
            self._room.set()

    async def _advance(self, lane: _Lane, begun: Awaitable[object] | None) -> None:
        """Deliver what a lane has in memory."""
        for _ in range(_BURST):
            entry = lane.entries[0]
            error = await self._try(entry, FIRST, begun)
            begun = None
            lane.entries.popleft()
            if error is not None and not self._fail(lane, Held(entry=entry), error):
                # What waited behind it now waits in the journal.
                for later in lane.entries:
                    self._hold(lane, Held(entry=later))
                lane.entries.clear()
                self._settle(entry)
                return
            self._settle(entry)
            if not lane.entries:
                break
        if lane.entries or lane.held:
            self._enqueue(lane)
        else:
            del self._lanes[lane.name]

    async def _resume(self, lane: _Lane) -> None:
        """Deliver what the journal holds for a lane, as far as it is due."""
        lane.look_again = False
        await self._progress.save()
        found = await self._cursor.held(lane.name, _BURST)
        for held in found:
            retry = held.retry
            if retry.due_at is not None and retry.due_at > time.time():
                self._schedule(lane, retry.due_at)
                return
            error = await self._try(held.entry, Attempt(retry.tries, retry.replayed))
            if error is None:
                self._progress.release(held.entry)
            elif not self._fail(lane, held, error):
                return
        # Told before anything passes: after a crash the lane would begin with these again.
        await self._progress.save()
        if lane.look_again or len(found) == _BURST:
            self._enqueue(lane)
            return
        del self._lanes[lane.name]
        self._waiting -= 1
        self._moved_on()

    async def _try(
        self, entry: Entry, which: Attempt, begun: Awaitable[object] | None = None
    ) -> BaseException | None:
        """Give the subscriber an event; return what went wrong, whatever it was."""
        task = asyncio.current_task()
        try:
            rest = self._begin(entry, which) if begun is None else begun
            if rest is not None:
                await finish(rest, self._timeout)
        except asyncio.CancelledError as error:
            if task is not None and task.cancelling():
                raise
            return error  # the subscriber's own doing
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it is not theirs to exit
            return error
        self._done(entry)
        return None

    def _begin(self, entry: Entry, which: Attempt) -> Awaitable[object] | None:
        if attempt.get() is not which:
            attempt.set(which)
        if self._recall is not None:
            self._recall(entry.event)
        return begin(self._function, entry.event)

    def _done(self, entry: Entry) -> None:
        if self._observe is not None:
            self._observe(self._success)
        if self._is_verbose:
            _log.debug("delivered", extra={"subscriber": self.name, "key": entry.event.key})

    def _fail(self, lane: _Lane, held: Held, error: BaseException) -> bool:
        """Hold an entry for its next try; return True where it has had its last."""
        now = time.time()
        tries = held.retry.tries + 1
        final = tries >= self._policy.tries
        if self._observe is not None:
            result = Result.DEAD if final else Result.FAILED
            self._observe(Tried(subscriber=self.name, result=result))
        text = f"{type(error).__name__}: {error}"[:_ERROR_LENGTH]
        if isinstance(error, TimeoutError) and not str(error):
            text = f"no answer within {self._timeout} s"
        due_at = now + delay(self._policy, tries)
        _log.log(
            logging.ERROR if final else logging.WARNING,
            "gave up: dead letter" if final else "failed: will be tried again",
            extra={
                "subscriber": self.name,
                "key": held.entry.event.key,
                "tries": tries,
                "error": type(error).__name__,
                "where": raised_at(error),
                **({} if final else {"seconds": round(due_at - now, 1)}),
            },
        )
        retry = Retry(
            tries=tries,
            due_at=None if final else due_at,
            first_failed_at=held.retry.first_failed_at or now,
            failed_at=now,
            error=text,
            replayed=held.retry.replayed,
        )
        held = Held(entry=held.entry, retry=retry)
        if final:
            self._progress.dead_letter(held)
            return True
        self._hold(lane, held)
        self._schedule(lane, due_at)
        return False

    # --- lanes ---------------------------------------------------------------------------

    def _hold(self, lane: _Lane, held: Held) -> None:
        self._mark_held(lane)
        lane.look_again = True
        self._progress.hold(held)

    def _mark_held(self, lane: _Lane) -> None:
        if not lane.held:
            lane.held = True
            self._waiting += 1

    def _enqueue(self, lane: _Lane) -> None:
        lane.queued = True
        self._ready.append(lane)
        self._call_a_worker()

    def _schedule(self, lane: _Lane, due_at: float) -> None:
        lane.queued = False
        self._moved.set()
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        delay = due_at - time.time()
        if delay <= 0:
            self._enqueue(lane)
        else:
            lane.timer = asyncio.get_running_loop().call_later(delay, self._due, lane)

    def _due(self, lane: _Lane) -> None:
        lane.timer = None
        self._enqueue(lane)

    def _settle(self, entry: Entry) -> None:
        self._progress.settle(entry)
        self._moved_on()

    def _moved_on(self) -> None:
        self._room.set()
        self._moved.set()

    # --- telling the journal -------------------------------------------------------------

    async def _save(self) -> None:
        while True:
            await self._progress.changed.wait()
            await asyncio.sleep(_SAVE_EVERY)
            try:
                await self._progress.save()
            except JournalError as error:
                self._complain("cannot save progress", error)
                await asyncio.sleep(_AFTER_JOURNAL_ERROR)

    def _complain(self, what: str, error: JournalError) -> None:
        _log.error(what, extra={"subscriber": self.name, "error": str(error)})
