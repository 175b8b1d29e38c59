"""The two streams as all parts of the journal share them.

A server that lost its storage comes back with nothing, and sequences begin again; one that lost its
power comes back without the last that it had acknowledged, and sequences after that come again.
Either is another *generation*, which goes on after `resumes_at`. Code that remembers sequences
compares it. Nobody writes into a new generation before subscribers are noted in it, since they
would miss what was written before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from bridge.errors import JournalError
from bridge.journal.nats.broker import Broker, Repeated
from bridge.journal.nats.messages import TTL, Away, Headers, Stored
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.nats.subjects import Names
from bridge.journal.nats.topology import Limits, Prepared, prepare

_LOG: Final = logging.getLogger("bridge.journal")

_AFTER_ERROR: Final = 0.5
_PAGE: Final = 512
_LAGS: Final = 5.0  # seconds that a new leader may take to know what the last one knew


class Streams:
    """Sees that the streams exist while its task runs.

    `renewed` is called each time before they are ready again, to note the subscribers in them.
    """

    def __init__(
        self,
        broker: Broker,
        names: Names,
        settings: NatsSettings,
        limits: Limits,
        *,
        renewed: Callable[[], Awaitable[None]],
    ) -> None:
        self.generation = 0
        self.resumes_at = 0
        self.losses = 0
        self.fault: str | None = None  # why they are not ready although a server is there
        self.broker = broker
        self.names = names
        self._settings = settings
        self._limits = limits
        self._renewed = renewed
        self._found: Prepared | None = None
        self._known = 0  # the last sequence that was written or read here
        self._written: tuple[int, str] | None = None  # the last sequence, and its subject
        self._lags_since: float | None = None
        self._ready = asyncio.Event()
        self._doubted_at: float | None = None
        self._doubted = asyncio.Event()
        self._fault = Repeated(logging.WARNING, "the streams are not ready: %s")
        broker.on_change(self.doubt)

    @property
    def as_long_as_events(self) -> Headers:
        """Return the headers of a record that means nothing once its event is gone."""
        return {TTL: f"{max(1, int(self._limits.keep))}s"}

    @property
    def key_ttl(self) -> int | None:
        """For how many seconds keys are known, if that is less than events are kept."""
        remember = self._settings.remember
        return None if remember >= self._limits.keep else int(remember)

    @property
    def largest(self) -> int:
        """Return how large a message is taken, as far as is known."""
        return self.broker.max_payload if self._found is None else self._found.largest

    @property
    def state_created(self) -> str | None:
        """Return which stream it is that keeps what is known of subscribers."""
        return None if self._found is None else self._found.state_created

    @property
    def ready(self) -> bool:
        """Whether the streams are there, as far as is known."""
        return self.broker.connected and self._ready.is_set()

    @property
    def away_for(self) -> float:
        """Return for how many seconds the streams have not been there."""
        return 0.0 if self._doubted_at is None else time.monotonic() - self._doubted_at

    async def until_ready(self) -> None:
        """Wait for the streams to be there."""
        while not self.ready:
            await self.broker.until_connected()
            await self._ready.wait()

    def doubt(self) -> None:
        """Do not rely on the streams until they have been looked at again."""
        self._ready.clear()
        self._doubted.set()
        if not self.broker.connected:
            self.fault = None
        if self._doubted_at is None:
            self._doubted_at = time.monotonic()

    async def prepare(self) -> None:
        """Make what is missing of the streams. Raises `JournalError`, and then the doubt stays."""
        self._doubted.clear()
        try:
            await self._prepare()
        except BaseException:
            self._doubted.set()
            raise
        if not self._doubted.is_set():  # a doubt that came meanwhile is not answered by this
            self._ready.set()
            self._doubted_at = None

    async def _prepare(self) -> None:
        before = self._found
        found = await prepare(self.broker, self.names, self._settings, self._limits)
        if before is None:
            self.generation += 1
        elif before.created != found.created:
            self._begin_after(0)
            _LOG.critical("the stream %s has been lost: a new one begins", self.names.stream)
        elif await self._lacks_its_end(found):
            _LOG.critical(
                "the stream %s has lost what it had acknowledged last, %d messages or more; what "
                "comes from now on is kept (docs/scale.md, sync_interval)",
                self.names.stream,
                max(1, self._known - found.last),
            )
            self._begin_after(found.last)
        if before is not None and before.state_created != found.state_created:
            self.losses += 1
            _LOG.critical(
                "the stream %s has been lost, with what was held and dead letters: a new one "
                "begins",
                self.names.state,
            )
        self._found = found
        await self._renewed()

    def _begin_after(self, last: int) -> None:
        self.generation += 1
        self.losses += 1
        self.resumes_at = self._known = last
        self._written = None

    async def _lacks_its_end(self, found: Prepared) -> bool:
        """Whether what was written or read here is not in the stream any more."""
        if found.last < self._known:
            now = time.monotonic()
            self._lags_since = self._lags_since or now
            if found.replicas > 1 and now - self._lags_since < _LAGS:
                raise Away("the stream lags behind what was read from it")
            return True
        self._lags_since = None
        if self._written is None:
            return False
        sequence, subject = self._written
        stored = await self.broker.stored(self.names.stream, seq=sequence)
        return stored is not None and stored.subject != subject

    def seen(self, sequence: int) -> None:
        """Note that something in the stream was read."""
        self._known = max(self._known, sequence)

    def wrote(self, sequence: int, subject: str) -> None:
        """Note where something was written: behind what was before, or the stream lost its end."""
        if self._written is not None and sequence <= self._written[0]:
            self.doubt()  # and then something else is found where that was
            return
        self.seen(sequence)
        self._written = sequence, subject

    async def run(self) -> None:
        """Prepare again after every doubt; each new connection is one."""
        while True:
            await self._doubted.wait()
            await self.broker.until_connected()
            try:
                await self.prepare()
            except JournalError as error:
                self.fault = str(error)
                self._fault.log(error)
                await asyncio.sleep(_AFTER_ERROR)
            else:
                self.fault = None
                self._fault.over()

    async def last(self) -> int:
        """Return the last sequence of the events' stream."""
        info = await self.broker.api(f"STREAM.INFO.{self.names.stream}")
        return int(info["state"]["last_seq"])

    async def recorded(
        self, subject: str, sequence: int = 1, *, certain: bool = False
    ) -> AsyncIterator[Stored]:
        """Give what stands at the matching subjects of the state, oldest first, from a sequence on.

        Any replica answers, many records at a time, unless it has to be `certain` that what was
        acknowledged is among them.
        """
        while True:
            if certain:
                one = await self.broker.stored(self.names.state, seq=sequence, next_by_subj=subject)
                found: Sequence[Stored] = () if one is None else (one,)
            else:
                found = await self.broker.next_of(self.names.state, subject, sequence, _PAGE)
            for stored in found:
                if stored.data:  # empty: released
                    yield stored
            if not found:
                return
            sequence = found[-1].sequence + 1

    async def between(self, subject: str, first: int, last: int) -> AsyncIterator[Sequence[Stored]]:
        """Give the stream's messages at the matching subjects, page by page."""
        while first <= last:
            found = await self.broker.next_of(self.names.stream, subject, first, _PAGE)
            page = [stored for stored in found if stored.sequence <= last]
            if page:
                yield page
            if len(page) < len(found) or not found:
                return
            first = found[-1].sequence + 1
