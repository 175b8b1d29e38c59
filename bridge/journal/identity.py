"""Which names belong to one user, and which conversation the user has.

A user of a channel may come as a phone number, as a user id, or as both; some countries write the
same phone in two ways. All names that are known to belong to one user lead to one `User` record,
within a trust domain and a channel. Two users who turn out to be one are joined: the one who was
known first gives the conversation.

A user id belongs to one user for good, a phone number does not. A phone that comes with another
user id than its user's, without a word from the provider that the user id has changed, has gone to
somebody else. So has one from which somebody writes after its user changed to another number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, TypeVar

import attrs

from bridge.journal import terms
from bridge.journal.ledger import Ids, Latest, Ledger, Settled, User, opened
from bridge.model import (
    ConsentChange,
    Conversation,
    ConversationKind,
    Direction,
    Event,
    Handover,
    Message,
    Party,
    StatusChange,
    System,
    SystemKind,
)
from bridge.model.frozen import builder, evolved
from bridge.model.keys import folded, shown_key, unshown_key_of

EventT = TypeVar("EventT", bound=Event)

_DAY: Final = 86_400.0
_MOST_AWAITED: Final = 256  # messages of one domain
_FORMER: Final = "/former/"
_BEFORE_IDENTITY: Final = 3  # parts of a name by one
_WORDS: Final = (Handover, ConsentChange)
_SIDES: Final = ("sender", "recipient", "party")
_DIRECT: Final = ConversationKind.DIRECT
_INBOUND: Final = Direction.INBOUND
_NOWHERE: Final[Mapping[str, str]] = {}
_NEVER: Final[Mapping[str, Any]] = {}
_new_user: Final = builder(User)
_set_of: Final[Callable[[tuple[str, ...]], frozenset[str]]] = lru_cache(maxsize=8)(frozenset)


def names_of(event: Event) -> list[str]:
    """Return the names under which a ledger knows the user of an event."""
    if (
        type(event) is Message
        and event.direction is _INBOUND
        and (phone := (party := event.sender).phone)
        and party.parent_user_id is None
        and type(event.content) is not System
    ):  # as nearly all, in half the time
        names = [name_by(event.domain, event.channel, phone)]
        if party.user_id:
            names.append(name_by(event.domain, event.channel, party.user_id))
        return names
    identities = identities_of(event, user_of(event))
    return [name_by(event.domain, event.channel, each) for each in identities]


def is_settled(message: Message, ledger: Ledger) -> bool:
    """Return whether a message belongs to the conversation that it says, as nearly all do.

    Its user is known there by all names that it tells, or by none of them until now, and by no
    phone that it leaves out, and nothing was told of the message before. False leaves it to
    `settle`, and so is whatever tells of a change of names, or of whose turn it is.
    """
    where, party = message.conversation, message.sender
    said = (
        message.domain,
        message.channel,
        message.account,
        message.direction,
        where.kind,
        party.phone,
        party.user_id,
        party.parent_user_id,
    )
    settled = ledger.settled.get(where.id)
    if settled is None or settled.said != said:
        settled = _settled(message, said, ledger)
    if (
        settled is None
        or message.key in settled.unshown
        or (settled.awaited and _short(message.key) in settled.awaited)
        or message.received_at > settled.after
        or not message.owned
    ):
        return False
    until = message.reply_until
    if until is not None and until > settled.until:
        ledger.open(settled, until)
    return True


def _settled(message: Message, said: tuple[Any, ...], ledger: Ledger) -> Settled | None:
    """Note whose a message is, unless there is more to look at."""
    party, account = message.sender, message.account or ""
    first, where = party.phone or party.user_id, message.conversation
    if not first or message.direction is not _INBOUND or where.kind is not _DIRECT:
        return None
    awaited = _set_of(_awaited(message, ledger))
    if awaited and _short(message.key) in awaited:
        return None  # it may be shown now, or have been deleted already
    name = name_by(message.domain, message.channel, first)
    user = ledger.find(name)
    if user is None and party.phone is not None:
        if party.name is None and ledger.knows(unshown_key_of(message)):
            return None  # which may tell that it is ours
        # The phone may have been told while the message could not be shown.
        user = _begun(message, first, name, ledger)
    elif type(user) is not User or not _is_as_said(user, first, message):
        return None
    if type(user) is not User or account in user.owned:
        return None
    settled = Settled(
        said=said,
        place=(account, where.id),
        after=datetime.fromtimestamp(user.seen + _DAY, UTC),
        until=datetime.fromtimestamp(user.reply_until.get(account, 0.0), UTC),
        unshown=user.unshown,
        awaited=awaited,
        user=user,
    )
    ledger.note_settled(settled)
    return settled


def await_under_phone(message: Message, user: User, ledger: Ledger) -> None:
    """Note that a message may come to be shown under a phone of which nothing is known yet.

    It was told as not shown, of a user who is known by ids alone.
    """
    if (
        phones_of(user.identities)
        or message.direction is not _INBOUND
        or message.conversation.kind is not _DIRECT
    ):
        return
    await_message(message, shown_key(message) or "", ledger)


def await_message(message: Message, key: str, ledger: Ledger) -> None:
    """Note that the message with a key may come, of which another message has told before."""
    name, at = name_of_awaited(message), message.received_at.timestamp()
    told, short = _awaited(message, ledger), _short(key)
    if short not in told:
        ledger.save(Latest(name=name, at=at, key="", told=(*told, short)[-_MOST_AWAITED:]))
        ledger.unsettle(None)  # whichever conversation it will be in


def is_awaited(message: Message, aliases: Sequence[str], ledger: Ledger) -> bool:
    """Return whether a message was told of before; `aliases` are its keys in its id space."""
    told = _awaited(message, ledger)
    if not told:
        return False
    domain = "" if message.domain is None else f"{message.domain}/"
    return any(_short(key) in told for key in (message.key, *(domain + each for each in aliases)))


def _awaited(message: Message, ledger: Ledger) -> tuple[str, ...]:
    """Return which messages of a message's domain were told of before it is known whose."""
    found = ledger.find(name_of_awaited(message))
    return found.told if type(found) is Latest else ()


def name_of_awaited(message: Message) -> str:
    """Return the name of what is remembered of messages that were told of before.

    Those told as not shown, of users known by ids alone, and those deleted before.
    """
    return f"{message.domain or ''}/awaited"


def _short(key: str) -> str:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _is_as_said(user: User, first: str, message: Message) -> bool:
    """Return whether a user is known by all names that a message tells, in its conversation."""
    party, account = message.sender, message.account or ""
    return (
        user.conversations.get(account) == message.conversation.id
        and first in user.identities
        and first not in user.left
        and (
            not user.identified
            if party.user_id is None and party.parent_user_id is None
            else user.identified.get(account) == party_ids(party) and _has_both(user, party)
        )
    )


def _begun(message: Message, first: str, name: str, ledger: Ledger) -> User | None:
    """Remember the user of a message by the name of the first identity and by others.

    Not if one of these is known.
    """
    if not message.owned:
        return None
    party = message.sender
    has_ids = party.user_id is not None or party.parent_user_id is not None
    identities = identities_of(message, party) if has_ids else (first,)
    others = [name_by(message.domain, message.channel, each) for each in identities[1:]]
    for each in others:
        if ledger.find(each) is not None:
            return None
    at, account, until = message.received_at.timestamp(), message.account or "", message.reply_until
    user = _new_user(
        name=name,
        since=at,
        seen=at,
        identities=identities,
        conversations={account: message.conversation.id},
        identified={account: party_ids(party)} if has_ids else _NEVER,
        reply_until=_NEVER if until is None else {account: until.timestamp()},
        owned=_NEVER,
        granted=_NEVER,
    )
    ledger.save(user)
    for each in others:
        if each != name:
            ledger.tie(each, user)
    return user


def _has_both(user: User, party: Party) -> bool:
    known = user.identities
    return (
        (party.user_id is None or party.user_id in known)
        and (party.parent_user_id is None or party.parent_user_id in known)
        and (phone_of(user) is None if party.phone is None else party.phone not in user.left)
    )


def phone_of(user: User) -> str | None:
    """Return the phone that a user is known by; None where there is none, or more than one."""
    phones = [each for each in phones_of(user.identities) if each not in user.left]
    return phones[0] if len({folded(each) for each in phones}) == 1 else None


def party_ids(party: Party | None) -> Ids:
    """Return the ids that a party tells."""
    return (None, None) if party is None else (party.user_id, party.parent_user_id)


def ids_known(user: User, account: str) -> Ids:
    """Return the ids that a user is known by in an account, or in all that know any."""
    found = user.identified.get(account)
    if found is not None:
        return found
    told = set(user.identified.values())
    return told.pop() if len(told) == 1 else (None, None)


def with_names(event: EventT, user: User | None) -> EventT:
    """Return an event whose party has the phone and the ids that its user is known by.

    A party that is somebody else than the user stays as it is, and so does one whom we write to,
    by the name that was chosen.
    """
    party = user_of(event)
    if user is None or party is None or getattr(event, "intent", None) is not None:
        return event
    named = party
    if party.phone is None:
        told = ids_of(party)
        if not (any(map(user.identities.__contains__, told)) if told else type(event) is Message):
            return event
        if (phone := phone_of(user)) is not None:
            named = attrs.evolve(party, phone=phone)
    elif party.phone not in user.identities or party.phone in user.left:
        return event
    named = _with_ids(named, user, event.account or "")
    if named is party:
        return event
    name = next(each for each in _SIDES if getattr(event, each, None) is party)
    return evolved(event, **{name: named})


def _with_ids(party: Party, user: User, account: str) -> Party:
    """Return a party of a user with the ids that the user is known by, unless it tells others."""
    if not user.identified:
        return party
    user_id, parent = ids_known(user, account)
    if (
        (party.user_id or user_id) != user_id
        or (party.parent_user_id or parent) != parent
        or (user_id, parent) == party_ids(party)
    ):
        return party
    return attrs.evolve(party, user_id=user_id, parent_user_id=parent)


def known_recipient(
    change: StatusChange, name: str, where: Conversation, ledger: Ledger
) -> User | None:
    """Return the user of that name, if known by the phone that a status tells.

    In a direct conversation: `settle` would learn nothing of the user. None leaves it to that.
    """
    user, account, party = ledger.find(name), change.account or "", change.recipient
    is_known = (
        type(user) is User
        and user.name == name
        and party is not None
        and party.phone in user.identities
        and party.phone not in user.left
        and user.conversations.get(account) == where.id
        and account not in user.owned
        and change.received_at.timestamp() <= user.seen + _DAY
    )
    return user if is_known and type(user) is User else None


def heard(event: Event, user: User, account: str) -> User:
    """Return a user's record with the terms on which to write after an event, if they change."""
    until = getattr(event, "reply_until", None)
    if until is not None:
        seconds = until.timestamp()
        if seconds > user.reply_until.get(account, 0.0):
            user = opened(user, {**user.reply_until, account: seconds})
    if account in user.owned or not getattr(event, "owned", True) or type(event) in _WORDS:
        user = terms.told(event, user, account)
    return user


def open_group(
    event: Event, conversation: Conversation, account: str, at: float, ledger: Ledger
) -> None:
    """Remember until when a group may be written to freely."""
    name = name_of(conversation.id)[0]
    known = ledger.find(name)
    if not isinstance(known, User):
        known = _new_user(
            name=name,
            since=at,
            seen=at,
            identities=(),
            conversations=_NOWHERE,
            identified=_NEVER,
            reply_until=_NEVER,
            owned=_NEVER,
            granted=_NEVER,
        )
    told = heard(event, known, account)
    if told is not known:
        ledger.save(attrs.evolve(told, seen=at) if at > known.seen + _DAY else told)


# --- names ---------------------------------------------------------------------------------


def name_by(domain: str | None, channel: str, identity: str) -> str:
    """Return the name of whoever has an identity."""
    if identity.startswith("+5"):  # few do, and no other is written in two ways
        identity = folded(identity)
    return f"{domain or ''}/user/{channel}/{identity}"


def name_of(conversation: str) -> tuple[str, str]:
    """Return under which name the user of a conversation is known, or its group, and the account.

    `conversation` is its id, also one that ended when two were joined.
    """
    place, _, rest = conversation.partition(":")
    account, _, identity = rest.partition(":")
    domain, _, channel = place.rpartition("/")
    return name_by(domain, channel, identity), account


def name_of_former(conversation: str) -> str:
    """Return the name of whoever a conversation is with, where its phone has gone to another."""
    name, account = name_of(conversation)
    return f"{name}{_FORMER}{account}"


def identity_of(name: str) -> str:
    """Return the identity by which somebody is known under a name, or was in a conversation."""
    identity = name.split("/", _BEFORE_IDENTITY)[-1]
    return identity.rpartition(_FORMER)[0] or identity


def name_before(conversation: str, phone: str) -> str:
    """Return the name of whoever had a phone before the user of a conversation."""
    name, account = name_of(conversation)
    return f"{name}/before/{account}/{folded(phone)}"


def user_of(event: Event) -> Party | None:
    """Return the party of an event that is not the business, if it names one."""
    if type(event) is Message:
        if event.direction is _INBOUND:
            return event.sender
        return event.recipient if event.conversation.kind is _DIRECT else None  # not the group
    party: Party | None = getattr(event, "recipient", None) or getattr(event, "party", None)
    return party


def identities_of(event: Event, party: Party | None) -> tuple[str, ...]:
    """Return all names that an event tells of its user: a phone, ids, and what they were."""
    if party is None:
        return ()
    phone, user_id = party.phone, party.user_id
    if party.parent_user_id is None and type(getattr(event, "content", None)) is not System:
        if user_id is None:  # as mostly
            return (phone,) if phone else ()
        if phone and user_id and phone != user_id:
            return (phone, user_id)
    change = change_of(event)
    found = [phone, user_id, party.parent_user_id]
    if change is not None:
        found += (identity_in(word) for word in (change.previous, change.current))
        for each in (change.before, change.after):
            if each is not None:
                found += (each.phone, each.user_id, each.parent_user_id)
    return tuple(dict.fromkeys(each for each in found if each))


def ids_of(party: Party | None) -> Sequence[str]:
    """Return the ids of a party, which stay the same user's for good."""
    if party is None or (party.user_id is None and party.parent_user_id is None):
        return ()
    return [each for each in (party.user_id, party.parent_user_id) if each]


def ids_told(event: Event, party: Party | None, ledger: Ledger) -> Sequence[str]:
    """Return the ids by which users are told apart.

    That of a parent alone is the user's beside the own one, which is not told; it tells users
    apart only where it is somebody's already.
    """
    ids = ids_of(party)
    if party is None or party.user_id is not None or not ids:
        return ids
    known = ledger.find(name_by(event.domain, event.channel, ids[0]))
    return ids if isinstance(known, User) else ()


def change_of(event: Event) -> System | None:
    """Return what an event tells of a change of its user's names, if it does."""
    content = getattr(event, "content", None)
    if type(content) is System and content.change in (SystemKind.NUMBER, SystemKind.USER_ID):
        return content
    return None


def phones_of(identities: Sequence[str]) -> list[str]:
    """Return those of some identities that are phones."""
    return [each for each in identities if each.startswith("+")]


def left_at(user: User, phone: str) -> float | None:
    """Return when a user changed from a phone to another one, in seconds."""
    if not user.left:
        return None
    return next((at for each, at in user.left.items() if folded(each) == folded(phone)), None)


def phones_before(change: System) -> Sequence[str]:
    """Return the phone that a change of number tells as the one before."""
    return _phones_told(change, change.before, change.previous)


def phones_after(change: System) -> Sequence[str]:
    """Return the phone that a change of number tells as the one from then on."""
    return _phones_told(change, change.after, change.current)


def _phones_told(change: System, party: Party | None, word: str | None) -> Sequence[str]:
    if change.change is not SystemKind.NUMBER:
        return ()
    told = (party.phone if party is not None else None, identity_in(word))
    return phones_of([each for each in told if each is not None])


def identity_in(word: str | None) -> str | None:
    """Return the identity that a change tells as a word: digits are a phone."""
    return f"+{word}" if word is not None and word.isdigit() else word
