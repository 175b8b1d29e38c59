"""Asks a consumer for messages, again and again.

A request asks for as many as there is room for. In a priority group, where the server pins one
client, requests carry the pin; each of them tells the server that the pinned client is alive, so
there is one even where nothing fits: for a single byte, which no message is as small as.

What a server gives out may be lost on its way, as where a connection breaks. A consumer counts
what it gives out, and says so with each message and with each heartbeat: who counts as well
knows at once that something is missing, and reads it from the stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import attrs
import orjson
from nats.aio.msg import Msg

from bridge.errors import JournalError
from bridge.journal.nats.broker import Away, Broker, Listening, Refused, status_of

_LOG: Final = logging.getLogger("bridge.journal")

_NANOSECONDS: Final = 1_000_000_000
_EXPIRES: Final = 1.5  # seconds; less than half of what a pin lasts
_BEATS: Final = 0.5  # seconds between heartbeats; at most half of the above
_GRACE: Final = 1.0
_FULL: Final = 0.5  # seconds between looks for room
_AFTER_ERROR: Final = 0.5
_PIN: Final = "Nats-Pin-Id"
_GIVEN: Final = "Nats-Last-Consumer"
_HEARTBEAT: Final = "100"
_NO_CONSUMER: Final = "503"
_CONFLICT: Final = "409"
_WRONG_PIN: Final = "423"

GROUP: Final = "readers"


@attrs.frozen(kw_only=True)
class Delivered:
    """A message that a consumer gave out.

    `count` says which of all that it ever gave out this is; `reply` is where it is acknowledged.
    """

    subject: str
    sequence: int
    count: int
    data: bytes
    reply: str


class Taker(Protocol):
    """What is done with messages, and how many of them fit."""

    @property
    def room(self) -> int:
        """How many messages fit now."""
        ...

    async def take(self, message: Delivered) -> None:
        """Take a message."""
        ...

    def missed(self, given: int) -> bool:
        """Return whether not all of the messages that have been given out have come."""
        ...

    async def catch_up(self, given: int) -> None:
        """Read what was missed of that many."""
        ...

    async def pinned(self, given: int) -> None:
        """Become the one who reads, after so many messages have been given out."""
        ...

    def unpinned(self) -> None:
        """Learn that somebody else may read now."""
        ...

    async def idle(self) -> None:
        """Look around: a request has come back without a message."""
        ...


class Pulling:
    """Pulls from one consumer while its task runs; `ensure` makes the consumer where it is gone."""

    def __init__(
        self,
        broker: Broker,
        *,
        stream: str,
        consumer: str,
        group: bool,
        taker: Taker,
        ensure: Callable[[], Awaitable[None]],
    ) -> None:
        self.pin: str | None = None
        self._broker = broker
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._group = group
        self._taker = taker
        self._ensure = ensure
        self._due = 0
        self._came = False
        self._ended = asyncio.Event()
        self._status: str | None = None
        self._fault = ""

    async def run(self) -> None:
        """Pull until cancelled, whatever the servers do meanwhile."""
        while True:
            try:
                await self._broker.until_connected()
                await self._ensure()
                await self._pull()
            except (Away, Refused) as error:
                _LOG.debug("a consumer cannot be read: %s", error)
            except JournalError as error:
                self._complain(str(error))
            self._drop_pin()
            await asyncio.sleep(_AFTER_ERROR)

    def _complain(self, fault: str) -> None:
        if fault != self._fault:  # once, however often it is tried again
            _LOG.error("a consumer cannot be read: %s", fault)
        self._fault = fault

    async def _pull(self) -> None:
        """Pull until the consumer is gone or the connection is another one."""
        spell = self._broker.spell
        listening = await self._broker.listen(None, self._heard)
        try:
            while self._broker.connected and self._broker.spell == spell:
                room = self._taker.room
                await self._ask(listening, room)
                if self._status == _NO_CONSUMER or (self._status is None and not self._came):
                    return
                if self._status == _WRONG_PIN:
                    self._drop_pin()
                if not self._came:
                    await self._taker.idle()
                if room <= 0:
                    await asyncio.sleep(_FULL)
        finally:
            await listening.stop()

    async def _ask(self, listening: Listening, room: int) -> None:
        wanted: dict[str, Any] = {"batch": max(room, 1)}
        if room <= 0:
            wanted |= {"max_bytes": 1, "no_wait": True}
        else:
            wanted |= {
                "expires": int(_EXPIRES * _NANOSECONDS),
                "idle_heartbeat": int(_BEATS * _NANOSECONDS),
            }
        if self._group:
            wanted["group"] = GROUP
            if self.pin is not None:
                wanted["id"] = self.pin
        self._due = max(room, 1)
        self._came = False
        self._status = None
        self._ended.clear()
        await self._broker.send(self._subject, orjson.dumps(wanted), reply=listening.subject)
        try:
            async with asyncio.timeout(_EXPIRES + _GRACE):
                await self._ended.wait()
        except TimeoutError:
            return

    async def _heard(self, message: Msg) -> None:
        status = status_of(message)
        if status not in (None, _HEARTBEAT):
            self._status = status
            self._ended.set()
            return
        try:
            if status is None:
                await self._take(message)
            elif self.pin is not None or not self._group:
                await self._look_for_gap(int((message.headers or {}).get(_GIVEN, "0")))
        except JournalError as error:
            # What was not taken comes again with the next one who is pinned, or who pulls.
            _LOG.debug("a message cannot be taken: %s", error)
            self._status = _NO_CONSUMER
            self._ended.set()

    async def _take(self, message: Msg) -> None:
        self._came = True
        # $JS.ACK.<stream>.<consumer>.<tries>.<sequence>.<count>.<time>.<pending>
        *_, sequence, count, _, _ = message.reply.split(".")
        delivered = Delivered(
            subject=message.subject,
            sequence=int(sequence),
            count=int(count),
            data=message.data,
            reply=message.reply,
        )
        pin = (message.headers or {}).get(_PIN)
        if pin != self.pin:
            self._drop_pin()
            await self._taker.pinned(delivered.count - 1)
            self.pin = pin
        else:
            await self._look_for_gap(delivered.count - 1)
        await self._taker.take(delivered)
        self._due -= 1
        if self._due <= 0:
            self._ended.set()

    async def _look_for_gap(self, given: int) -> None:
        if self._taker.missed(given):
            _LOG.debug("a message was lost on its way: the stream is read instead")
            await self._taker.catch_up(given)

    def _drop_pin(self) -> None:
        if self.pin is not None:
            self.pin = None
            self._taker.unpinned()
