"""Cursors without a subscriber: each reads the stream for itself when it has grown.

A process that has written says so to all of them. Its word may be lost, or come before a replica
knows what was written, so they look by themselves as well, from time to time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from bridge.errors import JournalError
from bridge.journal.ephemeral import EphemeralCursor
from bridge.journal.nats.entries import entry_of, position_of, sequence_of
from bridge.journal.nats.streams import Streams
from bridge.journal.protocol import Entry

_FIRST_LOOK: Final = 0.02  # seconds; each further look takes twice as long to come
_LAST_LOOK: Final = 1.0


class Growth:
    """What cursors wait for: `grown` is set when the stream grows beyond what it is now."""

    def __init__(self) -> None:
        self.closed = False
        self.grown = asyncio.Event()

    def tell(self) -> None:
        """Wake everybody who waits."""
        self.grown.set()
        self.grown = asyncio.Event()

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.closed = True
        self.tell()


class FollowingCursor(EphemeralCursor):
    """An `EphemeralCursor` over all partitions, in the stream's order.

    Without a position it begins behind the newest event, once that is known.
    """

    def __init__(self, streams: Streams, growth: Growth, position: int | None) -> None:
        super().__init__(position or 0, self._next_after)
        self._streams = streams
        self._growth = growth
        self._generation = streams.generation
        self._begun = position is not None

    async def begin(self) -> None:
        """Find where to begin, if that is not known. Raises `JournalError`."""
        if self._generation != self._streams.generation:
            if self._generation:  # the stream was lost: another one begins
                self.reached = min(self.reached, position_of(self._streams.resumes_at))
                self._begun = True
            self._generation = self._streams.generation
        if not self._begun:
            last = await self._streams.broker.stored(
                self._streams.names.stream, last_by_subj=self._streams.names.events()
            )
            self.position = self.reached = position_of(0 if last is None else last.sequence)
            self._begun = True

    async def _next_after(self, _: int, limit: int) -> Sequence[Entry]:
        pause = _FIRST_LOOK
        events = self._streams.names.events()
        while not self._growth.closed:
            grown = self._growth.grown
            await self._streams.until_ready()
            await self.begin()
            found = await self._streams.broker.next_of(
                self._streams.names.stream, events, sequence_of(self.reached) + 1, limit
            )
            if found:
                self._streams.seen(found[-1].sequence)
                return [entry_of(stored.sequence, stored.data) for stored in found]
            try:
                async with asyncio.timeout(pause):
                    await grown.wait()
                pause = _FIRST_LOOK
            except TimeoutError:
                pause = min(2 * pause, _LAST_LOOK)
        raise JournalError("the journal is not open")
