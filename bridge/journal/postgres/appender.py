"""Appending: the events of many callers become one transaction.

What a group is decided on is read without a lock: what it is sure to need together, and what
deciding turns out to need beyond that. `keep` of the schema refuses to write what was decided on
rows that another process has changed since. Then the group is decided on anew, and after a few
times under the lock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from bridge.errors import CodecError, JournalError
from bridge.journal.correlation import first_keys, first_names
from bridge.journal.grouping import Append, Appends, Unread, decide
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
from bridge.journal.postgres.database import HEAD_IS_EMPTY, Away, Connection, Database, columns
from bridge.journal.protocol import Entry
from bridge.journal.reading import read_event
from bridge.journal.waiting import Published
from bridge.model import Event
from bridge.model.codec import encode

if TYPE_CHECKING:
    from bridge.journal.postgres.journal import PostgresJournal

T = TypeVar("T")
_Stored: TypeAlias = tuple[int, float, bytes | None, bytes | None]

_GROUP: Final = 256  # events in one transaction
_WITHOUT_LOCK: Final = 3  # times that a group is decided on before it takes the lock
_ANSWERS_WITHIN: Final = 2  # times the patience: a group may wait for the one before it

# Each statement costs the client more than the server; so there is one to read and one to write.
_READ: Final = """
SELECT 'key', key, same_as, event, position, at FROM $.entries WHERE key = ANY(%(keys)s)
UNION ALL SELECT 'record', name, tied_to, record, NULL, NULL FROM $.records
    WHERE name = ANY(%(names)s)
UNION ALL SELECT 'record', other.name, other.tied_to, other.record, NULL, NULL
    FROM $.records AS tie JOIN $.records AS other ON other.name = tie.tied_to
    WHERE tie.name = ANY(%(names)s)
UNION ALL SELECT 'queue', lane, items, NULL, NULL, due - extract(epoch FROM clock_timestamp())
    FROM $.queues WHERE %(all)s OR keys && %(keys)s
    OR sha256(lane) = ANY(ARRAY(SELECT sha256(lane) FROM unnest(%(lanes)s::bytea[]) AS lane))
    OR due <= extract(epoch FROM clock_timestamp())
UNION ALL SELECT 'head', NULL, NULL, NULL, last, NULL FROM $.head
"""
# Whatever is known to be committed is below `last`, unless the server has lost it.
_KEEP: Final = f"SELECT $.keep({', '.join(['%s'] * 16)}) FROM $.head WHERE last >= %s"  # noqa: S608


class Appender(Appends):
    """Commits what callers append, in groups, while `run` runs; at most `max_waiting` events wait.

    The journal's tail and the other processes are told of what is new.
    """

    def __init__(self, journal: PostgresJournal, max_waiting: int) -> None:
        self._journal = journal
        self._database = journal.database
        within = _ANSWERS_WITHIN * journal.settings.patience
        super().__init__("PostgreSQL", max_waiting, within=within)

    async def run(self) -> None:
        """Commit groups, one after the other."""
        while True:
            await self.filled.wait()
            group = self.take(_GROUP)
            try:
                before, entries, last = await self._keep(group)
            except Exception as error:  # noqa: BLE001 - the appender outlives whatever it is
                self.answer(group, error)
            except BaseException:
                self.answer(group, JournalError("the write was cut off"))
                raise
            else:
                self.answer(group)
                if last > before:
                    self._journal.tail.add(before, entries, last)
                    self._journal.members.announce_last(last)

    def look_for_due(self) -> None:
        """Publish soon what has waited for long enough, whichever process took it in."""
        if not self:
            self.add(Append())

    async def _keep(self, group: Sequence[Append]) -> tuple[int, list[Entry], int]:
        """Write a group; return the entries after a position, up to another."""
        for _ in range(_WITHOUT_LOCK):
            with suppress(Changed):
                return await self._database.run(partial(self.write, group), alone=True)
        return await self._database.run(partial(self.write, group, locked=True))

    async def write(
        self, group: Sequence[Append], connection: Connection, *, locked: bool = False
    ) -> tuple[int, list[Entry], int]:
        """Decide what is new, and write it. Raises `Changed`, unless it is `locked` meanwhile."""
        if locked:
            await self._database.execute(connection, "SELECT FROM $.head FOR UPDATE")
        ledger = GroupLedger(self._database, connection)
        ledger.want(group)
        await ledger.read(all_queues=any(item.erase is not None for item in group))
        rows: list[Sequence[bytes]] = []
        publications: list[tuple[int, str, Event, int]] = []
        for item in group:
            item.error = None
            try:
                published, lines = await _decide(item, ledger)
            except CodecError as error:
                item.error = error
                ledger.undo()
                continue
            claims = ledger.accept()
            ledger.due.clear()
            for (event, lane), data in zip(published, lines, strict=True):
                key = ledger.ids[event.key]
                del claims[key]
                rows.append((key, lane_bytes(lane), b"", data))
                publications.append((len(rows), lane, event, len(data)))
            # Known from now on, and not published under this key.
            rows += [(key, b"", of or b"", b"") for key, of in claims.items()]
        before, last = await ledger.keep(rows, self._journal.partitions, self._journal.tail.reach)
        entries = [
            Entry(position=before + 2 * number, lane=lane, event=event, size=size)
            for number, lane, event, size in publications
        ]
        return before, entries, last


async def _decide(item: Append, ledger: GroupLedger) -> tuple[Sequence[Published], Sequence[bytes]]:
    """Return what an append publishes, and its JSON. Raises `CodecError`."""
    while True:
        item.due = tuple(ledger.due.items())
        item.lanes = () if item.erase is None else tuple(ledger.seen_lanes)
        try:
            published = decide(item, ledger)
        except Unread:
            ledger.undo()
            await ledger.read()
        else:
            return published, [encode(event) for event, _ in published]


class Changed(Exception):
    """Another process has changed what was read since; nothing is written."""


class _Seen(dict[Any, T]):
    """What has been read of one kind, and what of it is `wanted`, which is read next.

    None where there is nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wanted: set[Any] = set()

    def __missing__(self, what: object) -> T:
        """Raise `Unread`."""
        self.wanted.add(what)
        raise Unread

    def take(self) -> list[Any]:
        """Return what is wanted, of which nothing has been found so far."""
        taken, self.wanted = list(self.wanted), set()
        self.update(dict.fromkeys(taken))
        return taken


class GroupLedger(Overlay[bytes]):
    """The `Ledger` of one group of appends. Any of its calls may raise `Unread`: `read` then.

    `due` are the lanes with an event whose time to wait is over.
    """

    def __init__(self, database: Database, connection: Connection) -> None:
        self._keys: _Seen[_Stored | None] = _Seen()
        self._names: _Seen[Record | bytes | None] = _Seen()
        self.seen_lanes: _Seen[Queue | None] = _Seen()
        super().__init__(
            Ids(digest_of_name),
            stored_queue=self.seen_lanes.__getitem__,
            stored_lane=self._stored_lane_of,
        )
        self._base: int | None = None  # the last position when reading began
        self.due: dict[str, float] = {}
        self._execute = partial(database.execute, connection)
        self._lane_of_key: dict[bytes, str] = {}

    def want(self, group: Sequence[Append]) -> None:
        """Let what deciding on these is sure to need be read next."""
        for item in group:
            self._keys.wanted.update(item.learned)
            for event in (*item.events, *item.past):
                names, lanes = first_names(event)
                self._keys.wanted.update(self.ids[key] for key in first_keys(event))
                self._names.wanted.update(self.ids[name] for name in names)
                self.seen_lanes.wanted.update(lanes)

    async def read(self, *, all_queues: bool = False) -> None:
        """Read what is wanted, and what is due. Raises `JournalError`."""
        values = {
            "keys": self._keys.take(),
            "names": self._names.take(),
            "lanes": list(map(lane_bytes, self.seen_lanes.take())),
            "all": all_queues,
        }
        base = None
        for kind, name, one, other, position, at in await (
            await self._execute(_READ, values)
        ).fetchall():
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

    def has_key(self, key: bytes) -> bool:
        """See `Overlay.has_key`."""
        return self._keys[key] is not None

    def stored_event(self, key: bytes) -> Event | bytes | None:
        """See `Overlay.stored_event`."""
        if (found := self._keys[key]) is None:
            return None
        position, at, same_as, event = found
        return same_as if event is None else read_event(event, position, at)

    def stored_record(self, name: bytes) -> Record | bytes | None:
        """See `Overlay.stored_record`."""
        return self._names[name]

    def _stored_lane_of(self, key: bytes) -> str | None:
        self.has_key(key)  # what waits under it was read with it
        return self._lane_of_key.get(key)

    async def keep(
        self, rows: Sequence[Sequence[bytes]], partitions: int, known: int
    ) -> tuple[int, int]:
        """Write entries, the records and the queues; return the last position before and after.

        Raises `Changed`, or `Away` where the last position is lower than one that is `known`, which
        passes when a process looks around.
        """
        records = [
            (name, found, b"") if isinstance(found, bytes) else (name, b"", encode_record(found))
            for name, found in self.records.items()
        ]
        queues = [
            (lane_bytes(lane), encode_waiting(queue.items) if queue.items else b"", _seconds(queue))
            for lane, queue in self.queues.items()
        ]
        if not (rows or records or queues):
            return self._base or 0, self._base or 0
        waiting = [(key, lane_bytes(lane)) for key, lane in self.lanes.items() if lane is not None]
        values = (
            self._base,
            list(self._keys),
            list(self._names),
            bytes(partition_of(row[1], partitions) for row in rows),
            *columns(rows, 4),
            *columns(records, 3),
            *columns(queues, 3),
            *columns(waiting, 2),
            known,
        )
        kept = await (await self._execute(_KEEP, values)).fetchone()
        if kept is None:
            raise Away("the server has lost what it had committed")
        (before,) = kept
        if before is None:
            raise Changed
        return before, before + 2 * max(1, len(rows))


def _seconds(queue: Queue) -> float:
    """Return how long a queue's first event has still to wait, whatever the clock says."""
    if not queue.items:
        return 0.0
    due = queue.items[0].due or 0.0
    return max(0.0, min(due - queue.items[0].event.received_at.timestamp(), due - time.time()))
