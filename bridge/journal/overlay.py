"""What a group of appends changes in the ledger, over what the engine has stored.

An engine subclasses `Overlay` and reads what is stored; what is new is collected here until the
engine writes it. An append that fails by itself is undone without touching the others of its
group, and a record that several of them change is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs

from bridge.journal.ledger import Known, Ledger, Queue, Record, Track, User
from bridge.journal.waiting import Published
from bridge.model import Event

Id = TypeVar("Id", bytes, str)


@attrs.define
class Changes(Generic[Id]):
    """What has been changed: keys (with the key of their event, where that is another), and so on.

    An id in the place of a record is a tie. `lanes` says where the event of a key waits; None: it
    does not any more.
    """

    claims: dict[Id, Id | None] = attrs.field(factory=dict)
    records: dict[Id, Record | Id] = attrs.field(factory=dict)
    queues: dict[str, Queue] = attrs.field(factory=dict)
    lanes: dict[Id, str | None] = attrs.field(factory=dict)
    published: dict[Id, Event] = attrs.field(factory=dict)


class Overlay(Ledger, Generic[Id]):
    """The `Ledger` of one group of appends: after each of them either `accept` or `undo` it.

    `Id` is what the engine keeps in the place of keys and names.
    """

    def __init__(self) -> None:
        self.group: Changes[Id] = Changes()
        self._append: Changes[Id] = Changes()

    # --- what the engine reads ---------------------------------------------------------------

    def id_of(self, text: str) -> Id:
        """Return what stands for a key or a name."""
        raise NotImplementedError

    def has_key(self, key: Id) -> bool:
        """Return whether a key is stored as known."""
        raise NotImplementedError

    def stored_event(self, key: Id) -> Event | Id | None:
        """Return the event that is stored under a key, or the key that this one is another of."""
        raise NotImplementedError

    def stored_record(self, name: Id) -> Record | Id | None:
        """Return what is stored under a name: a record, or the name that it is tied to."""
        raise NotImplementedError

    def stored_queue(self, lane: str) -> Queue | None:
        """Return what is stored of a lane."""
        raise NotImplementedError

    def stored_lane(self, key: Id) -> str | None:
        """Return the lane in which the event of a key is stored to wait."""
        raise NotImplementedError

    # --- the ledger --------------------------------------------------------------------------

    def knows(self, key: str) -> bool:
        """See `Ledger.knows`."""
        name = self.id_of(key)
        return (
            name in self._append.claims
            or name in self.group.claims
            or self._lane_of(name) is not None
            or self.has_key(name)
        )

    def claim(self, key: str, of: str | None = None) -> None:
        """See `Ledger.claim`."""
        self._append.claims[self.id_of(key)] = None if of is None else self.id_of(of)

    def known(self, key: str) -> Known | None:
        """See `Ledger.known`."""
        name = self.id_of(key)
        for _ in range(2):  # another key of an event leads to its own
            lane = self._lane_of(name)
            queue = None if lane is None else self.queue(lane)
            for item in () if queue is None else queue.items:
                if any(self.id_of(each) == name for each in item.keys):
                    return Known(event=item.event, lane=lane)
            found = self._event_of(name)
            if isinstance(found, Event):
                return Known(event=found)
            if found is None:
                return None
            name = found
        return None

    def _event_of(self, name: Id) -> Event | Id | None:
        for changes in (self._append, self.group):
            if name in changes.published:
                return changes.published[name]
            if name in changes.claims:
                return changes.claims[name]
        return self.stored_event(name)

    def _lane_of(self, name: Id) -> str | None:
        for changes in (self._append, self.group):
            if name in changes.lanes:
                return changes.lanes[name]
        return self.stored_lane(name)

    def find(self, name: str) -> Record | None:
        """See `Ledger.find`."""
        found = self._find(self.id_of(name))
        if found is not None and not isinstance(found, Track | User):
            found = self._find(found)
        return found if isinstance(found, Track | User) else None

    def _find(self, name: Id) -> Record | Id | None:
        return (
            self._append.records.get(name)
            or self.group.records.get(name)
            or self.stored_record(name)
        )

    def save(self, record: Record) -> None:
        """See `Ledger.save`."""
        self._append.records[self.id_of(record.name)] = record

    def tie(self, name: str, to: Record) -> None:
        """See `Ledger.tie`."""
        self._append.records[self.id_of(name)] = self.id_of(to.name)

    def queue(self, lane: str) -> Queue | None:
        """See `Ledger.queue`."""
        queue = self._append.queues.get(lane) or self.group.queues.get(lane)
        if queue is None:
            queue = self.stored_queue(lane)
        return queue if queue is not None and queue.items else None

    def put(self, queue: Queue) -> None:
        """See `Ledger.put`."""
        before = self.queue(queue.lane)
        if before is None and not queue.items:
            return
        lanes = self._append.lanes
        for item in before.items if before is not None else ():
            lanes |= dict.fromkeys(map(self.id_of, item.keys))
        for item in queue.items:
            lanes |= dict.fromkeys(map(self.id_of, item.keys), queue.lane)
        self._append.queues[queue.lane] = queue

    @property
    def changed_queues(self) -> Sequence[Queue]:
        """Return the queues that the last append has changed."""
        return tuple(self._append.queues.values())

    # --- the group ---------------------------------------------------------------------------

    def publish(self, published: Sequence[Published]) -> None:
        """Take note of what the append publishes."""
        for event, _ in published:
            self._append.published[self.id_of(event.key)] = event

    def accept(self) -> Changes[Id]:
        """Keep what the last append changed, and return it."""
        changes, group = self._append, self.group
        group.claims |= changes.claims
        group.published |= changes.published
        if changes.records:
            group.records |= changes.records
        if changes.queues:
            group.queues |= changes.queues
            group.lanes |= changes.lanes
        self._append = Changes()
        return changes

    def undo(self) -> None:
        """Forget what the last append changed."""
        self._append = Changes()
