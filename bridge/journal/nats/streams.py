"""The two streams as all parts of the journal share them, and which two they are.

A server whose storage was lost comes back with nothing, and sequences begin again: that is
another *generation*. Whoever remembers sequences asks which one they belong to. Nobody writes
into one before the places of subscribers are kept in it: what came before a place would pass
its subscriber by.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from bridge.errors import JournalError
from bridge.journal.nats.broker import TTL, Broker, Headers, Stored
from bridge.journal.nats.subjects import Names
from bridge.journal.nats.topology import Limits, Prepared, prepare

_LOG: Final = logging.getLogger("bridge.journal")

_AFTER_ERROR: Final = 0.5


class Streams:
    """Keeps the streams there while its task runs.

    `renewed` is called each time before they are ready again, to keep the places of subscribers.
    """

    def __init__(
        self,
        broker: Broker,
        names: Names,
        limits: Limits,
        *,
        renewed: Callable[[], Awaitable[None]],
    ) -> None:
        self.generation = 0
        self.broker = broker
        self.names = names
        self._limits = limits
        self._renewed = renewed
        self._found: Prepared | None = None
        self._ready = asyncio.Event()
        self._doubted = asyncio.Event()
        self._fault = ""
        broker.on_connection(self.doubt)

    @property
    def as_long_as_events(self) -> Headers:
        """Return the headers of a record that means nothing once its event is gone."""
        return {TTL: f"{max(1, int(self._limits.keep))}s"}

    @property
    def largest(self) -> int:
        """Return how large a message is taken, as far as is known."""
        return self.broker.max_payload if self._found is None else self._found.largest

    @property
    def ready(self) -> bool:
        """Whether the streams are there, as far as is known."""
        return self.broker.connected and self._ready.is_set()

    async def until_ready(self) -> None:
        """Wait for the streams to be there."""
        while not self.ready:
            await self.broker.until_connected()
            await self._ready.wait()

    def doubt(self) -> None:
        """Look again whether the streams are there, before anybody relies on it."""
        self._ready.clear()
        self._doubted.set()

    async def prepare(self) -> None:
        """See that the streams are there. Raises `JournalError`, and then the doubt stands."""
        self._doubted.clear()
        try:
            await self._prepare()
        except BaseException:
            self._doubted.set()
            raise
        if not self._doubted.is_set():  # a doubt that came meanwhile is not answered by this
            self._ready.set()

    async def _prepare(self) -> None:
        before, found = self._found, await prepare(self.broker, self.names, self._limits)
        self._found = found
        if before is None or before.created != found.created:
            self.generation += 1
            if before is not None:
                _LOG.error("the stream %s has been lost: a new one begins", self.names.stream)
        await self._renewed()

    async def run(self) -> None:
        """Prepare again after every doubt, of which each new connection is one."""
        while True:
            await self._doubted.wait()
            await self.broker.until_connected()
            try:
                await self.prepare()
            except JournalError as error:
                self._complain(str(error))
                await asyncio.sleep(_AFTER_ERROR)
            else:
                self._fault = ""

    def _complain(self, fault: str) -> None:
        if fault != self._fault:  # once, however often it is tried again
            _LOG.warning("the streams are not ready: %s", fault)
        self._fault = fault

    async def last(self) -> int:
        """Return the last sequence of the events' stream."""
        info = await self.broker.api(f"STREAM.INFO.{self.names.stream}")
        return int(info["state"]["last_seq"])

    async def recorded(self, subject: str) -> AsyncIterator[Stored]:
        """Go over what is at the matching subjects of the state, oldest first."""
        sequence = 1
        while True:
            stored = await self.broker.stored(self.names.state, seq=sequence, next_by_subj=subject)
            if stored is None:
                return
            if stored.data:  # nothing written means that it is done with
                yield stored
            sequence = stored.sequence + 1
