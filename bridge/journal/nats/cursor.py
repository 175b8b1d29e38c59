"""A subscriber's cursor in the stream, as one of the processes that serve it sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import attrs

from bridge.errors import JournalError
from bridge.journal.nats.entries import entry_of, is_between, position_of, sequence_of
from bridge.journal.nats.holding import Record
from bridge.journal.nats.messages import EXPECTED, TTL, Conflict, Draft
from bridge.journal.nats.partition import Partition
from bridge.journal.nats.streams import Streams
from bridge.journal.protocol import Entry, Held, Settlement, Start
from bridge.process.supervised import Deaths, Tasks

_BUFFER: Final = 512  # entries that wait to be read
_MAX_SIZE: Final = 16 << 20  # bytes of their JSON
_BATCH: Final = 500  # of a settlement's records; a server takes 1000 in one batch
_RELEASED: Final = {TTL: "60s"}


@attrs.frozen
class _Given:
    """An entry, and the partition that gave it; one that was held then is passed over."""

    partition: int
    entry: Entry
    is_held: bool


class SubscriberCursor:
    """A named subscriber's `Cursor`, over the partitions that this process is given to read.

    Entries come in order within each partition, and so within each lane.
    """

    def __init__(self, streams: Streams, name: str, deaths: Deaths) -> None:
        self.name = name
        self.position = self.reached = 0
        self.at_work: Final[dict[int, str]] = {}
        self.partitions = [
            Partition(self, streams, number) for number in range(streams.names.partitions)
        ]
        self._streams = streams
        self._generation = 0
        self._noted_in: str | None = None
        self._buffer: deque[_Given] = deque()
        self._open: dict[int, _Given | None] = {}  # by position, in the order of reading
        self._filled = asyncio.Event()
        self._held_changed = asyncio.Event()
        self._tasks = Tasks(f"subscriber {name}", deaths)
        self._closed = False

    # --- joining and leaving -----------------------------------------------------------------

    async def join(self, start: Start) -> None:
        """Note the subscriber, if it is new, and make its consumers."""
        last = await self._streams.last()
        begin = last + 1 if start is Start.END else 1
        self._generation = self._streams.generation
        with suppress(Conflict):
            await self._note(begin)
        for partition in self.partitions:
            await partition.make()
        infos = [await partition.info() for partition in self.partitions]
        floors = [info["ack_floor"]["stream_seq"] for info in infos if info is not None]
        self.position = self.reached = position_of(max(floors))

    async def _note(self, begin: int) -> None:
        subject = self._streams.names.subscriber(self.name)
        self._noted_in = self._streams.state_created
        await self._streams.broker.write(Draft(subject, b"%d" % begin, {EXPECTED: "0"}))

    async def renew(self) -> None:
        """Note the subscriber in streams that have replaced lost ones."""
        if self._generation not in (0, self._streams.generation):
            await self.start()
        elif self._generation and self._noted_in != self._streams.state_created:
            floors = (partition.floor for partition in self.partitions if partition.owned)
            with suppress(Conflict):
                await self._note(1 + min(floors, default=0))

    async def start(self) -> int:
        """Return the sequence at which the subscriber began, or begins in a new generation."""
        generation = self._streams.generation
        subject = self._streams.names.subscriber(self.name)
        noted = await self._streams.broker.stored(self._streams.names.state, last_by_subj=subject)
        if noted is None and self._generation == generation:
            raise JournalError(f"the subscriber {self.name} has been forgotten")
        if noted is None:
            with suppress(Conflict):
                await self._note(1)
        self._generation = generation
        return 1 if noted is None else int(noted.data)

    def serve(self) -> None:
        """Begin to read."""
        for partition in self.partitions:
            self._tasks.start(f"partition {partition.number}", partition.run)

    async def close(self) -> None:
        """Read no more, and let other processes be pinned."""
        self._closed = True
        self._filled.set()
        await self._tasks.close()
        # A partition that cannot be left goes to another client a few seconds later.
        leaving = (partition.leave() for partition in self.partitions)
        await asyncio.gather(*leaving, return_exceptions=True)

    # --- for partitions ------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more entries fit."""
        is_large = sum(given.entry.size for given in self._buffer) > _MAX_SIZE
        return 0 if is_large else _BUFFER - len(self._buffer)

    def give(self, partition: int, entry: Entry, *, is_held: bool) -> None:
        """Take an entry to be read, or to be passed over."""
        self._buffer.append(_Given(partition, entry, is_held))
        self._filled.set()

    def gone(self, partition: int) -> None:
        """Let go of what a partition gave: it gives it anew, or another process does."""
        self._buffer = deque(given for given in self._buffer if given.partition != partition)
        for position, given in self._open.items():
            if given is not None and given.partition == partition:
                self._open[position] = None

    def held_changed(self) -> None:
        """Note that delivery has to ask again which lanes hold entries."""
        self._held_changed.set()

    async def until_held_changed(self) -> None:
        """Wait for `held_changed`, and take note."""
        await self._held_changed.wait()
        self._held_changed.clear()

    async def look_again(self, *where: int) -> None:
        """Read anew what is held: all of it, or one entry, by its partition and sequence."""
        if where:
            number, sequence = where
            await self.partitions[number].look_at(sequence)
            return
        for partition in self.partitions:
            await partition.look_again()

    # --- reading ---------------------------------------------------------------------------

    def rewind(self) -> None:
        """Go back to the last settled position: what was given out after it comes again."""
        for given in reversed(self._open.values()):
            if given is not None:
                is_held = self._holds(given)
                self._buffer.appendleft(attrs.evolve(given, is_held=is_held))
        self._open.clear()
        if self._buffer:
            self._filled.set()

    async def read(self, limit: int) -> Sequence[Entry]:
        """See `Cursor.read`.

        Where a partition came with held entries, nothing is read before `waiting` was called:
        otherwise what is read here would overtake them.
        """
        while True:
            if self._closed:
                raise JournalError("the journal is not open")
            if not self._untold and self._buffer:
                return self._next(limit)
            self._filled.clear()
            await self._filled.wait()

    @property
    def _untold(self) -> bool:
        return any(partition.owned and partition.untold for partition in self.partitions)

    def _next(self, limit: int) -> list[Entry]:
        entries: list[Entry] = []
        while self._buffer and len(entries) < limit:
            given = self._buffer.popleft()
            position = given.entry.position
            self._open.pop(position, None)  # if it was given before: its order is the new one
            self._open[position] = given
            self.reached = position
            if not (given.is_held or self._holds(given)):
                entries.append(given.entry)
        return entries

    def _holds(self, given: _Given) -> bool:
        return sequence_of(given.entry.position) in self.partitions[given.partition].holding

    # --- settling ----------------------------------------------------------------------------

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`.

        Held and dead entries are written first, as one; then the server is told how far the
        subscriber is. After a crash between the two, entries are given again, as delivery allows.
        So is what a partition gives anew meanwhile, in another order than the position is in.
        """
        passed = self._passed(settlement.position)
        dead = [each for each in settlement.dead if await self._is_stored(each)]  # or purged
        await self._write(self._drafts(settlement, dead))
        self._hold(settlement)
        for each, given in passed.items():
            if self._open.get(each) is given:
                self._open.pop(each, None)
                if given is not None:
                    self.partitions[given.partition].settled(sequence_of(each))
        self.position = settlement.position
        for partition in self.partitions:
            await partition.acknowledge()

    async def _is_stored(self, held: Held) -> bool:
        sequence = sequence_of(held.entry.position)
        return (
            await self._streams.broker.stored(self._streams.names.stream, seq=sequence) is not None
        )

    async def _write(self, drafts: Sequence[Draft]) -> None:
        for start in range(0, len(drafts), _BATCH):
            await self._streams.broker.write_as_one(drafts[start : start + _BATCH])

    def _drafts(self, settlement: Settlement, letters: Sequence[Held]) -> list[Draft]:
        """Return what to write: a subject at most once, since a batch is all or nothing."""
        written: dict[str, Draft] = {}

        def write(subject: str, held: Held | None) -> None:
            if held is None:
                written[subject] = Draft(subject, b"", _RELEASED)
            else:
                record = Record.of(held).encode()
                written[subject] = Draft(subject, record, self._streams.as_long_as_events)

        names = self._streams.names
        for held in settlement.held:
            sequence = sequence_of(held.entry.position)
            write(names.held(self.name, names.partition_of(held.entry.lane), sequence), held)
        for position in (*settlement.released, *(each.entry.position for each in settlement.dead)):
            sequence = sequence_of(position)
            for partition in self.partitions:
                subject = names.held(self.name, partition.number, sequence)
                if sequence in partition.holding or subject in written:
                    write(subject, None)
        for dead in letters:
            write(names.dead(self.name, sequence_of(dead.entry.position)), dead)
        return list(written.values())

    def _hold(self, settlement: Settlement) -> None:
        for held in settlement.held:
            partition = self.partitions[self._streams.names.partition_of(held.entry.lane)]
            partition.holding.put(sequence_of(held.entry.position), Record.of(held))
        for position in (*settlement.released, *(each.entry.position for each in settlement.dead)):
            for partition in self.partitions:
                partition.holding.remove(sequence_of(position))

    def _passed(self, position: int) -> Mapping[int, _Given | None]:
        """Return what was read up to a position, or up to before the entry after it."""
        between = is_between(position)
        mark = position + 1 if between else position
        order = list(self._open)
        count = order.index(mark) + (not between) if mark in self._open else 0
        return {each: self._open[each] for each in order[:count]}

    # --- held entries ------------------------------------------------------------------------

    async def waiting(self) -> Mapping[str, float]:
        """See `Cursor.waiting`; of the partitions that this process reads now."""
        lanes: dict[str, float] = {}
        for partition in self.partitions:
            if partition.owned:
                lanes |= partition.holding.waiting()
                partition.untold = False
        self._filled.set()
        return lanes

    async def held(self, lane: str, limit: int) -> Sequence[Held]:
        """See `Cursor.held`; nothing where another process reads the lane's partition now."""
        partition = self.partitions[self._streams.names.partition_of(lane)]
        if not partition.owned:
            return ()
        while True:
            found, gone = [], []
            for sequence, record in partition.holding.first(lane, limit):
                stored = await self._streams.broker.stored(self._streams.names.stream, seq=sequence)
                if stored is None:  # purged, or older than what is kept
                    gone.append(sequence)
                else:
                    found.append(Held(entry=entry_of(sequence, stored.data), retry=record.retry))
            if not gone:
                return found
            await self._release(partition, gone)

    async def _release(self, partition: Partition, sequences: Sequence[int]) -> None:
        held = partial(self._streams.names.held, self.name, partition.number)
        await self._write([Draft(held(each), b"", _RELEASED) for each in sequences])
        for each in sequences:
            partition.holding.remove(each)
