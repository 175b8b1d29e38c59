"""One partition of the events, as this process reads it for one subscriber.

The server pins the partition to one reader; another is pinned soon after that one has stopped
asking. Who becomes the reader begins where the last one's settlements end, in the stream's
order: what had been given to the predecessor is read from the stream, since the server would
give it again only later and then too late for its order.

The server pins whom it gives a message. Where none comes, whoever would like to read writes a
*call* for the partition, which is nothing but a message to be given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from bridge.journal.nats.broker import TTL, Away, Draft, NoStream, Refused, Stored
from bridge.journal.nats.entries import entry_of
from bridge.journal.nats.holding import Holding
from bridge.journal.nats.pulling import GROUP, Delivered, Pulling
from bridge.journal.nats.records import HeldRecord
from bridge.journal.nats.streams import Streams
from bridge.journal.protocol import Entry

_NANOSECONDS: Final = 1_000_000_000
_PINNED_FOR: Final = 4  # seconds without a request, after which another reader is pinned
_GIVEN_AGAIN_AFTER: Final = 600  # seconds; a new reader does not wait for it, see above
_MAX_UNSETTLED: Final = 20_000
_CALL_LASTS: Final = "60s"


class Partition:
    """Reads one partition while its task runs, and gives its entries to `give`.

    `room` says how many more entries fit; `gone` is told when what was given and not settled is
    given anew; `stirred` when the partition's held entries may be others. `untold` says that it
    came with held entries which nobody has asked for yet.
    """

    def __init__(
        self,
        streams: Streams,
        subscriber: str,
        number: int,
        *,
        start: Callable[[], Any],
        room: Callable[[], int],
        give: Callable[[int, Entry], None],
        gone: Callable[[int], None],
        stirred: Callable[[], None],
    ) -> None:
        self.holding = Holding()
        self.number = number
        self.owned = False
        self.untold = False
        self.floor = 0
        self._streams = streams
        self._subscriber = subscriber
        self._start = start
        self._room = room
        self._give = give
        self._gone = gone
        self._stirred = stirred
        self._consumer = streams.names.consumer(subscriber, number)
        self._calls = streams.names.call(number, subscriber)
        self._read = 0
        self._count = 0
        self._unsettled = 0
        self._replies: dict[int, str] = {}
        self._generation = 0
        self._pulling = Pulling(
            streams.broker,
            stream=streams.names.stream,
            consumer=self._consumer,
            group=True,
            taker=self,
            ensure=self.ensure,
        )

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
            "description": f"where {self._subscriber} stands in partition {self.number}",
            "filter_subjects": [names.events(self.number), self._calls],
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": await self._start(),
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
        """How many messages fit; one to begin with, since others may be pinned."""
        return self._room() if self.owned else 1

    def missed(self, given: int) -> bool:
        """Return whether something that was given out has not come here."""
        return given != self._count

    async def catch_up(self, given: int) -> None:
        """Read from the stream what was missed; nobody else can have read it."""
        _, delivered = await self._reach()
        for stored in await self._between(self._read, delivered):
            self._hand(stored.sequence, stored.data)
        self._read = max(self._read, delivered)
        self._count = given

    async def pinned(self, given: int) -> None:
        """Begin where the settlements end, unless nobody else has read since we did."""
        if self._count == 0 or self.missed(given):
            settled, delivered = await self._reach()
            await self._load_held()
            # A server that crashed may know less of what was settled here than is known here.
            floor = max(self.floor, settled)
            self._take_over(floor, delivered, await self._between(floor, delivered))
            self._count = given
            self.untold = bool(self.holding.waiting())
        self.owned = True
        self._stirred()

    async def _reach(self) -> tuple[int, int]:
        """Return how far the consumer's settlements reach, and what it has given out."""
        info = await self.info()
        if info is None:
            raise Refused(404, 0, "the consumer is gone")
        settled, delivered = info["ack_floor"]["stream_seq"], info["delivered"]["stream_seq"]
        if await self._streams.last() < delivered:
            # Its new leader has yet to apply what the last one told the consumer's leader.
            raise Away("the stream lags behind what it has given out")
        return settled, delivered

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

    def _take_over(self, floor: int, delivered: int, unsettled: Sequence[Stored]) -> None:
        """Hand all of it over in one go: with the first of it, delivery asks what is held."""
        self._begin_anew(max(floor, self.floor))
        for stored in unsettled:
            if stored.sequence > self.floor:
                self._hand(stored.sequence, stored.data)
        self._read = max(self._read, delivered)

    def _begin_anew(self, floor: int) -> None:
        self._gone(self.number)
        self.floor = self._read = floor
        self._unsettled = 0
        self._replies = {}

    async def take(self, message: Delivered) -> None:
        """Hand an entry over, unless it has been handed over already."""
        self._count = message.count
        self._replies[message.sequence] = message.reply
        if message.subject != self._calls and message.sequence > self._read:
            self._hand(message.sequence, message.data)
        self._read = max(self._read, message.sequence)
        if not self._unsettled or message.sequence <= self.floor:
            await self.acknowledge()

    def _hand(self, sequence: int, data: bytes) -> None:
        if sequence in self.holding:
            return
        self._unsettled += 1
        self._give(self.number, entry_of(sequence, data))

    def unpinned(self) -> None:
        """Give nothing out until pinned again."""
        self.owned = self.untold = False

    async def idle(self) -> None:
        """Call for the partition where nobody reads it."""
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
        subject = self._streams.names.held(self._subscriber, self.number)
        records: dict[int, HeldRecord] = {}
        with self.holding.touched() as touched:  # settlements go on while it is read
            async for stored in self._streams.recorded(subject):
                sequence = int(stored.subject.rpartition(".")[2])
                records[sequence] = HeldRecord.decode(stored.data)
            self.holding.replace(records, but=touched)

    async def look_at(self, sequence: int) -> None:
        """Read anew whether one entry is held, after somebody else changed it."""
        if not self.owned:
            return
        subject = self._streams.names.held(self._subscriber, self.number, sequence)
        stored = await self._streams.broker.stored(self._streams.names.state, last_by_subj=subject)
        if stored is None or not stored.data:
            self.holding.remove(sequence)
        else:
            self.holding.put(sequence, HeldRecord.decode(stored.data))
        self._stirred()

    async def look_again(self) -> None:
        """Read what is held anew, after somebody else changed it."""
        if self.owned:
            await self._load_held()
            self._stirred()


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
