"""What the journal keeps beside events, as JSON: the tracks of messages, what waits, what died."""

from __future__ import annotations

from typing import Self

import attrs
import orjson

from bridge.journal.correlation import Track
from bridge.journal.protocol import DeadLetter, Entry, Failure, Held


@attrs.frozen
class Tie:
    """What leads from one name of a message to the track under another."""

    name: str


def encode_track(track: Track | Tie) -> bytes:
    """Write what stands under the name of a message."""
    return orjson.dumps({"tied_to": track.name}) if isinstance(track, Tie) else track.encode()


def decode_track(data: bytes) -> Track | Tie:
    """Read what `encode_track` wrote."""
    tied_to = orjson.loads(data).get("tied_to")
    return Track.decode(data) if tied_to is None else Tie(tied_to)


@attrs.frozen(kw_only=True)
class HeldRecord:
    """A held entry without its event, which is in the stream of events."""

    lane: str
    tries: int = 0
    due_at: float | None = None
    first_failed_at: float | None = None
    error: str | None = None
    replayed: bool = False

    @classmethod
    def of(cls, held: Held) -> Self:
        """Return the record of a held entry."""
        return cls(
            lane=held.entry.lane,
            tries=held.tries,
            due_at=held.due_at,
            first_failed_at=held.first_failed_at,
            error=held.error,
            replayed=held.replayed,
        )

    def with_entry(self, entry: Entry) -> Held:
        """Return the held entry."""
        return Held(
            entry=entry,
            tries=self.tries,
            due_at=self.due_at,
            first_failed_at=self.first_failed_at,
            error=self.error,
            replayed=self.replayed,
        )

    def encode(self) -> bytes:
        """Write the record."""
        return orjson.dumps(attrs.asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote."""
        return cls(**orjson.loads(data))


@attrs.frozen(kw_only=True)
class DeadRecord:
    """A failure without its event."""

    lane: str
    tries: int
    first_failed_at: float
    failed_at: float
    error: str

    @classmethod
    def of(cls, failure: Failure) -> Self:
        """Return the record of a failure."""
        return cls(
            lane=failure.entry.lane,
            tries=failure.tries,
            first_failed_at=failure.first_failed_at,
            failed_at=failure.failed_at,
            error=failure.error,
        )

    def letter(self, number: int, subscriber: str, entry: Entry) -> DeadLetter:
        """Return the dead letter that this is of a subscriber's."""
        failure = Failure(
            entry=entry,
            tries=self.tries,
            first_failed_at=self.first_failed_at,
            failed_at=self.failed_at,
            error=self.error,
        )
        return DeadLetter(id=number, subscriber=subscriber, failure=failure)

    def encode(self) -> bytes:
        """Write the record."""
        return orjson.dumps(attrs.asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote."""
        return cls(**orjson.loads(data))
