"""What is kept of subscribers: how far each is, what it holds, and its dead letters.

Functions that change something run inside the writer's transaction, the others on the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import apsw

from bridge.journal.protocol import (
    DeadLetter,
    Failure,
    Held,
    Outcome,
    Settlement,
    Standing,
    SubscriberState,
)
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
    # Left to itself, SQLite goes over everything that the subscriber holds, as that is in order.
    rows: Iterable[_HeldRow] = connection.execute(
        f"SELECT {COLUMNS}, tries, due_at, first_failed_at, error, replayed "  # noqa: S608
        "FROM held INDEXED BY held_by_lane JOIN entries USING (position) "
        "WHERE subscriber = ? AND held.lane = ? ORDER BY position LIMIT ?",
        (name, lane, limit),
    )
    return tuple(map(_held, rows))


def _held(row: _HeldRow) -> Held:
    position, at, lane, event, mended, tries, due_at, first_failed_at, error, replayed = row
    return Held(
        entry=read_entry((position, at, lane, event, mended)),
        tries=tries,
        due_at=due_at,
        first_failed_at=first_failed_at,
        error=error,
        replayed=bool(replayed),
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
    return tuple(map(_dead_letter, rows))


def _dead_letter(row: _DeadRow) -> DeadLetter:
    position, at, lane, event, mended, letter, subscriber, tries, first, last, error = row
    return DeadLetter(
        id=letter,
        subscriber=subscriber,
        failure=Failure(
            entry=read_entry((position, at, lane, event, mended)),
            tries=tries,
            first_failed_at=first,
            failed_at=last,
            error=error,
        ),
    )


def outcomes(
    connection: apsw.Connection, position: int, progress: Mapping[str, int]
) -> Sequence[Outcome]:
    """Return what became of an entry, by subscriber; `progress` as for `states`."""
    # A subscriber that failed with a replay again may have several dead letters of one entry.
    rows: Iterable[_OutcomeRow] = connection.execute(
        "SELECT name, subscribers.position, held.tries, held.due_at, held.first_failed_at, "
        "held.error, held.replayed, max(dead.id), dead.tries, dead.first_failed_at, "
        "dead.failed_at, dead.error FROM subscribers "
        "LEFT JOIN held ON held.subscriber = name AND held.position = ?1 "
        "LEFT JOIN dead ON dead.subscriber = name AND dead.position = ?1 "
        "GROUP BY name ORDER BY name",
        (position,),
    )
    return tuple(_outcome(row, position, progress) for row in rows)


def _outcome(row: _OutcomeRow, position: int, progress: Mapping[str, int]) -> Outcome:
    name, settled, tries, due_at, first, error, replayed = row[:7]
    letter, dead_tries, dead_first, failed_at, dead_error = row[7:]
    if tries is not None:
        return Outcome(
            subscriber=name,
            standing=Standing.HELD,
            tries=tries,
            due_at=due_at,
            first_failed_at=first,
            error=error,
            replayed=bool(replayed),
        )
    if letter is not None and dead_tries is not None:
        return Outcome(
            subscriber=name,
            standing=Standing.DEAD,
            tries=dead_tries,
            first_failed_at=dead_first,
            failed_at=failed_at,
            error=dead_error,
            letter=letter,
        )
    done = position <= max(settled, progress.get(name, 0))
    return Outcome(subscriber=name, standing=Standing.DONE if done else Standing.PENDING)


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
    count = 0
    for position in dict.fromkeys(positions):
        connection.execute(
            "REPLACE INTO held SELECT ?, position, lane, 0, ?, NULL, NULL, 1 FROM entries "
            "WHERE position = ? AND position <= ? AND event IS NOT NULL",
            (name, now, position, settled),
        )
        if connection.changes():
            count += 1
            connection.execute(
                "DELETE FROM dead WHERE subscriber = ? AND position = ?", (name, position)
            )
    return count


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
