"""How the entries in SQL tables are looked through: in short steps, as far as is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Final, TypeVar

import attrs

from bridge.journal.dialect import Dialect, Row, read_entry
from bridge.journal.protocol import Entry
from bridge.journal.query import Query

T = TypeVar("T")

_STEP: Final = 5000  # positions at most that a search looks at in one go
_ROWS_PER_MATCH: Final = 4  # in the first step of a filter; each one after it is twice as long
_CLOCK_SET_BACK: Final = 3600  # seconds by which a clock may have been, or be apart from another


@attrs.frozen
class Span:
    """Positions beyond `after`, up to and including `last`."""

    after: int
    last: int


def steps(span: Span, query: Query, stride: int = 1) -> Iterator[Span]:
    """Cut a span into pieces, in the query's order; whoever wants few reads little."""
    after, last = span.after, span.last
    size = min(stride * query.limit * (_ROWS_PER_MATCH if query.is_filtered else 1), _STEP)
    while after < last:
        if query.newest_first:
            piece = Span(max(after, last - size), last)
            last = piece.after
        else:
            piece = Span(after, min(after + size, last))
            after = piece.last
        yield piece
        size = min(size * 2, _STEP)


class Walking(ABC):
    """The part of a journal that reads its table of entries.

    A statement names its values as `:name`, and tables as `$.table`.
    """

    _dialect: Dialect

    @abstractmethod
    async def _rows(
        self, statement: str, make: Callable[[Row], T], **values: object
    ) -> Sequence[T]:
        """Return what is made of each row. Raises `JournalError`."""

    def _entry(self, row: Row) -> Entry:
        return read_entry(row, self._dialect.read_lane)

    async def _walk(
        self, query: Query, needles: Sequence[Sequence[bytes]], is_match: Callable[[Entry], bool]
    ) -> AsyncGenerator[Sequence[Entry]]:
        """Give the entries of a query's span and conversation that match, in short steps."""
        dialect = self._dialect
        values: dict[str, object] = {}
        conditions = ["position > :first", "position <= :last", "event IS NOT NULL"]
        if query.conversation is not None:
            conditions.append("lane = :lane")
            values["lane"] = dialect.write_lane(query.conversation)
        for alternatives in needles:
            names = [
                f"needle{number}" for number in range(len(values), len(values) + len(alternatives))
            ]
            values |= zip(names, alternatives, strict=True)
            conditions.append(f"({' OR '.join(dialect.holds.format(f':{n}') for n in names)})")
        statement = (
            f"SELECT {dialect.columns} FROM $.entries WHERE {' AND '.join(conditions)} "  # noqa: S608
            f"ORDER BY position {'DESC' if query.newest_first else 'ASC'}"
        )

        def make(row: Row) -> Entry | None:
            entry = self._entry(row)
            return entry if is_match(entry) else None

        for span in steps(await self._span_of(query), query, dialect.stride):
            found = await self._rows(statement, make, first=span.after, last=span.last, **values)
            yield [entry for entry in found if entry is not None]

    async def _span_of(self, query: Query) -> Span:
        """Return where a query's entries can be."""
        ((first, last),) = await self._rows(
            # Each by itself is a look at one end of the table; both at once may walk over it.
            "SELECT (SELECT min(position) FROM $.entries), (SELECT max(position) FROM $.entries)",
            tuple,
        )
        if first is None:
            return Span(0, 0)
        after = max(query.after, first - 1)
        if query.before is not None:
            last = min(last, query.before - 1)
        if query.since is not None:
            oldest, high = int(query.since.timestamp()) - _CLOCK_SET_BACK, last
            while after < high:  # halving, for the first that was appended then or later
                middle = (after + high) // 2 + 1
                found = await self._rows(
                    "SELECT at FROM $.entries WHERE position >= :at ORDER BY position LIMIT 1",
                    tuple,
                    at=middle,
                )
                if not found or found[0][0] >= oldest:
                    high = middle - 1
                else:
                    after = middle
        return Span(after, last)
