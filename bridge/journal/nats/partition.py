"""One partition of the events, as this process reads it for one subscriber.

The server pins the partition to one client; soon after that one has stopped asking, it pins
another. The new reader begins where the last one's settlements end, in the stream's order: what
its predecessor was given is read from the stream, since the server would give it again only later,
and then out of order.

The server pins a client only by giving it a message. Where none comes, a process that would like
to read writes a *call* for the partition, which is nothing but a message to be given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from bridge.journal.nats.entries import entry_of
from bridge.journal.nats.holding import Holding, Record
from bridge.journal.nats.messages import TTL, Away, Draft, NoStream, Refused, Stored
from bridge.journal.nats.pulling import GROUP, Delivered, Pulling
from bridge.journal.nats.streams import Streams

if TYPE_CHECKING:
    from bridge.journal.nats.cursor import SubscriberCursor

_NANOSECONDS: Final = 1_000_000_000
_PINNED_FOR: Final = 4  # seconds without a request, after which another reader is pinned
_GIVEN_AGAIN_AFTER: Final = 600  # seconds; a new reader does not wait for it, see above
_MAX_UNSETTLED: Final = 20_000
_CALL_LASTS: Final = "60s"
# Of the consumer's last message: with the number of tries, its sequence and count, a time, and how
# many are to come. Of these, the server looks at the sequence and the count.
_ACK: Final = "$JS.ACK.{}.{}.1.{}.{}.0.0"


class Partition:
    """Reads one partition for a cursor while its task runs.

    `untold`: held entries came with the partition, and nobody has asked for them yet.
    """

    def __init__(self, cursor: SubscriberCursor, streams: Streams, number: int) -> None:
        self.holding = Holding()
        self.number = number
        self.owned = False
        self.untold = False
        self.floor = 0
        self._cursor = cursor
        self._streams = streams
        self._consumer = streams.names.consumer(cursor.name, number)
        self._calls = streams.names.call(number, cursor.name)
        self._read = 0
        self._count = 0
        self._unsettled = 0
        self._replies: dict[int, str] = {}
        self._generation = 0
        self._pulling = Pulling(streams.broker, streams.names.stream, self._consumer, self)

    async def run(self) -> None:
        """Read for as long as it is wanted."""
        await self._pulling.run()

    async def leave(self) -> None:
        """Let another reader be pinned at once."""
        if self.owned:
            self.unpinned()
            names = self._streams.names
            await self._streams.broker.api(
                f"CONSUMER.UNPIN.{names.stream}.{self._consumer}", {"group": GROUP}
            )

    async def ensure(self) -> None:
        """Make the consumer where there is none, once the streams are there."""
        await self._streams.until_ready()
        await self.make()

    async def make(self) -> None:
        """Make the consumer where there is none."""
        if self._generation != self._streams.generation:
            self._generation = self._streams.generation
            self._begin_anew(0)
            self._count = 0
        if await self.info() is not None:
            return
        names = self._streams.names
        config = {
            "durable_name": self._consumer,
            "name": self._consumer,
            "description": f"where {self._cursor.name} stands in partition {self.number}",
            "filter_subjects": [names.events(self.number), self._calls],
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": await self._cursor.start(),
            "ack_policy": "all",
            "ack_wait": _GIVEN_AGAIN_AFTER * _NANOSECONDS,
            "max_ack_pending": _MAX_UNSETTLED,
            "priority_groups": [GROUP],
            "priority_policy": "pinned_client",
            "priority_timeout": _PINNED_FOR * _NANOSECONDS,
        }
        await self._streams.broker.api(
            f"CONSUMER.CREATE.{names.stream}.{self._consumer}",
            {"stream_name": names.stream, "config": config, "action": ""},
        )

    async def info(self) -> dict[str, Any] | None:
        """Return what the server knows of the consumer, if there is one."""
        return await consumer_info(self._streams, self._consumer)

    # --- what pulling asks for ---------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many messages fit; one where another client may be pinned."""
        return self._cursor.room if self.owned else 1

    def missed(self, given: int) -> bool:
        """Return whether a message that was given out has not come here."""
        return given != self._count

    async def catch_up(self, given: int) -> None:
        """Read the missed messages from the stream; nobody else can have read them."""
        _, delivered, reply = await self._reach()
        for stored in await self._between(self._read, delivered):
            self._hand(stored.sequence, stored.data)
        self._reached(delivered, reply)
        self._count = given

    async def pinned(self, given: int) -> None:
        """Become the reader: begin where the settlements end, if anybody else has read since."""
        if self._count == 0 or self.missed(given):
            settled, delivered, reply = await self._reach()
            await self._load_held()
            # A server that crashed may know less of what was settled here than is known here.
            floor = max(self.floor, settled)
            self._take_over(floor, await self._between(floor, delivered))
            self._reached(delivered, reply)
            self._count = given
            self.untold = bool(self.holding.waiting())
        self.owned = True
        self._cursor.held_changed()

    def _reached(self, delivered: int, reply: str) -> None:
        self._read = max(self._read, delivered)
        self._replies[delivered] = reply

    async def _reach(self) -> tuple[int, int, str]:
        """Return how far settlements reach, what has been given out, and how that is settled."""
        info = await self.info()
        if info is None:
            raise Refused(404, 0, "the consumer is gone")
        settled, last = info["ack_floor"]["stream_seq"], info["delivered"]
        delivered = last["stream_seq"]
        if await self._streams.last() < delivered:
            # Its new leader has yet to apply what the consumer's leader knows already.
            raise Away("the stream lags behind what it has given out")
        names, count = self._streams.names, last["consumer_seq"]
        return settled, delivered, _ACK.format(names.stream, self._consumer, delivered, count)

    async def _between(self, floor: int, delivered: int) -> Sequence[Stored]:
        """Return what the server has given out and nobody has settled."""
        names = self._streams.names
        found: list[Stored] = []
        sequence = floor + 1
        while sequence <= delivered:
            stored = await self._streams.broker.stored(
                names.stream, seq=sequence, next_by_subj=names.events(self.number)
            )
            if stored is None or stored.sequence > delivered:
                break
            found.append(stored)
            sequence = stored.sequence + 1
        return found

    def _take_over(self, floor: int, unsettled: Sequence[Stored]) -> None:
        """Hand all of it over at once: delivery asks for held entries with the first of it."""
        self._begin_anew(max(floor, self.floor))
        for stored in unsettled:
            if stored.sequence > self.floor:
                self._hand(stored.sequence, stored.data)

    def _begin_anew(self, floor: int) -> None:
        self._cursor.gone(self.number)
        self.floor = self._read = floor
        self._unsettled = 0
        self._replies = {}

    async def take(self, message: Delivered) -> None:
        """Hand an entry over, unless it has been handed over already."""
        self._count = message.count
        self._streams.seen(message.sequence)
        self._replies[message.sequence] = message.reply
        if message.subject != self._calls and message.sequence > self._read:
            self._hand(message.sequence, message.data)
        self._read = max(self._read, message.sequence)
        if not self._unsettled or message.sequence <= self.floor:
            await self.acknowledge()

    def _hand(self, sequence: int, data: bytes) -> None:
        self._unsettled += 1
        entry = entry_of(sequence, data)
        self._cursor.give(self.number, entry, is_held=sequence in self.holding)

    def unpinned(self) -> None:
        """Hand nothing over until pinned again."""
        self.owned = self.untold = False

    async def idle(self) -> None:
        """After a request without a message: call for the partition where nobody reads it."""
        if self.owned:
            return
        info = await self.info()
        if info is None:
            raise Refused(404, 0, "the consumer is gone")
        (group,) = info["priority_groups"]
        if not group.get("pinned_client_id"):
            await self._streams.broker.write(Draft(self._calls, b"", {TTL: _CALL_LASTS}))

    # --- settling ----------------------------------------------------------------------------

    def settled(self, sequence: int) -> None:
        """Note that the first of the unsettled entries is done with."""
        self._unsettled -= 1
        self.floor = max(self.floor, sequence)

    async def acknowledge(self) -> None:
        """Tell the server how far the subscriber is."""
        if not self._unsettled:
            self.floor = max(self.floor, self._read)
        done = [sequence for sequence in self._replies if sequence <= self.floor]
        if not done:
            return
        reply = self._replies[max(done)]
        if self.owned:
            await self._streams.broker.request(reply, b"")
        elif self._streams.broker.connected:
            # Nobody may answer: after a crash the server does not know what it gave out.
            await self._streams.broker.send(reply, b"")
        for sequence in done:
            self._replies.pop(sequence, None)

    # --- held entries ------------------------------------------------------------------------

    async def _load_held(self) -> None:
        subject = self._streams.names.held(self._cursor.name, self.number)
        records: dict[int, Record] = {}
        with self.holding.touched() as touched:  # settlements go on while it is read
            async for stored in self._streams.recorded(subject, certain=True):
                sequence = int(stored.subject.rpartition(".")[2])
                records[sequence] = Record.decode(stored.data)
            self.holding.replace(records, but=touched)

    async def look_at(self, sequence: int) -> None:
        """Read anew whether one entry is held, after somebody else changed it."""
        if not self.owned:
            return
        subject = self._streams.names.held(self._cursor.name, self.number, sequence)
        stored = await self._streams.broker.stored(self._streams.names.state, last_by_subj=subject)
        if stored is None or not stored.data:
            self.holding.remove(sequence)
        else:
            self.holding.put(sequence, Record.decode(stored.data))
        self._cursor.held_changed()

    async def look_again(self) -> None:
        """Read what is held anew, after somebody else changed it."""
        if self.owned:
            await self._load_held()
            self._cursor.held_changed()


async def consumer_info(streams: Streams, consumer: str) -> dict[str, Any] | None:
    """Return what the server knows of a consumer, if there is one."""
    try:
        return await streams.broker.api(f"CONSUMER.INFO.{streams.names.stream}.{consumer}")
    except NoStream:
        streams.doubt()
        raise
    except Refused as error:
        if error.not_found:
            return None
        raise
