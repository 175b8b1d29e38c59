"""What correlation remembers, as rows: read under the lock of `head`, written before it is let go.

The rows that a group of appends is sure to need are read together; where deciding on an append
turns out to need another one, that is read and the append decided on anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from bridge.errors import JournalError
from bridge.journal.ledger import (
    Queue,
    Record,
    decode_queue,
    decode_record,
    encode_record,
    encode_waiting,
)
from bridge.journal.overlay import Ids, Overlay, digest_of_name
from bridge.journal.postgres.database import Connection, Cursor, Database, Row, Values
from bridge.journal.postgres.entries import lane_bytes, lane_text
from bridge.journal.reading import read_event
from bridge.model import Event

_Found: TypeAlias = Record | bytes

# A statement of its own: the next one sees what was committed before the lock was free.
_LOCK: Final = "SELECT FROM $.head FOR UPDATE"
# Each statement costs the client more than the server; so there is one to read and one to write.
_READ: Final = """
SELECT 'key', key, same_as, event, position, at FROM $.entries WHERE key = ANY(%(keys)b)
UNION ALL SELECT 'record', name, tied_to, record, NULL, NULL FROM $.records
    WHERE name = ANY(%(names)b)
UNION ALL SELECT 'record', other.name, other.tied_to, other.record, NULL, NULL
    FROM $.records AS tie JOIN $.records AS other ON other.name = tie.tied_to
    WHERE tie.name = ANY(%(names)b)
UNION ALL SELECT 'queue', lane, items, NULL, NULL, due - extract(epoch FROM clock_timestamp())
    FROM $.queues WHERE lane = ANY(%(lanes)b) OR due <= extract(epoch FROM clock_timestamp())
    OR lane IN (SELECT lane FROM $.waiting WHERE key = ANY(%(keys)b))
UNION ALL SELECT 'head', NULL, NULL, NULL, last,
    (SELECT min(due) FROM $.queues) - extract(epoch FROM clock_timestamp()) FROM $.head
"""
_WRITE: Final = """
WITH head AS (UPDATE $.head SET last = %s), records AS (
    INSERT INTO $.records
    SELECT name, extract(epoch FROM now()), nullif(tied_to, ''), nullif(record, '')
    FROM unnest(%b::bytea[], %b::bytea[], %b::bytea[]) AS new (name, tied_to, record)
    ON CONFLICT (name) DO UPDATE
    SET at = excluded.at, tied_to = excluded.tied_to, record = excluded.record
)
INSERT INTO $.entries (position, at, partition, key, lane, same_as, event)
SELECT position, extract(epoch FROM clock_timestamp()), partition, key, lane,
    nullif(same_as, ''), nullif(event, '')
FROM unnest(%b::bigint[], %b::smallint[], %b::bytea[], %b::bytea[], %b::bytea[], %b::bytea[])
    AS new (position, partition, key, lane, same_as, event)
"""


class NotRead(Exception):
    """What is needed has not been read yet: a key, the name of a record, or a lane."""

    def __init__(
        self, *, keys: Iterable[bytes] = (), names: Iterable[bytes] = (), lanes: Iterable[str] = ()
    ) -> None:
        self.keys, self.names, self.lanes = set(keys), set(names), set(lanes)
        super().__init__()


class GroupLedger(Overlay[bytes]):
    """The `Ledger` of one group of appends. Any of its calls may raise `NotRead`.

    `last` is the position of the last entry. `due` are the lanes with an event whose time to wait
    is over, and `waits` says in how many seconds the first of all that wait is due.
    """

    def __init__(self, database: Database, connection: Connection) -> None:
        super().__init__(
            Ids(digest_of_name),
            stored_queue=self._stored_queue_of,
            stored_lane=self._stored_lane_of,
        )
        self.last = -1
        self.due: dict[str, float] = {}
        self.waits: list[float] = []
        self._database = database
        self._connection = connection
        self._keys: dict[bytes, Row | None] = {}
        self._names: dict[bytes, _Found | None] = {}
        self._lanes: dict[str, Queue | None] = {}
        self._lane_of_key: dict[bytes, str] = {}

    async def lock(self) -> None:
        """Wait until no other process appends; nobody else does until the transaction ends."""
        await self._run(_LOCK)

    async def read(self, need: NotRead) -> None:
        """Read some rows, and what is due. Raises `JournalError`."""
        keys, names = list(need.keys), list(need.names)
        lanes = list(map(lane_bytes, need.lanes))
        cursor = await self._run(_READ, {"keys": keys, "names": names, "lanes": lanes})
        self._keys |= dict.fromkeys(keys)
        self._names |= dict.fromkeys(names)
        self._lanes |= dict.fromkeys(need.lanes)
        for kind, name, one, other, position, at in await cursor.fetchall():
            if kind == "key":
                self._keys[name] = position, at, one, other
            elif kind == "record":
                self._names[name] = one if other is None else decode_record(other)
            elif kind == "queue":
                self._read_queue(decode_queue(lane_text(name), one), is_due=at <= 0)
            else:
                self.last, self.waits = position, [] if at is None else [at]
        if self.last < 0:
            raise JournalError("the journal's tables are damaged: head is empty")

    def _read_queue(self, queue: Queue, *, is_due: bool) -> None:
        self._lanes[queue.lane] = queue
        for item in queue.items:
            self._lane_of_key |= {self.ids[key]: queue.lane for key in item.keys}
        if is_due and queue.due is not None:
            self.due[queue.lane] = queue.due

    async def read_waiting(self) -> None:
        """Read all that waits to be published."""
        cursor = await self._run("SELECT lane FROM $.queues")
        lanes = {lane_text(data) for (data,) in await cursor.fetchall()}
        await self.read(NotRead(lanes=lanes - self._lanes.keys()))

    @property
    def all_lanes(self) -> Sequence[str]:
        """Return the lanes that have been read."""
        return tuple(self._lanes)

    async def _run(self, statement: str, values: Values = ()) -> Cursor:
        return await self._database.execute(self._connection, statement, values)

    # --- what is stored ------------------------------------------------------------------------

    def has_key(self, key: bytes) -> bool:
        """See `Overlay.has_key`."""
        try:
            return self._keys[key] is not None
        except KeyError:
            raise NotRead(keys=(key,)) from None

    def stored_event(self, key: bytes) -> Event | bytes | None:
        """See `Overlay.stored_event`."""
        if not self.has_key(key):
            return None
        position, at, same_as, event = self._keys[key] or ()
        return same_as if event is None else read_event(event, position, at)

    def stored_record(self, name: bytes) -> _Found | None:
        """See `Overlay.stored_record`."""
        try:
            return self._names[name]
        except KeyError:
            raise NotRead(names=(name,)) from None

    def _stored_queue_of(self, lane: str) -> Queue | None:
        try:
            return self._lanes[lane]
        except KeyError:
            raise NotRead(lanes=(lane,)) from None

    def _stored_lane_of(self, key: bytes) -> str | None:
        self.has_key(key)  # what waits under it was read with it
        return self._lane_of_key.get(key)

    # --- what is written -----------------------------------------------------------------------

    async def write(self, last: int, rows: Sequence[Row]) -> Sequence[float]:
        """Write entries up to a position, the records and the queues.

        Return in how many seconds each of these queues is due.
        """
        run = self._run
        records = [
            (name, found, b"") if isinstance(found, bytes) else (name, b"", encode_record(found))
            for name, found in self.records.items()
        ]
        if rows or records:
            await run(_WRITE, (last, *_columns(records, 3), *_columns(rows, 6)))
        if not self.queues:
            return ()
        gone = [lane_bytes(lane) for lane in self.queues]
        await run("DELETE FROM $.queues WHERE lane = ANY(%b)", (gone,))
        await run("DELETE FROM $.waiting WHERE key = ANY(%b)", (list(self.lanes),))
        queues = [queue for queue in self.queues.values() if queue.items]
        if not queues:
            return ()
        due = [_seconds(queue) for queue in queues]
        await run(
            "INSERT INTO $.queues SELECT lane, extract(epoch FROM clock_timestamp()) + due, items "
            "FROM unnest(%b::bytea[], %s::float8[], %b::bytea[]) AS new (lane, due, items)",
            (
                [lane_bytes(queue.lane) for queue in queues],
                due,
                [encode_waiting(queue.items) for queue in queues],
            ),
        )
        waits = {key: lane_bytes(lane) for key, lane in self.lanes.items() if lane is not None}
        await run(
            "INSERT INTO $.waiting SELECT * FROM unnest(%b::bytea[], %b::bytea[])",
            (list(waits), list(waits.values())),
        )
        return due


def _columns(rows: Sequence[Row], width: int) -> list[list[object]]:
    return list(map(list, zip(*rows, strict=True))) if rows else [[] for _ in range(width)]


def _seconds(queue: Queue) -> float:
    """Return how long a queue's first event has still to wait, whatever the clock says."""
    first = queue.items[0]
    longest = (first.due or 0.0) - first.event.received_at.timestamp()
    return max(0.0, min(longest, (first.due or 0.0) - time.time()))
