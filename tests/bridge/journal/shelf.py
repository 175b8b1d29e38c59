"""A ledger as plain as can be, and a journal of what correlation publishes upon it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bridge.journal.correlation import correlate
from bridge.journal.ledger import Known, Queue, Record, Settled, User, opened
from bridge.journal.waiting import Published, release
from bridge.model import Event


class Shelf:
    """Keeps everything in dictionaries, and what was published in a list."""

    def __init__(self) -> None:
        self.published: list[Event] = []
        self.keys: dict[str, str] = {}
        self.records: dict[str, Record | str] = {}
        self.noted: set[str] = set()
        self.queues: dict[str, Queue] = {}
        self.settled: dict[str, Settled] = {}  # of which nothing is noted here

    def append(self, event: Event) -> Sequence[Event]:
        """Return what is published because of an event."""
        _, found = correlate(event, self)
        return self._publish(found)

    def wait(self) -> Sequence[Event]:
        """Let the time of everything that waits be over; return what is published."""
        found = []
        while self.queues:
            queue = next(iter(self.queues.values()))
            assert queue.due is not None
            found += self._publish(release(queue.lane, queue.due, self))
        return found

    def _publish(self, found: Sequence[Published]) -> Sequence[Event]:
        events = [event for event, _ in found]
        self.published += events
        return events

    def knows(self, key: str) -> bool:
        return key in self.keys or self._waiting(key) is not None

    def claim(self, key: str, of: str | None = None) -> None:
        assert not self.knows(key)
        self.keys[key] = of or key

    def known(self, key: str) -> Known | None:
        waiting = self._waiting(key)
        if waiting is not None:
            return waiting
        own = self.keys.get(key)
        return next((Known(event=event) for event in self.published if event.key == own), None)

    def _waiting(self, key: str) -> Known | None:
        for lane, queue in self.queues.items():
            for item in queue.items:
                if key in item.keys:
                    return Known(event=item.event, lane=lane)
        return None

    def find(self, name: str) -> Record | None:
        found = self.records.get(name)
        if isinstance(found, str):
            found = self.records.get(found)
        return None if isinstance(found, str) else found

    def save(self, record: Record) -> None:
        self.records[record.name] = record
        self.noted.add(record.name)

    def open(self, settled: Settled, until: datetime) -> None:
        user, (account, _) = settled.user, settled.place
        if until.timestamp() > user.reply_until.get(account, 0.0):
            self.save(opened(user, {**user.reply_until, account: until.timestamp()}))

    def tie(self, name: str, to: Record) -> None:
        self.records[name] = to.name
        self.noted.add(name)

    def note_settled(self, settled: Settled) -> None:
        pass

    def unsettle(self, user: User | None) -> None:
        pass

    def queue(self, lane: str) -> Queue | None:
        return self.queues.get(lane)

    def put(self, queue: Queue) -> None:
        self.queues.pop(queue.lane, None)
        if queue.items:
            self.queues[queue.lane] = queue
