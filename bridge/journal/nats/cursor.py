"""A subscriber's place in the stream, as one of the processes that serve it sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs

from bridge.errors import JournalError
from bridge.journal.nats.broker import EXPECTED, TTL, Conflict, Draft
from bridge.journal.nats.entries import entry_of, is_between, position_of, sequence_of
from bridge.journal.nats.partition import Partition
from bridge.journal.nats.records import DeadRecord, HeldRecord
from bridge.journal.nats.streams import Streams
from bridge.journal.protocol import Entry, Held, Settlement, Start

_BUFFER: Final = 512  # entries that wait to be read
_BATCH: Final = 500  # of a settlement's records; a server takes 1000 in one batch
_DONE: Final = {TTL: "60s"}


@attrs.frozen
class _Place:
    """An entry on its way, and the partition it came from."""

    partition: int
    entry: Entry


class SubscriberCursor:
    """A named subscriber's place, in as many partitions as this process is given to read.

    Entries come in order within each partition, and so within each lane.
    """

    def __init__(self, streams: Streams, name: str) -> None:
        self.name = name
        self.position = 0
        self.partitions = [
            Partition(
                streams,
                name,
                number,
                start=self._start,
                room=self._room,
                give=self._give,
                gone=self._gone,
                stirred=self.stir,
            )
            for number in range(streams.names.partitions)
        ]
        self._streams = streams
        self._generation = 0
        self._buffer: deque[_Place] = deque()
        self._open: dict[int, _Place | None] = {}  # by position, in the order of reading
        self._filled = asyncio.Event()
        self._stirring = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    # --- joining and leaving -----------------------------------------------------------------

    async def join(self, start: Start) -> None:
        """Remember the subscriber, if it is new, and see that its place is kept."""
        last = await self._streams.last()
        begin = last + 1 if start is Start.END else 1
        self._generation = self._streams.generation
        with suppress(Conflict):
            await self._note(begin)
        for partition in self.partitions:
            await partition.make()
        floors = [info["ack_floor"]["stream_seq"] for info in await self._infos()]
        self.position = position_of(max(floors))

    async def _note(self, begin: int) -> None:
        subject = self._streams.names.subscriber(self.name)
        await self._streams.broker.write(Draft(subject, b"%d" % begin, {EXPECTED: "0"}))

    async def _infos(self) -> list[dict[str, Any]]:
        found = [await partition.info() for partition in self.partitions]
        return [info for info in found if info is not None]

    async def keep_place(self) -> None:
        """Remember the subscriber in a stream that has replaced a lost one."""
        if self._generation not in (0, self._streams.generation):
            await self._start()

    async def _start(self) -> int:
        """Return where the subscriber began, or begins in a stream that replaces a lost one."""
        generation = self._streams.generation
        begin = await self._noted()
        if begin is None and self._generation == generation:
            raise JournalError(f"the subscriber {self.name} has been forgotten")
        if begin is None:
            begin = 1
            with suppress(Conflict):
                await self._note(begin)
        self._generation = generation
        return begin

    async def _noted(self) -> int | None:
        subject = self._streams.names.subscriber(self.name)
        stored = await self._streams.broker.stored(self._streams.names.state, last_by_subj=subject)
        return None if stored is None else int(stored.data)

    def serve(self) -> None:
        """Begin to read."""
        self._tasks = [
            asyncio.create_task(partition.run(), name=f"{self.name}: partition {partition.number}")
            for partition in self.partitions
        ]

    async def close(self) -> None:
        """Read no more, and let others be pinned."""
        self._closed = True
        self._filled.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Whoever cannot be left is given away by the server, a few seconds later.
        leaving = (partition.leave() for partition in self.partitions)
        await asyncio.gather(*leaving, return_exceptions=True)

    # --- what partitions say -------------------------------------------------------------------

    def _room(self) -> int:
        return _BUFFER - len(self._buffer)

    def _give(self, partition: int, entry: Entry) -> None:
        self._buffer.append(_Place(partition, entry))
        self._filled.set()

    def _gone(self, partition: int) -> None:
        """Let go of what a partition gave: it gives it anew, or another process does."""
        self._buffer = deque(place for place in self._buffer if place.partition != partition)
        for position, place in self._open.items():
            if place is not None and place.partition == partition:
                self._open[position] = None

    def stir(self) -> None:
        """Note that the lanes that hold entries may be others than delivery knows."""
        self._stirring.set()

    async def stirred(self) -> None:
        """Wait for `stir`, and take note."""
        await self._stirring.wait()
        self._stirring.clear()

    async def look_again(self, *place: int) -> None:
        """Read anew what is held: all of it, or one entry, by its partition and sequence."""
        if place:
            number, sequence = place
            await self.partitions[number].look_at(sequence)
            return
        for partition in self.partitions:
            await partition.look_again()

    # --- reading ---------------------------------------------------------------------------

    def rewind(self) -> None:
        """Go back to what has been settled: what was given out and not settled comes again."""
        places = [place for place in self._open.values() if place is not None]
        self._buffer.extendleft(reversed(places))
        self._open.clear()
        if self._buffer:
            self._filled.set()

    async def read(self, limit: int) -> Sequence[Entry]:
        """See `Cursor.read`.

        Waits for `waiting` where a partition has come with held entries: who does not know
        which lanes wait would let what is read here overtake what is held there.
        """
        while True:
            if self._closed:
                raise JournalError("the journal is not open")
            if not self._untold and (entries := self._next(limit)):
                return entries
            self._filled.clear()
            await self._filled.wait()

    @property
    def _untold(self) -> bool:
        return any(partition.owned and partition.untold for partition in self.partitions)

    def _next(self, limit: int) -> list[Entry]:
        entries: list[Entry] = []
        while self._buffer and len(entries) < limit:
            place = self._buffer.popleft()
            position = place.entry.position
            self._open.pop(position, None)  # given anew, it stands where it is given now
            self._open[position] = place
            if sequence_of(position) not in self.partitions[place.partition].holding:
                entries.append(place.entry)
        return entries

    # --- settling ----------------------------------------------------------------------------

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`.

        What is held or dead is written first, as one; progress follows. What a crash leaves
        between the two is given again, which delivery promises anyway.
        """
        drafts = self._drafts(settlement)
        for start in range(0, len(drafts), _BATCH):
            await self._streams.broker.write_as_one(drafts[start : start + _BATCH])
        self._hold(settlement)
        self._pass(settlement.position)
        self.position = settlement.position
        for partition in self.partitions:
            await partition.acknowledge()

    def _drafts(self, settlement: Settlement) -> list[Draft]:
        """Return what to write: a subject at most once, since a batch is all or nothing."""
        written: dict[str, Draft] = {}

        def write(draft: Draft) -> None:
            written[draft.subject] = draft

        for position in settlement.released:
            sequence = sequence_of(position)
            for partition in self.partitions:
                if sequence in partition.holding:
                    write(Draft(self._held(partition.number, sequence), b"", _DONE))
        for held in settlement.held:
            write(
                Draft(
                    self._held(self._partition(held.entry), sequence_of(held.entry.position)),
                    HeldRecord.of(held).encode(),
                    self._streams.as_long_as_events,
                )
            )
        for failure in settlement.dead:
            sequence = sequence_of(failure.entry.position)
            number = self._partition(failure.entry)
            if sequence in self.partitions[number].holding:
                write(Draft(self._held(number, sequence), b"", _DONE))
            subject = self._streams.names.dead(self.name, sequence)
            write(Draft(subject, DeadRecord.of(failure).encode(), self._streams.as_long_as_events))
        return list(written.values())

    def _held(self, partition: int, sequence: int) -> str:
        return self._streams.names.held(self.name, partition, sequence)

    def _partition(self, entry: Entry) -> int:
        return self._streams.names.partition_of(entry.lane)

    def _hold(self, settlement: Settlement) -> None:
        for held in settlement.held:
            holding = self.partitions[self._partition(held.entry)].holding
            holding.put(sequence_of(held.entry.position), HeldRecord.of(held))
        gone = (*settlement.released, *(each.entry.position for each in settlement.dead))
        for position in gone:
            for partition in self.partitions:
                partition.holding.remove(sequence_of(position))

    def _pass(self, position: int) -> None:
        """Be done with what was read up to a position, or up to before the entry after it."""
        between = is_between(position)
        mark = position + 1 if between else position
        if mark not in self._open:
            return
        for each in list(self._open):
            if between and each == mark:
                return
            place = self._open.pop(each)
            if place is not None:
                self.partitions[place.partition].settled(sequence_of(each))
            if each == mark:
                return

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
        found: list[Held] = []
        for sequence, record in partition.holding.first(lane, limit):
            stored = await self._streams.broker.stored(self._streams.names.stream, seq=sequence)
            if stored is None:  # purged, or older than what is kept
                partition.holding.remove(sequence)
                continue
            found.append(record.with_entry(entry_of(sequence, stored.data)))
        return found
