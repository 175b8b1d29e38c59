"""A place in a journal that belongs to nobody, of whatever engine: all it knows is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.journal.protocol import Held, Settlement


class PassingPlace:
    """What a `Cursor` does beside reading, for one that is gone with its process."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._held: dict[int, Held] = {}

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`; a dead entry is only let go of."""
        self._held |= {held.entry.position: held for held in settlement.held}
        gone = (*settlement.released, *(failure.entry.position for failure in settlement.dead))
        for position in gone:
            self._held.pop(position, None)
        self.position = settlement.position

    async def waiting(self) -> Mapping[str, float]:
        """See `Cursor.waiting`."""
        lanes: dict[str, float] = {}
        for _, held in sorted(self._held.items()):
            lanes.setdefault(held.entry.lane, held.due_at or 0.0)
        return lanes

    async def held(self, lane: str, limit: int) -> Sequence[Held]:
        """See `Cursor.held`."""
        mine = sorted(position for position, one in self._held.items() if one.entry.lane == lane)
        return tuple(self._held[position] for position in mine[:limit])
