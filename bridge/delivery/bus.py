"""Who gets which events: named subscribers, and the receivers of blinker signals.

A named subscriber is served from the journal, with progress, retries and dead letters of its
own. A plain receiver, `bus.signal(Message).connect(receiver)`, is called as `receiver(channel,
event=event)`; see `bridge.delivery.receivers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from blinker import Signal

from bridge.delivery.subscriber import Subscriber
from bridge.errors import ConfigurationError
from bridge.model import EVENT_CLASSES, Event


class Bus:
    """The named subscribers, and a blinker signal for each event class."""

    def __init__(self) -> None:
        self._signals: dict[type[Event], Signal] = {
            Event: Signal(Event.__doc__),
            **{cls: Signal(cls.__doc__) for cls in EVENT_CLASSES},
        }
        self._subscribers: dict[str, Subscriber] = {}

    @property
    def signals(self) -> Mapping[type[Event], Signal]:
        """Return the signal of each event class; that of `Event` itself carries every event."""
        return MappingProxyType(self._signals)

    def signal(self, cls: type[Event]) -> Signal:
        """Return the signal of an event class, for a plain receiver to connect to.

        Raises `ConfigurationError` for anything else.
        """
        try:
            return self._signals[cls]
        except (KeyError, TypeError):
            raise ConfigurationError(f"a signal is of an event class, not {cls!r}") from None

    @property
    def subscribers(self) -> tuple[Subscriber, ...]:
        """Return the named subscribers."""
        return tuple(self._subscribers.values())

    def add(self, subscriber: Subscriber) -> None:
        """Add a named subscriber. Raises `ConfigurationError` where the name is taken."""
        if subscriber.name in self._subscribers:
            raise ConfigurationError(
                f"two subscribers are called {subscriber.name!r}: give one of them another name"
            )
        self._subscribers[subscriber.name] = subscriber
