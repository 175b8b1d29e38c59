"""The newest entries in memory, for all who keep up; whoever lags reads what the engine stores.

And how a cursor reads on, where one process reads all of a journal in order.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Final

from bridge.errors import JournalError
from bridge.journal.protocol import Entry

_LARGEST: Final = 16 << 20  # bytes of their JSON
_position: Final = attrgetter("position")


class Newest:
    """All entries after `since`, up to `last`; at most `most` of them, and 16 MiB of JSON.

    There may be others up to `reach`, which somebody else has appended. `read` returns stored
    entries beyond a position, at most so many. `changed` is set when something is new; ask for it
    before looking. `trouble` is why nobody may wait for entries now.
    """

    def __init__(self, most: int, read: Callable[[int, int], Awaitable[Sequence[Entry]]]) -> None:
        self.changed = asyncio.Event()
        self._most = most
        self._read = read
        self.open(0)
        self.end("the journal is not open")

    def open(self, last: int) -> None:
        """Begin with a journal that has entries up to a position."""
        self.trouble: str | None = None
        self.begin(last)

    def clear(self) -> None:
        """Have nothing in memory: some of it has been erased."""
        self.begin(self.last, reach=self.reach)

    def begin(self, last: int, *, reach: int = 0) -> None:
        """Begin anew after a position, with nothing."""
        self._entries: list[Entry] = []
        self._size = 0
        self._pages: dict[tuple[int, int, int], asyncio.Task[Sequence[Entry]]] = {}
        self.since = self.last = last
        self.reach = max(reach, last)

    def check(self) -> None:
        """Raise `JournalError` where nobody may wait for entries now."""
        if self.trouble is not None:
            raise JournalError(self.trouble)

    def end(self, trouble: str) -> None:
        """Let nobody wait for entries any more."""
        self.trouble = trouble
        self.wake()

    def add(self, after: int, entries: Sequence[Entry], last: int) -> None:
        """Add all entries from `after` to `last`; those missing before these are read later."""
        if after <= self.last < last:
            if after < self.last:
                entries = [entry for entry in entries if entry.position > self.last]
            self._entries += entries
            self._size += sum(entry.size for entry in entries)
            self.last = last
            # Halved rather than trimmed at each append: cutting a list's head moves all of it.
            while len(self._entries) > self._most or self._size > _LARGEST:
                gone = self._entries[: -(len(self._entries) // 2) or None]
                self._size -= sum(entry.size for entry in gone)
                self.since = gone[-1].position
                del self._entries[: len(gone)]
        self.hear_of(last)

    def hear_of(self, last: int) -> None:
        """Take note that everything up to a position is stored."""
        if last > self.reach:
            self.reach = last
            self.wake()

    def wake(self) -> None:
        """Let everybody look again who waits for `changed`."""
        self.changed.set()
        self.changed = asyncio.Event()

    def after(self, position: int, limit: int) -> Sequence[Entry]:
        """Return entries beyond a position, which must not lie before `since`."""
        first = bisect_right(self._entries, position, key=_position)
        return self._entries[first : first + limit]

    def at(self, position: int) -> Entry | None:
        """Return the entry at a position, where it is one of these."""
        if position <= self.since:
            return None
        found = self.after(position - 1, 1)
        return found[0] if found and found[0].position == position else None

    async def next_after(self, position: int, limit: int) -> Sequence[Entry]:
        """Return the entries beyond a position, waiting for at least one.

        Raises `JournalError`.
        """
        while True:
            changed = self.changed
            self.check()
            if found := await self.look_after(position, limit):
                return found
            await changed.wait()

    async def look_after(self, position: int, limit: int) -> Sequence[Entry]:
        """Return entries beyond a position, if there are any. Raises `JournalError`.

        What is stored is read once for all who ask for the same before anything new is heard of.
        """
        if position >= self.since:
            if found := self.after(position, limit):
                return found
            position = max(position, self.last)
            if position >= self.reach:
                return ()
        place = position, limit, self.reach  # what has come since may be missing in another page
        if place not in self._pages:
            self._pages[place] = asyncio.create_task(self._page(position, limit))
            self._pages[place].add_done_callback(partial(self._has_page, place))
        return await asyncio.shield(self._pages[place])

    def _has_page(self, place: tuple[int, int, int], page: asyncio.Task[Sequence[Entry]]) -> None:
        self._pages.pop(place, None)
        if not page.cancelled():
            page.exception()  # asked for, since whoever wanted it may have gone away

    async def _page(self, position: int, limit: int) -> Sequence[Entry]:
        reach = self.reach
        entries = await self._read(position, limit)
        if self.last < position <= reach:  # nobody has read for a while
            self.begin(position, reach=self.reach)
        self.add(position, entries, entries[-1].position if entries else reach)
        return entries


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
