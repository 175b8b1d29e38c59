"""Who an event is about, and under which names the same person comes.

A user of a channel may come as a phone number, as a user id, or as both; some countries write
the same phone in two ways. `names_of` gives every name; `settle_user` decides which conversation
a user has, and remembers it.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from bridge.journal.ledger import Ledger, User
from bridge.model import (
    Conversation,
    ConversationKind,
    Direction,
    Event,
    Message,
    Notice,
    Party,
    System,
)
from bridge.model.keys import event_key

JOINED: Final = "conversation_joined"
"""The topic of the notice which says that two conversations turned out to be one."""

_DAY: Final = 86_400.0
_DIRECT: Final = ConversationKind.DIRECT
_INBOUND: Final = Direction.INBOUND

# One subscriber, two spellings: Brazil's ninth digit before mobile numbers of eight
# (Anatel, resolution 553/2010), Mexico's 1 and Argentina's 9 after the country code, which
# WhatsApp keeps for some accounts and drops for others.
# https://developers.facebook.com/documentation/business-messaging/whatsapp/phone-numbers
_SPELLINGS: Final = (
    (re.compile(r"\+55(\d\d)9([6-9]\d{7})"), r"+55\1\2"),
    (re.compile(r"\+521(\d{10})"), r"+52\1"),
    (re.compile(r"\+549(\d{10})"), r"+54\1"),
)


def folded(identity: str) -> str:
    """Return the form of a phone number that all its spellings share; others stay as they are."""
    if identity.startswith("+5"):
        for spelling, form in _SPELLINGS:
            if spelling.fullmatch(identity):
                return spelling.sub(form, identity)
    return identity


def user_of(event: Event) -> Party | None:
    """Return the party of an event that is not the business, if it names one."""
    if isinstance(event, Message):
        return event.sender if event.direction is _INBOUND else event.recipient
    party: Party | None = getattr(event, "recipient", None) or getattr(event, "party", None)
    return party


def names_for(event: Event) -> list[str]:
    """Return the names under which the ledger knows whom an event is about."""
    party = user_of(event)
    return [] if party is None else [_name(event, one) for one in _identities(event, party)]


def settle_user(
    event: Event, conversation: Conversation, ledger: Ledger
) -> tuple[str, list[Notice]]:
    """Return the id of the conversation that an event belongs to, and notices of joined ones.

    The user's names are tied to each other. In a group they are too, and the id stays.
    """
    party = user_of(event)
    identities = () if party is None else _identities(event, party)
    if not identities:
        return conversation.id, []
    names = [_name(event, identity) for identity in identities]
    at = event.received_at.timestamp()
    account = event.account or ""
    is_direct = conversation.kind is _DIRECT
    user = ledger.find(names[0])
    if (
        isinstance(user, User)
        and at <= user.seen + _DAY
        and all(identity in user.identities for identity in identities)
        and (not is_direct or account in user.conversations)
    ):  # as nearly always
        return user.conversations[account] if is_direct else conversation.id, []
    found = {user.name: user for name in names if isinstance(user := ledger.find(name), User)}
    if not found:
        user = User(
            name=names[0],
            since=at,
            seen=at,
            identities=identities,
            conversations={account: conversation.id} if is_direct else {},
        )
        ledger.save(user)
        for name in names[1:]:
            ledger.tie(name, user)
        return conversation.id, []
    before, *others = sorted(found.values(), key=lambda one: (one.since, one.name))
    user, notices = before, []
    for other in others:
        user, joined = _join(user, other, event)
        notices += joined
        ledger.tie(other.name, user)
    new = [identity for identity in identities if identity not in user.identities]
    if new:
        user = attrs.evolve(user, identities=(*user.identities, *new))
    if is_direct and account not in user.conversations:
        user = attrs.evolve(user, conversations={**user.conversations, account: conversation.id})
    if user is not before or at > user.seen + _DAY:
        ledger.save(attrs.evolve(user, seen=max(at, user.seen)))
        for name in names:
            if name != user.name and name not in found:
                ledger.tie(name, user)
    return user.conversations[account] if is_direct else conversation.id, notices


def participant_of(event: Event, party: Party, ledger: Ledger) -> str:
    """Return the identity under which a participant of a group was first known."""
    for identity in _identities(event, party):
        user = ledger.find(_name(event, identity))
        if isinstance(user, User):
            return user.identities[0]
    return party.phone or party.user_id or ""


def _join(user: User, other: User, event: Event) -> tuple[User, list[Notice]]:
    """Make two users one, with the older one's conversations; tell which of the others end."""
    notices = [
        _joined(event, account, gone, user.conversations[account])
        for account, gone in other.conversations.items()
        if user.conversations.get(account, gone) != gone
    ]
    new = tuple(one for one in other.identities if one not in user.identities)
    joined = attrs.evolve(
        user,
        identities=(*user.identities, *new),
        conversations={**other.conversations, **user.conversations},
    )
    return joined, notices


def _joined(event: Event, account: str, gone: str, stays: str) -> Notice:
    key = event_key(Notice.kind, event.channel, f"{JOINED}/{gone}/{stays}")
    return Notice(
        key=key if event.domain is None else f"{event.domain}/{key}",
        source=event.source,
        domain=event.domain,
        channel=event.channel,
        account=account or None,
        occurred_at=event.received_at,
        received_at=event.received_at,
        raw=None,
        topic=JOINED,
        details={"from": gone, "to": stays},
    )


def _identities(event: Event, party: Party) -> tuple[str, ...]:
    found = [one for one in (party.phone, party.user_id) if one]
    if isinstance(event, Message) and isinstance(event.content, System):
        changed = (event.content.previous, event.content.current)
        found += [f"+{word}" if word.isdigit() else word for word in changed if word]
    return tuple(dict.fromkeys(found))


def _name(event: Event, identity: str) -> str:
    return f"user/{event.domain or ''}/{event.channel}/{folded(identity)}"
