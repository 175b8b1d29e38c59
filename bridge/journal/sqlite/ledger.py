"""What correlation remembers, as SQLite keeps it.

A ledger lives for one group commit; what it has read and written is cached for the next ones.

Nearly every message moves the window of its user, and a user's record is on a page of its own. So
windows are kept in memory, and many of them are written together, once for many messages. They
follow from the entries, so that opening reads back what was not written.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final, TypeAlias

import apsw

from bridge.journal.correlation import first_keys, first_records
from bridge.journal.identity import name_of
from bridge.journal.ledger import (
    Place,
    Record,
    Settled,
    User,
    decode_queue,
    decode_record,
    encode_record,
    encode_waiting,
    opened,
)
from bridge.journal.overlay import (
    MOST_TIES,
    SIZE,
    Ids,
    Overlay,
    digest,
    digest_of_name,
    make_room,
)
from bridge.journal.reading import read_event
from bridge.journal.sqlite.entries import last_position
from bridge.journal.sqlite.key_index import Indexes, KeyIndex
from bridge.journal.waiting import Queues
from bridge.model import Event, Message
from bridge.model.keys import OURS

_LOG: Final = logging.getLogger("bridge.journal")

_NONE: Final[Mapping[Place, datetime]] = {}
_LOOKS: Final = 100  # for a record that is moved each time between two statements
_CACHED: Final = 16_384  # records

_RECORDS: Final = "SELECT key, tied_to, track FROM carray(?) CROSS JOIN tracks ON position = value"
_POSITIONS: Final = "SELECT key, position FROM carray(?) CROSS JOIN names ON key = value"
_UPDATE: Final = "UPDATE tracks SET track = ? WHERE position = ?"
# All rows of a group are bound as one array, each of them a name and what belongs to it.
_INSERT, _INSERT_TIES = (
    f"INSERT INTO tracks (position, key, at, {column}) SELECT ?2 + rowid, "  # noqa: S608 - our own words
    f"substr(value, 1, {SIZE}), ?3, substr(value, {SIZE + 1}) FROM carray(?1)"
    for column in ("track", "tied_to")
)

_TOGETHER: Final = 1024  # in one transaction, so that nobody waits for it for long

_Found: TypeAlias = Record | bytes


class Windows:
    """Until when users may be written to freely, as far as their records do not tell.

    Over `span` entries the latest of each conversation are collected, and over as many again it is
    seen which of them move on. The others are then written bit by bit. All that follow from entries
    up to `up_to` are written, or have moved on, and beyond `due_after` there is something to do.
    The writer alone changes what is here.
    """

    def __init__(self, span: int, up_to: int, due: dict[Place, datetime], due_up_to: int) -> None:
        self._span = span
        self.up_to = up_to
        self.due_after = up_to + span
        self.latest: dict[Place, datetime] = {}
        # Those to be written unless they move on, and up to where they are all.
        self._due = due
        self._due_up_to = due_up_to
        self.written = 0  # how many times some of them were

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.latest or self._due)

    def first(self) -> tuple[Sequence[Place], int]:
        """Return the first ones that are due, and what `up_to` is once they are written."""
        places = list(islice(self._due, _TOGETHER))
        return places, self._due_up_to if len(places) == len(self._due) else self.up_to

    def has_moved(self, place: Place) -> bool:
        """Return whether one that is due need not be written, as a later entry tells no less."""
        return place in self.latest and self.latest[place] >= self._due[place]

    def forget(self, places: Iterable[Place], up_to: int, last: int) -> None:
        """Take note that the records tell these windows from now on, or later entries do.

        `last` is the position of the newest entry.
        """
        self.written += 1  # before it is so, for whoever reads both
        for place in places:
            del self._due[place]
        self.up_to = up_to
        if not self._due:
            # In this order: at no moment is a window in neither.
            self._due, self._due_up_to = self.latest, last
            self.latest, self.due_after = {}, last + self._span

    def told(self, user: User, newer: Mapping[Place, datetime] = _NONE) -> User:
        """Return a user's record with what is known of windows; safe in any thread."""
        told = dict(user.reply_until)
        for place in user.conversations.items():
            for known in (newer, self.latest, self._due):
                until = known.get(place)
                if until is not None and until.timestamp() > told.get(place[0], 0.0):
                    told[place[0]] = until.timestamp()
        return user if told == user.reply_until else opened(user, told)


class RecordCache:
    """Records by the digests of their names, as many as there is room for; a digest is a tie.

    And what is noted of conversations whose user is `settled`.
    """

    def __init__(self) -> None:
        self.records: dict[bytes, _Found] = {}
        self.settled: dict[str, Settled] = {}

    def keep(self, records: Mapping[bytes, _Found]) -> None:
        """Cache what is in the file."""
        make_room(self.records, _CACHED - len(records))
        self.records |= records

    def clear(self) -> None:
        """Forget everything."""
        self.records.clear()
        self.settled.clear()


class GroupLedger(Overlay[bytes]):
    """The `Ledger` of one group commit: `write` it at the end of the transaction.

    The keys and records that deciding on its `events` takes first are looked up together, because
    that costs a tenth of looking them up one by one: their keys at once, their records when one of
    them is not cached.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        indexes: Indexes,
        queues: Queues,
        cache: RecordCache,
        windows: Windows,
        *,
        events: Sequence[Event] = (),
    ) -> None:
        made: dict[str, bytes] = {}
        for event in events:
            # A message of ours goes by a record of the same name as its key.
            identify = digest_of_name if getattr(event, "id_space", None) == OURS else digest
            for key in first_keys(event):
                made[key] = identify(key)
        ids = Ids(digest_of_name)
        ids.update(made)
        super().__init__(
            ids,
            stored_queue=queues.by_lane.get,
            stored_lane=queues.lanes.get,
            id_of_name=digest_of_name,
            at_hand=cache.records,
            settled=cache.settled,
        )
        self._connection = connection
        self._keys, self._names = indexes.keys, indexes.names
        self._queues = queues
        self._cache = cache
        self._windows = windows
        self._opened: dict[Place, datetime] = {}  # beyond what is known
        keys = set(made.values())
        known = self._keys.positions(keys)
        self._positions: dict[bytes, int | None] = {**known}  # None: new
        self.unknown = keys.difference(known)
        if queues.lanes:
            self.unknown.difference_update([key for key in self.unknown if key in queues.lanes])
        self._expected = events  # of which no record has been looked up

    def has_key(self, key: bytes) -> bool:
        """See `Overlay.has_key`."""
        positions = self._positions
        if key not in positions:
            positions[key] = self._keys.positions({key}).get(key)
        return positions[key] is not None

    def learn(self, ids: Iterable[bytes]) -> None:
        """See `Overlay.learn`; all of them are looked up together."""
        self._positions |= dict.fromkeys(ids) | self._keys.positions(set(ids))
        super().learn(ids)

    def stored_event(self, key: bytes) -> Event | bytes | None:
        """See `Overlay.stored_event`."""
        position = self._positions[key] if self.has_key(key) else None
        if position is None:
            return None
        row: tuple[int, str | None, bytes | None] | None = self._connection.execute(
            "SELECT at, lane, event FROM entries WHERE position = ? AND key = ?", (position, key)
        ).fetchone()
        if row is None:
            return None
        at, lane, data = row
        if data is not None:
            return read_event(data, position, at)
        return None if lane is None else bytes.fromhex(lane)

    def find(self, name: str) -> Record | None:
        """See `Ledger.find`."""
        found = super().find(name)
        if type(found) is User and (self._opened or self._windows):
            return self._windows.told(found, self._opened)
        return found

    def open(self, settled: Settled, until: datetime) -> None:
        """See `Ledger.open`; it is written once for many messages."""
        self._opened[settled.place] = settled.until = until

    def undo(self) -> None:
        """See `Overlay.undo`."""
        super().undo()
        self.settled.clear()  # for some of them, a window may have been noted
        self._opened = _windows_of((event for event, _ in self._published), self._windows.latest)

    def stored_record(self, name: bytes) -> _Found | None:
        """See `Overlay.stored_record`."""
        found = self._cache.records.get(name)
        if found is None and name not in self.missing:
            names = {
                digest_of_name(each) for event in self._expected for each in first_records(event)
            }
            self._expected = ()
            found = self._read({name, *names}).get(name)
        return found

    def _read(self, names: set[bytes]) -> Mapping[bytes, _Found]:
        """Read records into the cache, save those that are in it; return what has been read."""
        found: dict[bytes, _Found] = {}
        wanted = names.difference(self._cache.records)
        if positions := array("q", self._names.positions(wanted).values()):
            rows: Iterable[tuple[bytes, bytes | None, bytes | None]] = self._connection.execute(
                _RECORDS, (apsw.carray(positions),)
            )
            for name, tied_to, data in rows:
                record = tied_to if data is None else _readable(data)
                if record is not None:
                    found[name] = record
        self._cache.keep(found)
        self.missing |= wanted.difference(found)
        return found

    def write(self, now: int) -> None:
        """Write what the group changed; what was touched last is forgotten last."""
        records, queues = self.records, self.queues
        if records:
            self._write_records(now)
            self._cache.keep(records)
        if queues:
            self._connection.executemany(
                "DELETE FROM queues WHERE lane = ?", [(lane,) for lane in queues]
            )
            self._connection.executemany(
                "INSERT INTO queues (lane, items) VALUES (?, ?)",
                [(lane, encode_waiting(q.items)) for lane, q in queues.items() if q.items],
            )

    def _write_records(self, now: int) -> None:
        """Write the records at the end of their table, in the place of what there was of them.

        Those of users who have been seen no later stay where they are, which costs half as much.
        """
        before = self._names.positions(set(self.records).difference(self.missing))
        moving: dict[bytes, bytes] = {}
        ties: dict[bytes, bytes] = {}
        staying: list[tuple[bytes, int]] = []
        for name, value in self.records.items():
            if isinstance(value, bytes):
                ties[name] = name + value
            elif name in before and isinstance(value, User) and self._is_as_old(name, value):
                staying.append((encode_record(value), before.pop(name)))
            else:
                moving[name] = name + encode_record(value)
        if staying:
            self._connection.executemany(_UPDATE, staying)
        if not moving and not ties:
            return
        last = self._names.last
        for statement, rows, after in (
            (_INSERT, moving, last),
            (_INSERT_TIES, ties, last + len(moving)),
        ):
            if rows:
                self._connection.execute(statement, (apsw.carray(tuple(rows.values())), after, now))
        if before:
            gone = [(position,) for position in before.values()]
            self._connection.executemany("DELETE FROM tracks WHERE position = ?", gone)
        self._names.add((*moving, *ties), last)
        self._names.merge()

    def _is_as_old(self, name: bytes, user: User) -> bool:
        known = self._cache.records.get(name)
        return isinstance(known, User) and known.seen == user.seen

    def write_windows(self, places: Sequence[Place], up_to: int, now: int) -> None:
        """Write the windows of these places to their users, save those that have moved on.

        Then those that follow from entries up to a position are all written.
        """
        moved = self._windows.has_moved
        names = {name_of(place[1])[0] for place in places if not moved(place)}
        self._read(set(map(digest_of_name, names)))
        for user in map(super().find, names):
            if type(user) is User and (told := self._windows.told(user)) is not user:
                self.records[digest_of_name(user.name)] = told
        self.write(now)
        self._connection.execute(
            "REPLACE INTO merged (name, position, merging_up_to, part) "
            "VALUES ('windows', ?1, ?1, 0)",
            (up_to,),
        )

    def commit(self) -> None:
        """Take note that the transaction is on disk."""
        if self.queues:
            self._queues.commit(self.queues, self.lanes)
        if self._opened:
            self._windows.latest.update(self._opened)


def read_windows(connection: apsw.Connection, *, span: int) -> Windows:
    """Return the windows that were not written when the file was used last.

    Raises `apsw.Error`.
    """
    up_to: int = connection.execute("SELECT position FROM merged WHERE name = 'windows'").get or 0
    rows: Iterable[tuple[int, int, bytes]] = connection.execute(
        "SELECT position, at, event FROM entries "
        "WHERE position > ? AND event IS NOT NULL ORDER BY position",
        (up_to,),
    )
    due = _windows_of(read_event(data, position, at) for position, at, data in rows)
    return Windows(span, up_to, due, max(up_to, last_position(connection)))


def _windows_of(
    events: Iterable[Event], known: Mapping[Place, datetime] = _NONE
) -> dict[Place, datetime]:
    """Return the latest window of each place that is later than what is known of it."""
    latest: dict[Place, datetime] = {}
    for event in events:
        if type(event) is Message and (until := event.reply_until) is not None:
            place = event.account or "", event.conversation.id
            before = latest.get(place) or known.get(place)
            if before is None or until > before:
                latest[place] = until
    return latest


def _readable(data: bytes) -> Record | None:
    """Return a record, or None for what another program has damaged: then it begins anew."""
    try:
        return decode_record(data)
    except (ValueError, LookupError, TypeError) as error:
        _LOG.error("what is remembered of somebody cannot be read: %s", type(error).__name__)
        return None


def find_records(
    connection: apsw.Connection, index: KeyIndex, windows: Windows, names: Sequence[bytes]
) -> Sequence[Record | None]:
    """Return the record of each name, or of the one that it is tied to; safe beside the writer."""
    while True:
        written = windows.written
        found = _find_with_ties(connection, index, names)
        found = [windows.told(each) if type(each) is User else each for each in found]
        if windows.written == written:  # else one may have been written after its user was read
            return found


def _find_with_ties(
    connection: apsw.Connection, index: KeyIndex, names: Sequence[bytes]
) -> Sequence[Record | None]:
    found = _find_all(connection, index, names)
    for _ in range(MOST_TIES):
        if not (tied := [each for each in found if isinstance(each, bytes)]):
            break
        others = iter(_find_all(connection, index, tied))
        found = [next(others) if isinstance(each, bytes) else each for each in found]
    return [None if isinstance(each, bytes) else each for each in found]


def _find_all(
    connection: apsw.Connection, index: KeyIndex, names: Sequence[bytes]
) -> list[_Found | None]:
    noted = _noted(connection, index, names)
    return [_find(connection, index, name, noted[name]) for name in names]


def _noted(
    connection: apsw.Connection, index: KeyIndex, names: Sequence[bytes]
) -> dict[bytes, int | None]:
    """Return where the record of each name is; few statements, as each takes a lock."""
    found = {name: index.position(name) for name in names}
    others = tuple(name for name, position in found.items() if position is None)
    if others:
        found.update(connection.execute(_POSITIONS, (apsw.carray(others),)))
    return found


def _find(
    connection: apsw.Connection, index: KeyIndex, name: bytes, noted: int | None
) -> _Found | None:
    for _ in range(_LOOKS):
        if noted is None:
            return None
        # The writer may have moved it, and not have noted yet that this is on disk.
        for position in (noted, index.upcoming(name)):
            row: tuple[bytes | None, bytes | None] | None = connection.execute(
                "SELECT tied_to, track FROM tracks WHERE position = ? AND key = ?", (position, name)
            ).fetchone()
            if row is not None:
                tied_to, data = row
                return tied_to if data is None else decode_record(data)
        noted = _noted(connection, index, (name,))[name]
    return None


def read_queues(connection: apsw.Connection, queues: Queues) -> None:
    """Let these queues hold what waits in the file."""
    rows: Iterable[tuple[str, bytes]] = connection.execute("SELECT lane, items FROM queues")
    for lane, items in rows:
        queue = decode_queue(lane, items)
        keys = [digest(key) for item in queue.items for key in item.keys]
        queues.commit({lane: queue}, dict.fromkeys(keys, lane))


def forget_records(
    connection: apsw.Connection, indexes: Indexes, cache: RecordCache, positions: Sequence[int]
) -> None:
    """Forget the records at these positions; one that has moved meanwhile is at the end."""
    gone: Iterable[tuple[bytes]] = connection.executemany(
        "DELETE FROM tracks WHERE position = ? RETURNING key",
        [(position,) for position in positions],
    )
    indexes.names.delete(list(gone))
    cache.clear()
