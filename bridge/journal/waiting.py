"""What waits in a lane to be published, and what is published because of it.

The first event of a queue waits for a fuller account, until it is due; the events behind it wait
for their turn, so that a lane keeps its order. `Queues` is what an engine has of it in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import attrs

from bridge.journal.lanes import lane_of
from bridge.journal.ledger import Ledger, Queue, Waiting
from bridge.model import Event, Message
from bridge.model.codec import encode
from bridge.model.frozen import evolved
from bridge.model.keys import is_of_unshown, shown_key

Published: TypeAlias = tuple[Event, str]
"""An event to publish now, and its lane."""

_LONGEST: Final = 60.0  # seconds that an event waits, whatever its adapter asks for
_MOST: Final = 100  # events that wait in one lane
_LARGEST: Final = 512 << 10  # bytes that wait in one lane; NATS keeps them as one message
_MOST_LANES: Final = 10_000  # lanes; beyond, the first to be due are due now
_MOST_BYTES: Final = 64 << 20  # bytes of all events that wait
_NONE: Final[Mapping[Any, str | None]] = MappingProxyType({})
_AGAIN_AFTER: Final = 1.0  # seconds until a lane that was due, and is not changed, is due again


def publish_or_wait(
    event: Event, keys: Sequence[str], ledger: Ledger, *, settle: float | None = None
) -> Sequence[Published]:
    """Publish an event that is new, or let it wait: to settle, or for those before it.

    `keys` are all names of its happening; its own key is the first. The key of a message that it
    could not show is one only for as long as it waits. Raises `CodecError`.
    """
    if type(event) is Message and event.intent is None:  # as nearly all
        lane = event.conversation.id
    else:
        lane = lane_of(event)
    queue = ledger.queue(lane)
    if queue is None and not settle:
        if len(keys) == 1:
            ledger.claim(event.key)
        else:
            _claim(event, keys, ledger)
        return ((event, lane),)
    due = event.received_at.timestamp() + min(settle, _LONGEST) if settle else None
    waiting = Waiting(event=event, keys=tuple(keys), size=len(encode(event)), due=due)
    return _drain(Queue(lane=lane, items=(*(queue.items if queue else ()), waiting)), ledger)


def enrich(lane: str, message: Message, keys: Sequence[str], ledger: Ledger) -> Sequence[Published]:
    """Put a fuller message in the place of those that wait under its keys, which are one.

    It goes on waiting only while it is to settle.
    """
    queue = ledger.queue(lane) or Queue(lane=lane)
    first, *others = (item for item in queue.items if item.event.key in keys)
    names = (message.key, *keys, *(key for item in (first, *others) for key in item.keys))
    if lane_of(message) != lane:  # since it is known whose it is
        all_names, published = take(lane, names, ledger)
        more = publish_or_wait(message, all_names, ledger, settle=message.settle)
        return (*published, *more)
    due = first.due if message.settle is not None else None
    whole = Waiting(
        event=message, keys=tuple(dict.fromkeys(names)), size=len(encode(message)), due=due
    )
    items = (whole if item is first else item for item in queue.items if item not in others)
    return _drain(Queue(lane=lane, items=tuple(items)), ledger)


def take(
    lane: str, keys: Sequence[str], ledger: Ledger
) -> tuple[Sequence[str], Sequence[Published]]:
    """Remove events that wait; return all of their keys, and what is published in their stead."""
    queue = ledger.queue(lane) or Queue(lane=lane)
    gone = [item for item in queue.items if item.event.key in keys]
    names = dict.fromkeys((*keys, *(key for item in gone for key in item.keys)))
    kept = tuple(item for item in queue.items if item not in gone)
    return tuple(names), _drain(Queue(lane=lane, items=kept), ledger)


def release(lane: str, due: float, ledger: Ledger) -> Sequence[Published]:
    """Publish what was due in a lane at some time, and what waited behind it."""
    queue = ledger.queue(lane)
    return () if queue is None else _drain(queue, ledger, due)


def move(lane: str, to: str, ledger: Ledger) -> Sequence[Published]:
    """Let what waits in one conversation wait in another, behind what waits there."""
    queue = ledger.queue(lane)
    if queue is None:
        return ()
    ledger.put(Queue(lane=lane))
    before = ledger.queue(to)
    moved = tuple(
        attrs.evolve(item, event=_in_conversation(item.event, to)) for item in queue.items
    )
    return _drain(Queue(lane=to, items=(*(before.items if before else ()), *moved)), ledger)


def withdraw(
    lane: str, unwanted: Callable[[Event], bool], ledger: Ledger
) -> tuple[int, Sequence[Published]]:
    """Let events in a lane wait no more, unpublished; return how many, and what came next."""
    queue = ledger.queue(lane)
    gone = [item for item in queue.items if unwanted(item.event)] if queue is not None else []
    if queue is None or not gone:
        return 0, ()
    kept = tuple(item for item in queue.items if item not in gone)
    published = _drain(Queue(lane=lane, items=kept), ledger)
    for item in gone:
        _claim(item.event, item.keys, ledger)
    return len(gone), published


def _drain(queue: Queue, ledger: Ledger, due: float = -math.inf) -> Sequence[Published]:
    """Publish what need not wait at the front of a queue, and keep the rest."""
    items, size, free = queue.items, queue.size, 0
    while free < len(items) and (
        (next_due := items[free].due) is None
        or next_due <= due
        or len(items) - free > _MOST
        or size > _LARGEST
    ):
        size -= items[free].size
        free += 1
    ledger.put(Queue(lane=queue.lane, items=items[free:]))
    for item in items[:free]:
        _claim(item.event, item.keys, ledger)
    return [(item.event, queue.lane) for item in items[:free]]


def _claim(event: Event, keys: Sequence[str], ledger: Ledger) -> None:
    ledger.claim(event.key)
    is_unshown = shown_key(event) is not None
    for key in keys:
        # What could not be shown does not claim the names of the message that may still come.
        if is_unshown and not is_of_unshown(key, event.domain):
            continue
        if key != event.key and not ledger.knows(key):
            ledger.claim(key, event.key)


def _in_conversation(event: Event, conversation: str) -> Event:
    where = getattr(event, "conversation", None)
    if where is None:
        return event
    return evolved(event, conversation=attrs.evolve(where, id=conversation))


# --- what engines have in memory -----------------------------------------------------------------


class Queues:
    """What an engine has in memory of what waits: little, and for seconds only.

    `by_lane` is what waits in each lane, and `lanes` the lane in which the event of a key waits,
    by the key or what stands for it. `deadline` is when the first lane is due, on the monotonic
    clock; None: nothing waits. All three are for reading.

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
        self.deadline: float | None = None
        self._deadlines: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # of the deadlines, those that have changed too

    def all(self) -> Sequence[Queue]:
        """Return what waits in every lane."""
        return tuple(self.by_lane.values())

    def due(self) -> Sequence[tuple[str, float]]:
        """Return the lanes that are due, each with the time for which its first event was due."""
        due: list[tuple[str, float]] = []
        if not self._heap:
            return due
        now = self._monotonic()
        excess = max(len(self.by_lane) - _MOST_LANES, 1 if self._size > _MOST_BYTES else 0)
        while (first := self._next_deadline()) is not None and (first <= now or len(due) < excess):
            _, lane = heappop(self._heap)
            due.append((lane, self.by_lane[lane].due or 0.0))
        for lane, _ in due:
            self._set_deadline(lane, now + _AGAIN_AFTER)
        self.deadline = self._next_deadline()
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
        self.deadline = self._next_deadline()
        for key, where in lanes.items():
            if where is not None:
                self.lanes[key] = where
            else:
                self.lanes.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self.by_lane, self._size = {}, 0
        self.lanes, self._deadlines, self._heap = {}, {}, []
        self.deadline = None

    def _set_deadline(self, lane: str, deadline: float) -> None:
        self._deadlines[lane] = deadline
        heappush(self._heap, (deadline, lane))

    def _next_deadline(self) -> float | None:
        while self._heap and self._deadlines.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None
