"""What operators ask of the journal on NATS, and what they change in it."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from typing import Any, Final

from bridge.journal.ledger import Record as Remembered
from bridge.journal.nats.cursors import Cursors
from bridge.journal.nats.entries import entry_of, is_event, position_of, sequence_of
from bridge.journal.nats.holding import Record
from bridge.journal.nats.ledger import BEFORE_ITS_EVENT, decode_found
from bridge.journal.nats.messages import EXPECTED, TTL, Conflict, Draft, Stored
from bridge.journal.nats.partition import consumer_info
from bridge.journal.nats.streams import Streams
from bridge.journal.nats.subjects import digest, digest_in, name_of, token, written
from bridge.journal.overlay import MOST_TIES
from bridge.journal.protocol import (
    DeadLetter,
    Entry,
    Held,
    Journal,
    Outcome,
    Retry,
    SubscriberState,
)
from bridge.journal.query import Query
from bridge.journal.states import State

_WINDOW: Final = 512


class Operations(Journal):
    """The part of `NatsJournal` that is for operators."""

    _streams: Streams
    _cursors: Cursors

    # --- subscribers -------------------------------------------------------------------------

    async def subscribers(self) -> Sequence[SubscriberState]:
        """See `Journal.subscribers`; a lag counts what is being worked on as well."""
        return tuple([await self._state(name) for name in await subscribers(self._streams)])

    async def _state(self, name: str) -> SubscriberState:
        names = self._streams.names
        lag, positions, received = 0, [0], []
        for number in range(names.partitions):
            info = await consumer_info(self._streams, names.consumer(name, number))
            if info is None:
                continue
            positions.append(_floor(info))
            waiting = info["num_pending"] + info["num_ack_pending"]
            # What waits may be nothing but a call for the partition.
            if waiting and (first := await self._first_beyond(number, _floor(info))):
                lag += waiting
                received.append(first.event.received_at.timestamp())
        return SubscriberState(
            name=name,
            position=position_of(max(positions)),
            lag=lag,
            held=len([each async for each in self._streams.recorded(names.held(name))]),
            dead=len([each async for each in self._streams.recorded(names.dead(name))]),
            lagging_since=min(received, default=None),
        )

    async def _first_beyond(self, partition: int, floor: int) -> Entry | None:
        stored = await self._streams.broker.stored(
            self._streams.names.stream,
            seq=floor + 1,
            next_by_subj=self._streams.names.events(partition),
        )
        return None if stored is None else entry_of(stored.sequence, stored.data)

    async def is_served(self, name: str) -> bool:
        """See `SharedJournal.is_served`: a process reads a partition, or waits for its turn."""
        for number in range(self._streams.names.partitions):
            consumer = self._streams.names.consumer(name, number)
            info = await consumer_info(self._streams, consumer)
            if info is not None and (
                info["num_waiting"]
                or any(group.get("pinned_client_id") for group in info["priority_groups"])
            ):
                return True
        return False

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        await self._cursors.forget(name)
        known = await self._recorded_at(self._streams.names.subscriber(name)) is not None
        broker, names = self._streams.broker, self._streams.names
        for subject in (names.subscriber(name), names.held(name), names.dead(name)):
            await broker.empty(names.state, subject)
        for number in range(names.partitions):
            consumer = names.consumer(name, number)
            if await consumer_info(self._streams, consumer) is not None:
                await broker.api(f"CONSUMER.DELETE.{names.stream}.{consumer}")
        return known

    # --- entries -----------------------------------------------------------------------------

    async def find(self, key: str) -> Entry | None:
        """See `Journal.find`."""
        claim = await self._streams.broker.stored(
            self._streams.names.stream, last_by_subj=self._streams.names.keys + digest(key)
        )
        if claim is None or claim.data != BEFORE_ITS_EVENT:
            return None
        sequence = claim.sequence + 1
        mark = await self._recorded_at(self._streams.names.reparsed(sequence))
        return await self._entry_at(sequence, reparsed=mark is not None)

    async def _entry_at(self, sequence: int, *, reparsed: bool = False) -> Entry | None:
        stored = await self._streams.broker.stored(self._streams.names.stream, seq=sequence)
        if stored is None or not is_event(self._streams.names, stored):
            return None
        return entry_of(sequence, stored.data, reparsed=reparsed)

    async def _recorded_at(self, subject: str) -> Stored | None:
        stored = await self._streams.broker.stored(self._streams.names.state, last_by_subj=subject)
        return stored if stored is not None and stored.data else None

    async def record(self, name: str) -> Remembered | None:
        """See `Journal.record`."""
        found: Remembered | str | None = digest(name)
        for _ in range(MOST_TIES):
            if isinstance(found, str):
                subject = self._streams.names.tracks + found
                stored = await self._streams.broker.stored(
                    self._streams.names.stream, last_by_subj=subject
                )
                found = decode_found(stored.data) if stored is not None and stored.data else None
        return None if isinstance(found, str) else found

    async def scan(self, query: Query) -> AsyncGenerator[Sequence[Entry]]:
        """See `Journal.scan`."""
        names = self._streams.names
        reparsed = {
            int(stored.subject.rpartition(".")[2])
            async for stored in self._streams.recorded(names.reparsed())
        }
        async for stored in self._candidates(query):
            page = [
                entry_of(each.sequence, each.data, reparsed=each.sequence in reparsed)
                for each in stored
            ]
            yield [each for each in page if query.matches(each.event, reparsed=each.reparsed)]

    async def _candidates(self, query: Query) -> AsyncIterator[Sequence[Stored]]:
        """Give the events whose subjects and sequences do not rule them out, in pages."""
        streams, subject = self._streams, _subject(self._streams, query)
        state = (await streams.broker.api(f"STREAM.INFO.{streams.names.stream}"))["state"]
        first = max(sequence_of(query.after) + 1, state["first_seq"])
        last = state["last_seq"]
        if query.before is not None:
            last = min(last, sequence_of(query.before - 1))
        if query.since is not None:
            when = query.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
            found = await streams.broker.next_since(streams.names.stream, subject, when)
            first = max(first, query.after if found is None else found.sequence)
        if not query.newest_first:
            async for page in streams.between(subject, first, last):
                yield page
            return
        # The server reads forwards only: windows are read one before the other.
        while last >= first:
            start = max(first, last - _WINDOW + 1)
            pages = [page async for page in streams.between(subject, start, last)]
            yield [stored for page in reversed(pages) for stored in reversed(page)]
            last = start - 1

    async def unsettled(self, subscriber: str) -> AsyncGenerator[Sequence[Held]]:
        """See `Journal.unsettled`."""
        names = self._streams.names
        async for stored in self._streams.recorded(names.held(subscriber), certain=True):
            entry = await self._entry_at(int(stored.subject.rpartition(".")[2]))
            if entry is not None:
                yield [Held(entry=entry, retry=Record.decode(stored.data).retry)]
        last = await self._streams.last()
        for number in range(names.partitions):
            first = await self._settled(subscriber, number) + 1
            async for page in self._streams.between(names.events(number), first, last):
                yield [Held(entry=entry_of(each.sequence, each.data)) for each in page]

    async def known(self) -> AsyncGenerator[Sequence[bytes]]:
        """See `Journal.known`."""
        keys = f"{self._streams.names.keys}*"
        async for page in self._streams.between(keys, 1, await self._streams.last()):
            yield [digest_in(stored.subject) for stored in page]

    async def learn(self, digests: Sequence[bytes]) -> None:
        """See `Journal.learn`."""
        ttl = self._streams.key_ttl
        headers = {EXPECTED: "0"} | ({} if ttl is None else {TTL: f"{ttl}s"})
        for each in digests:
            subject = self._streams.names.keys + written(each)
            with suppress(Conflict):
                await self._streams.broker.write(Draft(subject, b"", headers))

    async def mark_reparsed(self, positions: Sequence[int]) -> None:
        """See `Journal.mark_reparsed`."""
        for position in positions:
            subject = self._streams.names.reparsed(sequence_of(position))
            await self._streams.broker.write(Draft(subject, b"1"))

    # --- what subscribers remember -----------------------------------------------------------

    async def read_state(self, conversation: str, name: str) -> State | None:
        """See `Journal.read_state`."""
        stored = await self._recorded_at(self._streams.names.remembered(name, conversation))
        return None if stored is None else State.decode(stored.data)

    async def write_state(self, state: State) -> None:
        """See `Journal.write_state`."""
        lifetime = max(1, math.ceil(state.expires_at - time.time()))
        subject = self._streams.names.remembered(state.name, state.conversation)
        await self._streams.broker.write(Draft(subject, state.encode(), {TTL: f"{lifetime}s"}))

    async def erase_state(self, conversation: str, name: str) -> None:
        """See `Journal.erase_state`."""
        names = self._streams.names
        await self._streams.broker.empty(names.state, names.remembered(name, conversation))

    async def states(self, name: str | None = None) -> AsyncGenerator[Sequence[State]]:
        """See `Journal.states`."""
        subject = self._streams.names.remembered(name)
        async for stored in self._streams.recorded(subject, certain=True):
            yield [State.decode(stored.data)]

    # --- held entries and dead letters -------------------------------------------------------

    async def outcomes(self, position: int) -> Sequence[Outcome]:
        """See `Journal.outcomes`."""
        sequence = sequence_of(position)
        entry = await self._entry_at(sequence)
        return [
            await self._outcome(name, sequence, entry) for name in await subscribers(self._streams)
        ]

    async def _outcome(self, name: str, sequence: int, entry: Entry | None) -> Outcome:
        if entry is None:
            return Outcome.of(name, done=True)
        names = self._streams.names
        partition = names.partition_of(entry.lane)
        held = await self._recorded_at(names.held(name, partition, sequence))
        dead = await self._recorded_at(names.dead(name, sequence))
        return Outcome.of(
            name,
            held=None if held is None else Record.decode(held.data).retry,
            dead=None if dead is None else _letter(dead, entry),
            done=sequence <= await self._settled(name, partition),
        )

    async def _settled(self, name: str, partition: int) -> int:
        names = self._streams.names
        info = await consumer_info(self._streams, names.consumer(name, partition))
        return 0 if info is None else _floor(info)

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`."""
        broker, names = self._streams.broker, self._streams.names
        if await self._recorded_at(names.subscriber(subscriber)) is None:
            return 0
        settled: dict[int, int] = {}
        count = 0
        for sequence in dict.fromkeys(map(sequence_of, positions)):
            entry = await self._entry_at(sequence)
            if entry is None:
                continue
            partition, dead = names.partition_of(entry.lane), names.dead(subscriber, sequence)
            if partition not in settled:
                settled[partition] = await self._settled(subscriber, partition)
            if sequence > settled[partition] and await self._recorded_at(dead) is None:
                continue
            record = Record(entry.lane, Retry(due_at=time.time(), replayed=True))
            held = names.held(subscriber, partition, sequence)
            await broker.write(Draft(held, record.encode(), self._streams.as_long_as_events))
            await broker.empty(names.state, dead)
            await self._cursors.held_changed(subscriber, entry)
            count += 1
        return count

    async def dead_letters(
        self, subscriber: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """See `Journal.dead_letters`."""
        subject = self._streams.names.dead("*" if subscriber is None else subscriber)
        found: list[DeadLetter] = []
        async for stored in self._streams.recorded(subject, after + 1, certain=True):
            entry = await self._entry_at(int(stored.subject.rpartition(".")[2]))
            if entry is not None:  # else its event is older than what is kept
                found.append(_letter(stored, entry))
            if len(found) == limit:
                break
        return tuple(found)

    async def drop(self, letter: int) -> bool:
        """See `Journal.drop`."""
        found = await self.dead_letter(letter)
        return found is not None and await self._streams.broker.delete(
            self._streams.names.state, letter, overwrite=False
        )


async def subscribers(streams: Streams) -> Sequence[str]:
    """Return the names of the subscribers."""
    found = streams.recorded(streams.names.subscriber(), certain=True)
    return sorted([name_of(stored.subject.rpartition(".")[2]) async for stored in found])


def _floor(info: Mapping[str, Any]) -> int:
    return int(info["ack_floor"]["stream_seq"])


def _letter(stored: Stored, entry: Entry) -> DeadLetter:
    _, _, subscriber, _ = stored.subject.rsplit(".", 3)
    retry = Record.decode(stored.data).retry
    return DeadLetter(id=stored.sequence, subscriber=name_of(subscriber), entry=entry, retry=retry)


def _subject(streams: Streams, query: Query) -> str:
    lane = query.conversation
    partition = "*" if lane is None else streams.names.partition_of(lane)
    kind = query.kinds[0] if len(query.kinds) == 1 else "*"
    channel = "*" if query.channel is None else token(query.channel)
    return f"{streams.names.stream}.events.{partition}.{kind}.{channel}"
