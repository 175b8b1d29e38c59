"""Finding entries: a walk over the journal in short steps, so that nobody waits for it.

SQLite looks for the strings that the JSON of a match has to hold, which is a hundred times faster
than decoding the event; only what is left is decoded and matched. `since` narrows the walk first,
as positions are in the order of time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import apsw
import attrs

from bridge.journal.protocol import Entry
from bridge.journal.query import Query
from bridge.journal.sqlite.entries import COLUMNS, EntryRow, read_entry

_STEP: Final = 5000  # rows at most that are looked at in one go
_ROWS_PER_MATCH: Final = 4  # in the first step of a filter; each one after it is twice as long
_CLOCK_SET_BACK: Final = 3600  # seconds by which a machine's clock may have been


@attrs.frozen
class Span:
    """Positions beyond `after`, up to and including `last`."""

    after: int
    last: int


def span_of(connection: apsw.Connection, query: Query) -> Span:
    """Return where a query's entries can be."""
    first, last = connection.execute(
        # Each by itself is a look at one end of the table; both at once would be a walk over it.
        "SELECT ifnull((SELECT min(position) FROM entries), 1), "
        "ifnull((SELECT max(position) FROM entries), 0)"
    ).get
    after = max(query.after, first - 1)
    if query.before is not None:
        last = min(last, query.before - 1)
    if query.since is not None:
        oldest = int(query.since.timestamp()) - _CLOCK_SET_BACK
        after = max(after, _first_at(connection, oldest, after, last) - 1)
    return Span(after, last)


def _first_at(connection: apsw.Connection, at: int, after: int, last: int) -> int:
    """Return the first position that was appended at a time or later, by halving."""
    low, high = after + 1, last + 1
    while low < high:
        middle = (low + high) // 2
        found: int | None = connection.execute(
            "SELECT at FROM entries WHERE position >= ? ORDER BY position LIMIT 1", (middle,)
        ).get
        if found is None or found >= at:
            high = middle
        else:
            low = middle + 1
    return low


def steps(span: Span, query: Query) -> Iterator[Span]:
    """Cut a span into pieces, in the query's order; whoever wants few reads little."""
    after, last = span.after, span.last
    size = min(query.limit * (_ROWS_PER_MATCH if query.is_filtered else 1), _STEP)
    while after < last:
        if query.newest_first:
            piece = Span(max(after, last - size), last)
            last = piece.after
        else:
            piece = Span(after, min(after + size, last))
            after = piece.last
        yield piece
        size = min(size * 2, _STEP)


def step(connection: apsw.Connection, query: Query, span: Span) -> Sequence[Entry]:
    """Return the entries of a piece that a query matches."""
    conditions = ["position > ?", "position <= ?", "event IS NOT NULL"]
    values: list[int | str | bytes] = [span.after, span.last]
    if query.conversation is not None:
        conditions.append("lane = ?")
        values.append(query.conversation)
    for alternatives in query.needles:
        conditions.append(f"({' OR '.join(['instr(event, ?)'] * len(alternatives))})")
        values += alternatives
    order = "DESC" if query.newest_first else "ASC"
    rows: Iterable[EntryRow] = connection.execute(
        f"SELECT {COLUMNS} FROM entries WHERE {' AND '.join(conditions)} "  # noqa: S608 - our own
        f"ORDER BY position {order}",
        values,
    )
    entries = map(read_entry, rows)
    return [each for each in entries if query.matches(each.event, reparsed=each.reparsed)]
