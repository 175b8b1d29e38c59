"""Who listens to what: a blinker signal for each event class, with the channel as sender.

`Bus.add` connects a named subscriber, which the delivery serves from the journal with retries.
A plain `connect` on a signal works too: such a receiver is called as `receiver(channel,
event=event)`, once for each event from the moment it connects, without retries.
"""

from __future__ import annotations

import inspect
import logging
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeAlias, cast

import attrs
from blinker import ANY, Signal

from bridge.errors import ConfigurationError
from bridge.model import EVENT_CLASSES, Content, Direction, Event, Message

Function: TypeAlias = Callable[[Any], object]
"""What a subscriber runs: called with the event; what it returns is awaited if it can be."""

_log: Final = logging.getLogger(__name__)


@attrs.frozen(kw_only=True, eq=False)
class Subscriber:
    """A named listener and the events it wants; None filters nothing.

    `direction` and `content` are about messages, so with either of them nothing else is wanted.
    """

    name: str
    function: Function
    events: tuple[type[Event], ...] = (Event,)
    channel: str | None = None
    account: str | None = None
    direction: Direction | None = None
    content: tuple[type[Content], ...] = ()

    @property
    def filters(self) -> bool:
        """Return whether there are finer filters at all."""
        return not (self.account is self.direction is None and not self.content)

    def wants(self, event: Event) -> bool:
        """Return whether the finer filters let this event through (the signals do the rest)."""
        if self.account is not None and event.account != self.account:
            return False
        if self.direction is None and not self.content:
            return True
        if not isinstance(event, Message):
            return False
        if self.direction is not None and event.direction is not self.direction:
            return False
        return not self.content or isinstance(event.content, self.content)

    def __call__(self, channel: str, *, event: Event) -> object:
        """Take an event that somebody sends through the signal by hand."""
        del channel
        return self.function(event) if self.wants(event) else None


class Bus:
    """The signals, and the subscribers connected to them."""

    def __init__(self) -> None:
        self._signals = {cls: Signal(cls.__doc__) for cls in (Event, *EVENT_CLASSES)}
        self._subscribers: dict[str, Subscriber] = {}
        # blinker's own look-ups cost more than a whole delivery; the answers only change when
        # somebody connects. (They also do when somebody goes, and then are only cautious.)
        self._listening: dict[tuple[type[Event], str], frozenset[Subscriber]] = {}
        self._heard: dict[tuple[type[Event], str], bool] = {}
        for signal in self._signals.values():
            signal.receiver_connected.connect(self._forget)

    def signal(self, cls: type[Event]) -> Signal:
        """Return the signal of an event class; that of `Event` itself carries every event."""
        return self._signals[cls]

    @property
    def subscribers(self) -> tuple[Subscriber, ...]:
        """Return the named subscribers."""
        return tuple(self._subscribers.values())

    def add(self, subscriber: Subscriber) -> None:
        """Connect a named subscriber. Raises `ConfigurationError` where the name is taken."""
        if subscriber.name in self._subscribers:
            raise ConfigurationError(
                f"two subscribers are called {subscriber.name!r}: give one of them another name"
            )
        self._subscribers[subscriber.name] = subscriber
        sender: Any = ANY if subscriber.channel is None else subscriber.channel
        for cls in subscriber.events:
            # Held strongly: blinker would otherwise let a lambda or a bound method vanish.
            self._signals[cls].connect(subscriber, sender=sender, weak=False)
        self._listening.clear()

    def remove(self, name: str) -> None:
        """Disconnect a named subscriber, if there is one."""
        subscriber = self._subscribers.pop(name, None)
        if subscriber is not None:
            for cls in subscriber.events:
                self._signals[cls].disconnect(subscriber)
            self._listening.clear()

    def listens(self, subscriber: Subscriber, event: Event) -> bool:
        """Return whether a named subscriber gets this event."""
        return self.listener(subscriber)(event)

    def listener(self, subscriber: Subscriber) -> Callable[[Event], bool]:
        """Return `listens` for one subscriber, for who asks for every event."""
        listening, filters = self._listening, subscriber.filters

        def listens(event: Event) -> bool:
            place = (type(event), event.channel)
            subscribers = listening.get(place)
            if subscribers is None:
                subscribers = listening[place] = frozenset(
                    one for one in self._receivers(event) if isinstance(one, Subscriber)
                )
            return subscriber in subscribers and (not filters or subscriber.wants(event))

        return listens

    def heard(self, event: Event) -> bool:
        """Return whether any plain receiver gets this event, or did lately."""
        place = (type(event), event.channel)
        heard = self._heard.get(place)
        if heard is None:
            heard = self._heard[place] = any(True for _ in self._plain(event))
        return heard

    def _forget(self, _: Signal, **_connected: object) -> None:
        self._listening.clear()
        self._heard.clear()

    async def publish(self, event: Event, executor: Executor) -> None:
        """Send an event to the plain receivers, each on its own; a failing one is logged."""
        for receiver in list(self._plain(event)):
            try:
                await as_async(receiver, executor)(event.channel, event=event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                _log.error(
                    "a receiver failed",
                    extra={
                        "receiver": name_of(receiver),
                        "key": event.key,
                        "error": type(error).__name__,
                        "where": raised_at(error),
                    },
                )

    def _receivers(self, event: Event) -> Iterable[Callable[..., Any]]:
        for cls in (type(event), Event):
            yield from self._signals[cls].receivers_for(event.channel)

    def _plain(self, event: Event) -> Iterable[Callable[..., Any]]:
        return (
            receiver for receiver in self._receivers(event) if not isinstance(receiver, Subscriber)
        )


def as_async(
    function: Callable[..., object], executor: Executor
) -> Callable[..., Awaitable[object]]:
    """Return the function itself if it is async, else one that runs it in a thread.

    A plain function may block, and must not hold up everyone else while it does. It sees the
    caller's context variables.
    """
    if is_async(function):
        return cast("Callable[..., Awaitable[object]]", function)

    async def in_thread(*args: object, **kwargs: object) -> object:
        result = await get_running_loop().run_in_executor(
            executor, partial(copy_context().run, function, *args, **kwargs)
        )
        return await result if inspect.isawaitable(result) else result

    return in_thread


def is_async(function: Callable[..., object]) -> bool:
    """Return whether calling this gives an awaitable: an async function, method or object."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object's own call may be async
    )


def name_of(function: Callable[..., object]) -> str:
    """Return `module:name` of a function, as it is written in the settings."""
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def raised_at(error: BaseException) -> str | None:
    """Return the innermost line that raised, and none of the values there."""
    traceback = error.__traceback__
    if traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
