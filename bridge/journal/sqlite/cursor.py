"""Places in an SQLite journal: those of subscribers, which are kept, and those of nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import apsw

from bridge.journal.ephemeral import PassingPlace
from bridge.journal.protocol import Entry, Held, Settlement
from bridge.journal.sqlite import subscriptions

T = TypeVar("T")


class Source(Protocol):
    """What a cursor asks of its journal."""

    async def next_after(self, position: int, limit: int) -> Sequence[Entry]:
        """Return the entries beyond a position, waiting for at least one."""
        ...

    async def reading(self, query: Callable[[apsw.Connection], T]) -> T:
        """Run a query beside the writer."""
        ...

    def writing(self, work: Callable[[apsw.Connection], Any]) -> Awaitable[Any]:
        """Make a change with the next group commit."""
        ...

    def save_soon(self, name: str, position: int) -> None:
        """Keep how far a subscriber is, with the next group commit or a little later."""
        ...


class SubscriberCursor:
    """A named subscriber's place; it survives a restart."""

    def __init__(self, source: Source, name: str, position: int) -> None:
        self.position = position
        self._source = source
        self._name = name
        self._next = position

    def rewind(self) -> None:
        """Go back to what has been settled: what was given out and not settled comes again."""
        self._next = self.position

    async def read(self, limit: int) -> Sequence[Entry]:
        """See `Cursor.read`."""
        entries = await self._source.next_after(self._next, limit)
        self._next = entries[-1].position
        return entries

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`.

        Mere progress is kept a little later and not waited for: what is lost of it to a crash
        is delivered once more, which delivery promises anyway.
        """
        if settlement.held or settlement.released or settlement.dead:
            await self._source.writing(
                partial(subscriptions.settle, name=self._name, settlement=settlement)
            )
        else:
            self._source.save_soon(self._name, settlement.position)
        self.position = settlement.position

    async def waiting(self) -> Mapping[str, float]:
        """See `Cursor.waiting`."""
        return await self._source.reading(partial(subscriptions.waiting, name=self._name))

    async def held(self, lane: str, limit: int) -> Sequence[Held]:
        """See `Cursor.held`."""
        return await self._source.reading(
            partial(subscriptions.held_in, name=self._name, lane=lane, limit=limit)
        )


class EphemeralCursor(PassingPlace):
    """A place that belongs to nobody."""

    def __init__(self, source: Source, position: int) -> None:
        super().__init__(position)
        self._source = source
        self._next = position

    async def read(self, limit: int) -> Sequence[Entry]:
        """See `Cursor.read`."""
        entries = await self._source.next_after(self._next, limit)
        self._next = entries[-1].position
        return entries
