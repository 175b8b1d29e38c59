"""One happening, one event; and where each message of ours stands.

Pure decisions over a `Ledger`, which an engine implements inside its own transaction, so that
every engine decides alike. What is remembered of a message is its `Track`.

INCS names an outbound message in two ways: by the channel's id (a wamid, a UUID) and by its own
number. Only `message_created` ties the two. A status that came under INCS's number before the
tie was known has been published as unresolved; learning the tie later claims the channel's keys
for it, so that the same status is not published again under the other name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol, Self

import attrs
import orjson

from bridge.journal.protocol import lane_of
from bridge.journal.query import identities
from bridge.model import (
    Conversation,
    ConversationKind,
    Direction,
    Event,
    Message,
    Status,
    StatusChange,
)
from bridge.model.keys import message_key, status_key

_INCS: Final = "incs"

RANK: Final[Mapping[Status, int]] = {
    Status.UNKNOWN: 0,
    Status.ACCEPTED: 1,
    Status.SENT: 2,
    # These two stand aside: whatever shows that the message arrived overtakes them.
    Status.EXPIRED: 3,
    Status.FAILED: 4,
    Status.DELIVERED: 5,
    Status.READ: 6,
    Status.PLAYED: 7,
    Status.DELETED: 8,
}
"""How far each status is. A total order: where a message stands is the furthest one observed,
so it does not matter in which order the observations arrive."""


@attrs.frozen(kw_only=True)
class Track:
    """What a journal remembers of one message of ours.

    `name` is unique: the id space and the id in it. `standing` is the furthest status by
    participant, "" standing for the only one there is in a direct conversation. `observed`
    holds what was published under INCS's number while nothing better was known: status,
    participant, provider's word.
    """

    name: str
    channel: str
    account: str | None
    message_id: str
    conversation: Conversation | None = None
    aliases: tuple[str, ...] = ()
    standing: Mapping[str, Status] = attrs.field(factory=dict)
    observed: tuple[tuple[Status, str, str], ...] = ()

    def encode(self) -> bytes:
        """Write the track as one line of JSON, for an engine to keep."""
        place = self.conversation
        return orjson.dumps(
            {
                "name": self.name,
                "channel": self.channel,
                "account": self.account,
                "message_id": self.message_id,
                "conversation": place and (place.id, place.kind, place.provider_id),
                "aliases": self.aliases,
                "standing": self.standing,
                "observed": self.observed,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote."""
        found = orjson.loads(data)
        place = found["conversation"]
        return cls(
            name=found["name"],
            channel=found["channel"],
            account=found["account"],
            message_id=found["message_id"],
            conversation=place
            and Conversation(id=place[0], kind=ConversationKind(place[1]), provider_id=place[2]),
            aliases=tuple(found["aliases"]),
            standing={who: Status(status) for who, status in found["standing"].items()},
            observed=tuple((Status(status), who, word) for status, who, word in found["observed"]),
        )


class Ledger(Protocol):
    """What correlation remembers; all calls for one append belong to one transaction."""

    def claim(self, key: str) -> bool:
        """Mark a key as known; return False where it already was."""
        ...

    def track(self, name: str) -> Track | None:
        """Return the track of that name, following a tie to the name it was tied to."""
        ...

    def save(self, track: Track) -> None:
        """Keep a track under its own name."""
        ...

    def tie(self, name: str, to: Track) -> None:
        """Let `name` lead to another track from now on."""
        ...


def _name(channel: str, message_id: str) -> str:
    return f"{channel}/{message_id}"


def correlate(event: Event, ledger: Ledger) -> tuple[Event, str] | None:
    """Return the event to publish and its lane, or None where its happening is known already."""
    match event:
        case Message():
            published: Event | None = _message(event, ledger)
        case StatusChange():
            published = _status(event, ledger)
        case _:
            published = event if ledger.claim(event.key) else None
    return None if published is None else (published, lane_of(published))


def _message(message: Message, ledger: Ledger) -> Message | None:
    if message.direction is Direction.OUTBOUND:
        _learn(message, ledger)
    new = ledger.claim(message.key)
    for alias in message.aliases:
        # Claimed without exception: each name has to be known from now on.
        new = ledger.claim(message_key(_INCS, alias)) and new
    return message if new else None


def _learn(message: Message, ledger: Ledger) -> None:
    """Remember where an outbound message belongs, and by which other names it goes."""
    numbered = message.key == message_key(_INCS, message.message_id)  # no channel's id yet
    name = _name(_INCS if numbered else message.channel, message.message_id)
    known = ledger.track(name)
    if known is None:
        known = Track(
            name=name,
            channel=message.channel,
            account=message.account,
            message_id=message.message_id,
        )
    track = attrs.evolve(
        known,
        channel=message.channel if known.name == name else known.channel,
        account=message.account or known.account,
        conversation=message.conversation,
    )
    for alias in message.aliases:
        if alias in track.aliases:
            continue
        other = ledger.track(_name(_INCS, alias))
        if other is not None and other.name != track.name:
            track = _join(track, other, ledger)
        track = attrs.evolve(track, aliases=(*track.aliases, alias))
        ledger.tie(_name(_INCS, alias), track)
    ledger.save(track)


def _join(track: Track, other: Track, ledger: Ledger) -> Track:
    """Count what was published under the other name, so that it is not published under this."""
    standing = dict(track.standing)
    for participant, status in other.standing.items():
        standing[participant] = _further(standing.get(participant), status)
    for status, participant, word in other.observed:
        ledger.claim(
            status_key(
                track.channel,
                track.message_id,
                status,
                participant=participant or None,
                provider_status=word,
            )
        )
    return attrs.evolve(track, standing=standing)


def tells_of(track: Track, subject: str) -> bool:
    """Return whether a track names a phone number or a user id."""
    place = track.conversation
    return any(
        name in track.standing or (place is not None and place.id.endswith(f":{name}"))
        for name in identities(subject)
    )


def _further(one: Status | None, other: Status) -> Status:
    return other if one is None or RANK[other] > RANK[one] else one


def _status(change: StatusChange, ledger: Ledger) -> StatusChange | None:
    name = _name(change.channel if change.resolved else _INCS, change.message_id)
    participant = _participant(change)
    track = ledger.track(name)
    if track is None:
        track = Track(
            name=name,
            channel=change.channel,
            account=change.account,
            message_id=change.message_id,
        )
    elif track.name != name:
        change = attrs.evolve(
            change,
            message_id=track.message_id,
            resolved=True,
            key=status_key(
                track.channel,
                track.message_id,
                change.status,
                participant=participant or None,
                provider_status=change.provider_status,
            ),
        )
    if not ledger.claim(change.key):
        return None
    before = track.standing.get(participant)
    current = before if change.status is Status.UNKNOWN else _further(before, change.status)
    standing = track.standing if current is None else {**track.standing, participant: current}
    observed = track.observed
    if track.name.startswith(f"{_INCS}/"):
        observed = (*observed, (change.status, participant, change.provider_status))
    ledger.save(attrs.evolve(track, standing=standing, observed=observed))
    return attrs.evolve(
        change,
        channel=track.channel,
        account=change.account if track.account is None else track.account,
        aliases=track.aliases,
        conversation=change.conversation or track.conversation,
        advanced=current is not before,
        current=current,
    )


def _participant(change: StatusChange) -> str:
    """Return who of a group this is about, or "" in a direct conversation."""
    if change.conversation is None or change.conversation.kind is not ConversationKind.GROUP:
        return ""
    recipient = change.recipient
    return (recipient.phone or recipient.user_id or "") if recipient is not None else ""
