"""A clock that stands still until a test moves it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from heapq import heappop, heappush
from typing import Final, final

import attrs

from bridge.clock import Clock


@final
@attrs.define(eq=False)
class _Timer:
    call: Callable[[], object] | None

    def cancel(self) -> None:
        self.call = None


@final
class MovableClock(Clock):
    """Begins at the system's time and then stands still; nothing is due until it is moved."""

    def __init__(self) -> None:
        self._now = time.time()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers: Final = itertools.count()

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return the same as `time`: this clock is never set back."""
        return self._now

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.fromtimestamp(self._now, UTC)

    def call_later(self, seconds: float, callback: Callable[..., object], *args: object) -> _Timer:
        """Call a function once the clock has been moved by so many seconds."""
        timer = _Timer(partial(callback, *args))
        heappush(self._timers, (self._now + max(0.0, seconds), next(self._numbers), timer))
        return timer

    def move(self, until: float) -> bool:
        """Go on to what is due next, at that time at the latest, and do it.

        Return whether there was something; otherwise it is that time now.
        """
        while self._timers and self._timers[0][0] <= until:
            due, _, timer = heappop(self._timers)
            if timer.call is not None:
                self._now = max(self._now, due)
                timer.call()
                return True
        self._now = max(self._now, until)
        return False
