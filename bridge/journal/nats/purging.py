"""Erasing what is about one person, wherever it is and under whichever of the person's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import orjson

from bridge.journal.correlation import tells_of
from bridge.journal.ledger import User
from bridge.journal.nats.broker import EXPECTED, Draft
from bridge.journal.nats.entries import entry_of
from bridge.journal.nats.ledger import Tie, decode_found, encode_queue, read_queue
from bridge.journal.nats.streams import Streams
from bridge.journal.protocol import concerns

_WINDOW: Final = 512


async def purge(streams: Streams, subject: str) -> int:
    """Erase every event about a phone number or user id; return how many there were.

    All names of users who go by it count. What is appended while it runs is not looked at. The
    keys stay known.
    """
    subjects = await _names_of(streams, subject)
    gone = await _purge_events(streams, subjects)
    count = len(gone) + await _purge_waiting(streams, subjects)
    await _purge_records(streams, subjects)
    for kind in (streams.names.held(), streams.names.dead()):
        async for stored in streams.recorded(kind):
            if int(stored.subject.rpartition(".")[2]) in gone:
                await streams.broker.delete(streams.names.state, stored.sequence, overwrite=True)
    return count


async def _names_of(streams: Streams, subject: str) -> Sequence[str]:
    names = streams.names
    found = await streams.broker.last_of(names.stream, [f"{names.stream}.tracks.*"])
    identities = [subject]
    for stored in found.values():
        record = decode_found(stored.data)
        if isinstance(record, User) and tells_of(record, subject):
            identities += record.identities
    return list(dict.fromkeys(identities))


async def _purge_events(streams: Streams, subjects: Sequence[str]) -> set[int]:
    needles = [orjson.dumps(subject.removeprefix("+"))[1:-1] for subject in subjects]
    gone: set[int] = set()
    async for page in streams.between(streams.names.events(), 1, await streams.last()):
        for stored in page:
            if not any(needle in stored.data for needle in needles):
                continue
            event = entry_of(stored.sequence, stored.data).event
            if any(concerns(event, subject) for subject in subjects):
                await streams.broker.delete(streams.names.stream, stored.sequence, overwrite=True)
                gone.add(stored.sequence)
    return gone


async def _purge_waiting(streams: Streams, subjects: Sequence[str]) -> int:
    names = streams.names
    count = 0
    found = await streams.broker.last_of(names.stream, [names.waiting()])
    for stored in found.values():
        queue = read_queue(stored.data)
        if queue is None:
            continue
        kept = tuple(
            item
            for item in queue.items
            if not any(concerns(item.event, subject) for subject in subjects)
        )
        if len(kept) < len(queue.items):
            count += len(queue.items) - len(kept)
            data = encode_queue(attrs.evolve(queue, items=kept))
            await streams.broker.write(
                Draft(stored.subject, data, {EXPECTED: str(stored.sequence)})
            )
            await streams.broker.delete(names.stream, stored.sequence, overwrite=True)
    return count


async def _purge_records(streams: Streams, subjects: Sequence[str]) -> None:
    """Forget the records that tell of somebody, in all that was ever written of each."""
    sequence = 1
    names = streams.names
    while found := await streams.broker.next_of(
        names.stream, f"{names.stream}.tracks.*", sequence, _WINDOW
    ):
        for stored in found:
            record = decode_found(stored.data)
            if not isinstance(record, Tie) and any(tells_of(record, each) for each in subjects):
                await streams.broker.empty(names.stream, stored.subject)
        sequence = found[-1].sequence + 1
