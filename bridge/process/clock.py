"""What a bridge takes for the time, and how it does something later.

A test has a clock of its own, which it moves (`bridge.testing`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol


class Timer(Protocol):
    """Something that is to be done later."""

    def cancel(self) -> object:
        """Do it never, if it was not done yet."""
        ...


class Clock:
    """The system's clocks, and the timers of the running event loop."""

    def time(self) -> float:
        """Return seconds since the epoch; somebody may set this clock."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds of a clock that nobody sets."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[..., object], *args: object) -> Timer:
        """Call a function once in the running event loop, so many seconds from now."""
        return asyncio.get_running_loop().call_later(seconds, callback, *args)


SYSTEM_CLOCK: Final = Clock()
"""The clock of every bridge that is not tested."""
