"""Places in the stream that belong to nobody: all that they know is in memory.

They are many and short-lived (`bridge tail`), so they share one consumer, which tells no more
than that the stream has grown; each reads for itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

from bridge.errors import JournalError
from bridge.journal.ephemeral import PassingPlace
from bridge.journal.nats.entries import entry_of, position_of
from bridge.journal.nats.partition import consumer_info
from bridge.journal.nats.pulling import Delivered, Pulling
from bridge.journal.nats.streams import Streams
from bridge.journal.protocol import Entry

_ROOM: Final = 4096
_NANOSECONDS: Final = 1_000_000_000
_FORGOTTEN_AFTER: Final = 30  # seconds without a request
_LAGGING: Final = 0.02  # seconds until a replica that lags is asked again


class Growth:
    """Knows the last event of the stream while its task runs."""

    room = _ROOM

    def __init__(self, streams: Streams) -> None:
        self.last = 0
        self.closed = False
        self._count = 0
        self._streams = streams
        self._grown = asyncio.Event()
        self._consumer = f"follow-{secrets.token_hex(8)}"
        self._pulling = Pulling(
            streams.broker,
            stream=streams.names.stream,
            consumer=self._consumer,
            group=False,
            taker=self,
            ensure=self._ensure,
        )

    async def run(self) -> None:
        """Follow the stream for as long as anybody does."""
        await self._pulling.run()

    def close(self) -> None:
        """Let everyone who waits know that nothing more comes."""
        self.closed = True
        self._grow()

    @property
    def grown(self) -> asyncio.Event:
        """Return what is set when the stream grows beyond what it is now."""
        return self._grown

    def _grow(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def _ensure(self) -> None:
        await self._streams.until_ready()
        if await consumer_info(self._streams, self._consumer) is None:
            await self._make(await self._streams.last() + 1)
        self._grow()  # by what came while nobody told of it

    async def _make(self, start: int) -> None:
        names = self._streams.names
        config = {
            "name": self._consumer,
            "filter_subject": names.events(),
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "ack_policy": "none",
            "headers_only": True,
            "inactive_threshold": _FORGOTTEN_AFTER * _NANOSECONDS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        await self._streams.broker.api(
            f"CONSUMER.CREATE.{names.stream}.{self._consumer}",
            {"stream_name": names.stream, "config": config, "action": ""},
        )

    # --- what pulling asks for ---------------------------------------------------------------

    def missed(self, given: int) -> bool:
        """Return whether the stream may have grown unseen."""
        return given != self._count

    async def catch_up(self, given: int) -> None:
        """Let everyone look for themselves."""
        self._count = given
        self._grow()

    async def pinned(self, given: int) -> None:
        """Do nothing: nobody shares this consumer."""

    def unpinned(self) -> None:
        """Do nothing, as above."""

    async def idle(self) -> None:
        """Do nothing: events will come."""

    async def take(self, message: Delivered) -> None:
        """Note how far the stream reaches."""
        self._count = message.count
        self.last = message.sequence
        self._grow()


class EphemeralCursor(PassingPlace):
    """A place that belongs to nobody, over all partitions, in the stream's order.

    Begins beyond `sequence`, or where the stream ends once it can be asked.
    """

    def __init__(self, streams: Streams, growth: Growth, sequence: int | None) -> None:
        super().__init__(0 if sequence is None else position_of(sequence))
        self._streams = streams
        self._growth = growth
        self._generation = streams.generation
        self._next = sequence

    async def begin(self) -> None:
        """Take the place, if it is not taken. Raises `JournalError`."""
        self.position = position_of(await self._after())

    async def read(self, limit: int) -> Sequence[Entry]:
        """See `Cursor.read`."""
        names = self._streams.names
        while True:
            if self._growth.closed:
                raise JournalError("the journal is not open")
            grown = self._growth.grown
            await self._streams.until_ready()
            after = await self._after()
            found = await self._streams.broker.next_of(
                names.stream, names.events(), after + 1, limit
            )
            if found:
                self._next = found[-1].sequence
                return [entry_of(stored.sequence, stored.data) for stored in found]
            if self._growth.last > after:
                await asyncio.sleep(_LAGGING)
            else:
                await grown.wait()

    async def _after(self) -> int:
        if self._generation != self._streams.generation:
            if self._generation:
                self._next = 0
            self._generation = self._streams.generation
        if self._next is None:
            self._next = await self._streams.last()
        return self._next
