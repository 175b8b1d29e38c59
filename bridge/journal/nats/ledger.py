"""What correlation remembers, as subjects of the stream.

A key is known if its subject has a message. A track is the last message of its subject, and is
written on the condition that nobody wrote another meanwhile; so is a key. A group of appends is
decided upon what was read before; what turns out to be missing is read, and all is decided anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import attrs
import orjson

from bridge.journal.correlation import Track
from bridge.journal.nats.broker import EXPECTED, TTL, Draft, Stored
from bridge.journal.nats.subjects import Names

View = dict[str, Stored | None]
"""What is at subjects: None where nothing is."""

BEFORE_ITS_EVENT: Final = b"+1"
"""What a key's message says if its event is the next message of the stream."""


@attrs.frozen
class Tie:
    """What leads from one name of a message to the track under another."""

    name: str


def encode_track(track: Track | Tie) -> bytes:
    """Return what is kept under the name of a message."""
    return orjson.dumps({"tied_to": track.name}) if isinstance(track, Tie) else track.encode()


def decode_track(data: bytes) -> Track | Tie:
    """Read what `encode_track` returned."""
    tied_to = orjson.loads(data).get("tied_to")
    return Track.decode(data) if tied_to is None else Tie(tied_to)


class NotSeen(Exception):
    """A subject is not in the view; it has to be read, and everything decided again."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(subject)


class GroupLedger:
    """The `Ledger` of one group of appends.

    After each append either `accept` or `undo` what it claimed.
    """

    def __init__(self, names: Names, view: Mapping[str, Stored | None]) -> None:
        self._names = names
        self._view = view
        self._claimed: set[str] = set()
        self._accepted: set[str] = set()
        self._changed: dict[str, Track | Tie] = {}
        self._tracks: dict[str, Track | Tie] = {}
        self._relied_on: set[str] = set()

    def claim(self, key: str) -> bool:
        """See `Ledger.claim`."""
        subject = self._names.key(key)
        if subject in self._claimed or subject in self._accepted:
            return False
        if self._seen(subject) is not None:
            return False
        self._claimed.add(subject)
        return True

    def track(self, name: str) -> Track | None:
        """See `Ledger.track`."""
        found = self._find(name)
        if isinstance(found, Tie):
            found = self._find(found.name)
        return found if isinstance(found, Track) else None

    def _find(self, name: str) -> Track | Tie | None:
        found = self._changed.get(name) or self._tracks.get(name)
        if found is not None:
            return found
        stored = self._seen(self._names.track(name))
        return None if stored is None else decode_track(stored.data)

    def _seen(self, subject: str) -> Stored | None:
        try:
            return self._view[subject]
        except KeyError:
            raise NotSeen(subject) from None

    def save(self, track: Track) -> None:
        """See `Ledger.save`."""
        self._changed[track.name] = track

    def tie(self, name: str, to: Track) -> None:
        """See `Ledger.tie`."""
        self._changed[name] = Tie(to.name)

    def accept(self) -> frozenset[str]:
        """Keep what the append claimed and changed; return the subjects of the claims."""
        claimed = frozenset(self._claimed)
        self._accepted |= claimed
        self._tracks |= self._changed
        if claimed:
            self._relied_on |= self._changed.keys()
        self.undo()
        return claimed

    def undo(self) -> None:
        """Forget what the append claimed and changed."""
        self._claimed = set()
        self._changed = {}

    def changes(self) -> Iterator[Draft]:
        """Return the messages that write the accepted tracks.

        One that stays as it was is written as well where something new was decided upon it: on
        condition that it is still so, since an event must not say where a message stood once.
        """
        for name, track in self._tracks.items():
            subject = self._names.track(name)
            before = self._view.get(subject)
            data = encode_track(track)
            if before is None:
                yield Draft(subject, data, {EXPECTED: "0"})
            elif before.data != data or name in self._relied_on:
                yield Draft(subject, data, {EXPECTED: str(before.sequence)})


def claim_of(subject: str, *, before_its_event: bool, ttl: int | None) -> Draft:
    """Return the message that makes a key known, on condition that it is not."""
    headers = {EXPECTED: "0"}
    if ttl is not None:
        headers[TTL] = f"{ttl}s"
    return Draft(subject, BEFORE_ITS_EVENT if before_its_event else b"", headers)
