"""What is known of the latest events, and forgotten after thousands of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from bridge.model import Event

T = TypeVar("T")

_KEPT: Final = 2048  # events, and as many again before they are forgotten


class RecentKeys(Generic[T]):
    """A bounded map from the keys of recent events; the first value of a key stays for a while.

    Two dictionaries take turns, since removing the oldest of one by one costs more than all else.
    """

    __slots__ = ("_latest", "_older")

    def __init__(self) -> None:
        self._latest: dict[str, T] = {}
        self._older: dict[str, T] = {}

    def __len__(self) -> int:
        """Return how many keys have a value."""
        return len(self._latest) + len(self._older)

    def add(self, events: Sequence[Event], value: T) -> None:
        """Give these events a value, as far as they have none."""
        latest = self._latest
        for event in events:
            latest.setdefault(event.key, value)
        if len(latest) >= _KEPT:
            self._older, self._latest = latest, {}

    def get(self, event: Event) -> T | None:
        """Return the value of an event, or None."""
        key = event.key
        value = self._latest.get(key)
        return self._older.get(key) if value is None else value
