"""What operators ask of subscribers, and change: how far each is, what it holds, its dead letters.

Functions that change something run inside the writer's transaction, the others on the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import apsw

from bridge.journal.protocol import (
    DeadLetter,
    Held,
    Outcome,
    Retry,
    SubscriberState,
)
from bridge.journal.sqlite.entries import COLUMNS, EntryRow, read_entry

_LAG_COUNTED: Final = 10_000

_DeadRow: TypeAlias = tuple[*EntryRow, int, str, bytes]


def join(connection: apsw.Connection, name: str, position: int) -> int:
    """Remember a subscriber, at this position if it is new; return where it is."""
    connection.execute("INSERT OR IGNORE INTO subscribers VALUES (?, ?)", (name, position))
    return int(connection.execute("SELECT position FROM subscribers WHERE name = ?", (name,)).get)


def forget(connection: apsw.Connection, name: str) -> bool:
    """Drop all that is kept of a subscriber; return whether there was one."""
    connection.execute("DELETE FROM held WHERE subscriber = ?", (name,))
    connection.execute("DELETE FROM dead WHERE subscriber = ?", (name,))
    connection.execute("DELETE FROM subscribers WHERE name = ?", (name,))
    return connection.changes() > 0


def unsettled(
    connection: apsw.Connection, name: str, progress: Mapping[str, int], after: int, limit: int
) -> Sequence[Held]:
    """Return what a subscriber holds or has yet to look at, beyond a position."""
    rows: Iterable[tuple[*EntryRow, bytes | None]] = connection.execute(
        f"SELECT {COLUMNS}, retry FROM entries LEFT JOIN held "  # noqa: S608 - our own columns
        "ON held.position = entries.position AND subscriber = ?1 WHERE entries.position > ?3 "
        "AND event IS NOT NULL AND (retry IS NOT NULL OR entries.position > max(?2, ("
        "SELECT position FROM subscribers WHERE name = ?1))) ORDER BY entries.position LIMIT ?4",
        (name, progress.get(name, 0), after, limit),
    )
    return [
        Held(entry=read_entry(row[:5]), retry=Retry() if row[5] is None else Retry.decode(row[5]))
        for row in rows
    ]


def states(connection: apsw.Connection, progress: Mapping[str, int]) -> Sequence[SubscriberState]:
    """Return every subscriber; `progress` is what may not have been written yet.

    A lag beyond 10,000 is the distance in positions, since counting it would read all those
    entries.
    """
    last = connection.execute("SELECT ifnull(max(position), 0) FROM entries").get
    rows: Iterable[tuple[str, int, int, int]] = connection.execute(
        "SELECT name, position, "
        "(SELECT count(*) FROM held WHERE subscriber = name), "
        "(SELECT count(*) FROM dead WHERE subscriber = name) "
        "FROM subscribers ORDER BY name"
    )
    return tuple(
        SubscriberState(
            name=name,
            position=(settled := max(position, progress.get(name, 0))),
            lag=last - settled if last - settled > _LAG_COUNTED else _lag(connection, settled),
            held=held,
            dead=dead,
        )
        for name, position, held, dead in list(rows)
    )


def _lag(connection: apsw.Connection, position: int) -> int:
    return int(
        connection.execute(
            "SELECT count(*) FROM entries WHERE position > ? AND event IS NOT NULL", (position,)
        ).get
    )


def dead_letters(
    connection: apsw.Connection, subscriber: str | None, after: int, limit: int
) -> Sequence[DeadLetter]:
    """Return dead letters with ids beyond `after`, oldest first."""
    return _letters(
        connection,
        "id > ?1 AND (?2 IS NULL OR subscriber = ?2) ORDER BY id LIMIT ?3",
        (after, subscriber, limit),
    )


def _letters(
    connection: apsw.Connection, condition: str, values: tuple[int | str | None, ...]
) -> Sequence[DeadLetter]:
    rows: Iterable[_DeadRow] = connection.execute(
        f"SELECT {COLUMNS}, id, subscriber, retry "  # noqa: S608 - our own columns and conditions
        f"FROM dead JOIN entries USING (position) WHERE {condition}",
        values,
    )
    return tuple(
        DeadLetter(
            id=row[5], subscriber=row[6], entry=read_entry(row[:5]), retry=Retry.decode(row[7])
        )
        for row in rows
    )


def outcomes(
    connection: apsw.Connection, position: int, progress: Mapping[str, int]
) -> Sequence[Outcome]:
    """Return what became of an entry, by subscriber; `progress` as for `states`."""
    rows: Iterable[tuple[str, int, bytes | None]] = connection.execute(
        "SELECT name, subscribers.position, retry FROM subscribers "
        "LEFT JOIN held ON subscriber = name AND held.position = ? ORDER BY name",
        (position,),
    )
    # A subscriber that failed with a replay again may have several: the newest counts.
    letters = _letters(connection, "position = ? ORDER BY id", (position,))
    dead = {letter.subscriber: letter for letter in letters}
    return tuple(
        Outcome.of(
            name,
            held=None if retry is None else Retry.decode(retry),
            dead=dead.get(name),
            done=position <= max(settled, progress.get(name, 0)),
        )
        for name, settled, retry in rows
    )


def replay(
    connection: apsw.Connection,
    positions: Sequence[int],
    name: str,
    progress: Mapping[str, int],
    now: float,
) -> int:
    """Hold entries again that a subscriber has had; return how many. See `Journal.replay`."""
    known: int | None = connection.execute(
        "SELECT position FROM subscribers WHERE name = ?", (name,)
    ).get
    if known is None:
        return 0
    settled = max(known, progress.get(name, 0))
    again = Retry(due_at=now, replayed=True).encode()
    count = 0
    for position in dict.fromkeys(positions):
        connection.execute(
            "DELETE FROM dead WHERE subscriber = ? AND position = ?", (name, position)
        )
        was_dead = connection.changes() > 0
        connection.execute(
            "REPLACE INTO held (subscriber, position, lane, due_at, retry) "
            "SELECT ?, position, lane, ?, ? FROM entries "
            "WHERE position = ? AND (? OR position <= ?) AND event IS NOT NULL",
            (name, now, again, position, was_dead, settled),
        )
        count += connection.changes()
    return count


def drop(connection: apsw.Connection, letter: int) -> bool:
    """Drop a dead letter; return whether there was one."""
    connection.execute("DELETE FROM dead WHERE id = ?", (letter,))
    return connection.changes() > 0
