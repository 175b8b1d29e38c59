"""What correlation remembers, as subjects of the stream.

A key is known if its subject has a message. A record is the last message of its subject, and so is
the queue of a lane; all three are written on the condition that nobody wrote another one meanwhile.
A group of appends is decided upon what was read before; what turns out to be missing is read, and
all is decided anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import orjson

from bridge.journal.grouping import Unread
from bridge.journal.ledger import (
    Queue,
    Record,
    decode_queue,
    decode_record,
    encode_record,
    encode_waiting,
)
from bridge.journal.nats.messages import EXPECTED, TTL, Draft, Stored
from bridge.journal.nats.subjects import Names, digest
from bridge.journal.overlay import Ids, Overlay
from bridge.journal.reading import read_event
from bridge.model import Event

View = dict[str, Stored | None]
"""What is at subjects: None where nothing is. `anew` and `at` make the keys of two more kinds."""

BEFORE_ITS_EVENT: Final = b"+1"
"""What a key's message says if its event is the next message of the stream."""

# What it says otherwise, with a digest behind: of the lane in which the event waits, or of the
# event's own key.
_WAITS: Final = b"?"
_ANOTHER: Final = b"="


def anew(subject: str) -> str:
    """Return what stands in a view for a subject that is read though it is known to be there."""
    return f"={subject}"


def at(sequence: int) -> str:
    """Return what stands in a view for the message with a sequence."""
    return f"#{sequence}"


def encode_found(found: Record | str) -> bytes:
    """Return what is kept under a name: a record, or the digest of the name that it is tied to."""
    if isinstance(found, str):
        return orjson.dumps({"tied_to": found})
    return encode_record(found)


def decode_found(data: bytes) -> Record | str:
    """Read what `encode_found` returned."""
    tied_to: str | None = orjson.loads(data).get("tied_to")
    return decode_record(data) if tied_to is None else tied_to


def encode_queue(queue: Queue) -> bytes:
    """Return what is kept of a lane; nothing where nothing waits in it any more."""
    if not queue.items:
        return b""
    return orjson.dumps({"lane": queue.lane, "items": orjson.Fragment(encode_waiting(queue.items))})


def read_queue(data: bytes) -> Queue | None:
    """Read what `encode_queue` returned."""
    if not data:
        return None
    found = orjson.loads(data)
    return decode_queue(found["lane"], orjson.dumps(found["items"]))


class NotSeen(Unread):
    """Subjects are not in the view."""

    def __init__(self, subjects: Iterable[str]) -> None:
        self.subjects = frozenset(subjects)
        super().__init__(self.subjects)


class GroupLedger(Overlay[str]):
    """The `Ledger` of one group of appends. Any of its calls may raise `NotSeen`."""

    def __init__(self, names: Names, view: Mapping[str, Stored | None]) -> None:
        super().__init__(
            Ids(digest), stored_queue=self._stored_queue_of, stored_lane=self._stored_lane_of
        )
        self._names = names
        self._view = view
        self._queues: dict[str, Queue | None] = {}
        self._relied_on: set[str] = set()

    def _seen(self, subject: str) -> Stored | None:
        try:
            return self._view[subject]
        except KeyError:
            raise NotSeen((subject,)) from None

    # --- what is stored ------------------------------------------------------------------------

    def has_key(self, key: str) -> bool:
        """See `Overlay.has_key`; the key of what waits is stored, and not claimed yet."""
        stored = self._seen(self._names.keys + key)
        return stored is not None and not stored.data.startswith(_WAITS)

    def stored_event(self, key: str) -> Event | str | None:
        """See `Overlay.stored_event`."""
        subject = self._names.keys + key
        stored = self._seen(subject)
        if stored is not None and not stored.sequence:  # known to be there, and not read
            stored = self._seen(anew(subject))
        if stored is None or not stored.data:
            return None
        if stored.data == BEFORE_ITS_EVENT:
            found = self._seen(at(stored.sequence + 1))
            return None if found is None else read_event(found.data, found.sequence)
        return stored.data.removeprefix(_ANOTHER).decode()

    def stored_record(self, name: str) -> Record | str | None:
        """See `Overlay.stored_record`."""
        stored = self._seen(self._names.tracks + name)
        return None if stored is None else decode_found(stored.data)

    def _stored_queue_of(self, lane: str) -> Queue | None:
        return self._queue_at(self.ids[lane])

    def _queue_at(self, lane: str) -> Queue | None:
        if lane not in self._queues:
            stored = self._seen(self._names.waiting + lane)
            queue = None if stored is None else read_queue(stored.data)
            if queue is not None:  # whatever becomes of it, its keys are written on condition
                self._need(key for item in queue.items for key in item.keys)
            self._queues[lane] = queue
        return self._queues[lane]

    def _need(self, keys: Iterable[str]) -> None:
        subjects = (self._names.keys + self.ids[key] for key in keys)
        missing = [subject for subject in subjects if subject not in self._view]
        if missing:
            raise NotSeen(missing)

    def _stored_lane_of(self, key: str) -> str | None:
        stored = self._seen(self._names.keys + key)
        if stored is None or not stored.data.startswith(_WAITS):
            return None
        queue = self._queue_at(stored.data.removeprefix(_WAITS).decode())
        return None if queue is None else queue.lane

    # --- what is written -----------------------------------------------------------------------

    def save(self, record: Record) -> None:
        """See `Ledger.save`."""
        self._seen(self._names.tracks + self.ids[record.name])
        super().save(record)

    def tie(self, name: str, to: Record) -> None:
        """See `Ledger.tie`."""
        self._seen(self._names.tracks + self.ids[name])
        super().tie(name, to)

    def put(self, queue: Queue) -> None:
        """See `Ledger.put`."""
        super().put(queue)
        self._need(key for item in queue.items for key in item.keys)

    def accept(self) -> dict[str, str | None]:
        """See `Overlay.accept`."""
        records = set(self.changed(self.records))
        has_queues = any(self.changed(self.queues))
        claims = super().accept()
        if claims or has_queues:
            self._relied_on |= records
        return claims

    def claim_of(self, key: str, of: str | None, *, is_before: bool, ttl: int | None) -> Draft:
        """Return the message that makes a key known, on condition that it is not, or waits."""
        data = BEFORE_ITS_EVENT if is_before else b"" if of is None else _ANOTHER + of.encode()
        return self._key(key, data, ttl)

    def changes(self, ttl: int | None) -> Iterator[Draft]:
        """Return the messages that write the accepted records, queues and keys of what waits.

        A record that stays as it was is written as well where something new was decided upon it:
        on condition that it is still so, since an event must not say where a message stood once.
        """
        for name, found in self.records.items():
            subject = self._names.tracks + name
            before = self._view.get(subject)
            data = encode_found(found)
            if before is None or before.data != data or name in self._relied_on:
                yield Draft(subject, data, _expecting(before))
        yield from self._waiting(self.queues)
        for key, waits_in in self.lanes.items():
            if waits_in is not None:
                data = _WAITS + self.ids[waits_in].encode()
                before = self._view.get(self._names.keys + key)
                if before is None or before.data != data:
                    yield self._key(key, data, ttl)

    def waiting(self) -> Iterator[Draft]:
        """Return the messages that write the queues that are not accepted yet."""
        return self._waiting(self.changed(self.queues))

    def _waiting(self, lanes: Iterable[str]) -> Iterator[Draft]:
        for lane in lanes:
            queue = self.queues[lane]
            subject = self._names.waiting + self.ids[lane]
            before = self._view.get(subject)
            if queue.items or before is not None:
                yield Draft(subject, encode_queue(queue), _expecting(before))

    def _key(self, key: str, data: bytes, ttl: int | None) -> Draft:
        subject = self._names.keys + key
        headers = _expecting(self._view.get(subject))
        if ttl is not None:
            headers[TTL] = f"{ttl}s"
        return Draft(subject, data, headers)


def _expecting(before: Stored | None) -> dict[str, str]:
    return {EXPECTED: "0" if before is None else str(before.sequence)}
