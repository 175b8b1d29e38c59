"""A named subscriber's cursor in an SQLite journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bridge.journal.protocol import Entry, Held, Settlement
from bridge.journal.sqlite import subscriptions

if TYPE_CHECKING:
    from bridge.journal.sqlite.journal import SqliteJournal


class SubscriberCursor:
    """A `Cursor` that survives a restart."""

    def __init__(self, journal: SqliteJournal, name: str, position: int) -> None:
        self.position = position
        self._journal = journal
        self._name = name
        self._next = position

    def rewind(self) -> None:
        """Go back to the last settled position: what was given out after it comes again."""
        self._next = self.position

    async def read(self, limit: int) -> Sequence[Entry]:
        """See `Cursor.read`."""
        entries = await self._journal.next_after(self._next, limit)
        self._next = entries[-1].position
        return entries

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`.

        A position alone is written a little later, and nobody waits for it: if a crash loses it,
        its entries are delivered once more, which delivery allows for anyway.
        """
        if settlement.held or settlement.released or settlement.dead:
            await self._journal.writing(subscriptions.settle, self._name, settlement)
        else:
            self._journal.save_soon(self._name, settlement.position)
        self.position = settlement.position

    async def waiting(self) -> Mapping[str, float]:
        """See `Cursor.waiting`."""
        return await self._journal.reading(subscriptions.waiting, self._name)

    async def held(self, lane: str, limit: int) -> Sequence[Held]:
        """See `Cursor.held`."""
        return await self._journal.reading(subscriptions.held_in, self._name, lane, limit)
