"""Entries read back from the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import apsw

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


def find(connection: apsw.Connection, name: bytes, position: int | None) -> Entry | None:
    """Return the entry with this key, by its position where that is known."""
    row: EntryRow | None = connection.execute(
        f"SELECT {COLUMNS} FROM entries "  # noqa: S608 - our own columns
        "WHERE position = ifnull(?1, (SELECT position FROM keys WHERE key = ?2)) "
        "AND key = ?2 AND event IS NOT NULL",
        (position, name),
    ).fetchone()
    return None if row is None else read_entry(row)
