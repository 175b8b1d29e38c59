"""Erasing what is about one person, wherever it is and under whichever of the person's names."""

from __future__ import annotations

from bridge.journal.erasure import Subject
from bridge.journal.ledger import User
from bridge.journal.nats.entries import entry_of
from bridge.journal.nats.ledger import decode_found, read_queue
from bridge.journal.nats.publisher import Publisher
from bridge.journal.nats.streams import Streams
from bridge.journal.states import State


async def purge(streams: Streams, publisher: Publisher, subject: str) -> int:
    """Erase every event about a phone number or user id; return how many there were.

    All names of users who go by it count. Events that are appended while it runs are not looked at.
    The keys stay known.
    """
    whom = await _known_from(streams, Subject.of(subject))
    lanes = [queue.lane for queue in await publisher.waiting()]
    waited = await publisher.erase_waiting(whom, lanes)
    await _purge_waiting(streams, whom)
    gone = await _purge_events(streams, whom)
    await _purge_records(streams, whom)
    for kind in (streams.names.held(), streams.names.dead()):
        async for stored in streams.recorded(kind):
            if int(stored.subject.rpartition(".")[2]) in gone:
                await streams.broker.delete(streams.names.state, stored.sequence, overwrite=True)
    async for stored in streams.recorded(streams.names.remembered()):
        if whom.owns(State.decode(stored.data).conversation):
            await streams.broker.delete(streams.names.state, stored.sequence, overwrite=True)
    return waited + len(gone)


async def _known_from(streams: Streams, subject: Subject) -> Subject:
    """Return the subject with the names that the last record of each user knows."""
    users: dict[str, User] = {}
    async for page in streams.between(f"{streams.names.tracks}*", 1, await streams.last()):
        for stored in page:
            found = decode_found(stored.data)
            users.pop(stored.subject, None)
            if isinstance(found, User) and subject.is_known_by(found):
                users[stored.subject] = found
    return subject.known_from(users.values())


async def _purge_events(streams: Streams, subject: Subject) -> set[int]:
    needles = subject.needles
    gone: set[int] = set()
    async for page in streams.between(streams.names.events(), 1, await streams.last()):
        for stored in page:
            if not any(needle in stored.data for needle in needles):
                continue
            if subject.is_in(entry_of(stored.sequence, stored.data).event):
                await streams.broker.delete(streams.names.stream, stored.sequence, overwrite=True)
                gone.add(stored.sequence)
    return gone


async def _purge_waiting(streams: Streams, subject: Subject) -> None:
    """Overwrite what has waited in a lane once; nothing of it is the last of its lane any more."""
    async for page in streams.between(f"{streams.names.waiting}*", 1, await streams.last()):
        for stored in page:
            queue = read_queue(stored.data)
            if queue is not None and any(subject.is_in(item.event) for item in queue.items):
                await streams.broker.delete(streams.names.stream, stored.sequence, overwrite=True)


async def _purge_records(streams: Streams, subject: Subject) -> None:
    """Forget the records that tell of somebody, in all that was ever written of each."""
    async for page in streams.between(f"{streams.names.tracks}*", 1, await streams.last()):
        for stored in page:
            found = decode_found(stored.data)
            if not isinstance(found, str) and subject.is_known_by(found):
                await streams.broker.empty(streams.names.stream, stored.subject)
