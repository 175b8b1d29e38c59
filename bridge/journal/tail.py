"""The newest entries in memory, of whichever engine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from bridge.journal.erasure import Subject
from bridge.journal.protocol import Entry

_position: Final = attrgetter("position")


class Tail:
    """The newest entries in memory, for subscribers that keep up.

    Holds every entry after `since`; their number and the size of their JSON are bounded.
    """

    def __init__(self, since: int, *, max_entries: int, max_size: int = 16 << 20) -> None:
        self.since = since
        self.last = since
        self._max_entries = max_entries
        self._max_size = max_size
        self._entries: list[Entry] = []
        self._size = 0

    def extend(self, entries: Sequence[Entry], size: int) -> None:
        """Add what has been appended; `size` is that of its JSON."""
        self._entries += entries
        self._size += size
        self.last = entries[-1].position
        # Halved rather than trimmed at each append: cutting a list's head moves all of it.
        while len(self._entries) > self._max_entries or self._size > self._max_size:
            kept = len(self._entries) // 2
            self._size = self._size * kept // len(self._entries)
            self._keep(self._entries[len(self._entries) - kept :])

    def _keep(self, entries: list[Entry]) -> None:
        gone = self._entries[len(self._entries) - len(entries) - 1]
        self.since = gone.position
        self._entries = entries

    def after(self, position: int, limit: int) -> Sequence[Entry]:
        """Return entries beyond a position, which must not lie before `since`."""
        first = bisect_right(self._entries, position, key=_position)
        return self._entries[first : first + limit]

    def erase(self, subject: Subject) -> None:
        """Let go of entries about one subject."""
        self._entries = [entry for entry in self._entries if not subject.is_in(entry.event)]
