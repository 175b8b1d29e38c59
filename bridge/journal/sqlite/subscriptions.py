"""What is kept of subscribers: how far each is, what it holds, and its dead letters.

Functions that change something run inside the writer's transaction, the others on the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import apsw

from bridge.journal.base import DeadLetter, Failure, Held, Settlement, SubscriberState
from bridge.journal.sqlite.entries import COLUMNS, EntryRow, read_entry

_LAG_COUNTED: Final = 10_000

_HeldRow: TypeAlias = tuple[*EntryRow, int, float | None, float | None, str | None, int]
_DeadRow: TypeAlias = tuple[*EntryRow, int, str, int, float, float, str]
_OutcomeRow: TypeAlias = tuple[
    str,
    int,
    int | None,
    float | None,
    float | None,
    str | None,
    int | None,
    int | None,
    int | None,
    float | None,
    float | None,
    str | None,
]


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


def advance(connection: apsw.Connection, name: str, position: int) -> bool:
    """Note how far a subscriber is; return False where it has been forgotten."""
    connection.execute(
        "UPDATE subscribers SET position = max(position, ?) WHERE name = ?", (position, name)
    )
    return connection.changes() > 0


def settle(connection: apsw.Connection, name: str, settlement: Settlement) -> None:
    """Apply a settlement; what has been purged meanwhile is neither held nor buried."""
    if not advance(connection, name, settlement.position):
        return
    connection.executemany(
        "REPLACE INTO held SELECT ?, position, lane, ?, ?, ?, ?, ? "
        "FROM entries WHERE position = ? AND event IS NOT NULL",
        [
            (
                name,
                held.tries,
                held.due_at,
                held.first_failed_at,
                held.error,
                held.replayed,
                held.entry.position,
            )
            for held in settlement.held
        ],
    )
    connection.executemany(
        "INSERT INTO dead (subscriber, position, tries, first_failed_at, failed_at, error) "
        "SELECT ?, position, ?, ?, ?, ? FROM entries WHERE position = ? AND event IS NOT NULL",
        [
            (
                name,
                failure.tries,
                failure.first_failed_at,
                failure.failed_at,
                failure.error,
                failure.entry.position,
            )
            for failure in settlement.dead
        ],
    )
    done = (*settlement.released, *(failure.entry.position for failure in settlement.dead))
    connection.executemany(
        "DELETE FROM held WHERE subscriber = ? AND position = ?",
        [(name, position) for position in done],
    )


def waiting(connection: apsw.Connection, name: str) -> Mapping[str, float]:
    """Return the lanes that hold entries, and when the first entry of each is due."""
    # SQLite gives bare columns the values of the row that holds the minimum.
    rows: Iterable[tuple[str, float | None, int]] = connection.execute(
        "SELECT lane, due_at, min(position) FROM held WHERE subscriber = ? "
        "GROUP BY lane ORDER BY min(position)",
        (name,),
    )
    return {lane: due_at or 0.0 for lane, due_at, _ in rows}


def held_in(connection: apsw.Connection, name: str, lane: str, limit: int) -> Sequence[Held]:
    """Return a lane's held entries, first things first."""
    rows: Iterable[_HeldRow] = connection.execute(
        f"SELECT {COLUMNS}, tries, due_at, first_failed_at, error, replayed "  # noqa: S608
        "FROM held JOIN entries USING (position) "
        "WHERE subscriber = ? AND held.lane = ? ORDER BY position LIMIT ?",
        (name, lane, limit),
    )
    return tuple(
        Held(
            entry=read_entry(row),
            tries=tries,
            due_at=due_at,
            first_failed_at=first_failed_at,
            error=error,
            replayed=bool(replayed),
        )
        for *row, tries, due_at, first_failed_at, error, replayed in rows
    )


def states(connection: apsw.Connection, progress: Mapping[str, int]) -> Sequence[SubscriberState]:
    """Return every subscriber; `progress` is what may not have been written yet.

    A lag beyond 10,000 is told by distance, since counting it would read all those entries.
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
            position=(place := max(position, progress.get(name, 0))),
            lag=last - place if last - place > _LAG_COUNTED else _lag(connection, place),
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
    rows: Iterable[_DeadRow] = connection.execute(
        f"SELECT {COLUMNS}, id, subscriber, tries, first_failed_at, failed_at, error "  # noqa: S608
        "FROM dead JOIN entries USING (position) "
        "WHERE id > ?1 AND (?2 IS NULL OR subscriber = ?2) ORDER BY id LIMIT ?3",
        (after, subscriber, limit),
    )
    return tuple(
        DeadLetter(
            id=letter,
            subscriber=name,
            failure=Failure(
                entry=read_entry(row),
                tries=tries,
                first_failed_at=first_failed_at,
                failed_at=failed_at,
                error=error,
            ),
        )
        for *row, letter, name, tries, first_failed_at, failed_at, error in rows
    )


def retry(connection: apsw.Connection, letter: int, now: float) -> bool:
    """Hold a dead letter's entry once more, due now; return whether there was one."""
    connection.execute(
        "REPLACE INTO held SELECT subscriber, position, lane, 0, ?, NULL, NULL, 1 "
        "FROM dead JOIN entries USING (position) WHERE id = ?",
        (now, letter),
    )
    return drop(connection, letter)


def drop(connection: apsw.Connection, letter: int) -> bool:
    """Drop a dead letter; return whether there was one."""
    connection.execute("DELETE FROM dead WHERE id = ?", (letter,))
    return connection.changes() > 0
