"""The journal on this machine that takes events while the servers are away.

Once an event is in the spool, every event goes there until all of them have flowed into the
stream: nothing overtakes what came before it in its conversation.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import Final

import attrs

from bridge.errors import CodecError, JournalError
from bridge.journal.nats.messages import CutOff, Unfit
from bridge.journal.protocol import (
    Appended,
    Entry,
    Health,
    Held,
    Journal,
    Retry,
    Settlement,
    Start,
)
from bridge.model import Event, Notice
from bridge.model.codec import encode, from_dict, to_dict
from bridge.model.frozen import evolved

_LOG: Final = logging.getLogger("bridge.journal")

_BATCH: Final = 128
_SPOOLED: Final = "spooled"
_READER: Final = "stream"
_AFTER_ERROR: Final = 0.5
_CUTS: Final = 2  # the third time that a server cuts the connection off over an event is the last
_ENDS_WITHIN: Final = 2.0  # seconds for which appends wait so that it can become empty

Append = Callable[[Sequence[Event]], Awaitable[Appended]]


class Spool:
    """Takes what the stream cannot, and gives it to the stream when that is `ready`.

    Every event is wrapped into another one, so that the spool's own journal keeps it as it came:
    the stream alone correlates, since this machine does not know what others have written. An
    event that no server takes becomes a dead letter of the spool's, so that what is behind it
    arrives.
    """

    def __init__(
        self, journal: Journal, *, append: Append, ready: Callable[[], Awaitable[None]]
    ) -> None:
        self.active = False
        self.waiting = 0
        self._refused = 0  # events that no server takes
        self._journal = journal
        self._append = append
        self._ready = ready
        self._taking = 0
        self._filled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = asyncio.Event()
        self._open.set()
        self._resources = AsyncExitStack()

    async def open(self) -> None:
        """Open, with what an earlier process may have left."""
        await self._resources.enter_async_context(self._journal)
        await self._journal.subscribe(_READER, start=Start.BEGINNING)
        if await self._count():
            self.activate("an earlier process left events in it")

    async def close(self) -> None:
        """Close; what is in the spool stays."""
        await self._resources.aclose()

    def activate(self, why: object) -> None:
        """Let everything go into the spool from now on, until it has been emptied."""
        if not self.active:
            self.active = True
            _LOG.warning("events go into the spool: %s", why)
        self._filled.set()

    async def take(self, events: Sequence[Event]) -> Appended | None:
        """Make events durable here; return None where the stream takes them again.

        Raises `JournalError` where the spool is full.
        """
        await self._open.wait()
        if not self.active:
            return None
        self._taking += 1
        self._idle.clear()
        try:
            appended = await self._journal.append([_wrapped(event) for event in events])
            self.waiting += appended.published
        finally:
            self._taking -= 1
            if not self._taking:
                self._idle.set()
            self._filled.set()
        return appended

    async def run(self) -> None:
        """Give what is in the spool to the stream, whenever there is something."""
        while True:
            await self._filled.wait()
            await self._ready()
            self._filled.clear()  # whoever takes something in from here on fills it again
            try:
                await self._flow()
                await self._end()
            except JournalError as error:
                _LOG.debug("the spool waits: %s", error)
                self._filled.set()
                await asyncio.sleep(_AFTER_ERROR)
            except BaseException:
                self._filled.set()  # for the task that replaces this one
                raise

    async def _flow(self) -> None:
        cursor = await self._journal.subscribe(_READER)  # where it was settled last
        while await self._count():
            entries = await cursor.read(_BATCH)
            await self._ready()
            dead = await self._give(entries)
            await cursor.settle(Settlement(position=entries[-1].position, dead=dead))

    async def _end(self) -> None:
        """Empty it to the end while whoever comes waits: under load it would never be empty."""
        self._open.clear()
        try:
            async with asyncio.timeout(_ENDS_WITHIN):
                await self._idle.wait()
                await self._flow()
        except TimeoutError:
            self._filled.set()
        else:
            self.active = False
            _LOG.warning("the spool is empty: events go into the stream again")
        finally:
            self._open.set()

    async def _count(self) -> int:
        """Ask the journal: what is taken in for a caller who has gone is in no other count."""
        (state,) = await self._journal.subscribers()
        self.waiting, self._refused = state.lag, state.dead
        return self.waiting

    async def _give(self, entries: Sequence[Entry], cuts: int = 0) -> Sequence[Held]:
        """Give entries to the stream as one; return which it would not have even alone.

        `cuts` is how often the connection has been cut off over the one entry.
        """
        try:
            await self._append([_unwrapped(entry.event) for entry in entries])
        except CutOff as error:
            await self._ready()  # it may be none of these events that the server would not have
            if len(entries) == 1 and cuts == _CUTS:
                return [self._set_aside(entries[0], error)]
            cuts += len(entries) == 1
        except (Unfit, CodecError) as error:
            if len(entries) == 1:
                return [self._set_aside(entries[0], error)]
        else:
            return ()
        return [dead for entry in entries for dead in await self._give([entry], cuts)]

    def _set_aside(self, entry: Entry, error: Exception) -> Held:
        """Return an entry as a dead letter of the spool's."""
        _LOG.error("an event stays in the spool: %s", error, extra={"key": entry.event.key})
        now = time.time()
        return Held(
            entry=entry,
            retry=Retry(tries=1, first_failed_at=now, failed_at=now, error=str(error)),
        )

    async def purge(self, subject: str) -> int:
        """Erase what is about a subject; see `Journal.purge`."""
        erased = await self._journal.purge(subject)
        await self._count()
        return erased

    async def unused(self) -> Health:
        """Return the health of a journal that needs no spool now: what the spool's file needs."""
        health = await self._journal.health()
        told = [str(health.reason)] if health.set_aside else []
        told += [f"events in it that no server takes: {self._refused}"] if self._refused else []
        return Health(
            ready=True,
            reason=f"the spool: {', '.join(told)}" if told else None,
            set_aside=health.set_aside,
            losses=health.losses,
            deaths=health.deaths,
        )

    async def health(self, *, away: bool) -> Health:
        """Return whether the spool would take an event, and how many it has."""
        cause = "NATS is away" if away else "NATS was away"
        health = await self._journal.health()
        if health.ready:
            reason = f"{cause}: {self.waiting} events are in the spool"
        else:
            reason = f"{cause}, and the spool: {health.reason}"
        return attrs.evolve(health, reason=reason, spooled=self.waiting)


def _wrapped(event: Event) -> Event:
    """Return an event that carries another one; the same account of it comes to the same key."""
    told = encode(evolved(event, received_at=event.occurred_at))
    return Notice(
        key=f"{_SPOOLED}/{sha256(told).hexdigest()}",
        source=event.source,
        domain=event.domain,
        channel=_SPOOLED,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        raw=to_dict(event),
        topic=_SPOOLED,
    )


def _unwrapped(event: Event) -> Event:
    """Return what an event carries; one that an earlier version has left carries nothing."""
    if isinstance(event, Notice) and event.channel == _SPOOLED:
        return from_dict(event.raw)
    return event
