"""What correlation remembers, as rows: read under the lock of `head`, written before it is let go.

The rows that a group of appends is sure to need are read together; where deciding on an append
turns out to need another one, that is read and the append decided on anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from bridge.journal.ledger import (
    Queue,
    Record,
    decode_queue,
    decode_record,
    encode_record,
    encode_waiting,
)
from bridge.journal.overlay import Ids, Overlay, digest_of_name
from bridge.journal.postgres.database import Connection, Cursor, Database, Row
from bridge.journal.postgres.entries import lane_bytes
from bridge.journal.reading import read_event
from bridge.model import Event

_CACHED: Final = 8192

_Found: TypeAlias = Record | bytes

_KEYS: Final = "SELECT key, position, at, same_as, event FROM $.entries WHERE key = ANY(%b)"
_RECORDS: Final = (
    "SELECT name, tied_to, record FROM $.records WHERE name = ANY(%b) "
    "UNION ALL SELECT other.name, other.tied_to, other.record FROM $.records AS tie "
    "JOIN $.records AS other ON other.name = tie.tied_to WHERE tie.name = ANY(%b)"
)
_QUEUES: Final = (
    "SELECT lane, items, due <= extract(epoch FROM clock_timestamp()) FROM $.queues "
    "WHERE lane = ANY(%b) OR due <= extract(epoch FROM clock_timestamp()) "
    "OR lane IN (SELECT lane FROM $.waiting WHERE key = ANY(%b))"
)
_SAVE: Final = """
INSERT INTO $.records
SELECT name, extract(epoch FROM now()), nullif(tied_to, ''), nullif(record, '')
FROM unnest(%b::bytea[], %b::bytea[], %b::bytea[]) AS new (name, tied_to, record)
ON CONFLICT (name) DO UPDATE
SET at = excluded.at, tied_to = excluded.tied_to, record = excluded.record
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

    `due` are the lanes with an event whose time to wait is over.
    """

    def __init__(self, database: Database, connection: Connection) -> None:
        super().__init__(
            Ids(digest_of_name),
            stored_queue=self._stored_queue_of,
            stored_lane=self._stored_lane_of,
        )
        self.due: dict[str, float] = {}
        self._database = database
        self._connection = connection
        self._keys: dict[bytes, Row | None] = {}
        self._names: dict[bytes, _Found | None] = {}
        self._lanes: dict[str, Queue | None] = {}
        self._lane_of_key: dict[bytes, str] = {}

    async def read(self, need: NotRead, *more: tuple[str, tuple[object, ...]]) -> list[Row | None]:
        """Read some rows, in one round trip with others; return the first row of each of these."""
        keys, names = list(need.keys), list(need.names)
        lanes = [lane_bytes(lane) for lane in need.lanes]
        others = [await self._run(statement, values) for statement, values in more]
        in_keys = await self._run(_KEYS, (keys,)) if keys else None
        in_records = await self._run(_RECORDS, (names, names)) if names else None
        in_queues = await self._run(_QUEUES, (lanes, keys)) if lanes or keys or more else None
        first = [await cursor.fetchone() for cursor in others]
        found = [
            [] if cursor is None else await cursor.fetchall()
            for cursor in (in_keys, in_records, in_queues)
        ]
        self._keys |= dict.fromkeys(keys) | {row[0]: row for row in found[0]}
        self._names |= dict.fromkeys(names)
        for name, tied_to, record in found[1]:
            self._names[name] = tied_to if record is None else decode_record(record)
        self._lanes |= dict.fromkeys(need.lanes)
        for data, items, is_due in found[2]:
            queue = decode_queue(data.decode("utf-8", "surrogatepass"), items)
            self._lanes[queue.lane] = queue
            self._lane_of_key |= {
                self.ids[key]: queue.lane for item in queue.items for key in item.keys
            }
            if is_due and queue.due is not None:
                self.due[queue.lane] = queue.due
        return first

    async def read_waiting(self) -> None:
        """Read all that waits to be published."""
        cursor = await self._run("SELECT lane FROM $.queues", ())
        lanes = [data.decode("utf-8", "surrogatepass") for (data,) in await cursor.fetchall()]
        await self.read(NotRead(lanes=set(lanes) - self._lanes.keys()))

    @property
    def all_lanes(self) -> Sequence[str]:
        """Return the lanes that have been read."""
        return tuple(self._lanes)

    async def _run(self, statement: str, values: tuple[object, ...]) -> Cursor:
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
        _, position, at, same_as, event = self._keys[key] or ()
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

    async def write(self) -> Sequence[float]:
        """Write the records and queues; return in how many seconds each of these is due."""
        run = self._run
        if self.records:
            rows = [
                (name, found, b"")
                if isinstance(found, bytes)
                else (name, b"", encode_record(found))
                for name, found in self.records.items()
            ]
            await run(
                _SAVE,
                tuple(list(column) for column in zip(*rows, strict=True)),
            )
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


def _seconds(queue: Queue) -> float:
    """Return how long a queue's first event has still to wait, whatever the clock says."""
    first = queue.items[0]
    longest = (first.due or 0.0) - first.event.received_at.timestamp()
    return max(0.0, min(longest, (first.due or 0.0) - time.time()))
