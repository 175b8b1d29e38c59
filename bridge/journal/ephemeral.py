"""A cursor without a subscriber, of whatever engine: everything it knows is in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from bridge.journal.newest import Reader
from bridge.journal.protocol import Entry, Held, Settlement


class EphemeralCursor(Reader):
    """A `Cursor` that is gone with its process; see `Reader` for `fetch`."""

    def __init__(
        self, position: int, fetch: Callable[[int, int], Awaitable[Sequence[Entry]]]
    ) -> None:
        super().__init__(position, fetch)
        self._held: dict[int, Held] = {}

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`; there are no dead letters, since nobody could ask for them."""
        self._held |= {held.entry.position: held for held in settlement.held}
        for position in (*settlement.released, *(dead.entry.position for dead in settlement.dead)):
            self._held.pop(position, None)
        self.position = settlement.position

    async def waiting(self) -> Mapping[str, float]:
        """See `Cursor.waiting`."""
        lanes: dict[str, float] = {}
        for _, held in sorted(self._held.items()):
            lanes.setdefault(held.entry.lane, held.retry.due_at or 0.0)
        return lanes

    async def held(self, lane: str, limit: int) -> Sequence[Held]:
        """See `Cursor.held`."""
        mine = sorted(position for position, one in self._held.items() if one.entry.lane == lane)
        return tuple(self._held[position] for position in mine[:limit])
