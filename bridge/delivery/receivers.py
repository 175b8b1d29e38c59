"""Plain blinker receivers, each served from the journal from the moment it connects.

A receiver gets each event once, without retries and without progress that outlives the process.
It has a delivery of its own, so that one which blocks or raises holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from types import MethodType
from typing import Any, Final, Self, TypeAlias
from weakref import ReferenceType

import attrs
from blinker import Signal

from bridge.delivery.bus import Bus
from bridge.delivery.delivery import Delivery
from bridge.delivery.functions import is_async, name_of
from bridge.delivery.subscriber import Function
from bridge.errors import JournalError
from bridge.model import Event
from bridge.process.supervised import Tasks

_Callable: TypeAlias = Callable[..., Any]
_Key: TypeAlias = tuple[type[Event], Any]  # the second is the receiver's address, to blinker
_Deliver: TypeAlias = Callable[[str, Function, Callable[[Event], bool]], Awaitable[Delivery]]

_AFTER_JOURNAL_ERROR: Final = 1.0  # seconds

_log: Final = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Receiver:
    """A receiver of one signal; `kept` is what blinker has of it, perhaps a weak reference."""

    signal: Signal
    cls: type[Event]
    kept: _Callable | ReferenceType[_Callable]
    opened: asyncio.Event = attrs.field(factory=asyncio.Event)
    gone: asyncio.Event = attrs.field(factory=asyncio.Event)
    delivery: Delivery | None = None

    def find(self) -> _Callable | None:
        """Return the receiver while it exists."""
        return self.kept() if isinstance(self.kept, ReferenceType) else self.kept

    def wants(self, event: Event) -> bool:
        """Return whether the receiver is connected for this event's class and channel."""
        mine = self.find()
        return isinstance(event, self.cls) and any(
            # A method is a new object each time; nobody else's __eq__ is asked.
            each is mine or (isinstance(each, MethodType) and each == mine)
            for each in self.signal.receivers_for(event.channel)
        )

    def function(self) -> Function:
        """Return a function that calls the receiver in blinker's way."""

        def call(event: Event) -> Any:  # noqa: ANN401 - whatever it returns
            receiver = self.find()
            return None if receiver is None else receiver(event.channel, event=event)

        async def call_async(event: Event) -> None:
            called = call(event)
            if called is not None:
                await called

        return call_async if is_async(self.find() or call) else call


class Receivers:
    """Serves whoever connects to the signals, while the context is open.

    `deliver` makes a delivery of what is appended next, from a name, a function and a filter.
    """

    def __init__(self, bus: Bus, deliver: _Deliver) -> None:
        self._bus = bus
        self._deliver = deliver
        self._receivers: dict[_Key, _Receiver] = {}
        self.opening: set[_Receiver] = set()  # they are connected, and not served yet

    async def __aenter__(self) -> Self:
        """Serve the receivers that are connected, and from now on those that connect."""
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks("plain receivers")
        self._receivers.clear()  # of a loop that was closed before they were
        self.opening.clear()
        for signal in self._bus.signals.values():
            signal.receiver_connected.connect(self._changed)
            signal.receiver_disconnected.connect(self._changed)
        self._look()
        await self.opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop serving all of them."""
        for signal in self._bus.signals.values():
            signal.receiver_connected.disconnect(self._changed)
            signal.receiver_disconnected.disconnect(self._changed)
        await self._tasks.close()
        await asyncio.gather(*(each.__aexit__(None, None, None) for each in self.deliveries))
        self._receivers.clear()
        self.opening.clear()

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """Return the deliveries that run."""
        return tuple(one.delivery for one in self._receivers.values() if one.delivery is not None)

    async def opened(self) -> None:
        """Return when whoever is connected gets what is appended from now on."""
        for one in tuple(self.opening):
            await one.opened.wait()

    def _changed(self, _: Signal, **_who: object) -> None:
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False  # some other thread connects
        if is_here:
            self._look()  # at once: it gets what is appended next
        else:
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        """Begin with receivers that have come, and end with those that have gone."""
        connected = {
            (cls, address): kept
            for cls, signal in self._bus.signals.items()
            for address, kept in list(signal.receivers.items())
        }
        for key, one in list(self._receivers.items()):
            # At the address of one that is gone there may be another by now.
            if key not in connected or _differ(connected[key], one.kept):
                one.gone.set()
                self._has_opened(one)
                del self._receivers[key]
                if one.delivery is not None:
                    self._tasks.start("close", partial(one.delivery.__aexit__, None, None, None))
        for key, kept in connected.items():
            if key not in self._receivers:
                one = self._receivers[key] = _Receiver(self._bus.signal(key[0]), key[0], kept)
                self.opening.add(one)
                self._tasks.start("open", partial(self._open, one))

    async def _open(self, one: _Receiver) -> None:
        receiver = one.find()
        if receiver is None:
            return
        name, function = name_of(receiver), one.function()
        del receiver  # it may be kept by nobody else
        while not one.gone.is_set():
            try:
                delivery = await self._deliver(name, function, one.wants)
                await delivery.__aenter__()
            except JournalError as error:
                self._has_opened(one)  # nobody waits for a journal that is away
                _log.error("receiver %s cannot be served yet: %s", name, error)
                await asyncio.sleep(_AFTER_JOURNAL_ERROR)
                continue
            if one.gone.is_set():
                await delivery.__aexit__(None, None, None)
            else:
                one.delivery = delivery
            break
        self._has_opened(one)

    def _has_opened(self, one: _Receiver) -> None:
        self.opening.discard(one)
        one.opened.set()


def _differ(one: object, other: object) -> bool:
    if isinstance(one, ReferenceType) and isinstance(other, ReferenceType):
        one, other = one(), other()
    return one is not other and not (isinstance(one, MethodType) and one == other)
