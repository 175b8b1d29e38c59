"""The names of streams, subjects and consumers; `docs/nats.md` tells them to readers.

The lane decides the partition, and the partition is a token of the subject, so that a server can
give each partition to one reader. No subject holds personal data: a digest stands for it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from urllib.parse import quote, unquote

import attrs

from bridge.journal import overlay
from bridge.journal.lanes import lane_bytes, partition_of
from bridge.model import Event


def token(name: str) -> str:
    """Write any name as one token of a subject, such that `name_of` reads it."""
    return quote(name, safe="").replace(".", "%2E") or "%"


def name_of(written: str) -> str:
    """Return the name that a token stands for."""
    return "" if written == "%" else unquote(written)


def digest(name: str) -> str:
    """Return what stands for a name in a subject: short, and no personal data."""
    return written(overlay.digest(name))


def written(digest: bytes) -> str:
    """Write a digest as one token of a subject, such that `digest_in` reads it."""
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def digest_in(subject: str) -> bytes:
    """Return the digest at the end of a subject."""
    return urlsafe_b64decode(f"{subject.rpartition('.')[2]}==")


@attrs.frozen(kw_only=True)
class Names:
    """The names of one journal.

    Events, the keys that are known and the tracks of messages share one stream, because only within
    a stream can they be written as one. Held events, dead letters and states are in another.
    """

    stream: str
    partitions: int

    @property
    def state(self) -> str:
        """Return the name of the stream that keeps what is known of subscribers."""
        return f"{self.stream}-state"

    @property
    def held_changed(self) -> str:
        """Return where processes tell each other, unstored, that held entries have changed."""
        return f"{self.stream}-held-changed"

    @property
    def grown(self) -> str:
        """Return where processes tell each other, unstored, that events have been written."""
        return f"{self.stream}-grown"

    def partition_of(self, lane: str) -> int:
        """Return which partition a lane belongs to."""
        return partition_of(lane_bytes(lane), self.partitions)

    def event(self, event: Event, lane: str) -> str:
        """Return where an event goes."""
        partition = self.partition_of(lane)
        return f"{self.stream}.events.{partition}.{event.kind}.{token(event.channel)}"

    def events(self, partition: int | None = None, kind: str = "*") -> str:
        """Return what matches the events of one partition, or of all, and of one kind."""
        return f"{self.stream}.events.{'*' if partition is None else partition}.{kind}.*"

    def call(self, partition: int, subscriber: str) -> str:
        """Return where a process asks to be given a partition that nobody reads."""
        return f"{self.stream}.calls.{partition}.{token(subscriber)}"

    @property
    def keys(self) -> str:
        """Return how the subjects of known keys begin; the digest of the key follows."""
        return f"{self.stream}.keys."

    @property
    def tracks(self) -> str:
        """Return how the subjects of records begin; the digest of a name follows."""
        return f"{self.stream}.tracks."

    @property
    def waiting(self) -> str:
        """Return how the subjects of queues begin; the digest of the lane follows."""
        return f"{self.stream}.waiting."

    def consumer(self, subscriber: str, partition: int) -> str:
        """Return the consumer that keeps how far a subscriber is in a partition."""
        return f"{token(subscriber)}-{partition}"

    @property
    def terms(self) -> str:
        """Return where it is noted that records say on what terms users may be written to."""
        return f"{self.state}.terms"

    def subscriber(self, name: str = "*") -> str:
        """Return where a subscriber is noted, or what matches all."""
        return f"{self.state}.subscribers.{_or_any(name)}"

    def held(
        self, subscriber: str = "*", partition: int | str = "*", sequence: int | str = "*"
    ) -> str:
        """Return where an entry is held for a subscriber, or what matches several."""
        return f"{self.state}.held.{_or_any(subscriber)}.{partition}.{sequence}"

    def dead(self, subscriber: str = "*", sequence: int | str = "*") -> str:
        """Return where a dead letter of a subscriber is, or what matches several."""
        return f"{self.state}.dead.{_or_any(subscriber)}.{sequence}"

    def reparsed(self, sequence: int | str = "*") -> str:
        """Return where an event is noted whose body has been read since, or what matches all."""
        return f"{self.state}.mended.{sequence}"

    def remembered(self, name: str | None = None, conversation: str | None = None) -> str:
        """Return where the state of a conversation is under a name, or what matches several."""
        which = "*" if conversation is None else digest(conversation)
        return f"{self.state}.remembered.{'*' if name is None else token(name)}.{which}"


def _or_any(name: str) -> str:
    return name if name == "*" else token(name)
