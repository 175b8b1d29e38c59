"""Erasing what is about one person, wherever it is."""

from __future__ import annotations

from typing import Final

import orjson

from bridge.journal.correlation import Track, tells_of
from bridge.journal.nats.entries import entry_of
from bridge.journal.nats.ledger import decode_track
from bridge.journal.nats.streams import Streams
from bridge.journal.protocol import concerns

_WINDOW: Final = 512


async def purge(streams: Streams, subject: str) -> int:
    """Erase every event about a phone number or user id; return how many there were.

    What is appended while it runs is not looked at. The keys stay known.
    """
    gone = await _purge_events(streams, subject)
    await _purge_tracks(streams, subject)
    for kind in (streams.names.held(), streams.names.dead()):
        async for stored in streams.recorded(kind):
            if int(stored.subject.rpartition(".")[2]) in gone:
                await streams.broker.delete(streams.names.state, stored.sequence, overwrite=True)
    return len(gone)


async def _purge_events(streams: Streams, subject: str) -> set[int]:
    needle = orjson.dumps(subject.removeprefix("+"))[1:-1]
    gone: set[int] = set()
    async for page in streams.between(streams.names.events(), 1, await streams.last()):
        for stored in page:
            event = entry_of(stored.sequence, stored.data).event
            if needle in stored.data and concerns(event, subject):
                await streams.broker.delete(streams.names.stream, stored.sequence, overwrite=True)
                gone.add(stored.sequence)
    return gone


async def _purge_tracks(streams: Streams, subject: str) -> None:
    """Forget the tracks that tell of a subject, in all that was ever written of each."""
    sequence = 1
    names = streams.names
    while found := await streams.broker.next_of(
        names.stream, f"{names.stream}.tracks.*", sequence, _WINDOW
    ):
        for stored in found:
            track = decode_track(stored.data)
            if isinstance(track, Track) and tells_of(track, subject):
                await streams.broker.empty(names.stream, stored.subject)
        sequence = found[-1].sequence + 1
