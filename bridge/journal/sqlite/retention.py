"""What a journal lets go of, in steps small enough that appends do not notice.

Three limits. Older than `keep`, an entry goes once every subscriber is done with it, its key and
the tracks with it; a state goes once it has expired. Over `max_size`, the oldest such entries
lose their event and keep their key, so that deduplication still knows them. Past `absolute_limit`
an entry goes whoever waits for it, and that is said loudly. Held entries and dead letters are not
done with.
The newest entry always stays: it is what positions count on from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeAlias

import apsw
import attrs

from bridge.journal.sqlite.key_index import Indexes, KeyIndex

_Limits: TypeAlias = tuple[int, float]
"""Before when an entry is old, and after when its time is none."""

_LOG: Final = logging.getLogger("bridge.journal")

_CHUNK: Final = 200
_BULKY_CHUNK: Final = 32  # rows whose events may be of any size
_LOW_WATER: Final = 0.9  # how far a full journal is emptied, so that it is not full at once again

_BELIEVED_AFTER: Final = 900.0  # seconds for which a clock that was set has to go on evenly
_TOLERANCE: Final = 60.0  # seconds by which it may drift or be slewed without having been set
_PAUSE: Final = 3600.0  # between the newest entry and the start, after which the clock is doubted

_DELETE_DONE: Final = """
DELETE FROM entries
WHERE position > ? AND position <= ?
    AND NOT EXISTS (SELECT 1 FROM held WHERE held.position = entries.position)
    AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.position = entries.position)
RETURNING key
"""
_DELETE_ALL: Final = "DELETE FROM entries WHERE position > ? AND position <= ? RETURNING key"
_DELETE_TRACKS: Final = """
DELETE FROM tracks
WHERE at < ?2 AND position IN (SELECT position FROM tracks ORDER BY position LIMIT ?1)
RETURNING key
"""
_BULKY: Final = """
SELECT position, key, at FROM entries
WHERE position > ? AND position <= ? AND event IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM held WHERE held.position = entries.position)
    AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.position = entries.position)
"""


def used_size(connection: apsw.Connection) -> int:
    """Return how many bytes of the file are in use; freed pages are used again."""
    pages = connection.pragma("page_count") - connection.pragma("freelist_count")
    return int(pages * connection.pragma("page_size"))


@attrs.define
class _Overdue:
    """What went past the absolute limit before somebody was done with it."""

    unseen: int = 0
    held: int = 0
    dead: int = 0

    @property
    def total(self) -> int:
        return self.unseen + self.held + self.dead


class Retention:
    """Goes over a journal, pass after pass; the writer calls `step` between its groups."""

    def __init__(
        self,
        *,
        keep: float,
        max_size: int,
        absolute_limit: float,
        every: float,
        clock: SteadyClock,
    ) -> None:
        self.max_size = max_size
        self.every = every
        self._keep = keep
        self._absolute_limit = absolute_limit
        self._clock = clock
        self._pass: Iterator[None] | None = None

    def begin(self) -> None:
        """Let the next step be the first of a pass, whatever has been done of another."""
        self._pass = None

    def step(self, connection: apsw.Connection, indexes: Indexes) -> bool:
        """Do a little; return whether that was the end of the pass."""
        if self._pass is None:
            self._pass = self._sweep(connection, indexes)
        try:
            next(self._pass)
        except StopIteration:
            self._pass = None
        except BaseException:
            self._pass = None
            raise
        return self._pass is None

    def _sweep(self, connection: apsw.Connection, indexes: Indexes) -> Iterator[None]:
        now, latest = self._clock.earliest(), self._clock.latest()
        overdue = _Overdue()
        try:
            before = int(now - self._absolute_limit)
            yield from self._give_up(connection, indexes.keys, (before, latest), overdue)
        finally:
            if overdue.total:
                _LOG.warning(
                    "past the absolute limit of %d s and deleted: "
                    "%d entries unseen by a subscriber, %d held, %d dead letters",
                    self._absolute_limit,
                    overdue.unseen,
                    overdue.held,
                    overdue.dead,
                )
        yield from self._expire_entries(connection, indexes.keys, (int(now - self._keep), latest))
        yield from self._expire_tracks(connection, indexes.names, int(now - self._keep))
        yield from self._expire_states(connection, now)
        if self.max_size:
            yield from self._shrink(connection)

    def _give_up(
        self, connection: apsw.Connection, keys: KeyIndex, limits: _Limits, overdue: _Overdue
    ) -> Iterator[None]:
        position = 0
        while (upto := _old_until(connection, position, *limits)) is not None:
            with _forgetting(connection, keys) as delete:
                span = (position, upto)
                done = _done(connection)
                unseen = connection.execute(
                    "SELECT count(*) FROM entries "
                    "WHERE position > ? AND position <= ? AND event IS NOT NULL",
                    (max(position, done), upto),
                ).get
                held = _delete(connection, "held", span)
                dead = _delete(connection, "dead", span)
                delete(_DELETE_ALL, span)
            overdue.unseen += unseen
            overdue.held += held
            overdue.dead += dead
            position = upto
            yield

    def _expire_entries(
        self, connection: apsw.Connection, keys: KeyIndex, limits: _Limits
    ) -> Iterator[None]:
        position = 0
        while (upto := _old_until(connection, position, *limits)) is not None:
            done = _done(connection)
            with _forgetting(connection, keys) as delete:
                delete(_DELETE_DONE, (position, min(upto, done)))
            if upto > done:
                return
            position = upto
            yield

    def _expire_tracks(
        self, connection: apsw.Connection, names: KeyIndex, before: int
    ) -> Iterator[None]:
        while True:
            with _forgetting(connection, names) as delete:
                gone = delete(_DELETE_TRACKS, (_CHUNK, before))
            if gone < _CHUNK:
                return
            yield

    def _expire_states(self, connection: apsw.Connection, now: float) -> Iterator[None]:
        while True:
            connection.execute(
                "DELETE FROM states WHERE id IN "
                "(SELECT id FROM states WHERE expires_at < ? ORDER BY expires_at LIMIT ?)",
                (now, _BULKY_CHUNK),
            )
            if connection.changes() < _BULKY_CHUNK:
                return
            yield

    def _shrink(self, connection: apsw.Connection) -> Iterator[None]:
        position = 0
        while used_size(connection) > self.max_size * _LOW_WATER:
            upto = connection.execute(
                "SELECT max(position) FROM (SELECT position FROM entries "
                "WHERE position > ? AND event IS NOT NULL ORDER BY position LIMIT ?)",
                (position, _BULKY_CHUNK),
            ).get
            if upto is None:
                break
            done = _done(connection)
            with connection:
                # Deleted and put back: an update that shrinks a row gives no page free.
                rows = connection.execute(_BULKY, (position, min(upto, done))).fetchall()
                connection.executemany(
                    "DELETE FROM entries WHERE position = ?", [row[:1] for row in rows]
                )
                connection.executemany(
                    "INSERT INTO entries (position, key, at) VALUES (?, ?, ?)", rows
                )
            if upto > done:
                break
            position = upto
            yield
        if used_size(connection) > self.max_size:
            _LOG.warning("over the limit of %d bytes, and nothing more can go", self.max_size)


def _old_until(
    connection: apsw.Connection, position: int, before: int, latest: float
) -> int | None:
    """Return the end of the next chunk of entries from before a time, or None.

    A chunk ends before the newest entry of all. Positions are in the order of time: what is
    before an old entry is old, and what follows a young one need not be looked at. An entry from
    after `latest` was appended while the clock was ahead, and tells nothing.
    """
    found: int | None = connection.execute(
        "SELECT max(position) FROM (SELECT position, at FROM entries WHERE position > ?1 "
        "AND position < (SELECT max(position) FROM entries) AND at <= ?4 "
        "ORDER BY position LIMIT ?2) WHERE at < ?3",
        (position, _CHUNK, before, latest),
    ).get
    return found


def _done(connection: apsw.Connection) -> int:
    """Return up to where every subscriber has looked at everything."""
    return int(
        connection.execute(
            "SELECT ifnull((SELECT min(position) FROM subscribers), "
            "(SELECT max(position) FROM entries))"
        ).get
    )


@contextmanager
def _forgetting(
    connection: apsw.Connection, keys: KeyIndex
) -> Iterator[Callable[[str, tuple[int, ...]], int]]:
    """Give what deletes rows, and forget their keys: all of it in one transaction."""

    def delete(statement: str, values: tuple[int, ...]) -> int:
        gone: list[tuple[bytes]] = list(connection.execute(statement, values))
        keys.delete(gone)
        return len(gone)

    try:
        with connection:
            yield delete
    except BaseException:
        keys.roll_back()
        raise
    keys.commit()


def _delete(connection: apsw.Connection, table: str, span: tuple[int, int]) -> int:
    connection.execute(
        f"DELETE FROM {table} WHERE position > ? AND position <= ?",  # noqa: S608 - our own names
        span,
    )
    return connection.changes()


# --- a wall clock that may be wrong for a while, and makes nothing old ---------------------------


monotonic: Final[Callable[[], float]] = partial(
    time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
"""Return seconds that nobody sets, with those during which the machine was suspended."""


class SteadyClock:
    """The wall clock as far as the monotonic one bears it out.

    A step of the wall clock is believed once it has stood for a quarter of an hour. Until then
    `earliest` goes on as if there had been none ahead, and `latest` as if there had been none
    back: ages are counted from the latest to the earliest time that it may be, so that a clock
    which is wrong for some minutes makes nothing old. `newest` is when the newest entry was
    appended: a start long after it is a step as well.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        steady: Callable[[], float],
        *,
        newest: float | None,
    ) -> None:
        self._wall = wall
        self._steady = steady
        now = wall()
        is_doubted = newest is not None and abs(now - newest) > _PAUSE
        self._offset = (newest if newest is not None and is_doubted else now) - steady()
        self._claimed = self._offset
        self._claimed_at = steady()

    def earliest(self) -> float:
        """Return a time that is not later than now, as far as the clocks can tell."""
        wall, believed = self._read()
        return min(wall, believed)

    def latest(self) -> float:
        """Return a time that is not earlier than now, as far as the clocks can tell."""
        wall, believed = self._read()
        return max(wall, believed)

    def _read(self) -> tuple[float, float]:
        wall, steady = self._wall(), self._steady()
        offset = wall - steady
        if abs(offset - self._offset) <= _TOLERANCE:
            self._offset = self._claimed = offset
        elif abs(offset - self._claimed) > _TOLERANCE:
            self._claimed, self._claimed_at = offset, steady
        elif steady - self._claimed_at >= _BELIEVED_AFTER:
            self._offset = offset
        return wall, self._offset + steady
