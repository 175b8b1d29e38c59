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
import attrs

from bridge.journal.correlation import first_keys, first_records
from bridge.journal.identity import names_of
from bridge.journal.ledger import (
    Record,
    Settled,
    User,
    decode_queue,
    decode_record,
    encode_record,
    encode_waiting,
)
from bridge.journal.overlay import MOST_TIES, SIZE, Ids, Overlay, digest, digest_of_name
from bridge.journal.reading import read_event
from bridge.journal.sqlite.key_index import Indexes, KeyIndex
from bridge.journal.waiting import Queues
from bridge.model import Event, Message
from bridge.model.keys import OURS

_LOG: Final = logging.getLogger("bridge.journal")

_LOOKS: Final = 100  # for a record that is moved each time between two statements
_CACHED: Final = 8192  # records, and as many again before the oldest of them are forgotten

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

Place: TypeAlias = tuple[str, str]
"""An account and a conversation."""
Window: TypeAlias = tuple[datetime, str]
"""Until when the user of a conversation may be written to freely, and the user's name."""

_Found: TypeAlias = Record | bytes


class Windows:
    """The windows of conversations that users' records do not tell, each the latest of its own.

    They are collected over `span` entries: all that follow from entries up to `up_to` are
    written, and beyond `due_after` the first ones are to be. The writer alone changes what is here.
    """

    def __init__(self, span: int, up_to: int) -> None:
        self._span = span
        self.up_to = up_to
        self.due_after = up_to + span
        # With the position after which its first entry is. A window stays in its place when it
        # moves, so that the oldest are first.
        self._known: dict[Place, tuple[datetime, str, int]] = {}
        self.written = 0  # how many times some of them were

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._known)

    def get(self, place: Place) -> datetime | None:
        """Return until when the user of a conversation may be written to; in any thread."""
        known = self._known.get(place)
        return None if known is None else known[0]

    def keep(self, opened: Mapping[Place, Window], after: int) -> None:
        """Take note of windows that follow from entries after a position."""
        for place, (until, name) in opened.items():
            known = self._known.get(place)
            since = after if known is None else known[2]
            if known is None or until > known[0]:
                self._known[place] = until, name, since

    def first(self, last: int) -> tuple[Mapping[Place, str], int]:
        """Return the first of them, and whose they are, and what `up_to` is without them.

        `last` is the position of the newest entry.
        """
        known = iter(self._known.items())
        first = {place: name for place, (_, name, _) in islice(known, _TOGETHER)}
        return first, next((since for _, (_, _, since) in known), last)

    def forget(self, places: Iterable[Place], up_to: int) -> None:
        """Take note that the records tell these windows from now on."""
        self.written += 1  # before it is so, for whoever reads both
        for place in places:
            del self._known[place]
        self.up_to = up_to
        self.due_after = up_to + self._span

    def told(self, user: User, opened: Mapping[Place, Window] | None = None) -> User:
        """Return a user's record with what is known of windows, these being newer."""
        latest = dict(user.reply_until)
        for place in user.conversations.items():
            newer = opened.get(place) if opened else None
            until = self.get(place) if newer is None else newer[0]
            if until is not None:
                latest[place[0]] = max(until.timestamp(), latest.get(place[0], 0.0))
        return user if latest == user.reply_until else attrs.evolve(user, reply_until=latest)


class RecordCache:
    """The records used last, by the digests of their names; a digest stands for a tie.

    And what is noted of conversations whose user is `settled`.

    Two dictionaries take turns, since removing the oldest entry of one by one costs more.
    """

    def __init__(self) -> None:
        self.latest: dict[bytes, _Found] = {}
        self.older: dict[bytes, _Found] = {}
        self.settled: dict[str, Settled] = {}

    def get(self, name: bytes) -> _Found | None:
        """Return what is cached under a name; it is one of the latest from now on."""
        found = self.latest.get(name)
        if found is None and (found := self.older.get(name)) is not None:
            self.latest[name] = found
        return found

    def without(self, names: set[bytes]) -> set[bytes]:
        """Return those of these names under which nothing is cached."""
        return names.difference(self.latest).difference(self.older)

    def keep(self, records: Mapping[bytes, _Found]) -> None:
        """Cache what is in the file."""
        self.latest |= records
        if len(self.latest) > _CACHED:
            self.older = self.latest.copy()
            self.latest.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.latest.clear()
        self.older = {}
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
        super().__init__(
            Ids(digest_of_name, made),
            stored_queue=queues.by_lane.get,
            stored_lane=queues.lanes.get,
            id_of_name=digest_of_name,
            at_hand=cache.latest,
            settled=cache.settled,
        )
        self._connection = connection
        self._keys, self._names = indexes.keys, indexes.names
        self._queues = queues
        self._cache = cache
        self._windows = windows
        self._opened: dict[Place, Window] = {}
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

    def open(self, user: User, account: str, until: datetime) -> User:
        """See `Ledger.open`; it is written once for many messages."""
        place = account, user.conversations[account]
        before = self._opened.get(place)
        if before is None or until > before[0]:
            self._change(self._opened, place, (until, user.name))
        return user

    def stored_record(self, name: bytes) -> _Found | None:
        """See `Overlay.stored_record`."""
        found = self._cache.get(name)
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
        wanted = self._cache.without(names)
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
        known = self._cache.get(name)
        return isinstance(known, User) and known.seen == user.seen

    def write_windows(self, places: Mapping[Place, str], up_to: int, now: int) -> None:
        """Write the windows of these places, each with its user's name, to their users.

        Then those that follow from entries up to a position are all written.
        """
        names = set(places.values())
        self._read({digest_of_name(name) for name in names})
        for user in map(self.find, names):
            if type(user) is User:
                self.save(user)
        self.write(now)
        self._connection.execute(
            "REPLACE INTO merged (name, position, merging_up_to, part) "
            "VALUES ('windows', ?1, ?1, 0)",
            (up_to,),
        )

    def commit(self, after: int) -> None:
        """Take note that the transaction is on disk, whose entries come after a position."""
        if self.queues:
            self._queues.commit(self.queues, self.lanes)
        if self._opened:
            self._windows.keep(self._opened, after)


def read_windows(connection: apsw.Connection, *, span: int) -> Windows:
    """Return the windows that were not written when the file was used last.

    Raises `apsw.Error`.
    """
    up_to: int = connection.execute("SELECT position FROM merged WHERE name = 'windows'").get or 0
    windows = Windows(span, up_to)
    rows: Iterable[tuple[int, int, bytes]] = connection.execute(
        "SELECT position, at, event FROM entries "
        "WHERE position > ? AND event IS NOT NULL ORDER BY position",
        (up_to,),
    )
    for position, at, data in rows:
        event = read_event(data, position, at)
        if type(event) is Message and event.reply_until is not None:
            for name in names_of(event)[:1]:
                place = event.account or "", event.conversation.id
                windows.keep({place: (event.reply_until, name)}, position - 1)
    return windows


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
