"""What correlation remembers, as SQLite keeps it.

A ledger lives for one group commit. It reads through to the tables and collects what is new,
so that an append that fails by itself can be undone without touching the others of its group,
and that a message whose statuses come together is written once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, TypeAlias

import apsw

from bridge.journal.correlation import Published, tells_of
from bridge.journal.ledger import (
    MOST_TIES,
    Known,
    Queue,
    Record,
    User,
    decode_record,
    encode_record,
)
from bridge.journal.sqlite.key_index import KeyIndex
from bridge.journal.sqlite.queues import Queues
from bridge.model import Event
from bridge.model.codec import decode

_DIGEST_SIZE: Final = 16
_CACHED: Final = 8192  # records, and as many again before the oldest of them are forgotten

_Row: TypeAlias = tuple[bytes | None, bytes | None]


def digest(name: str) -> bytes:
    """Return what stands for a key or a name in an index: short, and no personal data."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_SIZE).digest()


class Records:
    """The records used last, by the digests of their names; a digest stands for a tie.

    Two dictionaries take turns, since removing the oldest entry of one by one costs more.
    """

    def __init__(self) -> None:
        self._latest: dict[bytes, Record | bytes] = {}
        self._older: dict[bytes, Record | bytes] = {}

    def get(self, name: bytes) -> Record | bytes | None:
        """Return what is cached under a name."""
        return self._latest.get(name) or self._older.get(name)

    def keep(self, records: Mapping[bytes, Record | bytes]) -> None:
        """Cache what is on disk."""
        self._latest |= records
        if len(self._latest) > _CACHED:
            self._older, self._latest = self._latest, {}

    def clear(self) -> None:
        """Forget everything."""
        self._latest, self._older = {}, {}


class GroupLedger:
    """The `Ledger` of one group commit.

    `expected` are the keys of the group's events, looked up together because that costs a tenth
    of looking them up one by one. After each append either `accept` or `undo` what it claimed;
    `write` at the end, and `commit` once the transaction is on disk.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        keys: KeyIndex,
        queues: Queues,
        records: Records,
        expected: Iterable[str],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._queues = queues
        self._cache = records
        self._looked_up = {key: digest(key) for key in expected}
        self._known = keys.among(self._looked_up.values())
        self._claimed: dict[str, bytes] = {}
        self._records: dict[bytes, Record | bytes] = {}
        self._changed: dict[bytes, Record | bytes] = {}
        self._queued: dict[str, Queue] = {}
        self._queuing: dict[str, Queue] = {}
        self._published: dict[str, Event] = {}
        self._read: dict[bytes, Record | bytes] = {}

    def knows(self, key: str) -> bool:
        """See `Ledger.knows`."""
        if key in self._claimed:
            return True
        name = self._looked_up.get(key)
        if name is None:
            name = self._looked_up[key] = digest(key)
            self._known |= self._keys.among([name])
        return name in self._known or self._waits_in(key) is not None

    def claim(self, key: str) -> None:
        """See `Ledger.claim`."""
        self._claimed[key] = self._looked_up.get(key) or digest(key)

    def known(self, key: str) -> Known | None:
        """See `Ledger.known`."""
        lane = self._waits_in(key)
        queue = None if lane is None else self.queue(lane)
        for item in () if queue is None else queue.items:
            if key in item.keys:
                return Known(event=item.event, lane=lane)
        event = self._published.get(key) or self._read_event(digest(key))
        return None if event is None else Known(event=event)

    def _read_event(self, name: bytes) -> Event | None:
        position = self._keys.position(name)
        if position is None:
            position = self._connection.execute(
                "SELECT position FROM keys WHERE key = ?", (name,)
            ).get
        data: bytes | None = self._connection.execute(
            "SELECT event FROM entries WHERE position = ? AND key = ?", (position, name)
        ).get
        return None if data is None else decode(data)

    def _waits_in(self, key: str) -> str | None:
        for queues in (self._queuing, self._queued):
            for lane, queue in queues.items():
                if any(key in item.keys for item in queue.items):
                    return lane
        found = self._queues.lane_of(key)
        return None if found in self._queuing or found in self._queued else found

    def find(self, name: str) -> Record | None:
        """See `Ledger.find`."""
        found = self._find(digest(name))
        for _ in range(MOST_TIES):
            if not isinstance(found, bytes):
                return found
            found = self._find(found)
        return None

    def _find(self, name: bytes) -> Record | bytes | None:
        found = self._changed.get(name) or self._records.get(name) or self._cache.get(name)
        if found is not None or name in self._read:
            return found or self._read[name]
        row: _Row | None = self._connection.execute(
            "SELECT tied_to, track FROM tracks WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return None
        tied_to, data = row
        record = decode_record(data) if data is not None else tied_to
        if record is not None:
            self._read[name] = record
        return record

    def save(self, record: Record) -> None:
        """See `Ledger.save`."""
        self._changed[digest(record.name)] = record

    def tie(self, name: str, to: Record) -> None:
        """See `Ledger.tie`."""
        self._changed[digest(name)] = digest(to.name)

    def queue(self, lane: str) -> Queue | None:
        """See `Ledger.queue`."""
        queue = self._queuing.get(lane) or self._queued.get(lane) or self._queues.get(lane)
        return queue if queue is not None and queue.items else None

    def put(self, queue: Queue) -> None:
        """See `Ledger.put`."""
        if queue.items or self.queue(queue.lane) is not None:
            self._queuing[queue.lane] = queue

    def accept(self, published: Sequence[Published]) -> dict[str, bytes]:
        """Keep what the append claimed and changed; return its claims and their digests."""
        claims = self._claimed
        self._known.update(claims.values())
        self._records |= self._changed
        self._queued |= self._queuing
        self._published |= {event.key: event for event, _ in published}
        self.undo()
        return claims

    def undo(self) -> None:
        """Forget what the append claimed and changed."""
        self._claimed = {}
        self._changed = {}
        self._queuing = {}

    def write(self, now: int) -> None:
        """Write what the group changed; what was touched last is forgotten last."""
        if self._records:
            self._connection.executemany(
                "REPLACE INTO tracks (name, at, tied_to, track) VALUES (?, ?, ?, ?)",
                [
                    (name, now, value, None)
                    if isinstance(value, bytes)
                    else (name, now, None, encode_record(value))
                    for name, value in self._records.items()
                ],
            )
        if self._queued:
            self._queues.write(self._connection, self._queued)

    def commit(self) -> None:
        """Take note that the transaction is on disk."""
        self._cache.keep(self._read)
        self._cache.keep(self._records)
        if self._queued:
            self._queues.commit(self._queued)


def names_of(
    connection: apsw.Connection, subject: str, after: int, limit: int
) -> tuple[int | None, tuple[str, ...]]:
    """Return the identities of users who go by a subject, looking at `limit` records.

    With where to go on, or None after the last.
    """
    rows = _records(connection, after, limit)
    names = [
        name
        for _, record in rows
        if isinstance(record, User) and tells_of(record, subject)
        for name in record.identities
    ]
    return (rows[-1][0] if rows else None), tuple(names)


def forget_records(
    connection: apsw.Connection, records: Records, subjects: Sequence[str], after: int, limit: int
) -> int | None:
    """Forget the records that tell of somebody, looking at `limit` of them.

    Return where to go on, or None after the last.
    """
    rows = _records(connection, after, limit)
    connection.executemany(
        "DELETE FROM tracks WHERE id = ?",
        [
            (row,)
            for row, record in rows
            if record is not None and any(tells_of(record, subject) for subject in subjects)
        ],
    )
    records.clear()
    return rows[-1][0] if rows else None


def _records(
    connection: apsw.Connection, after: int, limit: int
) -> list[tuple[int, Record | None]]:
    rows: Iterable[tuple[int, bytes | None]] = connection.execute(
        "SELECT id, track FROM tracks WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    )
    return [(row, None if data is None else decode_record(data)) for row, data in rows]
