"""Run a subscriber's function, each time in a task and a context of its own.

Most async functions end without ever waiting, and a task for each would cost more than all the
rest of a delivery. So one task is kept spare: a function begins at once, as if it ran in that
task. If it waits, the task takes it over; if it ends, the task stays spare, unless somebody has
got hold of it meanwhile. (Python 3.12 has eager tasks, 3.11 has not.) `_enter_task` and
`_leave_task` are meant for those who make tasks of their own:
https://docs.python.org/3/library/asyncio-extending.html
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from asyncio import AbstractEventLoop
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from sys import getrefcount
from types import CoroutineType
from typing import Any, Final, TypeAlias, cast
from weakref import getweakrefcount

import attrs

from bridge.delivery.attempt import Attempt, Turn, request_id, turn
from bridge.delivery.functions import is_async
from bridge.delivery.pauses import Pauses
from bridge.delivery.threads import Threads
from bridge.journal.protocol import Entry
from bridge.model import Event
from bridge.observer import UNWATCHED, AttemptDetails, Observers, Result
from bridge.process.forked import end_child, forks
from bridge.process.raised import trace_of

Ended: TypeAlias = Callable[[BaseException | None], None]
"""Called once, with what a function raised or with None; it must not raise."""

_GRACE: Final = 5.0  # seconds that a function has to end once it was cancelled
_MOST_ABANDONED: Final = 100
_LEFT: Final[list[object]] = []
_NOTHING: Final = object()
_FAILED: Final = object()
_set_turn: Final = turn.set

_log: Final = logging.getLogger(__name__)


@attrs.define(eq=False)
class Running:
    """A function that is under way: in a thread, or waiting in its task.

    `overdue` is called where it is in a thread after its timeout; it must not raise.
    """

    event: Event
    context: Context
    ended: Ended = attrs.field(init=False)
    left: Ended | None = None
    overdue: Callable[[], None] | None = None
    task: asyncio.Task[None] | None = None
    is_late: bool = False

    def cancel(self) -> None:
        """Raise CancelledError where the function waits; a thread cannot be interrupted.

        To cancel a task is to run code of what it waits for, which may raise.
        """
        if self.task is not None:
            with suppress(Exception):  # such as RecursionError, where it waits for itself
                self.task.cancel()


class Runner:
    """Runs the function of one subscriber.

    A plain function runs in a thread. The result of a function is awaited if it can be. An
    awaitable is cancelled after `timeout` seconds, which counts as a TimeoutError, and abandoned if
    it does not end then. `request_id_of` names the callback of an event's key for the log.
    `observers` watch each attempt, in its context; `result_of` says what its end means. An event
    that `pauses` cover ends without the function, unless an operator replays it. `context` is that
    of the attempt seen last.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Event], object],
        *,
        subscriber: str,
        timeout: float,
        observers: Observers,
        request_id_of: Callable[[str], int | str | None] | None,
        result_of: Callable[[BaseException | None, int], Result | None],
        pauses: Pauses | None = None,
    ) -> None:
        self._pauses = pauses
        self.under_way: dict[Running, None] = {}
        self._name = name
        self._forks = forks.count
        self._function = function
        self._subscriber = subscriber
        self._timeout = timeout
        self._observers = observers
        self._request_id_of = request_id_of
        self._result_of = result_of
        self._loop = asyncio.get_running_loop()
        self.context = self._context = copy_context()
        self._context.run(request_id.set, None)  # it names callbacks that are being taken
        self._threads = None if is_async(function) else Threads(name, self._loop)
        self._spare: _Coroutine | None = None
        self._deadlines: dict[Running, float] = {}  # the earliest first
        self._timer: asyncio.TimerHandle | None = None
        self._abandoned = 0
        self._is_closed = False

    async def close(self, within: float) -> None:
        """Cancel what is under way, and wait for it to end; what does not is left behind."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._threads is not None:
            self._threads.close()
        for running in self.under_way:
            running.cancel()
        tasks = [running.task for running in self.under_way if running.task is not None]
        if self._spare is not None:
            self._spare.wake()
            tasks.append(self._spare.task)
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=within)
            for task in left:
                cast("_Coroutine", task.get_coro()).leave()

    def begin(self, entry: Entry, which: Attempt) -> Running | None:
        """Run the function until it waits; return what is under way, or None where it has ended.

        The caller sets `ended` on what is returned. Raises whatever the function raises.
        """
        if forks.count != self._forks:  # forked by a callback of somebody's, before this one
            end_child(self._name)
        event, pauses = entry.event, self._pauses
        if pauses and pauses.paused and not which.replayed and pauses.covers(event):
            return None
        context = self.context = self._context.copy()
        request_id_of = self._request_id_of
        called = None if request_id_of is None else request_id_of(event.key)
        context.run(_set_turn, Turn(self._subscriber, entry, which, called))
        watch = self._observers.attempt
        if not watch:
            return self._begin(context, event)
        details = AttemptDetails(self._subscriber, event, which.tries)
        around = context.run(watch, details)
        if around is UNWATCHED:
            return self._begin(context, event)

        def left(error: BaseException | None) -> None:
            details.result = self._result_of(error, details.tries)
            about = (None, None, None)
            context.run(around.__exit__, *(about if error is None else _about(error)))

        context.run(around.__enter__)
        try:
            running = self._begin(context, event)
        except BaseException as error:
            left(error)
            raise
        if running is None:
            left(None)
        else:
            running.left = left
        return running

    async def run(
        self, entry: Entry, which: Attempt, *, overdue: Callable[[], None]
    ) -> tuple[BaseException | None, Context]:
        """Run the function to its end; return what it raised, and the context of the attempt.

        See `Running` for `overdue`.
        """
        outcome: asyncio.Future[tuple[BaseException | None, Context]] = self._loop.create_future()

        def ended(error: BaseException | None) -> None:
            if not outcome.done():
                outcome.set_result((error, self.context))

        def begin() -> None:
            try:
                running = self.begin(entry, which)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the function's
                ended(error)
            else:
                if running is None:
                    ended(None)
                else:
                    running.ended, running.overdue = ended, overdue

        self._loop.call_soon(begin)  # not from within this task: the function sees one of its own
        return await outcome

    def _begin(self, context: Context, event: Event) -> Running | None:
        if self._threads is None:
            return self._run(context, self._function, event)
        running = Running(event, context)

        def returned(result: object, error: BaseException | None) -> None:
            more = None
            if self._is_closed:  # nobody would cancel what it returned, nor end a task for it
                if inspect.iscoroutine(result):
                    result.close()
            elif error is None:
                try:
                    more = self._run(context, lambda _: result, event, running)
                except BaseException as raised:  # noqa: BLE001 - it is the function's
                    error = raised
            if more is None:
                self._end(running, error)

        self._threads.run(lambda: context.run(self._function, event), returned)
        self._watch(running)
        return running

    def _run(
        self,
        context: Context,
        call: Callable[[Event], object],
        event: Event,
        running: Running | None = None,
    ) -> Running | None:
        """Await what a call returns, as `begin` does."""
        loop, spare = self._loop, self._spare
        if spare is None or spare.is_over:
            spare = self._spare = _Coroutine(self._name, loop)
        task = spare.task
        known = getrefcount(task) + getweakrefcount(task)
        waits_for = _FAILED
        _enter_task(loop, task)
        try:
            waits_for = context.run(spare.begin, call, event)
        finally:
            if forks.count != self._forks:
                end_child(self._name)
            _leave_task(loop, task)
            if waits_for is not _NOTHING:
                self._spare = None
                if waits_for is _FAILED:
                    spare.wake()
            elif getrefcount(task) + getweakrefcount(task) != known or task.cancelling():
                # Somebody has got hold of this task, and may cancel it later.
                self._spare = None
                spare.wake()
        if waits_for is _NOTHING:
            return None
        if running is None:
            running = Running(event, context)
        running.task = task
        self._watch(running)
        spare.go_on(context, waits_for, partial(self._end, running))
        return running

    # --- what takes too long ---------------------------------------------------------------

    def _watch(self, running: Running) -> None:
        self.under_way[running] = None
        self._deadlines.pop(running, None)
        self._deadlines[running] = deadline = self._loop.time() + self._timeout
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        self._timer = None
        now = self._loop.time()
        for running, deadline in list(self._deadlines.items()):
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._look_at_deadlines)
                break
            del self._deadlines[running]
            if running.task is None:
                self._say("is still at work after its timeout, in a thread", running)
                if running.overdue is not None:
                    running.overdue()
            else:
                running.is_late = True
                running.cancel()
                self._loop.call_later(min(self._timeout, _GRACE), self._abandon, running)

    def _abandon(self, running: Running) -> None:
        """Let the delivery go on without a function that ignores its cancellation."""
        if running not in self.under_way:
            return
        self._say("does not end though it was cancelled after its timeout", running)
        if self._abandoned < _MOST_ABANDONED:
            self._abandoned += 1
            self._tell(running, self._too_late(None))
            running.left, running.ended = None, self._has_come_back

    def _has_come_back(self, _: BaseException | None) -> None:
        self._abandoned -= 1

    def _too_late(self, error: BaseException | None) -> TimeoutError:
        late = TimeoutError(f"no answer within {self._timeout:g} s")
        late.__cause__ = error
        return late

    def _say(self, what: str, running: Running) -> None:
        key = running.event.key
        _log.error(
            "%s %s: %s",
            self._name,
            what,
            key,
            extra={"key": key},
        )

    def _end(self, running: Running, error: BaseException | None) -> None:
        self.under_way.pop(running, None)
        self._deadlines.pop(running, None)
        # What was cut off may have swallowed that, and return as if all was done.
        self._tell(running, self._too_late(error) if running.is_late else error)

    def _tell(self, running: Running, error: BaseException | None) -> None:
        self.context = running.context
        if running.left is not None:
            running.left(error)
        running.ended(error)


def _about(error: BaseException) -> tuple[type[BaseException], BaseException, Any]:
    return type(error), error, trace_of(error)


class _Coroutine(Coroutine[Any, Any, None]):
    """What a task runs: nothing while the task is spare, and then a function that waits."""

    def __init__(self, name: str, loop: AbstractEventLoop) -> None:
        self.is_over = False
        self._coroutine: Coroutine[Any, Any, object] | None = None
        self._waits_for: object = _NOTHING
        self._name = name
        self._forks = forks.count
        self._spare: asyncio.Future[None] = loop.create_future()
        self._until_called = self._spare.__await__()
        self.task = asyncio.Task(self, loop=loop, name=name)

    def begin(self, call: Callable[[Any], object], event: Event | None) -> object:
        """Run a function until it waits; return what it waits for, or _NOTHING at its end."""
        try:
            result: Any = call(event)
        except StopIteration as error:
            raise RuntimeError("the function raised StopIteration") from error
        while True:
            if type(result) is not CoroutineType:  # nearly all are
                result = _coroutine_of(result)
                if result is None:
                    return _NOTHING
            try:
                waits_for = result.send(None)
            except StopIteration as end:
                if end.value is None:
                    return _NOTHING
                result = end.value
            else:
                self._coroutine = result
                return waits_for

    def go_on(self, context: Context, waits_for: object, ended: Ended) -> None:
        """Take over in the task, which waits for the same."""
        self._context = context
        self._waits_for = waits_for
        self._ended = ended
        self.wake()

    def wake(self) -> None:
        """Let the task go on, or end if it has nothing to do."""
        if not self._spare.done():
            self._spare.set_result(None)

    def send(self, value: Any, /) -> Any:  # noqa: ANN401 - as the protocol of coroutines says
        if self._coroutine is None:
            return next(self._until_called)
        if self._waits_for is not _NOTHING:
            waits_for, self._waits_for = self._waits_for, _NOTHING
            return waits_for
        return self._step(self._coroutine.send, value)

    def throw(self, kind: Any, value: Any = None, _: Any = None, /) -> Any:  # noqa: ANN401
        error = kind if value is None else value
        if self._coroutine is None:
            self.is_over = True
            raise error
        waits_for, self._waits_for = self._waits_for, _NOTHING
        if asyncio.isfuture(waits_for) and waits_for.cancel():
            return waits_for  # as a task does that is cancelled before it waits
        return self._step(self._coroutine.throw, error)

    def leave(self) -> None:
        """End the task without the function, which ignores that it is cancelled.

        `asyncio.run` waits for all tasks.
        """
        _LEFT.append(self._coroutine)  # to be closed is what it would ignore too
        self._coroutine = None
        with suppress(Exception):  # as above
            self.task.cancel()

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise NotImplementedError

    def _step(self, resume: Callable[[Any], object], value: object) -> object:
        error = None
        run = self._context.run
        try:
            try:
                waits_for, result = run(resume, value), None
            except StopIteration as end:
                waits_for, result = _NOTHING, end.value
            if result is not None:
                waits_for = run(self.begin, lambda _: result, None)
        except BaseException as raised:  # noqa: BLE001 - it is the function's
            waits_for, error = _NOTHING, raised
        if forks.count != self._forks:
            end_child(self._name)
        if waits_for is not _NOTHING:
            return waits_for
        ended = self._ended
        # Else all of this would be left to the garbage collector: the task has this, to its end.
        del self.task, self._ended, self._context
        ended(error)
        raise StopIteration


def _coroutine_of(result: object) -> Coroutine[Any, Any, object] | None:
    """Return how to await what a function returned, or None where it cannot be awaited.

    Raises TypeError for a generator: nothing of it has run, and nobody would run it.
    """
    if result is None:
        return None
    if isinstance(result, Future):  # of an executor, or of `run_coroutine_threadsafe`
        return _awaiting(asyncio.wrap_future(result))
    if inspect.isawaitable(result):
        return _awaiting(result)
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError("the function returned a generator, of which nothing has run")
    return None


async def _awaiting(awaitable: Any) -> object:  # noqa: ANN401 - whatever can be awaited
    return await awaitable
