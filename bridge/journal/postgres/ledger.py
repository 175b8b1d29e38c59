"""What correlation remembers, as rows: read without a lock, and written if it is still the same.

The rows that a group of appends is sure to need are read together; where deciding on an append
turns out to need another one, that is read and the append decided on anew. `keep` of the schema
refuses to write what was decided on rows that another process has changed since.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from bridge.errors import JournalError
from bridge.journal.grouping import Unread
from bridge.journal.lanes import lane_bytes, lane_text, partition_of
from bridge.journal.ledger import (
    Queue,
    Record,
    decode_queue,
    decode_record,
    encode_record,
    encode_waiting,
)
from bridge.journal.overlay import Ids, Overlay, digest_of_name
from bridge.journal.postgres.database import Column, Connection, Database
from bridge.journal.reading import read_event
from bridge.model import Event

# Each statement costs the client more than the server; so there is one to read and one to write.
_READ: Final = """
SELECT 'key', key, same_as, event, position, at FROM $.entries WHERE key = ANY(%(keys)s)
UNION ALL SELECT 'record', name, tied_to, record, NULL, NULL FROM $.records
    WHERE name = ANY(%(names)s)
UNION ALL SELECT 'record', other.name, other.tied_to, other.record, NULL, NULL
    FROM $.records AS tie JOIN $.records AS other ON other.name = tie.tied_to
    WHERE tie.name = ANY(%(names)s)
UNION ALL SELECT 'queue', lane, items, NULL, NULL, due - extract(epoch FROM clock_timestamp())
    FROM $.queues WHERE %(all)s OR lane = ANY(%(lanes)s) OR keys && %(keys)s
    OR due <= extract(epoch FROM clock_timestamp())
UNION ALL SELECT 'head', NULL, NULL, NULL, last, NULL FROM $.head
"""
_BEHIND: Final = -1
# Whatever is known to be committed is below `last`, unless the server has lost it.
_KEEP: Final = f"""
SELECT CASE WHEN last >= %s THEN $.keep({", ".join(["%s"] * 16)}) ELSE {_BEHIND} END FROM $.head
"""  # noqa: S608 - our own text

HEAD_IS_EMPTY: Final = (
    "the table head has lost its only row: restore it, with a position beyond all in entries"
)


class Changed(Exception):
    """Another process has changed what was read since; nothing is written."""


class Behind(Exception):
    """The server's last position is behind what it had committed; nothing is written."""


class NotRead(Unread):
    """A key, the name of a record, or a lane has not been read yet."""

    def __init__(
        self, *, keys: Iterable[bytes] = (), names: Iterable[bytes] = (), lanes: Iterable[str] = ()
    ) -> None:
        self.keys, self.names, self.lanes = set(keys), set(names), set(lanes)
        super().__init__()


class _Seen(dict[Any, Any]):
    """What has been read of one kind: None where there is nothing."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, what: object) -> None:
        """Raise `NotRead`."""
        raise NotRead(**{self._kind: (what,)})  # type: ignore[arg-type]


class GroupLedger(Overlay[bytes]):
    """The `Ledger` of one group of appends. Any of its calls may raise `NotRead`.

    `due` are the lanes with an event whose time to wait is over.
    """

    def __init__(self, database: Database, connection: Connection) -> None:
        self._keys, self._names, self.seen_lanes = _Seen("keys"), _Seen("names"), _Seen("lanes")
        super().__init__(
            Ids(digest_of_name),
            stored_queue=self.seen_lanes.__getitem__,
            stored_lane=self._stored_lane_of,
        )
        self._base: int | None = None  # the last position when reading began
        self.due: dict[str, float] = {}
        self._database = database
        self._connection = connection
        self._lane_of_key: dict[bytes, str] = {}

    async def read(self, need: NotRead, *, all_queues: bool = False) -> None:
        """Read some rows, and what is due. Raises `JournalError`."""
        keys, names = Column(need.keys), Column(need.names)
        lanes = Column(map(lane_bytes, need.lanes))
        values = {"keys": keys, "names": names, "lanes": lanes, "all": all_queues}
        cursor = await self._database.execute(self._connection, _READ, values)
        self._keys |= dict.fromkeys(keys)
        self._names |= dict.fromkeys(names)
        self.seen_lanes |= dict.fromkeys(need.lanes)
        base = None
        for kind, name, one, other, position, at in await cursor.fetchall():
            if kind == "key":
                self._keys[name] = position, at, one, other
            elif kind == "record":
                self._names[name] = one if other is None else decode_record(other)
            elif kind == "queue":
                self._read_queue(decode_queue(lane_text(name), one), is_due=at <= 0)
            else:
                base = position
        if base is None:
            raise JournalError(HEAD_IS_EMPTY)
        self._base = base if self._base is None else self._base

    def _read_queue(self, queue: Queue, *, is_due: bool) -> None:
        self.seen_lanes[queue.lane] = queue
        for item in queue.items:
            self._lane_of_key |= {self.ids[key]: queue.lane for key in item.keys}
        if is_due and queue.due is not None:
            self.due[queue.lane] = queue.due

    # --- what is stored ------------------------------------------------------------------------

    def has_key(self, key: bytes) -> bool:
        """See `Overlay.has_key`."""
        return self._keys[key] is not None

    def stored_event(self, key: bytes) -> Event | bytes | None:
        """See `Overlay.stored_event`."""
        if (found := self._keys[key]) is None:
            return None
        position, at, same_as, event = found
        other: bytes | None = same_as
        return other if event is None else read_event(event, position, at)

    def stored_record(self, name: bytes) -> Record | bytes | None:
        """See `Overlay.stored_record`."""
        found: Record | bytes | None = self._names[name]
        return found

    def _stored_lane_of(self, key: bytes) -> str | None:
        self.has_key(key)  # what waits under it was read with it
        return self._lane_of_key.get(key)

    # --- what is written -----------------------------------------------------------------------

    async def keep(
        self, rows: Sequence[Sequence[bytes]], partitions: int, known: int
    ) -> tuple[int, int]:
        """Write entries, the records and the queues; return the last position before and after.

        Raises `Changed`, or `Behind` where the last position is lower than one that is `known`.
        """
        records = [
            (name, found, b"") if isinstance(found, bytes) else (name, b"", encode_record(found))
            for name, found in self.records.items()
        ]
        queues = [
            (lane_bytes(lane), encode_waiting(queue.items) if queue.items else b"")
            for lane, queue in self.queues.items()
        ]
        if not (rows or records or queues):
            return self._base or 0, self._base or 0
        waiting = [(key, lane_bytes(lane)) for key, lane in self.lanes.items() if lane is not None]
        values = (
            known,
            self._base,
            Column(self._keys),
            Column(self._names),
            bytes(partition_of(row[1], partitions) for row in rows),
            *_columns(rows, 4),
            *_columns(records, 3),
            *_columns(queues, 2),
            [_seconds(queue) for queue in self.queues.values()],
            *_columns(waiting, 2),
        )
        ((before,),) = await (
            await self._database.execute(self._connection, _KEEP, values)
        ).fetchall()
        if before is None:
            raise Changed
        if before == _BEHIND:
            raise Behind
        return before, before + 2 * max(1, len(rows))


def _columns(rows: Sequence[Sequence[bytes]], width: int) -> Sequence[Column]:
    return list(map(Column, zip(*rows, strict=True))) if rows else [Column()] * width


def _seconds(queue: Queue) -> float:
    """Return how long a queue's first event has still to wait, whatever the clock says."""
    if not queue.items:
        return 0.0
    first = queue.items[0]
    longest = (first.due or 0.0) - first.event.received_at.timestamp()
    return max(0.0, min(longest, (first.due or 0.0) - time.time()))
