"""Events that are durable and wait to be published, lane by lane.

There are few and for seconds only, so all of them are in memory too. The table is what a restart
begins with. Only the writer's thread uses this, within its transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import apsw

from bridge.errors import JournalError
from bridge.journal.ledger import Queue, decode_queue, encode_waiting
from bridge.journal.protocol import concerns

_MOST: Final = 10_000  # lanes that hold waiting events at once
_AGAIN_AFTER: Final = 1.0  # seconds, where publishing what was due has failed


class Queues:
    """The queues of all lanes in which something waits.

    `clock` gives seconds since the epoch, `monotonic` seconds that no clock change moves: a
    queue that was due in two seconds is due in two seconds, whatever happens to the clock.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._queues: dict[str, Queue] = {}
        self._lanes: dict[str, str] = {}  # by key
        self._deadlines: dict[str, float] = {}
        rows: Iterable[tuple[str, bytes]] = connection.execute("SELECT lane, items FROM queues")
        self.commit({lane: decode_queue(lane, items) for lane, items in rows})

    def get(self, lane: str) -> Queue | None:
        """Return what waits in a lane."""
        return self._queues.get(lane)

    def lane_of(self, key: str) -> str | None:
        """Return the lane in which the event of a key waits."""
        return self._lanes.get(key)

    @property
    def deadline(self) -> float | None:
        """When the first queue is due, on the monotonic clock."""
        return min(self._deadlines.values(), default=None)

    def due(self) -> list[str]:
        """Return the lanes whose first event has waited long enough."""
        if not self._deadlines:
            return []
        now = self._monotonic()
        return [lane for lane, deadline in self._deadlines.items() if deadline <= now]

    def postpone(self, lanes: Iterable[str]) -> None:
        """Try these lanes again a little later."""
        for lane in lanes:
            self._deadlines[lane] = self._monotonic() + _AGAIN_AFTER

    def write(self, connection: apsw.Connection, changed: Mapping[str, Queue]) -> None:
        """Write what has changed, in the current transaction."""
        if len(self._queues) + len(changed) > _MOST:
            raise JournalError(f"{len(self._queues)} conversations wait for a fuller account")
        connection.executemany(
            "DELETE FROM queues WHERE lane = ?",
            [(lane,) for lane, queue in changed.items() if not queue.items],
        )
        connection.executemany(
            "REPLACE INTO queues (lane, items) VALUES (?, ?)",
            [(lane, encode_waiting(q.items)) for lane, q in changed.items() if q.items],
        )

    def commit(self, changed: Mapping[str, Queue]) -> None:
        """Take note that the transaction is on disk."""
        for lane, queue in changed.items():
            before = self._queues.pop(lane, None)
            for item in before.items if before else ():
                for key in item.keys:
                    self._lanes.pop(key, None)
            self._deadlines.pop(lane, None)
            if queue.due is not None:
                self._queues[lane] = queue
                for item in queue.items:
                    self._lanes |= dict.fromkeys(item.keys, lane)
                first = queue.items[0].event.received_at.timestamp()
                longest = max(0.0, queue.due - first)
                seconds = min(max(0.0, queue.due - self._clock()), longest)
                self._deadlines[lane] = self._monotonic() + seconds

    def about(self, subjects: Sequence[str]) -> dict[str, Queue]:
        """Return the queues that hold events about somebody, without these events."""
        found: dict[str, Queue] = {}
        for lane, queue in self._queues.items():
            kept = tuple(
                item
                for item in queue.items
                if not any(concerns(item.event, subject) for subject in subjects)
            )
            if len(kept) < len(queue.items):
                found[lane] = Queue(lane=lane, items=kept)
        return found
