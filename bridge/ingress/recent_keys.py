"""What is known of the latest events, and forgotten after thousands of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from bridge.model import Event

T = TypeVar("T")

_KEPT: Final = 2048  # events, and as many again before they are forgotten


class Recent(Generic[T]):
    """Ties something to events by their keys; the first that is tied to one stays for a while.

    Two dictionaries take turns, since removing the oldest of one by one costs more than all else.
    """

    __slots__ = ("_latest", "_older")

    def __init__(self) -> None:
        self._latest: dict[str, T] = {}
        self._older: dict[str, T] = {}

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._latest) + len(self._older)

    def tie(self, events: Sequence[Event], value: T) -> None:
        """Remember something of these events."""
        latest = self._latest
        for event in events:
            latest.setdefault(event.key, value)
        if len(latest) >= _KEPT:
            self._older, self._latest = latest, {}

    def of(self, event: Event) -> T | None:
        """Return what is remembered of an event, or None."""
        key = event.key
        value = self._latest.get(key)
        return self._older.get(key) if value is None else value
