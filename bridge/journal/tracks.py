"""Where each message of ours stands, and by which names it goes.

A provider may name a message in two ways: by the channel's own id and by an id in a space of the
provider's (`Message.id_space`). Only some callbacks tie the two. A status that came under the
other space's id before the tie was known has been published as unresolved; learning the tie later
claims the channel's keys for it, so that the same status is not published again.

A message that is sent through the bridge goes by our own id at first. The provider's response ties
it to the provider's id, and so does a status that repeats ours, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from bridge.journal import waiting
from bridge.journal.identity import name_of_former
from bridge.journal.ledger import Ledger, Observation, Track, User
from bridge.model import (
    Conversation,
    ConversationKind,
    Event,
    Message,
    Status,
    StatusChange,
)
from bridge.model.frozen import changer
from bridge.model.keys import OURS, message_key, status_key

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

_DIRECT: Final = ConversationKind.DIRECT
_GROUP: Final = ConversationKind.GROUP
_UNKNOWN: Final = Status.UNKNOWN
_ALONE: Final = ("",)
_NOTHING: Final[Sequence[waiting.Published]] = ()
_UUID: Final = 36  # characters: what is sent through the bridge is called by one
_learned: Final[Callable[..., Track]] = changer(
    Track, "channel", "account", "conversation", "user", "id_space", "correlation"
)
_named: Final[Callable[..., Track]] = changer(Track, "aliases")
_moved_on: Final[Callable[..., Track]] = changer(Track, "user", "standing", "observed")
_tied: Final = changer(StatusChange, "aliases", "id_space")
_observed: Final = changer(
    StatusChange,
    *("key", "channel", "account", "message_id", "aliases", "id_space"),
    *("conversation", "correlation", "resolved", "advanced", "current"),
)


def names_of(event: Message | StatusChange) -> list[str]:
    """Return the names under which a ledger knows the message of an event."""
    names = [_name(event, _space(event), event.message_id)]
    if event.aliases:
        names += [_name(event, event.id_space or "", alias) for alias in event.aliases]
    return names


def names_of_ours(change: StatusChange) -> list[str]:
    """Return the names of messages of ours that a status may be about."""
    return [_name(change, OURS, each) for each in _ours_of(change)]


def _ours_of(change: StatusChange) -> Sequence[str]:
    """Return which of our own ids a status may mean: its aliases, or what it repeats."""
    if change.id_space is not None:
        return change.aliases if change.id_space == OURS else ()
    told = (change.correlation, change.message_id)
    return [each for each in told if each is not None and len(each) == _UUID]


def key_of(change: StatusChange) -> str:
    """Return the key of the message that a status is about, by the channel's own id."""
    return in_domain(change, message_key(change.channel, change.message_id))


def tie(change: StatusChange, ledger: Ledger) -> tuple[Message | None, Sequence[waiting.Published]]:
    """Tie a status's message to the one of ours that it names, if it does so for the first time.

    Every account of the message under the provider's id is from then on taken for the same. One
    that came before, and waits since nobody knew whose it is, waits no more: it is returned, with
    what is published in its stead.
    """
    name = _name(change, _space(change), change.message_id)
    for ours in _ours_of(change):
        known = ledger.find(_name(change, OURS, ours))
        if not isinstance(known, Track) or known.name == name:
            continue
        key = key_of(change)
        early, freed = None, _NOTHING
        is_known = ledger.knows(key)
        told = ledger.known(key) if is_known else None
        if told is not None and told.lane is not None and isinstance(told.event, Message):
            early, is_known = told.event, False
            _, freed = waiting.take(told.lane, (early.key,), ledger)
        if not is_known:
            ledger.claim(key, in_domain(change, message_key(OURS, ours)))
        if known.message_id != ours:  # sent twice, in doubt, and tied before: one message still
            ledger.tie(name, known)
        else:
            named = _tied(change, (ours,), OURS)
            learn(named, known.conversation or change.conversation, None, ledger)
        return early, freed
    return None, _NOTHING


def find(message: Message, ledger: Ledger) -> Track | None:
    """Return what is remembered of a message, under any of its names."""
    for name in names_of(message):
        track = ledger.find(name)
        if isinstance(track, Track):
            return track
    return None


def own_id(message: Message, alias: str, ledger: Ledger) -> str | None:
    """Return the channel's own id of another message, which `message` calls by its id space's."""
    track = ledger.find(_name(message, message.id_space or "", alias))
    return track.message_id if isinstance(track, Track) else None


def whose(track: Track, ledger: Ledger) -> str | None:
    """Return the name of the user of a message, whose phone may have gone to somebody else since.

    The user's record may have gone by that phone.
    """
    where = track.conversation
    user = None if track.user is None or where is None else ledger.find(track.user)
    if isinstance(user, User) and where and user.conversations.get(track.account or "") != where.id:
        former = ledger.find(name_of_former(where.id))
        return former.name if isinstance(former, User) else track.user
    return track.user


def is_placed(track: Track, where: Conversation | None) -> bool:
    """Return whether a message that had a conversation alone belongs to this one.

    It was told without its user, or as one to a group without that group.
    """
    own = track.conversation
    if own is None or where is None or track.user is not None:
        return False
    if own.kind is _DIRECT:
        return True
    return own.provider_id is None and where.kind is _GROUP and where.id != own.id


def learn(
    message: Message | StatusChange, where: Conversation | None, user: User | None, ledger: Ledger
) -> None:
    """Remember where a message belongs, and by which other names it goes."""
    name, *others = names_of(message)
    known = ledger.find(name)
    if not isinstance(known, Track):
        known = _new(message, name)
    intent = message.intent if isinstance(message, Message) else None
    track: Track = _learned(
        known,
        message.channel if known.name == name else known.channel,
        message.account or known.account,
        where if known.conversation is None or is_placed(known, where) else known.conversation,
        user.name
        if user is not None and where is not None and where.kind is _DIRECT
        else known.user,
        message.id_space or known.id_space,
        known.correlation if intent is None else intent.key,
    )
    for alias, other_name in zip(message.aliases, others, strict=True):
        if alias in track.aliases:
            continue
        other = ledger.find(other_name)
        if isinstance(other, Track) and other.name != track.name:
            track = _join(message, track, other, ledger)
        track = _named(track, (*track.aliases, alias))
        ledger.tie(other_name, track)
    if track != known:
        ledger.save(track)


def _join(message: Message | StatusChange, track: Track, other: Track, ledger: Ledger) -> Track:
    """Count what was published under the other name, so that it is not published under this."""
    standing = dict(track.standing)
    for participant, status in other.standing.items():
        standing[participant] = _further(standing.get(participant), status)
    for each in other.observed:
        key = _status_key(message, track, each.status, each.participant, each.provider_status)
        if not ledger.knows(key):
            ledger.claim(key, each.key)
    return attrs.evolve(
        track,
        standing=standing,
        user=track.user or other.user,
        correlation=track.correlation or other.correlation,
    )


# --- statuses ------------------------------------------------------------------------------


def track_of(change: StatusChange, ledger: Ledger) -> Track:
    """Return what is remembered of a status's message."""
    name = _name(change, _space(change), change.message_id)
    found = ledger.find(name)
    return found if isinstance(found, Track) else _new(change, name)


def observe(
    change: StatusChange, track: Track, where: Conversation | None, user: User | None
) -> tuple[StatusChange, Sequence[str], Track]:
    """Return a status as its message's, all keys that it may be known by, and the track with it.

    In a group each participant has a standing, whichever of the participant's names is told.
    """
    participants = _participants(change, where, user)
    is_tied = track.name != _name(change, _space(change), change.message_id)
    keys = [
        _status_key(change, track, change.status, participant, change.provider_status)
        for participant in participants
    ]
    if not is_tied and participants[0] == _own_participant(change, change.conversation):
        keys[0] = change.key
    before: Status | None = None
    for participant in participants:
        if (status := track.standing.get(participant)) is not None:
            before = _further(before, status)
    current = before if change.status is _UNKNOWN else _further(before, change.status)
    resolved = change.resolved or is_tied
    observed = _observed(
        change,
        keys[0],
        track.channel,
        change.account if track.account is None else track.account,
        track.message_id,
        track.aliases,
        track.id_space if track.aliases else change.id_space,
        where,
        track.correlation or change.correlation,
        resolved,
        current is not before,
        current,
    )
    observations = track.observed
    if not resolved:
        observations += (
            Observation(
                status=change.status,
                participant=participants[0],
                provider_status=change.provider_status,
                key=keys[0],
            ),
        )
    whose = track.user
    if where is not None and where.kind is _DIRECT and user is not None:
        whose = user.name
    standing = track.standing if current is None else {**track.standing, participants[0]: current}
    is_of_group = where is not None and where.kind is _GROUP
    is_placed_now = (is_of_group or whose is not None) and is_placed(track, where)
    if is_of_group if track.conversation is None else is_placed_now:
        track = attrs.evolve(track, conversation=where)
    return observed, keys, _moved_on(track, whose, standing, observations)


def _participants(
    change: StatusChange, where: Conversation | None, user: User | None
) -> Sequence[str]:
    """Return the names of whom in a group this is about; "" stands for the only one there is."""
    own = _own_participant(change, where)
    if not own:
        return _ALONE
    return (own,) if user is None else tuple(dict.fromkeys((*user.identities, own)))


def _own_participant(change: StatusChange, where: Conversation | None) -> str:
    if where is None or where.kind is not _GROUP:
        return ""
    recipient = change.recipient
    return (recipient.phone or recipient.user_id or "") if recipient is not None else ""


def _further(one: Status | None, other: Status) -> Status:
    return other if one is None or RANK[other] > RANK[one] else one


# --- names ---------------------------------------------------------------------------------


def in_domain(event: Event, key: str) -> str:
    """Return a key as one of an event's trust domain."""
    return key if event.domain is None else f"{event.domain}/{key}"


def _new(event: Message | StatusChange, name: str) -> Track:
    return Track(
        name=name, channel=event.channel, account=event.account, message_id=event.message_id
    )


def _space(event: Message | StatusChange) -> str:
    """Return the id space of an event's own message id."""
    is_channels = (
        event.resolved
        if isinstance(event, StatusChange)
        else bool(event.aliases) or event.id_space is None
    )
    return event.channel if is_channels else event.id_space or ""


def _name(event: Event, space: str, message_id: str) -> str:
    return f"{event.domain or ''}/message/{space}/{message_id}"


def _status_key(event: Event, track: Track, status: Status, participant: str, word: str) -> str:
    key = status_key(
        track.channel,
        track.message_id,
        status,
        participant=participant or None,
        provider_status=word,
    )
    return in_domain(event, key)
