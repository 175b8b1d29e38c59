"""What correlation remembers, as subjects of the stream.

A key is known if its subject has a message. A record is the last message of its subject, and is
written on the condition that nobody wrote another meanwhile; so are a key and the queue of a lane.
A group of appends is decided upon what was read before; what turns out to be missing is read, and
all is decided anew.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import attrs
import orjson

from bridge.journal.correlation import Published
from bridge.journal.ledger import (
    MOST_TIES,
    Known,
    Queue,
    Record,
    decode_queue,
    decode_record,
    encode_record,
    encode_waiting,
)
from bridge.journal.nats.broker import EXPECTED, TTL, Draft, Stored
from bridge.journal.nats.subjects import Names
from bridge.model import Event
from bridge.model.codec import decode

View = dict[str, Stored | None]
"""What is at subjects: None where nothing is. `anew` and `at` make the keys of two more kinds."""

BEFORE_ITS_EVENT: Final = b"+1"
"""What a key's message says if its event is the next message of the stream."""

_WAITS_IN: Final = b"waits:"
_GONE: Final = "60s"  # how long the emptied queue of a lane is kept


def anew(subject: str) -> str:
    """Return what stands in a view for a subject that is read though it is known to be there."""
    return f"={subject}"


def at(sequence: int) -> str:
    """Return what stands in a view for the message with a sequence."""
    return f"#{sequence}"


@attrs.frozen
class Tie:
    """What leads from one name to the record under another."""

    name: str


_Found: TypeAlias = Record | Tie


def encode_found(found: _Found) -> bytes:
    """Return what is kept under a name."""
    if isinstance(found, Tie):
        return orjson.dumps({"tied_to": found.name})
    return encode_record(found)


def decode_found(data: bytes) -> _Found:
    """Read what `encode_found` returned."""
    tied_to = orjson.loads(data).get("tied_to")
    return decode_record(data) if tied_to is None else Tie(tied_to)


def encode_queue(queue: Queue) -> bytes:
    """Return what is kept of a lane in which something waits; nothing for an empty queue."""
    if not queue.items:
        return b""
    return orjson.dumps({"lane": queue.lane, "items": orjson.Fragment(encode_waiting(queue.items))})


def read_queue(data: bytes) -> Queue | None:
    """Read what `encode_queue` returned."""
    if not data:
        return None
    found = orjson.loads(data)
    return decode_queue(found["lane"], orjson.dumps(found["items"]))


class NotSeen(Exception):
    """A subject is not in the view; it has to be read, and everything decided again."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(subject)


class GroupLedger:
    """The `Ledger` of one group of appends.

    `lanes` are those that are known to hold waiting events; the queues of others are read only
    where a key leads to one. After each append either `accept` or `undo` what it claimed.
    """

    def __init__(
        self, names: Names, view: Mapping[str, Stored | None], lanes: Container[str]
    ) -> None:
        self._names = names
        self._view = view
        self._lanes = lanes
        self._claimed: set[str] = set()
        self._accepted: set[str] = set()
        self._changed: dict[str, _Found] = {}
        self._records: dict[str, _Found] = {}
        self._queuing: dict[str, Queue] = {}
        self.queued: dict[str, Queue] = {}
        self._published: dict[str, Event] = {}
        self._relied_on: set[str] = set()

    def knows(self, key: str) -> bool:
        """See `Ledger.knows`."""
        subject = self._names.key(key)
        return (
            subject in self._claimed
            or subject in self._accepted
            or self._waits_in(key) is not None
            or self._seen(subject) is not None
        )

    def claim(self, key: str) -> None:
        """See `Ledger.claim`."""
        self._claimed.add(self._names.key(key))

    def known(self, key: str) -> Known | None:
        """See `Ledger.known`."""
        queue = self._waits_in(key)
        event = self._published.get(key)
        if queue is None and event is None:
            subject = self._names.key(key)
            if subject in self._claimed or subject in self._accepted:
                return None
            stored = self._seen(subject)
            if stored is not None and not stored.sequence:  # known to be there, and not read
                stored = self._seen(anew(subject))
            data = b"" if stored is None else stored.data
            if data.startswith(_WAITS_IN):
                queue = self._read(data.removeprefix(_WAITS_IN).decode())
            elif stored is not None and data == BEFORE_ITS_EVENT:
                follows = self._seen(at(stored.sequence + 1))
                event = None if follows is None else decode(follows.data)
        for item in () if queue is None else queue.items:
            if queue is not None and key in item.keys:
                return Known(event=item.event, lane=queue.lane)
        return None if event is None else Known(event=event)

    def _waits_in(self, key: str) -> Queue | None:
        for queue in (*self._queuing.values(), *self.queued.values()):
            if any(key in item.keys for item in queue.items):
                return self.queue(queue.lane)
        return None

    def find(self, name: str) -> Record | None:
        """See `Ledger.find`."""
        found = self._find(name)
        for _ in range(MOST_TIES):
            if not isinstance(found, Tie):
                return found
            found = self._find(found.name)
        return None

    def _find(self, name: str) -> _Found | None:
        found = self._changed.get(name) or self._records.get(name)
        if found is not None:
            return found
        stored = self._seen(self._names.track(name))
        return None if stored is None else decode_found(stored.data)

    def _seen(self, subject: str) -> Stored | None:
        try:
            return self._view[subject]
        except KeyError:
            raise NotSeen(subject) from None

    def save(self, record: Record) -> None:
        """See `Ledger.save`."""
        self._changed[record.name] = record

    def tie(self, name: str, to: Record) -> None:
        """See `Ledger.tie`."""
        self._changed[name] = Tie(to.name)

    def queue(self, lane: str) -> Queue | None:
        """See `Ledger.queue`."""
        queue = self._queuing.get(lane) or self.queued.get(lane)
        if queue is None and (lane in self._lanes or self._names.waiting(lane) in self._view):
            queue = self._read(lane)
        return queue if queue is not None and queue.items else None

    def _read(self, lane: str) -> Queue | None:
        stored = self._seen(self._names.waiting(lane))
        return None if stored is None else read_queue(stored.data)

    def put(self, queue: Queue) -> None:
        """See `Ledger.put`."""
        if queue.items or self.queue(queue.lane) is not None:
            self._seen(self._names.waiting(queue.lane))  # it may be another process's as well
            self._queuing[queue.lane] = queue

    def accept(self, published: Sequence[Published]) -> frozenset[str]:
        """Keep what the append claimed and changed; return the subjects of the claims."""
        claimed = frozenset(self._claimed)
        self._accepted |= claimed
        self._records |= self._changed
        self.queued |= self._queuing
        self._published |= {event.key: event for event, _ in published}
        if claimed or self._queuing:
            self._relied_on |= self._changed.keys()
        self.undo()
        return claimed

    def undo(self) -> None:
        """Forget what the append claimed and changed."""
        self._claimed = set()
        self._changed = {}
        self._queuing = {}

    def claim_of(self, subject: str, *, before_its_event: bool, ttl: int | None) -> Draft:
        """Return the message that makes a key known, on condition that it only waited."""
        return _key(
            subject, BEFORE_ITS_EVENT if before_its_event else b"", self._view.get(subject), ttl
        )

    def changes(self, ttl: int | None) -> Iterator[Draft]:
        """Return the messages that write the accepted records, queues and keys of what waits.

        A record that stays as it was is written as well where something new was decided upon it:
        on condition that it is still so, since an event must not say where a message stood once.
        """
        for name, found in self._records.items():
            subject = self._names.track(name)
            before = self._view.get(subject)
            data = encode_found(found)
            if before is None or before.data != data or name in self._relied_on:
                yield Draft(subject, data, _expecting(before))
        for lane, queue in self.queued.items():
            subject = self._names.waiting(lane)
            before = self._view.get(subject)
            headers = _expecting(before) | ({} if queue.items else {TTL: _GONE})
            if queue.items or before is not None:
                yield Draft(subject, encode_queue(queue), headers)
            for key in {key for item in queue.items for key in item.keys}:
                subject = self._names.key(key)
                if self._view.get(subject) is None and subject not in self._accepted:
                    yield _key(subject, _WAITS_IN + lane.encode(), None, ttl)


def _key(subject: str, data: bytes, before: Stored | None, ttl: int | None) -> Draft:
    headers = _expecting(before)
    if ttl is not None:
        headers[TTL] = f"{ttl}s"
    return Draft(subject, data, headers)


def _expecting(before: Stored | None) -> dict[str, str]:
    return {EXPECTED: "0" if before is None else str(before.sequence)}
