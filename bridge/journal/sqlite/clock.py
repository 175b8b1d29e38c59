"""A wall clock that may be wrong for a while, and still deletes nothing that is young."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_BELIEVED_AFTER: Final = 900.0  # seconds for which a clock that was set has to go on evenly
_TOLERANCE: Final = 60.0  # seconds by which it may drift or be slewed without having been set
_PAUSE: Final = 3600.0  # between the newest entry and the start, after which the clock is doubted


def monotonic() -> float:
    """Return seconds that nobody sets, with those during which the machine was suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyClock:
    """The wall clock as far as the monotonic one bears it out.

    A step of the wall clock is believed once it has stood for a quarter of an hour. Until then
    `earliest` goes on as if there had been none ahead, and `latest` as if there had been none
    back: ages are counted from the latest to the earliest time that it may be, so that a clock
    which is wrong for some minutes makes nothing old. `newest` is when the newest entry was
    appended: a start long after it is a step as well.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        steady: Callable[[], float],
        *,
        newest: float | None,
    ) -> None:
        self._wall = wall
        self._steady = steady
        now = wall()
        is_doubted = newest is not None and abs(now - newest) > _PAUSE
        self._offset = (newest if newest is not None and is_doubted else now) - steady()
        self._claimed = self._offset
        self._claimed_at = steady()

    def earliest(self) -> float:
        """Return a time that is not later than now, as far as the clocks can tell."""
        wall, believed = self._read()
        return min(wall, believed)

    def latest(self) -> float:
        """Return a time that is not earlier than now, as far as the clocks can tell."""
        wall, believed = self._read()
        return max(wall, believed)

    def _read(self) -> tuple[float, float]:
        wall, steady = self._wall(), self._steady()
        offset = wall - steady
        if abs(offset - self._offset) <= _TOLERANCE:
            self._offset = self._claimed = offset
        elif abs(offset - self._claimed) > _TOLERANCE:
            self._claimed, self._claimed_at = offset, steady
        elif steady - self._claimed_at >= _BELIEVED_AFTER:
            self._offset = offset
        return wall, self._offset + steady
