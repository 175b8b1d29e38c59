"""How a cursor reads on where one process reads all entries, in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from bridge.journal.protocol import Entry


class Reader:
    """The part of a `Cursor` that reads.

    `fetch` returns the entries after a position, at least one, waiting for it, and at most as
    many as its second argument says.
    """

    def __init__(
        self, position: int, fetch: Callable[[int, int], Awaitable[Sequence[Entry]]]
    ) -> None:
        self.position = self.reached = position
        self.at_work: Final[dict[int, str]] = {}
        self._fetch = fetch
        self._passed: set[int] = set()

    def rewind(self, held: Iterable[int]) -> None:
        """Go back to the last settled position; what is held beyond it is passed over.

        What else was given out after it comes again.
        """
        self.reached = self.position
        self._passed = {each for each in held if each > self.position}

    async def read(self, limit: int) -> Sequence[Entry]:
        """See `Cursor.read`."""
        entries = await self._fetch(self.reached, limit)
        self.reached = entries[-1].position
        if not self._passed:
            return entries
        given = [entry for entry in entries if entry.position not in self._passed]
        self._passed = {each for each in self._passed if each > self.reached}
        return given
