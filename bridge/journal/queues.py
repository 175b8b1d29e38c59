"""The queues of all lanes in which something waits, and when each of them is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Any, Final

from bridge.journal.ledger import Queue

_MOST: Final = 10_000  # lanes; beyond, the first to be due are due now
_LARGEST: Final = 64 << 20  # bytes of all events that wait
_NONE: Final[Mapping[Any, str | None]] = MappingProxyType({})
_AGAIN_AFTER: Final = 1.0  # seconds until a lane that was due, and is not changed, is due again


class Queues:
    """What an engine has in memory of what waits: little, and for seconds only.

    `by_lane` is what waits in each lane, and `lanes` the lane in which the event of a key waits,
    by the key or what stands for it; both are for reading.

    `clock` gives seconds since the epoch, `monotonic` seconds that no change of the clock moves:
    an event that is due in two seconds is due in two seconds, whatever happens to the clock.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self.by_lane: dict[str, Queue] = {}
        self._size = 0
        self.lanes: dict[str | bytes, str] = {}
        self._deadlines: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # of the deadlines, those that have changed too

    def all(self) -> Sequence[Queue]:
        """Return what waits in every lane."""
        return tuple(self.by_lane.values())

    @property
    def deadline(self) -> float | None:
        """When the first lane is due, on the monotonic clock."""
        while self._heap and self._deadlines.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self) -> Sequence[tuple[str, float]]:
        """Return the lanes that are due, each with the time for which its first event was due."""
        due: list[tuple[str, float]] = []
        if not self._heap:
            return due
        now = self._monotonic()
        excess = max(len(self.by_lane) - _MOST, 1 if self._size > _LARGEST else 0)
        while (first := self.deadline) is not None and (first <= now or len(due) < excess):
            _, lane = heappop(self._heap)
            due.append((lane, self.by_lane[lane].due or 0.0))
        for lane, _ in due:
            self._set_deadline(lane, now + _AGAIN_AFTER)
        return due

    def commit(self, changed: Mapping[str, Queue], lanes: Mapping[Any, str | None] = _NONE) -> None:
        """Take note of what waits in some lanes from now on, and in which lane under which key."""
        for lane, queue in changed.items():
            before = self.by_lane.pop(lane, None)
            self._size += queue.size - (before.size if before is not None else 0)
            self._deadlines.pop(lane, None)
            if queue.due is not None:
                self.by_lane[lane] = queue
                longest = max(0.0, queue.due - queue.items[0].event.received_at.timestamp())
                seconds = min(max(0.0, queue.due - self._clock()), longest)
                self._set_deadline(lane, self._monotonic() + seconds)
        for key, where in lanes.items():
            if where is not None:
                self.lanes[key] = where
            else:
                self.lanes.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self.by_lane, self._size = {}, 0
        self.lanes, self._deadlines, self._heap = {}, {}, []

    def _set_deadline(self, lane: str, deadline: float) -> None:
        self._deadlines[lane] = deadline
        heappush(self._heap, (deadline, lane))
