"""Observers of a bridge: metrics, traces, the audit log.

A hook is called with details of what is about to happen, and may return a context manager, within
which it happens (as in https://stamina.hynek.me/en/stable/instrumentation.html). Results are in the
details when the context manager is left. Exceptions are passed to it as usual, but cannot be
suppressed.

Hooks run on the event loop, within the callback or the delivery itself: they must be quick and must
not block. Their exceptions are logged, and change nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import attrs

from bridge.adapter import Callback
from bridge.errors import ConfigurationError
from bridge.journal.protocol import Appended
from bridge.model import Event
from bridge.process.throttle import Throttle

T = TypeVar("T")
R = TypeVar("R")

Around: TypeAlias = AbstractContextManager[Any] | None
_Hook: TypeAlias = Callable[[Any], Around]

UNWATCHED: Final = nullcontext()
"""The context manager where no hook returns one."""


class Result(StrEnum):
    """What became of an attempt; after a dead one no other follows."""

    DONE = "done"
    FAILED = "failed"
    DEAD = "dead"


@attrs.frozen
class CallbackDetails:
    """A callback for a configured adapter; it fails with a `BridgeError`."""

    adapter: str


@attrs.define
class AppendDetails:
    """Events of a callback that are made durable; in the end, how many of them are new."""

    adapter: str
    events: Sequence[Event]
    appended: Appended | None = None
    callback: Callback | None = None


@attrs.define
class AttemptDetails:
    """An attempt to deliver an event, after so many `tries` that failed.

    Where the end of the bridge interrupts it, `result` stays None, and the event comes again.
    """

    subscriber: str
    event: Event
    tries: int
    result: Result | None = None


ACTIONS: Final = ("drop", "export", "forget", "purge", "reparse", "replay", "retry", "send")
"""What operators do that is on record; a refusal is one of a "request"."""


@attrs.define
class OperationDetails:
    """What an operator changes or takes out; in the end, how many events, letters or subscribers.

    `operator` is the name of the token that was presented, `client` where it came from. `subject`
    is who is erased, hashed, or the subscriber that is forgotten. With `refusal`, nothing was done.
    """

    action: str
    operator: str
    client: str
    subject: str | None = None
    refusal: str | None = None
    count: int | None = None

    def outcome(self, error: BaseException | None) -> str:
        """Return what became of it: "done", "failed" or "refused"."""
        if self.refusal is not None:
            return "refused"
        return "done" if error is None else "failed"


class Observer(Protocol):
    """Watches a bridge; a subclass implements the hooks that it needs.

    `verify`, `parse` and `append` are the steps of a callback.
    """

    def callback(self, details: CallbackDetails, /) -> Around:  # noqa: ARG002 - for subclasses
        """Watch a callback, until it can be responded to."""
        return None

    def verify(self, details: CallbackDetails, /) -> Around:  # noqa: ARG002 - for subclasses
        """Watch a callback being verified."""
        return None

    def parse(self, details: CallbackDetails, /) -> Around:  # noqa: ARG002 - for subclasses
        """Watch a body being parsed."""
        return None

    def append(self, details: AppendDetails, /) -> Around:  # noqa: ARG002 - for subclasses
        """Watch events being made durable. A subscriber may have them before the end of it."""
        return None

    def attempt(self, details: AttemptDetails, /) -> Around:  # noqa: ARG002 - for subclasses
        """Watch an attempt to deliver an event, which may run beside others."""
        return None

    def died(self, subscriber: str, /) -> Around:  # noqa: ARG002 - for subclasses
        """Note that a task of a subscriber's delivery ended, and was replaced."""
        return None

    def operation(self, details: OperationDetails, /) -> Around:  # noqa: ARG002 - for subclasses
        """Watch what an operator does, or is refused."""
        return None


class Hooks(list[_Hook]):
    """The same hook of all observers as one; where nobody has it, there is none to call.

    They are entered in turn and left in reverse, and never raise.
    """

    def __init__(self, throttle: Throttle) -> None:
        super().__init__()
        self._throttle = throttle

    def __call__(self, details: object, /) -> AbstractContextManager[Any]:
        """Return the context manager within which that happens which the details tell of."""
        around: AbstractContextManager[Any] = UNWATCHED
        for hook in self:
            try:
                context = hook(details)
            except BaseException as error:  # noqa: BLE001 - nobody else suffers
                self.log(hook, error)
            else:
                if context is not None:
                    around = _Guarded(self, hook, context, around)
        return around

    def around(self, details: object, step: Callable[[T], R], value: T, /) -> R:
        """Return what a step makes of a value, while the hooks watch."""
        with self(details):
            return step(value)

    def log(self, hook: _Hook, error: BaseException) -> None:
        """Log that a hook failed; not why, since that may quote what an event holds."""
        name = getattr(hook, "__qualname__", repr(type(hook)))
        fields = {"hook": name, "error": type(error).__name__}
        self._throttle.log(logging.ERROR, "an observer failed", key=name, **fields)


class Observers:
    """The observers of a bridge; nothing of them raises."""

    def __init__(self, *observers: Observer) -> None:
        throttle = Throttle(logging.getLogger(__name__))
        self.callback = Hooks(throttle)
        self.verify = Hooks(throttle)
        self.parse = Hooks(throttle)
        self.append = Hooks(throttle)
        self.attempt = Hooks(throttle)
        self.died = Hooks(throttle)
        self.operation = Hooks(throttle)
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        """Call this observer too, from now on. Raises `ConfigurationError` for what is none."""
        if not all(hasattr(type(observer), name) for name in vars(self)):
            raise ConfigurationError(
                "an observer is an object of a class made from bridge.observer.Observer, not "
                + (repr(observer) if isinstance(observer, type) else type(observer).__name__)
            )
        for name, hooks in vars(self).items():
            if getattr(type(observer), name) is not getattr(Observer, name):
                hooks.append(getattr(observer, name))

    def remove(self, observer: Observer) -> None:
        """Do not call this observer any more."""
        for hooks in vars(self).values():
            hooks[:] = [hook for hook in hooks if getattr(hook, "__self__", None) is not observer]


class _Guarded:
    """The context manager of a hook within that of earlier ones; never raises."""

    __slots__ = ("_context", "_hook", "_hooks", "_outer")

    def __init__(
        self,
        hooks: Hooks,
        hook: _Hook,
        context: AbstractContextManager[Any],
        outer: AbstractContextManager[Any],
    ) -> None:
        self._hooks = hooks
        self._hook = hook
        self._context = context
        self._outer = outer

    def __enter__(self) -> None:
        if self._outer is not UNWATCHED:
            self._outer.__enter__()
        try:
            self._context.__enter__()
        except BaseException as error:  # noqa: BLE001 - nobody else suffers
            self._context = UNWATCHED
            self._hooks.log(self._hook, error)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._context.__exit__(kind, error, traceback)
        except BaseException as failure:  # noqa: BLE001 - nobody else suffers
            if failure is not error:
                self._hooks.log(self._hook, failure)
        if self._outer is not UNWATCHED:
            self._outer.__exit__(kind, error, traceback)


class After:
    """A context manager of a hook that calls a function in the end, with the error or None."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[BaseException | None], object]) -> None:
        self._function = function

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Call the function."""
        self._function(error)
