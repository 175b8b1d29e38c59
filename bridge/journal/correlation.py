"""One happening, one event, told whole; and where each message of ours stands.

Pure decisions over a `Ledger`, so that every engine decides alike.

A provider may name a message in two ways: by the channel's own id and by an id in a space of the
provider's (`Message.id_space`). Only some callbacks tie the two. A status that came under the
other space's id before the tie was known has been published as unresolved; learning the tie later
claims the channel's keys for it, so that the same status is not published again.

The same message may be told more than once, by callbacks that know different things. The first
full account is published. A poorer one (`Message.settle`) waits in the queue of its lane until a
full one comes or its time is over, and what follows in its lane waits behind it. An account that
comes later and knows more is published as a completion of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from bridge.journal.identity import participant_of, settle_user
from bridge.journal.ledger import Known, Ledger, Queue, Track, User, Waiting
from bridge.journal.protocol import lane_of
from bridge.journal.query import identities
from bridge.journal.telling import digest, filled, news
from bridge.model import (
    Conversation,
    ConversationKind,
    Direction,
    Event,
    Message,
    Notice,
    Status,
    StatusChange,
    Unsupported,
)
from bridge.model.frozen import evolved
from bridge.model.keys import message_key, status_key

Published: TypeAlias = tuple[Event, str]
"""An event to publish now, and its lane."""

Decision: TypeAlias = tuple[bool, Sequence[Published]]
"""Whether an event is new to the journal, and what is published now because of it.

Something new may have to wait, and something known may end the waiting of others.
"""

_DUPLICATE: Final[Decision] = (False, ())
_LONGEST_QUEUE: Final = 100  # events that wait in one lane; beyond, none of them waits any more

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


def correlate(event: Event, ledger: Ledger) -> Decision:
    """Decide what becomes of an event."""
    if isinstance(event, Message):
        return _message(event, ledger)
    if isinstance(event, StatusChange):
        return _status(event, ledger)
    if ledger.knows(event.key):
        return _DUPLICATE
    conversation: Conversation | None = getattr(event, "conversation", None)
    if conversation is None:
        return _new(event, (event.key,), ledger)
    conversation, notices = _conversation(event, conversation, ledger)
    event = evolved(event, conversation=conversation)
    return _new(event, (event.key,), ledger, notices)


def release(lane: str, now: float, ledger: Ledger) -> Sequence[Published]:
    """Return what has waited long enough in a lane at a time, and what waited behind it."""
    queue = ledger.queue(lane)
    if queue is None:
        return ()
    items = tuple(
        attrs.evolve(item, due=None) if item.due is not None and item.due <= now else item
        for item in queue.items
    )
    return _drain(attrs.evolve(queue, items=items), ledger)


# --- what is new, and what waits -----------------------------------------------------------


def _new(
    event: Event, keys: tuple[str, ...], ledger: Ledger, notices: Sequence[Notice] = ()
) -> Decision:
    """Publish an event that is new, or let it wait."""
    lane = lane_of(event)
    before = _notices(notices, ledger)
    settle = event.settle if isinstance(event, Message) else None
    queue = ledger.queue(lane)
    if queue is None and settle is None:
        for key in keys:
            ledger.claim(key)
        return True, (*before, (event, lane))
    due = None if settle is None else event.received_at.timestamp() + settle
    items = (*(queue.items if queue else ()), Waiting(event=event, keys=keys, due=due))
    if len(items) > _LONGEST_QUEUE:
        items = tuple(attrs.evolve(item, due=None) for item in items)
    return True, (*before, *_drain(Queue(lane=lane, items=items), ledger))


def _drain(queue: Queue, ledger: Ledger) -> list[Published]:
    """Publish what waits at the front of a queue and need not any more; keep the rest."""
    items = list(queue.items)
    published: list[Published] = []
    while items and items[0].due is None:
        item = items.pop(0)
        for key in item.keys:
            ledger.claim(key)
        published.append((item.event, queue.lane))
    ledger.put(attrs.evolve(queue, items=tuple(items)))
    return published


def _notices(notices: Sequence[Notice], ledger: Ledger) -> list[Published]:
    new = [notice for notice in notices if not ledger.knows(notice.key)]
    for notice in new:
        ledger.claim(notice.key)
    return [(notice, lane_of(notice)) for notice in new]


def _conversation(
    event: Event, conversation: Conversation, ledger: Ledger
) -> tuple[Conversation, list[Notice]]:
    name, notices = settle_user(event, conversation, ledger)
    if name != conversation.id:
        conversation = attrs.evolve(conversation, id=name)
    return conversation, notices


# --- messages ------------------------------------------------------------------------------


def _message(message: Message, ledger: Ledger) -> Decision:
    conversation, notices = _conversation(message, message.conversation, ledger)
    outbound = message.direction is Direction.OUTBOUND
    if outbound or type(message.content) is Unsupported:
        conversation = _learn(message, conversation, ledger)
    elif not (message.sender.phone or message.sender.user_id):
        track = ledger.find(_track_name(message, message.message_id))
        if isinstance(track, Track) and track.conversation is not None:
            conversation = track.conversation
    if conversation is not message.conversation:
        message = evolved(message, conversation=conversation)
    keys: tuple[str, ...] = (message.key,)
    if message.aliases:
        keys += tuple(
            _in_domain(message, message_key(message.id_space or "", alias))
            for alias in message.aliases
        )
    known_keys = [key for key in keys if ledger.knows(key)]
    if not known_keys:
        return _new(message, keys, ledger, notices)
    first = next((found for key in known_keys if (found := ledger.known(key))), None)
    return _told_again(message, keys, first, ledger, notices)


def _told_again(
    message: Message,
    keys: tuple[str, ...],
    known: Known | None,
    ledger: Ledger,
    notices: Sequence[Notice],
) -> Decision:
    """Add what a further account of a message knows to what waits, or publish it as more."""
    before = _notices(notices, ledger)
    if known is not None and known.lane is not None:
        return False, (*before, *_enrich(message, keys, known.event, known.lane, ledger))
    for key in keys:
        if not ledger.knows(key):
            ledger.claim(key)  # each name has to be known from now on
    if known is None or not isinstance(known.event, Message):
        return False, before
    first = known.event
    fields = news(message, first)
    if not fields:
        return False, before
    root = first.completes or first.key
    key = f"{root}/more/{digest(fields)}"
    if ledger.knows(key):
        return False, before
    whole = _sum(message, first)
    completion = evolved(
        whole,
        key=key,
        completes=root,
        settle=None,
        message_id=first.message_id if _is_unresolved(message) else message.message_id,
        source=message.source,
        raw=message.raw,
        received_at=message.received_at,
    )
    new, published = _new(completion, (key,), ledger)
    return new, (*before, *published)


def _enrich(
    message: Message, keys: tuple[str, ...], waiting: Event, lane: str, ledger: Ledger
) -> list[Published]:
    """Put the sum of two accounts in the place of the one that waits."""
    queue = ledger.queue(lane)
    if queue is None or not isinstance(waiting, Message):
        return []
    items = tuple(
        attrs.evolve(
            item,
            event=evolved(_sum(message, waiting), key=waiting.key),
            keys=tuple(dict.fromkeys((*item.keys, *keys))),
            due=item.due if message.settle is not None else None,
        )
        if item.event.key == waiting.key
        else item
        for item in queue.items
    )
    return _drain(attrs.evolve(queue, items=items), ledger)


def _sum(message: Message, first: Message) -> Message:
    """Return the fuller of two accounts with what only the other knows."""
    if message.settle is not None and first.settle is None:
        return filled(first, message)
    full = filled(message, first)
    # The first one decided where the message belongs.
    where = attrs.evolve(first.conversation, provider_id=full.conversation.provider_id)
    return evolved(full, conversation=where)


def _learn(message: Message, conversation: Conversation, ledger: Ledger) -> Conversation:
    """Remember where a message belongs, and by which other names it goes."""
    name_of = _alias_name if _is_unresolved(message) else _track_name
    name = name_of(message, message.message_id)
    known = ledger.find(name)
    if not isinstance(known, Track):
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
        conversation=known.conversation or conversation,
        id_space=message.id_space or known.id_space,
    )
    for alias in message.aliases:
        if alias in track.aliases:
            continue
        other = ledger.find(_alias_name(message, alias))
        if isinstance(other, Track) and other.name != track.name:
            track = _join(message, track, other, ledger)
        track = attrs.evolve(track, aliases=(*track.aliases, alias))
        ledger.tie(_alias_name(message, alias), track)
    if track != known:
        ledger.save(track)
    return track.conversation or conversation


def _join(message: Message, track: Track, other: Track, ledger: Ledger) -> Track:
    """Count what was published under the other name, so that it is not published under this."""
    standing = dict(track.standing)
    for participant, status in other.standing.items():
        standing[participant] = _further(standing.get(participant), status)
    for status, participant, word in other.observed:
        key = _status_key(message, track, status, participant, word)
        if not ledger.knows(key):
            ledger.claim(key)
    return attrs.evolve(
        track, standing=standing, conversation=other.conversation or track.conversation
    )


# --- statuses ------------------------------------------------------------------------------


def _status(change: StatusChange, ledger: Ledger) -> Decision:
    notices: Sequence[Notice] = ()
    conversation = change.conversation
    if conversation is not None:
        conversation, notices = _conversation(change, conversation, ledger)
    name_of = _track_name if change.resolved else _alias_name
    name = name_of(change, change.message_id)
    participant = _participant(change, ledger)
    found = ledger.find(name)
    track = (
        found
        if isinstance(found, Track)
        else Track(
            name=name,
            channel=change.channel,
            account=change.account,
            message_id=change.message_id,
        )
    )
    tied = track.name != name
    if tied or participant != _own_participant(change):
        change = evolved(
            change,
            message_id=track.message_id,
            resolved=change.resolved or tied,
            key=_status_key(change, track, change.status, participant, change.provider_status),
        )
    before = track.standing.get(participant)
    current = before if change.status is Status.UNKNOWN else _further(before, change.status)
    change = evolved(
        change,
        channel=track.channel,
        account=change.account if track.account is None else track.account,
        aliases=track.aliases,
        id_space=track.id_space if track.aliases else change.id_space,
        conversation=track.conversation or conversation,
        advanced=current is not before,
        current=current,
    )
    if ledger.knows(change.key):
        return _status_again(change, ledger)
    standing = track.standing if current is None else {**track.standing, participant: current}
    observed = track.observed
    if not change.resolved:
        observed = (*observed, (change.status, participant, change.provider_status))
    ledger.save(attrs.evolve(track, standing=standing, observed=observed))
    return _new(change, (change.key,), ledger, notices)


def _status_again(change: StatusChange, ledger: Ledger) -> Decision:
    """Publish a repeated status that says more than the first one; it moves nothing."""
    known = ledger.known(change.key)
    if known is None or not (fields := news(change, known.event)):
        return _DUPLICATE
    key = f"{change.key}/more/{digest(fields)}"
    if ledger.knows(key):
        return _DUPLICATE
    return _new(evolved(change, key=key, advanced=False), (key,), ledger)


def _status_key(event: Event, track: Track, status: Status, participant: str, word: str) -> str:
    return _in_domain(
        event,
        status_key(
            track.channel,
            track.message_id,
            status,
            participant=participant or None,
            provider_status=word,
        ),
    )


def _participant(change: StatusChange, ledger: Ledger) -> str:
    """Return who of a group this is about, or "" in a direct conversation."""
    own = _own_participant(change)
    return participant_of(change, change.recipient, ledger) if own and change.recipient else own


def _own_participant(change: StatusChange) -> str:
    if change.conversation is None or change.conversation.kind is not ConversationKind.GROUP:
        return ""
    recipient = change.recipient
    return (recipient.phone or recipient.user_id or "") if recipient is not None else ""


def _further(one: Status | None, other: Status) -> Status:
    return other if one is None or RANK[other] > RANK[one] else one


def _is_unresolved(message: Message) -> bool:
    """Return whether a message goes only by an id that is not the channel's own."""
    return message.id_space is not None and not message.aliases


# --- names ---------------------------------------------------------------------------------


def _track_name(event: Event, message_id: str) -> str:
    name = f"{event.channel}/{message_id}"
    return name if event.domain is None else f"{event.domain}//{name}"


def _alias_name(event: Message | StatusChange, alias: str) -> str:
    name = f"{event.id_space or ''}/{alias}"
    return name if event.domain is None else f"{event.domain}//{name}"


def _in_domain(event: Event, key: str) -> str:
    return key if event.domain is None else f"{event.domain}/{key}"


def tells_of(record: Track | User, subject: str) -> bool:
    """Return whether a record names a phone number or a user id."""
    names = identities(subject)
    if isinstance(record, User):
        return any(name in record.identities for name in names)
    where = record.conversation
    return any(
        name in record.standing or (where is not None and where.id.endswith(f":{name}"))
        for name in names
    )
