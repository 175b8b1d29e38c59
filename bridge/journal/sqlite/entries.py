"""Entries read back from the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import apsw

from bridge.journal.erasure import Subject
from bridge.journal.protocol import Entry
from bridge.journal.reading import read_event
from bridge.model.frozen import builder

EntryRow: TypeAlias = tuple[int, int, str, bytes, int | None]
"""What `COLUMNS` selects."""

COLUMNS: Final = "entries.position, entries.at, entries.lane, event, mended"

_MAX_PAGE: Final = 16 << 20  # bytes of JSON

_new_entry: Final = builder(Entry)


def read_entry(row: EntryRow) -> Entry:
    """Return a row's entry."""
    position, at, lane, data, mended = row
    event = read_event(data, position, at)
    return _new_entry(
        position=position, lane=lane, event=event, reparsed=bool(mended), size=len(data)
    )


def read_after(connection: apsw.Connection, position: int, limit: int) -> Sequence[Entry]:
    """Return entries beyond a position, and no more of them once their JSON fills a page."""
    rows: Iterable[EntryRow] = connection.execute(
        f"SELECT {COLUMNS} FROM entries "  # noqa: S608 - our own columns
        "WHERE position > ? AND event IS NOT NULL ORDER BY position LIMIT ?",
        (position, limit),
    )
    entries: list[Entry] = []
    size = 0
    for row in rows:
        entries.append(entry := read_entry(row))
        size += entry.size
        if size > _MAX_PAGE:
            break
    return entries


def newest_at(connection: apsw.Connection) -> int | None:
    """Return when the newest entry was appended, if there is one."""
    found: int | None = connection.execute(
        "SELECT at FROM entries ORDER BY position DESC LIMIT 1"
    ).get
    return found


def without_event(
    connection: apsw.Connection, after: int, limit: int
) -> Sequence[tuple[int, bytes]]:
    """Return the positions and keys of rows that have no event."""
    rows: Iterable[tuple[int, bytes]] = connection.execute(
        "SELECT position, key FROM entries WHERE position > ? AND event IS NULL "
        "ORDER BY position LIMIT ?",
        (after, limit),
    )
    return list(rows)


def first(connection: apsw.Connection) -> int:
    """Return the first position that there is."""
    return int(connection.execute("SELECT ifnull(min(position), 1) FROM entries").get)


def find(connection: apsw.Connection, name: bytes, position: int | None) -> Entry | None:
    """Return the entry with this key, by its position where that is known."""
    row: EntryRow | None = connection.execute(
        f"SELECT {COLUMNS} FROM entries "  # noqa: S608 - our own columns
        "WHERE position = ifnull(?1, (SELECT position FROM keys WHERE key = ?2)) "
        "AND key = ?2 AND event IS NOT NULL",
        (position, name),
    ).fetchone()
    return None if row is None else read_entry(row)


def about(
    connection: apsw.Connection, subject: Subject, span: tuple[int, int]
) -> Sequence[tuple[int]]:
    """Return the positions of entries about a subject, as rows, from within a span."""
    needles = subject.needles
    rows: Iterable[EntryRow] = connection.execute(
        f"SELECT {COLUMNS} FROM entries "  # noqa: S608 - our own columns
        "WHERE position > ? AND position <= ? "
        f"AND ({' OR '.join(['instr(event, ?)'] * len(needles))})",
        (*span, *needles),
    )
    found = map(read_entry, rows)
    return [(entry.position,) for entry in found if subject.is_in(entry.event)]


def mark_reparsed(connection: apsw.Connection, positions: Sequence[int]) -> None:
    """Note of events that could not be read that their bodies have been read since."""
    connection.executemany(
        "UPDATE entries SET mended = 1 WHERE position = ?", [(position,) for position in positions]
    )


def erase(connection: apsw.Connection, positions: Sequence[tuple[int]]) -> None:
    """Erase entries wherever they wait; their keys stay known."""
    connection.executemany(
        "UPDATE entries SET lane = NULL, event = NULL WHERE position = ?", positions
    )
    connection.executemany("DELETE FROM held WHERE position = ?", positions)
    connection.executemany("DELETE FROM dead WHERE position = ?", positions)
