"""Requests messages from the consumer of a partition, again and again.

A request asks for as many messages as there is room for, and carries the pin with which the
server marks the one client that reads. Each request also tells the server that the pinned client
is alive, so one is sent even without room: for a single byte, which no message fits into.

Messages may be lost on their way, as where a connection breaks. A consumer counts what it gives
out, and says so with each message and each heartbeat: where its count and ours differ, the
messages in between are read from the stream.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import attrs
import orjson
from nats.aio.msg import Msg

from bridge.errors import JournalError
from bridge.journal.nats.broker import Broker, Repeated, status_of
from bridge.journal.nats.messages import Away, Refused

if TYPE_CHECKING:
    from bridge.journal.nats.partition import Partition

_LOG: Final = logging.getLogger("bridge.journal")

_NANOSECONDS: Final = 1_000_000_000
_EXPIRES: Final = 1.5  # seconds; less than half of what a pin lasts
_BEATS: Final = 0.5  # seconds between heartbeats; at most half of the above
_GRACE: Final = 1.0
_FULL: Final = 0.5  # seconds between looks for room
_AFTER_ERROR: Final = 0.5
_PASSING: Final = 6  # refusals in a row, as while a leader is elected
_PIN: Final = "Nats-Pin-Id"
_GIVEN: Final = "Nats-Last-Consumer"
_HEARTBEAT: Final = "100"
_NO_CONSUMER: Final = "503"
_WRONG_PIN: Final = "423"

GROUP: Final = "readers"


@attrs.frozen(kw_only=True)
class Delivered:
    """A message from a consumer: `count` of all that it gave out, acknowledged at `reply`."""

    subject: str
    sequence: int
    count: int
    data: bytes
    reply: str


class Pulling:
    """Pulls for a partition while its task runs."""

    def __init__(self, broker: Broker, stream: str, consumer: str, partition: Partition) -> None:
        self.pin: str | None = None
        self._broker = broker
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._partition = partition
        self._due = 0
        self._came = False
        self._ended = asyncio.Event()
        self._status: str | None = None
        self._refused = 0
        told = f"the consumer {consumer} cannot be read: %s"
        self._fault = Repeated(logging.ERROR, told)

    async def run(self) -> None:
        """Pull until cancelled, whatever the servers do meanwhile."""
        self._drop_pin()  # of a task that was cut off, whose place this one takes
        while True:
            try:
                await self._broker.until_connected()
                await self._partition.ensure()
                self._refused = 0
                await self._pull()
            except (Away, Refused) as error:
                _LOG.debug("a consumer cannot be read: %s", error)
                self._refused += isinstance(error, Refused)
                if self._refused > _PASSING:
                    self._fault.log(error)
            except JournalError as error:
                self._fault.log(error)
            self._drop_pin()  # not where it is cut off by `close`, which gives the pin back
            await asyncio.sleep(_AFTER_ERROR)

    async def _pull(self) -> None:
        """Pull until the consumer is gone or the connection is another one."""
        connection = self._broker.connection
        async with self._broker.hearing(self._heard) as inbox:
            while self._broker.connected and self._broker.connection == connection:
                room = self._partition.room
                await self._ask(inbox, room)
                if self._status == _NO_CONSUMER or (self._status is None and not self._came):
                    return
                if self._status == _WRONG_PIN:
                    self._drop_pin()
                if not self._came:
                    await self._partition.idle()
                if room <= 0:
                    await asyncio.sleep(_FULL)

    async def _ask(self, inbox: str, room: int) -> None:
        wanted: dict[str, Any] = {"batch": max(room, 1), "group": GROUP}
        if room <= 0:
            wanted |= {"max_bytes": 1, "no_wait": True}
        else:
            wanted |= {
                "expires": int(_EXPIRES * _NANOSECONDS),
                "idle_heartbeat": int(_BEATS * _NANOSECONDS),
            }
        if self.pin is not None:
            wanted["id"] = self.pin
        self._due = max(room, 1)
        self._came = False
        self._status = None
        self._ended.clear()
        await self._broker.send(self._subject, orjson.dumps(wanted), reply=inbox)
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
            elif self.pin is not None:
                await self._look_for_gap(int((message.headers or {}).get(_GIVEN, "0")))
        except JournalError as error:
            # What was not taken is given out again to whichever client is pinned next.
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
            await self._partition.pinned(delivered.count - 1)
            self.pin = pin
        else:
            await self._look_for_gap(delivered.count - 1)
        await self._partition.take(delivered)
        self._due -= 1
        if self._due <= 0:
            self._ended.set()

    async def _look_for_gap(self, given: int) -> None:
        if self._partition.missed(given):
            _LOG.debug("a message was lost on its way: the stream is read instead")
            await self._partition.catch_up(given)

    def _drop_pin(self) -> None:
        if self.pin is not None:
            self.pin = None
            self._partition.unpinned()
