"""Entries as rows, and the newest of them in memory."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final
from zlib import crc32

from bridge.journal.protocol import Entry
from bridge.journal.reading import read_event

COLUMNS: Final = "entries.position, entries.at, entries.lane, entries.reparsed, entries.event"
WIDTH: Final = 5
_MOST: Final = 4096  # entries in memory
_LARGEST: Final = 16 << 20  # bytes of their JSON
_position: Final = attrgetter("position")
_new_entry: Final[Callable[..., Entry]] = Entry


def lane_bytes(lane: str) -> bytes:
    """Return a lane as it is kept."""
    return lane.encode("utf-8", "surrogatepass")


def lane_text(lane: bytes) -> str:
    """Return the lane that was kept so."""
    return lane.decode("utf-8", "surrogatepass")


def partition_of(lane: str, partitions: int) -> int:
    """Return the partition of a lane."""
    return crc32(lane_bytes(lane)) % partitions


def read_entry(row: Sequence[Any]) -> Entry:
    """Return the entry of a row that begins with `COLUMNS`."""
    position, at, lane, reparsed, event = row[:WIDTH]
    return _new_entry(
        position=position,
        lane=lane_text(lane),
        event=read_event(event, position, at),
        reparsed=reparsed,
        size=len(event),
    )


class Newest:
    """The newest entries: all those after `since`, up to `last`; how many is bounded.

    They come from this process's own appends and from reading what others have appended.
    `changed` is set when something is new; ask for it before looking.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.begin(0)

    def begin(self, last: int) -> None:
        """Begin anew after a position, with nothing."""
        self._entries: list[Entry] = []
        self._size = 0
        self.since = self.last = last
        self.wake()

    def add(self, after: int, entries: Sequence[Entry], last: int) -> bool:
        """Add all entries from `after` to `last`; return False where others are missing before."""
        if after > self.last:
            return False
        if last > self.last:
            more = [entry for entry in entries if entry.position > self.last]
            self._entries += more
            self._size += sum(entry.size for entry in more)
            self.last = last
            while len(self._entries) > _MOST or self._size > _LARGEST:
                gone = self._entries[: -(len(self._entries) // 2) or None]  # rarely, and many
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

    def up_to(self, position: int, limit: int) -> tuple[Sequence[Entry], int]:
        """Return entries beyond a position not before `since`, and up to where these are all."""
        found = self.after(position, limit)
        return found, found[-1].position if len(found) == limit else max(self.last, position)
