"""Finding entries: a walk over the journal in short steps, so that nobody waits for it.

What an entry's JSON cannot match without is looked for by SQLite, which is a hundred times
quicker than reading the event; what is left is read and asked. A time narrows the walk down
first, since positions are in the order of time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import apsw
import attrs
import orjson

from bridge.journal.protocol import Entry
from bridge.journal.query import Query
from bridge.journal.sqlite.entries import COLUMNS, EntryRow, read_entry

_STEP: Final = 5000  # rows that are looked at in one go
_CLOCK_SET_BACK: Final = 3600  # seconds by which a machine's clock may have been


@attrs.frozen
class Span:
    """Positions beyond `after`, up to and including `last`."""

    after: int
    last: int


def span_of(connection: apsw.Connection, query: Query) -> Span:
    """Return where a query's entries can be."""
    first, last = connection.execute(
        "SELECT ifnull(min(position), 1), ifnull(max(position), 0) FROM entries"
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


def steps(span: Span, *, newest_first: bool) -> Iterator[Span]:
    """Cut a span into pieces, in the order in which they are looked at."""
    starts = range(span.after, span.last, _STEP)
    for start in reversed(starts) if newest_first else starts:
        yield Span(start, min(start + _STEP, span.last))


def step(connection: apsw.Connection, query: Query, span: Span, limit: int) -> Sequence[Entry]:
    """Return the entries of a piece that a query is for, at most `limit`."""
    conditions = ["position > ?", "position <= ?", "event IS NOT NULL"]
    values: list[int | str | bytes] = [span.after, span.last]
    if query.conversation is not None:
        conditions.append("lane = ?")
        values.append(query.conversation)
    for alternatives in _needles(query):
        conditions.append(f"({' OR '.join(['instr(event, ?)'] * len(alternatives))})")
        values += alternatives
    order = "DESC" if query.newest_first else "ASC"
    rows: Iterable[EntryRow] = connection.execute(
        f"SELECT {COLUMNS} FROM entries WHERE {' AND '.join(conditions)} "  # noqa: S608 - our own
        f"ORDER BY position {order}",
        values,
    )
    found: list[Entry] = []
    for row in rows:
        entry = read_entry(row)
        if query.matches(entry.event, mended=entry.mended):
            found.append(entry)
            if len(found) == limit:
                break
    return found


def _needles(query: Query) -> Iterator[Sequence[bytes]]:
    """Return what the JSON of a match holds: of each group, at least one."""
    if query.kinds:
        yield [orjson.dumps(kind) for kind in query.kinds]
    for word in (query.channel, query.account, query.content, query.party, query.message_id):
        if word is not None:
            yield [orjson.dumps(word)]
