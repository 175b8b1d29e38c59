"""What the tests of the SQLite journal share: reading all of a file, and a clock."""

from __future__ import annotations

from functools import partial

import attrs

from bridge.journal.protocol import Entry
from bridge.journal.sqlite import SqliteJournal
from bridge.journal.sqlite.entries import read_after
from bridge.model import Message

DAY = 86400.0
FOREVER = 1_000_000


@attrs.define
class Clock:
    """A clock that goes when it is told to."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def at(clock: Clock) -> dict[str, Clock]:
    """Return the arguments of a journal for which this clock is right."""
    return {"clock": clock, "monotonic": clock}


async def everything(journal: SqliteJournal) -> list[Entry]:
    """Return all that is in the file."""
    return list(await journal.reading(partial(read_after, position=0, limit=FOREVER)))


async def ids(journal: SqliteJournal) -> list[str]:
    return [e.event.message_id for e in await everything(journal) if isinstance(e.event, Message)]


async def run(journal: SqliteJournal, sql: str) -> object:
    """Run SQL on the writer's connection, outside a transaction."""
    return await journal._chore(lambda db: db.execute(sql).get)
