"""From the journal to one subscriber: lanes, retries, dead letters.

::

    Cursor.read ─► lanes, one per conversation ─► workers ─► the subscriber's function
                       ▲                             │
                       └── held until due ◄── failed ┘── tries used up ─► dead letter

Entries of a lane are delivered one at a time and in order; lanes never wait for each other.
An entry that fails is *held* in the journal until its next try is due, and so is what comes
after it in its lane; meanwhile the cursor moves on. Memory stays bounded: a window of entries
that are read and not settled, a short queue for each lane, a limit on the lanes that wait.

Delivery is at least once: what was given to the function and not yet settled comes again after
a crash.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import CoroutineType, TracebackType, coroutine
from typing import Any, Final, Self

import attrs

from bridge.bus import as_async, is_async, raised_at
from bridge.errors import JournalError
from bridge.instrumentation import Result, Tried
from bridge.journal.base import Cursor, Entry, Failure, Held, Settlement
from bridge.model import Event
from bridge.settings import DeliverySettings

_BATCH: Final = 256
_WINDOW: Final = 1024  # entries read and not settled
_LANE_QUEUE: Final = 64  # of those, at most this many wait in one lane's memory
_WAITING_LANES: Final = 10_000  # lanes with a retry to come; beyond, nothing new is read
_BURST: Final = 8  # entries of one lane before another lane has its turn
_SLICE: Final = 0.0005  # seconds that a worker goes on for while it need not wait
_SAVE_EVERY: Final = 0.05  # seconds; progress is at-least-once anyway
_AFTER_JOURNAL_ERROR: Final = 1.0  # seconds
_ERROR_LENGTH: Final = 1000

_log: Final = logging.getLogger(__name__)


@attrs.frozen
class Attempt:
    """Which try of an event a subscriber is in.

    `tries` counts those that failed before it. `replayed` says that somebody asked for the
    event again, so that this subscriber may have taken it before; its key tells.
    """

    tries: int = 0
    replayed: bool = False


FIRST: Final = Attempt()
_attempt: Final[ContextVar[Attempt]] = ContextVar("attempt", default=FIRST)


def current() -> Attempt:
    """Return which try of its event the calling subscriber is in; elsewhere, a first one."""
    return _attempt.get()


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
        self._wants = wants
        self._policy = policy
        self._observe = observe
        self._results = {result: Tried(subscriber=name, result=result) for result in Result}
        self._recall = recall
        self._timeout = policy.timeout if is_async(function) else None
        self._threads = ThreadPoolExecutor(policy.concurrency, thread_name_prefix=name)
        self._function = as_async(function, self._threads)
        self._tasks: list[asyncio.Task[None]] = []
        self._reader: asyncio.Task[None] | None = None

        self._lanes: dict[str, _Lane] = {}
        self._ready: asyncio.Queue[_Lane] = asyncio.Queue()  # bounded by window and lanes
        self._waiting = 0
        self._inflight: OrderedDict[int, None] = OrderedDict()
        self._read_up_to = cursor.position
        self._room = asyncio.Event()
        self._moved = asyncio.Event()

        # What the journal has yet to be told.
        self._saving = asyncio.Lock()
        self._dirty = asyncio.Event()
        self._saved_position = cursor.position
        self._held: dict[int, Held] = {}
        self._released: set[int] = set()
        self._dead: list[Failure] = []

    async def __aenter__(self) -> Self:
        """Take up where the subscriber stopped. Raises `JournalError`."""
        await self.wake()
        self._reader = asyncio.create_task(self._read(), name=f"{self.name}: read")
        self._tasks = [
            self._reader,
            asyncio.create_task(self._save(), name=f"{self.name}: save"),
            *(
                asyncio.create_task(self._work(), name=f"{self.name}: work {n}")
                for n in range(self._policy.concurrency)
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
            await self._flush()

    async def drain(self, *, up_to: int | None = None) -> None:
        """Take in nothing more and return when what is under way has ended.

        With `up_to`, first take in everything up to that position of the journal, and also
        finish what is held and need not wait for its next try.
        """
        while up_to is not None and self._read_up_to < up_to:
            self._moved.clear()
            await self._moved.wait()
        if self._reader is not None:
            self._reader.cancel()
        while self._inflight or (
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
            if not lane.held:
                lane.held = True
                self._waiting += 1
            if lane.queued:
                lane.look_again = True
            else:
                self._schedule(lane, due_at)

    # --- taking in -----------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            while len(self._inflight) >= _WINDOW or self._waiting >= _WAITING_LANES:
                self._room.clear()
                await self._room.wait()
            try:
                entries = await self._cursor.read(min(_BATCH, _WINDOW - len(self._inflight)))
            except JournalError as error:
                self._complain("cannot read the journal", error)
                await asyncio.sleep(_AFTER_JOURNAL_ERROR)
                continue
            for entry in entries:
                self._take(entry)
            self._read_up_to = entries[-1].position
            self._moved.set()
            self._dirty.set()
            await asyncio.sleep(0)  # a journal in memory never waits: let the others work

    def _take(self, entry: Entry) -> None:
        if not self._wants(entry.event):
            return
        lane = self._lanes.get(entry.lane)
        if lane is None:
            lane = self._lanes[entry.lane] = _Lane(entry.lane)
            self._enqueue(lane)
        if lane.held or len(lane.entries) >= _LANE_QUEUE:
            self._hold(lane, Held(entry=entry))
            return
        self._inflight[entry.position] = None
        lane.entries.append(entry)

    # --- giving out ----------------------------------------------------------------------

    async def _work(self) -> None:
        since = time.monotonic()
        while True:
            lane = await self._ready.get()
            try:
                if lane.entries:
                    await self._advance(lane)
                else:
                    await self._resume(lane)
            except JournalError as error:
                self._complain("cannot reach what is held", error)
                self._schedule(lane, time.time() + _AFTER_JOURNAL_ERROR)
            if time.monotonic() - since > _SLICE:
                await asyncio.sleep(0)  # a subscriber that never waits must not hold up others
                since = time.monotonic()

    async def _advance(self, lane: _Lane) -> None:
        """Deliver what a lane has in memory."""
        for _ in range(_BURST):
            entry = lane.entries[0]
            error = await self._try(entry, FIRST)
            lane.entries.popleft()
            if error is not None and not self._fail(lane, Held(entry=entry), error):
                # What waited behind it now waits in the journal.
                for later in lane.entries:
                    self._hold(lane, Held(entry=later))
                lane.entries.clear()
                self._settled(entry)
                return
            self._settled(entry)
            if not lane.entries:
                break
        if lane.entries or lane.held:
            self._enqueue(lane)
        else:
            del self._lanes[lane.name]

    async def _resume(self, lane: _Lane) -> None:
        """Deliver what the journal holds for a lane, as far as it is due."""
        await self._flush()
        found = await self._cursor.held(lane.name, _BURST)
        if found or lane.look_again:
            lane.look_again = False
        elif not any(held.entry.lane == lane.name for held in self._held.values()):
            del self._lanes[lane.name]
            self._waiting -= 1
            self._moved_on()
            return
        for held in found:
            if held.due_at is not None and held.due_at > time.time():
                self._schedule(lane, held.due_at)
                return
            error = await self._try(held.entry, Attempt(held.tries, held.replayed))
            if error is None:
                self._released.add(held.entry.position)
                self._dirty.set()
            elif not self._fail(lane, held, error):
                return
        self._enqueue(lane)

    async def _try(self, entry: Entry, attempt: Attempt) -> BaseException | None:
        """Give the subscriber an event; return what went wrong, whatever it was."""
        task = asyncio.current_task()
        _attempt.set(attempt)
        if self._recall is not None:
            self._recall(entry.event)
        try:
            await self._run(entry.event)
        except asyncio.CancelledError as error:
            if task is not None and task.cancelling():
                raise
            return error  # the subscriber's own doing
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it is not theirs to exit
            return error
        self._report(Result.DONE)
        if _log.isEnabledFor(logging.DEBUG):
            extra = {"subscriber": self.name, "key": entry.event.key}
            _log.debug("delivered", extra=extra)
        return None

    async def _run(self, event: Event) -> None:
        """Run the function; its time runs from where it first waits."""
        awaitable = self._function(event)
        if type(awaitable) is CoroutineType:
            try:
                waits_for = awaitable.send(None)
            except StopIteration:
                return  # most never wait, and need no timer
            awaitable = _resumed(awaitable, waits_for)
        async with asyncio.timeout(self._timeout):
            await awaitable

    def _report(self, result: Result) -> None:
        if self._observe is not None:
            self._observe(self._results[result])

    def _fail(self, lane: _Lane, held: Held, error: BaseException) -> bool:
        """Hold an entry for its next try; return True where it has had its last."""
        now = time.time()
        tries = held.tries + 1
        first = held.first_failed_at or now
        final = tries >= self._policy.tries
        self._report(Result.DEAD if final else Result.FAILED)
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
        if final:
            self._dead.append(
                Failure(
                    entry=held.entry,
                    tries=tries,
                    first_failed_at=first,
                    failed_at=now,
                    error=text,
                )
            )
            self._dirty.set()
            return True
        self._hold(
            lane,
            attrs.evolve(held, tries=tries, due_at=due_at, first_failed_at=first, error=text),
        )
        self._schedule(lane, due_at)
        return False

    def _hold(self, lane: _Lane, held: Held) -> None:
        if not lane.held:
            lane.held = True
            self._waiting += 1
        self._held[held.entry.position] = held
        self._inflight.pop(held.entry.position, None)
        self._dirty.set()

    def _enqueue(self, lane: _Lane) -> None:
        lane.queued = True
        self._ready.put_nowait(lane)

    def _schedule(self, lane: _Lane, due_at: float) -> None:
        lane.queued = False
        self._moved.set()
        if lane.timer is not None:
            lane.timer.cancel()
        delay = max(0.0, due_at - time.time())
        lane.timer = asyncio.get_running_loop().call_later(delay, self._due, lane)

    def _due(self, lane: _Lane) -> None:
        lane.timer = None
        self._enqueue(lane)

    def _settled(self, entry: Entry) -> None:
        self._inflight.pop(entry.position, None)
        self._dirty.set()
        self._moved_on()

    def _moved_on(self) -> None:
        self._room.set()
        self._moved.set()

    # --- telling the journal -------------------------------------------------------------

    async def _save(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_SAVE_EVERY)
            try:
                await self._flush()
            except JournalError as error:
                self._complain("cannot save progress", error)
                await asyncio.sleep(_AFTER_JOURNAL_ERROR)

    async def _flush(self) -> None:
        async with self._saving:
            self._dirty.clear()
            position = next(iter(self._inflight), self._read_up_to + 1) - 1
            held, released, dead = self._held, self._released, self._dead
            if position == self._saved_position and not (held or released or dead):
                return
            self._held, self._released, self._dead = {}, set(), []
            settlement = Settlement(
                position=position,
                held=tuple(held.values()),
                released=tuple(released),
                dead=tuple(dead),
            )
            try:
                await self._cursor.settle(settlement)
            except BaseException:
                # Not told: tell it again, together with what has come since.
                self._held = held | self._held
                self._released |= released
                self._dead = dead + self._dead
                self._dirty.set()
                raise
            self._saved_position = position

    def _complain(self, what: str, error: JournalError) -> None:
        _log.error(what, extra={"subscriber": self.name, "error": str(error)})


@coroutine
def _resumed(
    started: CoroutineType[Any, Any, object], waits_for: object
) -> Generator[object, Any, object]:
    """Go on with a coroutine that waits for something already."""
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
            step = partial(started.throw, error)
        else:
            step = partial(started.send, sent)
        try:
            waits_for = step()
        except StopIteration as end:
            return end.value


def delay(policy: DeliverySettings, tries: int) -> float:
    """Return how many seconds to wait after so many failed tries."""
    exponent = min(tries - 1, 60)  # beyond, the power says nothing that max_delay does not
    seconds = min(policy.first_delay * 2.0**exponent, policy.max_delay)
    spread = random.uniform(-policy.jitter, policy.jitter)  # noqa: S311 - spreads load, no secret
    return seconds * (1 + spread)
