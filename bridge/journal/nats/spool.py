"""Where callbacks go while the servers are away: another journal, on this machine.

From the first event that goes into the spool, everything does, until all of it has flowed into
the stream: so nothing overtakes what was there before it in its conversation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from bridge.errors import JournalError
from bridge.journal.base import Appended, Cursor, Health, Journal, Settlement, Start
from bridge.model import Event

_LOG: Final = logging.getLogger("bridge.journal")

_BATCH: Final = 128
_READER: Final = "stream"
_AFTER_ERROR: Final = 0.5

Append = Callable[[Sequence[Event]], Awaitable[Appended]]


class Spool:
    """Takes what the stream cannot, and gives it to the stream when it can.

    Correlation happens again on the way: what the spool made out of an event with what this
    machine alone knew, the stream decides anew.
    """

    def __init__(self, journal: Journal, *, append: Append) -> None:
        self.active = False
        self.waiting = 0
        self._journal = journal
        self._append = append
        self._taking = 0
        self._filled = asyncio.Event()
        self._resources = AsyncExitStack()
        self._cursor: Cursor | None = None

    async def open(self) -> None:
        """Open, with what an earlier process may have left."""
        await self._resources.enter_async_context(self._journal)
        self._cursor = await self._journal.subscribe(_READER, start=Start.BEGINNING)
        (state,) = await self._journal.subscribers()
        self.waiting = state.lag
        if self.waiting:
            self.activate()
            self._filled.set()

    async def close(self) -> None:
        """Close; what is in the spool stays."""
        await self._resources.aclose()

    def activate(self) -> None:
        """Let everything go into the spool from now on."""
        if not self.active:
            self.active = True
            _LOG.warning("events go into the spool: the NATS servers are away")

    async def take(self, events: Sequence[Event]) -> Appended:
        """Make events durable here. Raises `JournalError` where the spool is full."""
        self.activate()
        self._taking += 1
        try:
            appended = await self._journal.append(events)
            self.waiting += appended.published
        finally:
            self._taking -= 1
            self._filled.set()
        return appended

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Give what is in the spool to the stream, whenever that is `ready`."""
        while True:
            await self._filled.wait()
            await ready()
            try:
                await self._flow()
            except JournalError as error:
                _LOG.debug("the spool waits: %s", error)
                await asyncio.sleep(_AFTER_ERROR)

    async def _flow(self) -> None:
        if self._cursor is None:
            return
        while self.waiting > 0:
            entries = await self._cursor.read(_BATCH)
            try:
                await self._append([entry.event for entry in entries])
            except JournalError:
                # Read again from where it was settled.
                self._cursor = await self._journal.subscribe(_READER)
                raise
            await self._cursor.settle(Settlement(position=entries[-1].position))
            self.waiting -= len(entries)
        self._filled.clear()  # whoever is taking something in fills it again
        if not self._taking:
            self.active = False
            _LOG.warning("the spool is empty: events go into the stream again")

    async def purge(self, subject: str) -> int:
        """Erase what is about a subject; see `Journal.purge`."""
        erased = await self._journal.purge(subject)
        (state,) = await self._journal.subscribers()
        self.waiting = state.lag
        return erased

    async def health(self) -> Health:
        """Return whether the spool would take an event, and how many it has."""
        health = await self._journal.health()
        if not health.ready:
            return Health(ready=False, reason=f"NATS is away and the spool: {health.reason}")
        return Health(ready=True, reason=f"NATS is away: {self.waiting} events are in the spool")
