"""The journal on NATS JetStream, for any number of bridge processes.

Every process may append, and does so as one with what dedup and correlation remember; every
process may serve any subscriber, and is given partitions of the events to read. While the
servers are away, events go into a spool on this machine, if there is one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, Self

import attrs

from bridge.errors import JournalError
from bridge.journal.nats.broker import Broker
from bridge.journal.nats.cursors import Changed, Cursors
from bridge.journal.nats.hindsight import note_terms
from bridge.journal.nats.messages import Away
from bridge.journal.nats.operations import Operations, subscribers
from bridge.journal.nats.publisher import Publisher
from bridge.journal.nats.purging import purge
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.nats.spool import Spool
from bridge.journal.nats.streams import Streams
from bridge.journal.nats.subjects import Names
from bridge.journal.nats.topology import Limits
from bridge.journal.protocol import Appended, Cursor, Health, Journal, Start
from bridge.model import Event
from bridge.process.supervised import Deaths, Tasks
from bridge.settings import JournalSettings

_LOG: Final = logging.getLogger("bridge.journal")

_DAY: Final = 86400.0
_AFTER_ERROR: Final = 0.5
# Each holds one of the server's connections, by default a thousand; others need some as well.
_MOST_WAITING: Final = 500


class NatsJournal(Operations):
    """Keeps events in a JetStream stream; an append returns when the stream has it.

    Events are kept for `keep` seconds and, with `max_bytes`, only the newest that fit, whether
    every subscriber has had them or not; a stream that exists keeps its own limits. At most
    `max_waiting` events wait for a server.

    With a `spool`, another journal, the servers may be away: events go there meanwhile. For the
    first `patience` seconds of an absence up to 500 appends wait instead, since most absences are
    elections or restarts.
    """

    durable = True

    @classmethod
    def from_settings(
        cls, settings: JournalSettings, *, local: Callable[[Path, int], Journal]
    ) -> Self:
        """See `JournalClass.from_settings`."""
        own: NatsSettings = settings.own
        spool = local(own.spool_path, own.spool_max_size) if own.spool else None
        return cls(own, keep=settings.keep, max_bytes=settings.max_size, spool=spool)

    def __init__(
        self,
        settings: NatsSettings,
        *,
        keep: float = 8 * _DAY,
        max_bytes: int = 0,
        spool: Journal | None = None,
        max_waiting: int = 20_000,
    ) -> None:
        limits = Limits(keep=keep, max_bytes=max_bytes)
        self._deaths = Deaths()
        self._make = partial(self._made, settings, limits, spool, max_waiting)
        self._make()

    def _made(
        self, settings: NatsSettings, limits: Limits, spool: Journal | None, max_waiting: int
    ) -> None:
        """Make the parts, which belong to one event loop and one time of being open."""
        self._names = Names(stream=settings.stream, partitions=settings.partitions)
        self._broker = Broker(settings)
        self._streams = Streams(
            self._broker, self._names, settings, limits, renewed=self._begin_anew
        )
        self._cursors = Cursors(self._streams, latecomers=spool is not None, deaths=self._deaths)
        self._publisher = Publisher(
            self._broker,
            self._names,
            ttl=self._streams.key_ttl,
            max_waiting=max_waiting,
            largest=lambda: self._streams.largest,
            lost=self._streams.doubt,
            wrote=self._streams.wrote,
            written=self._cursors.grown,
        )
        self._patience = settings.patience
        self._max_away = settings.max_away
        self._may_wait = min(max_waiting, _MOST_WAITING)
        self._waiting = 0
        self._patient_until: float | None = None
        ready = self._cursors.until_joined
        self._spool = None
        if spool is not None:
            self._spool = Spool(spool, append=self._publisher.append, ready=ready)
        self._tasks: Tasks | None = None
        self._resources = AsyncExitStack()
        self._open = False

    @property
    def location(self) -> str:
        """See `Journal.location`."""
        return f"{self._names.stream} on {', '.join(self._broker.servers)}"

    # --- opening and closing ---------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open. Without a spool the servers have to be there; with one, they may come later."""
        if self._broker.connection or self._tasks:  # it was open before
            self._make()
        async with AsyncExitStack() as resources:
            resources.push_async_callback(self._broker.close)
            if self._spool is not None:
                await self._spool.open()
                resources.push_async_callback(self._spool.close)
            runs = [
                self._keep_connecting,
                self._streams.run,
                self._publisher.run,
                self._publisher.look_for_waiting,
            ]
            try:
                await self._connect()
                await self._streams.prepare()
            except Away as error:
                if self._spool is None:
                    raise
                _LOG.warning("the bridge starts without NATS: %s", error)
                self._streams.doubt()
            if self._spool is not None:
                runs.append(self._spool.run)
            tasks = self._tasks = Tasks("journal", self._deaths)
            resources.push_async_callback(self._stop, tasks)
            for run in runs:
                tasks.start(run.__qualname__, run)
            tasks.start("note_terms", partial(note_terms, self._streams, self._publisher))
            self._open = True
            self._resources = resources.pop_all()
        return self

    async def _connect(self) -> None:
        await self._broker.connect()
        await self._cursors.listen()

    async def _begin_anew(self) -> None:
        """Forget what was known of the streams: they may be others."""
        self._publisher.forget_known()
        await self._cursors.renew()

    async def _keep_connecting(self) -> None:
        """Connect wherever there is no connection that would come back by itself."""
        while True:
            try:
                await self._connect()
            except JournalError as error:
                _LOG.debug("the servers are away: %s", error)
                await asyncio.sleep(_AFTER_ERROR)
            else:
                await self._broker.until_closed()

    async def __aexit__(self, *_: object) -> None:
        """Stop reading and writing, and disconnect; callers that wait get a `JournalError`."""
        self._open = False
        await self._resources.aclose()

    async def _stop(self, tasks: Tasks) -> None:
        await self._cursors.close()
        await tasks.close()
        self._publisher.fail("the journal was closed")

    def _running(self) -> None:
        if not self._open:
            raise JournalError("the journal is not open")

    # --- appending -------------------------------------------------------------------------

    async def append(self, events: Sequence[Event]) -> Appended:
        """See `Journal.append`; more than 128 events at once are several writes."""
        self._running()
        if self._spool is None:
            return await self._publish(events)
        while True:
            if self._spool.active:
                self._publisher.refuse_too_large(events)  # it would never leave the spool
                taken = await self._spool.take(events)
                if taken is not None:
                    return taken
            try:
                return await self._publish(events)
            except Away as error:
                await self._wait(self._spool, error)
            self._running()

    async def _publish(self, events: Sequence[Event]) -> Appended:
        if not self._cursors.joined:
            raise Away("NATS is away")
        appended = await self._publisher.append(events)
        self._patient_until = None
        return appended

    async def _wait(self, spool: Spool, error: Away) -> None:
        """Return when another try is worth it, or when the absence has lasted for too long.

        A spool keeps its order only within this machine: where the callbacks of a conversation
        take turns between machines, each spool would hold every other one. A caller that waits
        has not been acknowledged, so nobody sends what comes next.
        """
        now = asyncio.get_running_loop().time()
        if self._patient_until is None:
            self._patient_until = now + self._patience
        if now >= self._patient_until or self._waiting >= self._may_wait:
            spool.activate(error)
            return
        self._waiting += 1
        try:
            async with asyncio.timeout_at(self._patient_until):
                await self._cursors.until_joined()
        except TimeoutError:
            spool.activate(error)
        finally:
            self._waiting -= 1

    # --- cursors -----------------------------------------------------------------------------

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """See `Journal.subscribe`; while the servers are away, the cursor joins later."""
        self._running()
        return await self._cursors.subscribe(name, start)

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """See `Journal.follow`."""
        self._running()
        return await self._cursors.follow(start)

    def watch(self, changed: Changed) -> None:
        """See `SharedJournal.watch`."""
        self._cursors.watch(changed)

    # --- keeping house -----------------------------------------------------------------------

    async def purge(self, subject: str) -> int:
        """See `Journal.purge`; goes over the whole stream."""
        erased = await purge(self._streams, self._publisher, subject)
        if self._spool is not None:
            erased += await self._spool.purge(subject)
        for name in await subscribers(self._streams):
            await self._cursors.held_changed(name)
        return erased

    async def health(self) -> Health:
        """See `Journal.health`; with a reason, a ready journal fills its spool.

        Once the servers are away for longer than `max_away`, the journal is not ready, although
        the spool goes on taking what comes.
        """
        if not self._open:
            return Health(ready=False, reason="the journal is not open")
        health = await self._health()
        return attrs.evolve(
            health,
            losses=health.losses + self._streams.losses,
            deaths=health.deaths + self._deaths.count,
        )

    async def _health(self) -> Health:
        if self._spool is not None and (self._spool.active or not self._streams.ready):
            health = await self._spool.health(away=not self._streams.ready)
            if self._streams.away_for <= self._max_away:
                return health
            reason = f"for more than {self._max_away:g} s {health.reason}"
            return attrs.evolve(health, ready=False, reason=reason)
        if not self._streams.ready:
            return Health(ready=False, reason=self._streams.fault or "NATS is away")
        return Health(ready=True) if self._spool is None else await self._spool.unused()
