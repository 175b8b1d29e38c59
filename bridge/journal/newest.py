"""The newest entries in memory, for subscribers that keep up."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from bridge.journal.erasure import Subject
from bridge.journal.protocol import Entry

_LARGEST: Final = 16 << 20  # bytes of their JSON
_position: Final = attrgetter("position")


class Newest:
    """All entries after `since`, up to `last`; at most `most` of them, and 16 MiB of JSON.

    `changed` is set when something is new; ask for it before looking.
    """

    def __init__(self, most: int) -> None:
        self.changed = asyncio.Event()
        self._most = most
        self.begin(0)

    def begin(self, last: int) -> None:
        """Begin anew after a position, with nothing."""
        self._entries: list[Entry] = []
        self._size = 0
        self.since = self.last = last

    def add(self, after: int, entries: Sequence[Entry], last: int) -> bool:
        """Add all entries from `after` to `last`; return False where others are missing before."""
        if after > self.last:
            return False
        if last > self.last:
            more = [entry for entry in entries if entry.position > self.last]
            self._entries += more
            self._size += sum(entry.size for entry in more)
            self.last = last
            # Halved rather than trimmed at each append: cutting a list's head moves all of it.
            while len(self._entries) > self._most or self._size > _LARGEST:
                gone = self._entries[: -(len(self._entries) // 2) or None]
                self._size -= sum(entry.size for entry in gone)
                self.since = gone[-1].position
                del self._entries[: len(gone)]
            self.wake()
        return True

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

    def erase(self, subject: Subject) -> None:
        """Let go of entries about one subject."""
        self._entries = [entry for entry in self._entries if not subject.is_in(entry.event)]
        self._size = sum(entry.size for entry in self._entries)
