"""What is sent through the bridge, and what its provider answers, as nearly all of both is.

The decisions are those of `correlation`, in a third of the time: the message is in a direct
conversation, its user is told by a phone alone, and nobody has told of it before. None leaves an
event to `correlation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bridge.journal import identity, tracks, users
from bridge.journal.ledger import Ledger, Track
from bridge.journal.waiting import Published
from bridge.model import (
    ConversationKind,
    Deletion,
    Direction,
    Message,
    Party,
    Status,
    StatusChange,
    Unsupported,
)
from bridge.model.frozen import builder, changer
from bridge.model.keys import OURS, message_key

_DIRECT: Final = ConversationKind.DIRECT
_OUTBOUND: Final = Direction.OUTBOUND
_UNUSUAL: Final = frozenset({Deletion, Unsupported})
_new_track: Final = builder(Track)
_moved: Final = changer(Message, "conversation")
_answered: Final[Callable[..., Track]] = changer(
    Track, "name", "channel", "account", "message_id", "aliases", "standing"
)
_told: Final[Callable[..., StatusChange]] = changer(
    StatusChange, "conversation", "correlation", "advanced", "current"
)


def sent(message: Message, ledger: Ledger) -> Sequence[Published] | None:
    """Return what a new message of ours publishes, and remember it."""
    intent = message.intent
    if (
        intent is None
        or intent.not_before is not None
        or message.id_space != OURS
        or message.direction is not _OUTBOUND
        or message.aliases
        or message.settle
        or message.conversation.kind is not _DIRECT
        or type(message.content) in _UNUSUAL
        or not _is_phone_alone(message.recipient)
        or ledger.knows(message.key)
    ):
        return None
    (name,) = tracks.names_of(message)
    if ledger.find(name) is not None:
        return None
    where, user, _ = users.settle(message, message.conversation, ledger)  # one name joins nobody
    if user is None or ledger.queue(where.id) is not None:
        return None
    ledger.save(
        _new_track(
            name=name,
            channel=message.channel,
            account=message.account,
            message_id=message.message_id,
            conversation=where,
            user=user.name,
            id_space=OURS,
            correlation=intent.key,
        )
    )
    ledger.claim(message.key)
    if where is not message.conversation:
        message = _moved(message, where)
    return ((message, where.id),)


def answered(change: StatusChange, ledger: Ledger) -> Sequence[Published] | None:
    """Return what the first status of a message of ours publishes, and tie the two.

    From then on the message goes by the provider's id.
    """
    if (
        change.id_space != OURS
        or not change.resolved
        or change.status is Status.UNKNOWN
        or len(change.aliases) != 1
        or change.recipient is None
        or not _is_phone_alone(change.recipient)
        or ledger.knows(change.key)
    ):
        return None
    key = tracks.key_of(change)
    name, own = tracks.names_of(change)
    track = ledger.find(own)
    if not isinstance(track, Track) or track.name != own or track.user is None:
        return None
    where = track.conversation
    if where is None or where.kind is not _DIRECT:
        return None
    user = identity.known_recipient(change, track.user, where, ledger)
    if (
        user is None
        or track.standing
        or track.observed
        or ledger.knows(key)
        or ledger.find(name) is not None
        or ledger.queue(where.id) is not None
    ):
        return None
    ledger.claim(key, tracks.in_domain(change, message_key(OURS, change.aliases[0])))
    track = _answered(
        track,
        name=name,
        channel=change.channel,
        account=change.account,
        message_id=change.message_id,
        aliases=change.aliases,
        standing={"": change.status},
    )
    ledger.tie(own, track)
    ledger.save(track)
    change = _told(
        identity.with_names(change, user),
        conversation=where,
        correlation=track.correlation or change.correlation,
        advanced=True,
        current=change.status,
    )
    ledger.claim(change.key)
    return ((change, where.id),)


def _is_phone_alone(party: Party) -> bool:
    return bool(party.phone) and party.user_id is None and party.parent_user_id is None
