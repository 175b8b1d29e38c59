"""Entries read back from the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import apsw

from bridge.journal.dialect import Row, columns, read_entry
from bridge.journal.protocol import Entry

_COLUMNS: Final = columns("mended")
_MAX_PAGE: Final = 16 << 20  # bytes of JSON


def read_after(connection: apsw.Connection, position: int, limit: int) -> Sequence[Entry]:
    """Return entries beyond a position, and no more of them once their JSON fills a page."""
    rows: Iterable[Row] = connection.execute(
        f"SELECT {_COLUMNS} FROM entries "  # noqa: S608 - our own columns
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
    row: Row | None = connection.execute(
        f"SELECT {_COLUMNS} FROM entries "  # noqa: S608 - our own columns
        "WHERE position = ifnull(?1, (SELECT position FROM keys WHERE key = ?2)) "
        "AND key = ?2 AND event IS NOT NULL",
        (position, name),
    ).fetchone()
    return None if row is None else read_entry(row)


def last_position(connection: apsw.Connection) -> int:
    """Return the position behind which the next entry comes, which is 0 in a new journal.

    No subscriber has settled anything beyond it, whatever entries somebody has deleted.
    """
    last: int = connection.execute(
        "SELECT max((SELECT ifnull(max(position), 0) FROM entries), "
        "(SELECT ifnull(max(position), 0) FROM subscribers))"
    ).get
    return last
