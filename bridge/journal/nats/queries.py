"""Questions that operators ask: none of them changes anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC
from typing import Any, Final

from bridge.journal.nats.broker import Stored
from bridge.journal.nats.entries import entry_of, is_event, position_of, sequence_of
from bridge.journal.nats.ledger import BEFORE_ITS_EVENT
from bridge.journal.nats.partition import consumer_info
from bridge.journal.nats.records import DeadRecord, HeldRecord
from bridge.journal.nats.streams import Streams
from bridge.journal.nats.subjects import name_of, token
from bridge.journal.protocol import DeadLetter, Entry, Outcome, Standing, SubscriberState
from bridge.journal.query import Query

_WINDOW: Final = 512
_MANY: Final = 1_000


async def names(streams: Streams) -> Sequence[str]:
    """Return the names of the subscribers."""
    subject = streams.names.subscriber()
    found = [name_of(s.subject.rpartition(".")[2]) async for s in streams.recorded(subject)]
    return sorted(found)


async def subscribers(streams: Streams) -> Sequence[SubscriberState]:
    """Return every subscriber by name."""
    states = []
    for name in await names(streams):
        infos = []
        first: list[Entry] = []
        for number in range(streams.names.partitions):
            info = await consumer_info(streams, streams.names.consumer(name, number))
            if info is not None:
                infos.append(info)
                first += await _first_beyond(streams, number, info)
        received = [entry.event.received_at.timestamp() for entry in first]
        states.append(
            SubscriberState(
                name=name,
                position=position_of(
                    max((info["ack_floor"]["stream_seq"] for info in infos), default=0)
                ),
                lag=sum(info["num_pending"] + info["num_ack_pending"] for info in infos),
                held=await _count(streams, streams.names.held(name)),
                dead=await _count(streams, streams.names.dead(name)),
                lagging_since=min(received, default=None),
            )
        )
    return tuple(states)


async def is_served(streams: Streams, name: str) -> bool:
    """Return whether a process reads one of a subscriber's partitions, or waits for its turn."""
    for number in range(streams.names.partitions):
        info = await consumer_info(streams, streams.names.consumer(name, number))
        if info is not None and (
            info["num_waiting"] or any(g.get("pinned_client_id") for g in info["priority_groups"])
        ):
            return True
    return False


async def _first_beyond(
    streams: Streams, partition: int, info: Mapping[str, Any]
) -> Sequence[Entry]:
    """Return the first entry of a partition that a consumer is not done with, if there is one."""
    if not info["num_pending"] + info["num_ack_pending"]:
        return ()
    stored = await streams.broker.stored(
        streams.names.stream,
        seq=info["ack_floor"]["stream_seq"] + 1,
        next_by_subj=streams.names.events(partition),
    )
    return () if stored is None else (entry_of(stored.sequence, stored.data),)


async def _count(streams: Streams, subject: str) -> int:
    return len([stored async for stored in records(streams, subject)])


async def records(streams: Streams, subject: str) -> AsyncIterator[Stored]:
    """Go over what is at the matching subjects of the state, many at a time."""
    sequence = 1
    while found := await streams.broker.next_of(streams.names.state, subject, sequence, _MANY):
        for stored in found:
            if stored.data:
                yield stored
        sequence = found[-1].sequence + 1


async def entry_at(streams: Streams, sequence: int) -> Entry | None:
    """Return the entry of an event, if this is one."""
    stored = await streams.broker.stored(streams.names.stream, seq=sequence)
    if stored is None or not is_event(streams.names, stored):
        return None
    return entry_of(sequence, stored.data)


async def find(streams: Streams, key: str) -> Entry | None:
    """Return the entry of the event with this key."""
    stream = streams.names.stream
    claim = await streams.broker.stored(stream, last_by_subj=streams.names.key(key))
    if claim is None or claim.data != BEFORE_ITS_EVENT:
        return None
    sequence = claim.sequence + 1
    stored = await streams.broker.stored(stream, seq=sequence)
    if stored is None or not is_event(streams.names, stored):
        return None
    mark = await streams.broker.stored(
        streams.names.state, last_by_subj=streams.names.mended(sequence)
    )
    return entry_of(sequence, stored.data, mended=mark is not None)


# --- searching -------------------------------------------------------------------------------


async def search(streams: Streams, query: Query) -> Sequence[Entry]:
    """Return the entries that a query is for."""
    mended = {
        int(stored.subject.rpartition(".")[2])
        async for stored in records(streams, streams.names.mended())
    }
    found: list[Entry] = []
    async for stored in _candidates(streams, query):
        entry = entry_of(stored.sequence, stored.data, mended=stored.sequence in mended)
        if query.matches(entry.event, mended=entry.mended):
            found.append(entry)
            if len(found) == query.limit:
                break
    return found


async def _candidates(streams: Streams, query: Query) -> AsyncIterator[Stored]:
    """Go over the events whose subjects and sequences do not rule them out."""
    subject = _subject(streams, query)
    info = await streams.broker.api(f"STREAM.INFO.{streams.names.stream}")
    first = max(sequence_of(query.after) + 1, info["state"]["first_seq"])
    last = info["state"]["last_seq"]
    if query.before is not None:
        last = min(last, sequence_of(query.before - 1))
    if query.since is not None:
        first = max(first, await _first_since(streams, query, subject))
    if not query.newest_first:
        async for stored in _between(streams, subject, first, last):
            yield stored
        return
    # The server reads forwards only: windows are read one before the other.
    end = last
    while end >= first:
        start = max(first, end - _WINDOW + 1)
        for stored in reversed([s async for s in _between(streams, subject, start, end)]):
            yield stored
        end = start - 1


def _subject(streams: Streams, query: Query) -> str:
    partition = "*" if query.conversation is None else _partition(streams, query.conversation)
    kind = query.kinds[0] if len(query.kinds) == 1 else "*"
    channel = "*" if query.channel is None else token(query.channel)
    return f"{streams.names.stream}.events.{partition}.{kind}.{channel}"


def _partition(streams: Streams, lane: str) -> str:
    return str(streams.names.partition_of(lane))


async def _first_since(streams: Streams, query: Query, subject: str) -> int:
    """Return the first sequence that was stored since the query's time."""
    if query.since is None:
        return 1
    when = query.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
    found = await streams.broker.next_since(streams.names.stream, subject, when)
    return query.after if found is None else found.sequence


async def _between(streams: Streams, subject: str, first: int, last: int) -> AsyncIterator[Stored]:
    sequence = first
    while sequence <= last:
        found = await streams.broker.next_of(streams.names.stream, subject, sequence, _WINDOW)
        for stored in found:
            if stored.sequence > last:
                return
            yield stored
        if not found:
            return
        sequence = found[-1].sequence + 1


async def everything(streams: Streams) -> AsyncIterator[Stored]:
    """Go over all events that are in the stream now."""
    last = await streams.last()
    async for stored in _between(streams, streams.names.events(), 1, last):
        yield stored


# --- what became of entries ------------------------------------------------------------------


async def looked_at(streams: Streams, subscriber: str, positions: Sequence[int]) -> Sequence[Entry]:
    """Return the entries at these positions that are kept and that a subscriber is beyond."""
    floors: dict[int, int] = {}
    found = []
    for position in dict.fromkeys(positions):
        entry = await entry_at(streams, sequence_of(position))
        if entry is None:
            continue
        partition = streams.names.partition_of(entry.lane)
        if partition not in floors:
            floors[partition] = await _floor(streams, subscriber, partition)
        if sequence_of(position) <= floors[partition]:
            found.append(entry)
    return found


async def _floor(streams: Streams, subscriber: str, partition: int) -> int:
    info = await consumer_info(streams, streams.names.consumer(subscriber, partition))
    return 0 if info is None else int(info["ack_floor"]["stream_seq"])


async def outcomes(streams: Streams, position: int) -> Sequence[Outcome]:
    """Return what became of the entry at a position, for each subscriber by name."""
    entry = await entry_at(streams, sequence_of(position))
    partition = None if entry is None else streams.names.partition_of(entry.lane)
    return [
        await _outcome(streams, name, sequence_of(position), partition)
        for name in await names(streams)
    ]


async def _outcome(streams: Streams, name: str, sequence: int, partition: int | None) -> Outcome:
    async def at(subject: str) -> Stored | None:
        found = await streams.broker.stored(streams.names.state, last_by_subj=subject)
        return found if found is not None and found.data else None

    if partition is not None and (
        stored := await at(streams.names.held(name, partition, sequence))
    ):
        held = HeldRecord.decode(stored.data)
        return Outcome(
            subscriber=name,
            standing=Standing.HELD,
            tries=held.tries,
            due_at=held.due_at,
            first_failed_at=held.first_failed_at,
            error=held.error,
            replayed=held.replayed,
        )
    if stored := await at(streams.names.dead(name, sequence)):
        dead = DeadRecord.decode(stored.data)
        return Outcome(
            subscriber=name,
            standing=Standing.DEAD,
            tries=dead.tries,
            first_failed_at=dead.first_failed_at,
            failed_at=dead.failed_at,
            error=dead.error,
            letter=stored.sequence,
        )
    done = partition is None or sequence <= await _floor(streams, name, partition)
    return Outcome(subscriber=name, standing=Standing.DONE if done else Standing.PENDING)


# --- dead letters ----------------------------------------------------------------------------


async def dead_letters(
    streams: Streams, subscriber: str | None, *, after: int, limit: int
) -> Sequence[DeadLetter]:
    """Return dead letters with ids beyond `after`, oldest first."""
    subject = streams.names.dead("*" if subscriber is None else subscriber)
    found: list[DeadLetter] = []
    sequence = after + 1
    while len(found) < limit:
        stored = await streams.broker.stored(
            streams.names.state, seq=sequence, next_by_subj=subject
        )
        if stored is None:
            break
        letter = await _letter(streams, stored)
        if letter is not None:
            found.append(letter)
        sequence = stored.sequence + 1
    return tuple(found)


async def dead_letter(streams: Streams, number: int) -> DeadLetter | None:
    """Return one dead letter."""
    stored = await streams.broker.stored(streams.names.state, seq=number)
    if stored is None or not stored.subject.startswith(f"{streams.names.state}.dead."):
        return None
    return await _letter(streams, stored)


async def _letter(streams: Streams, stored: Stored) -> DeadLetter | None:
    """Return the letter that a record is, unless its event is gone."""
    _, _, subscriber, sequence = stored.subject.rsplit(".", 3)
    entry = await entry_at(streams, int(sequence))
    if entry is None:
        return None
    return DeadRecord.decode(stored.data).letter(stored.sequence, name_of(subscriber), entry)
