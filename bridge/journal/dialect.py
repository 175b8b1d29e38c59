"""What is an engine's own in the SQL that SQLite and PostgreSQL share, and entries as rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import attrs

from bridge.journal.protocol import Entry
from bridge.journal.reading import read_event
from bridge.model.frozen import builder

Row: TypeAlias = tuple[Any, ...]

WIDTH: Final = 5
"""How many columns make an entry."""

_new_entry: Final = builder(Entry)


@attrs.frozen(kw_only=True)
class Dialect:
    """What is an engine's own in its SQL.

    `reparsed` is the column that `Entry.reparsed` is kept in. `cursors` is a table with the
    `subscriber` and `position` of each cursor, which serves the entries for which `serves` holds;
    `forget` deletes a subscriber's. `copied` are the columns of `entries` that `held` has
    too. `notes` are the tables of what became of a subscriber's entries otherwise. `among` is the
    condition that a column is one of the `positions`, and `holds` that an event holds a string;
    `mine` is the condition that the journal's `owner` serves an entry or what is held to the
    `subscriber`. `records` gives what is remembered `after` one of its marks, of which each comes
    after `before_records`.
    A lane is stored as `write_lane` returns it, `no_lane` where it is erased, and `by_lane` says
    how to find what is held of one, which is indexed by what `indexed` makes of the lane. Of
    `stride` positions one is an entry's.
    """

    cursors: str
    serves: str
    forget: str
    copied: Sequence[str]
    notes: Sequence[str]
    reparsed: str
    among: str
    holds: str
    records: str
    before_records: bytes | int
    no_lane: str
    by_lane: str = ""
    indexed: str = "{}"
    mine: str = "true"
    write_lane: Callable[[str], str | bytes] = str
    read_lane: Callable[[Any], str] = str
    stride: int = 1

    @property
    def columns(self) -> str:
        """Return those of `entries` of which `read_entry` makes an entry."""
        return columns(self.reparsed)


def columns(reparsed: str) -> str:
    """Return the columns of which `read_entry` makes an entry."""
    return f"entries.position, entries.at, entries.lane, entries.event, entries.{reparsed}"


def read_entry(row: Row, read_lane: Callable[[Any], str] = str) -> Entry:
    """Return the entry of a row that begins with its columns."""
    position, at, lane, event, reparsed = row[:WIDTH]
    return _new_entry(
        position=position,
        lane=read_lane(lane),
        event=read_event(event, position, at),
        reparsed=bool(reparsed),
        size=len(event),
    )
