"""Which names belong to one user, and which conversation the user has.

A user of a channel may come as a phone number, as a user id, or as both; some countries write the
same phone in two ways. All names that are known to belong to one user lead to one `User` record,
within a trust domain and a channel. Two users who turn out to be one are joined: the one who was
known first gives the conversation.

A user id belongs to one user for good, a phone number does not. A phone that comes with another
user id than its user's, without a word from the provider that the user id has changed, has gone to
somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from bridge.journal import terms
from bridge.journal.ledger import Ledger, User
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
from bridge.model.frozen import builder, changer, evolved
from bridge.model.keys import OURS, folded

Joined: TypeAlias = tuple[str, str, str]
"""An account, a conversation of it that ends, and the one that goes on in its place."""

EventT = TypeVar("EventT", bound=Event)

_DAY: Final = 86_400.0
_MOST_IDENTITIES: Final = 32  # of one user; further ones are users of their own
_WORDS: Final = (Handover, ConsentChange)
_SIDES: Final = ("sender", "recipient", "party")
_DIRECT: Final = ConversationKind.DIRECT
_INBOUND: Final = Direction.INBOUND
_on_terms: Final = changer(User, "reply_until", "owned", "granted")
_opened: Final[Callable[..., User]] = changer(User, "reply_until")
_NOWHERE: Final[Mapping[str, str]] = {}
_NEVER: Final[Mapping[str, Any]] = {}
_moved: Final = changer(Conversation, "id")
_new_user: Final = builder(User)
_learned: Final = changer(User, "seen", "identities", "conversations", "identified", "left")


def names_of(event: Event) -> list[str]:
    """Return the names under which a ledger knows the user of an event."""
    if (
        type(event) is Message
        and event.direction is _INBOUND
        and (phone := (party := event.sender).phone)
        and party.parent_user_id is None
        and type(event.content) is not System
    ):  # as nearly all, in half the time
        names = [_name(event.domain, event.channel, phone)]
        if party.user_id:
            names.append(_name(event.domain, event.channel, party.user_id))
        return names
    identities = _identities(event, _user_of(event))
    return [_name(event.domain, event.channel, each) for each in identities]


def is_settled(message: Message, ledger: Ledger) -> bool:
    """Return whether a message belongs to the conversation that it says, as nearly all do.

    Its user is known there by all names that it tells, or by none of them until now, and by no
    phone that it leaves out, and nothing was told of the message before. False leaves it to
    `settle`, and so is whatever tells of a change of names.
    """
    where, party, account = message.conversation, message.sender, message.account or ""
    said = (
        message.domain,
        message.channel,
        account,
        message.direction,
        where.kind,
        party.phone,
        party.user_id,
        party.parent_user_id,
    )
    noted = ledger.settled.get(where.id)
    is_noted = noted is not None and noted[0] == said
    user = noted[1] if noted is not None and is_noted else None
    if user is None:
        first = party.phone or party.user_id
        if not first or message.direction is not _INBOUND or where.kind is not _DIRECT:
            return False
        name = _name(message.domain, message.channel, first)
        found = ledger.find(name)
        if found is None:
            # The phone may have been told while the message could not be shown.
            return party.phone is not None and _is_new(message, first, name, ledger)
        if type(found) is not User or not _is_as_said(found, first, message):
            return False
        user = found
    if message.key in user.unshown or message.received_at.timestamp() > user.seen + _DAY:
        return False
    heard, until = user, message.reply_until
    if until is not None and (seconds := until.timestamp()) > user.reply_until.get(account, 0.0):
        heard = _opened(user, {**user.reply_until, account: seconds})
    if not message.owned or account in user.owned:
        heard = terms.told(message, heard, account)
    if heard is not user:
        ledger.save(heard)
    if heard is not user or not is_noted:
        ledger.note_settled(where.id, said, heard)
    return True


def _is_as_said(user: User, first: str, message: Message) -> bool:
    """Return whether a user is known by all names that a message tells, in its conversation."""
    party, account = message.sender, message.account or ""
    return (
        user.conversations.get(account) == message.conversation.id
        and first in user.identities
        and (
            (party.user_id is None and party.parent_user_id is None)
            or (account in user.identified and _has_both(user, party))
        )
    )


def _is_new(message: Message, first: str, name: str, ledger: Ledger) -> bool:
    """Remember the user of a message by the name of the first identity and by others.

    Not if one of these is known.
    """
    party = message.sender
    has_ids = party.user_id is not None or party.parent_user_id is not None
    identities = _identities(message, party) if has_ids else (first,)
    others = [_name(message.domain, message.channel, each) for each in identities[1:]]
    for each in others:
        if ledger.find(each) is not None:
            return False
    at, account, until = message.received_at.timestamp(), message.account or "", message.reply_until
    user = _new_user(
        name=name,
        since=at,
        seen=at,
        identities=identities,
        conversations={account: message.conversation.id},
        identified=(account,) if has_ids else (),
        reply_until=_NEVER if until is None else {account: until.timestamp()},
        owned=_NEVER,
        granted=_NEVER,
    )
    if not message.owned:
        user = terms.told(message, user, account)
    ledger.save(user)
    for each in others:
        if each != name:
            ledger.tie(each, user)
    return True


def _has_both(user: User, party: Party) -> bool:
    known = user.identities
    return (
        (party.user_id is None or party.user_id in known)
        and (party.parent_user_id is None or party.parent_user_id in known)
        and (phone_of(user) is None if party.phone is None else party.phone not in user.left)
    )


def phone_of(user: User) -> str | None:
    """Return the phone that a user is known by; None where there is none, or more than one."""
    phones = [each for each in _phones_of(user.identities) if each not in user.left]
    return phones[0] if len({folded(each) for each in phones}) == 1 else None


def _phones_of(identities: Sequence[str]) -> list[str]:
    return [each for each in identities if each.startswith("+")]


def with_phone(event: EventT, user: User | None) -> EventT:
    """Return an event whose party has the phone that its user is known by.

    A party that is somebody else than the user stays as it is, and so does one whom we write to,
    by the name that was chosen.
    """
    party = _user_of(event)
    if user is None or party is None or party.phone is not None:
        return event
    told = [each for each in (party.user_id, party.parent_user_id) if each]
    is_theirs = any(each in user.identities for each in told) if told else type(event) is Message
    phone = phone_of(user) if is_theirs and getattr(event, "intent", None) is None else None
    if phone is None:
        return event
    name = next(each for each in _SIDES if getattr(event, each, None) is party)
    return evolved(event, **{name: attrs.evolve(party, phone=phone)})


def settle(
    event: Event, conversation: Conversation, ledger: Ledger, known_as: str | None = None
) -> tuple[Conversation, User | None, Sequence[Joined]]:
    """Return the conversation that an event belongs to, its user, and what has been joined.

    The names that the event tells are tied to each other, and to the user who is `known_as` that
    record. A direct conversation is the user's own; one of a group stays.
    """
    party = _user_of(event)
    identities = _identities(event, party)
    if not identities and known_as is None:
        return conversation, None, ()
    account = event.account or ""
    is_direct = conversation.kind is _DIRECT
    at = event.received_at.timestamp()
    name = known_as or _name(event.domain, event.channel, identities[0])
    user = ledger.find(name)
    joined: Sequence[Joined] = ()
    if not (
        isinstance(user, User)
        and (identities == user.identities or all(each in user.identities for each in identities))
        and (account in user.identified or party is None or identities == (party.phone,))
        and (account in user.conversations or not is_direct)
        and at <= user.seen + _DAY
        and (not user.left or party is None or party.phone not in user.left)
        and (type(event) is not Message or type(event.content) is not System)
    ):  # seldom
        told = _told(event=event, identities=identities, ids=_ids(party), account=account, at=at)
        direct = conversation if is_direct else None
        if user is None and known_as is None and len(identities) == 1:  # nobody had the name
            user = told.begin(name, direct, ledger)
        else:
            user, joined = told.learn(direct, ledger, known_as)
    if is_direct and user is not None:
        own = user.conversations.get(account, conversation.id)
        if own != conversation.id:
            conversation = _moved(conversation, own)
    if not is_direct:
        if getattr(event, "reply_until", None) is not None:
            _open_group(event, conversation, account, at, ledger)
    elif user is not None and (heard := _heard(event, user, account)) is not user:
        user = heard
        ledger.save(user)
    return conversation, user, joined


def is_known(change: StatusChange, name: str, where: Conversation, ledger: Ledger) -> bool:
    """Return whether a user is known by the phone that a status tells, in a direct conversation.

    The user is the one of that name, of whom `settle` would learn nothing.
    """
    user, account, party = ledger.find(name), change.account or "", change.recipient
    return (
        type(user) is User
        and user.name == name
        and party is not None
        and party.phone in user.identities
        and party.phone not in user.left
        and user.conversations.get(account) == where.id
        and account not in user.owned
        and change.received_at.timestamp() <= user.seen + _DAY
    )


def _heard(event: Event, user: User, account: str) -> User:
    """Return a user's record with the terms on which to write after an event, if they change."""
    until = getattr(event, "reply_until", None)
    if until is not None:
        seconds = until.timestamp()
        if seconds > user.reply_until.get(account, 0.0):
            user = _opened(user, {**user.reply_until, account: seconds})
    if account in user.owned or not getattr(event, "owned", True) or type(event) in _WORDS:
        user = terms.told(event, user, account)
    return user


def note_terms(event: Event, ledger: Ledger) -> None:
    """Note the terms that an event tells, which was published before they were remembered."""
    conversation: Conversation | None = getattr(event, "conversation", None)
    if conversation is None:
        return
    account, at = event.account or "", event.received_at.timestamp()
    if conversation.kind is not _DIRECT:
        if getattr(event, "reply_until", None) is not None:
            _open_group(event, conversation, account, at, ledger)
        return
    own = ledger.find(name_of(conversation.id)[0])
    found = [own, *map(ledger.find, names_of(event))]
    users = [user for user in found if isinstance(user, User)]
    theirs = [user for user in users if user.conversations.get(account) == conversation.id]
    # The conversation may have been joined to another; or the phone is somebody else's by now.
    if not theirs and isinstance(own, User) and own.since <= at:
        theirs = [own]
    if theirs and (heard := _heard(event, theirs[0], account)) is not theirs[0]:
        ledger.save(heard)


def _open_group(
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
            identified=(),
            reply_until=_NEVER,
            owned=_NEVER,
            granted=_NEVER,
        )
    told = _heard(event, known, account)
    if told is not known:
        ledger.save(attrs.evolve(told, seen=at) if at > known.seen + _DAY else told)


def name_of(conversation: str) -> tuple[str, str]:
    """Return under which name the user of a conversation is known, or its group, and the account.

    `conversation` is its id, also one that ended when two were joined.
    """
    place, _, rest = conversation.partition(":")
    account, _, identity = rest.partition(":")
    domain, _, channel = place.rpartition("/")
    return _name(domain, channel, identity), account


@attrs.frozen(kw_only=True, weakref_slot=False)
class _Told:
    """What one event tells of its user; `ids` are the names that stay the user's for good."""

    event: Event
    identities: Sequence[str]
    ids: Sequence[str]
    account: str
    at: float

    def learn(
        self, direct: Conversation | None, ledger: Ledger, known_as: str | None
    ) -> tuple[User | None, Sequence[Joined]]:
        """Return the user who has all of the names, and what has been joined for it."""
        found: dict[str, User] = {}
        last: User | None = None  # who had the phone
        names = self._names()
        for name in names:
            user = ledger.find(name)
            if isinstance(user, User) and self._is_anothers(user):
                last = self._let_go(user, ledger)
            elif isinstance(user, User):
                found[user.name] = user
        user = ledger.find(known_as) if known_as is not None else None
        if isinstance(user, User):
            if not self._is_anothers(user) and (
                _is_answer(self.event) or not self._has_other_phone(user)
            ):
                found[user.name] = user
            elif isinstance(self.event, StatusChange):
                return user, ()  # of the user whom the message went to, whoever has read it
        if found:
            return self._join(found.values(), direct, ledger)
        if not self.identities:
            return None, ()
        if direct is not None and last is not None and direct.id in last.conversations.values():
            direct = _moved(direct, f"{direct.id.removesuffix(self.identities[0])}{self.ids[0]}")
        return self.begin(names[0], direct, ledger), ()

    def begin(self, name: str, direct: Conversation | None, ledger: Ledger) -> User:
        """Return the record of somebody who is not known yet, under this name."""
        is_identified = bool(self.ids) and _change_of(self.event) is None
        user = _new_user(
            name=name,
            since=self.at,
            seen=self.at,
            identities=tuple(self.identities[:_MOST_IDENTITIES]),
            conversations=_NOWHERE if direct is None else {self.account: direct.id},
            identified=(self.account,) if is_identified else (),
            reply_until=_NEVER,
            owned=_NEVER,
            granted=_NEVER,
            left=self._left((), self.identities),
        )
        if direct is not None:
            user = _heard(self.event, user, self.account)
        self._save(user, ledger)
        return user

    def _join(
        self, users: Iterable[User], direct: Conversation | None, ledger: Ledger
    ) -> tuple[User, Sequence[Joined]]:
        user, *others = sorted(users, key=lambda each: (each.since, each.name))
        joined: list[Joined] = []
        for other in others:
            joined += (
                (account, ends, user.conversations[account])
                for account, ends in other.conversations.items()
                if user.conversations.get(account, ends) != ends
            )
            user = attrs.evolve(
                user,
                identities=_together(user.identities, other.identities),
                conversations={**other.conversations, **user.conversations},
                identified=_together(user.identified, other.identified),
                left=_together(user.left, other.left),
                unshown=_together(other.unshown, user.unshown),
            )
            user = _on_terms(user, *terms.joined(user, other))
            ledger.tie(other.name, user)
        return self._keep(user, direct, ledger), joined

    def _names(self) -> list[str]:
        event = self.event
        return [_name(event.domain, event.channel, identity) for identity in self.identities]

    def _is_anothers(self, user: User) -> bool:
        """Return whether this is a user with another user id than the one that is told."""
        return (
            bool(self.ids)
            and self.account in user.identified
            and not any(each in user.identities for each in self.ids)
            and _change_of(self.event) is None
        )

    def _has_other_phone(self, user: User) -> bool:
        phones = {folded(each) for each in _phones_of(user.identities)}
        told = {folded(each) for each in _phones_of(self.identities)}
        return bool(phones and told) and not phones & told

    def _let_go(self, user: User, ledger: Ledger) -> User:
        """Take the phone that is told from a user who had it before, and return that user."""
        ledger.unsettle(user)
        gone = {folded(each) for each in self.identities}
        kept = tuple(each for each in user.identities if folded(each) not in gone)
        if kept:
            name = _name(self.event.domain, self.event.channel, kept[0])
            user = attrs.evolve(user, name=name, identities=kept)
            self._save(user, ledger)
        return user

    def _keep(self, user: User, direct: Conversation | None, ledger: Ledger) -> User:
        """Add what is told to a user's record."""
        conversations, identified = user.conversations, user.identified
        if direct is not None and self.account not in conversations:
            conversations = {**conversations, self.account: direct.id}
        if _change_of(self.event) is not None:
            identified = tuple(each for each in identified if each != self.account)
        elif self.ids:
            identified = _together(identified, (self.account,))
        identities = _together(user.identities, self.identities)
        user = _learned(
            user,
            max(self.at, user.seen),
            identities,
            conversations,
            identified,
            self._left(user.left, identities),
        )
        self._save(user, ledger)
        return user

    def _left(self, before: tuple[str, ...], identities: Sequence[str]) -> tuple[str, ...]:
        """Return the phones that a user has no more, or may not have.

        The provider changes a user id where the number has changed.
        """
        change = _change_of(self.event)
        if change is None:
            return tuple(each for each in before if each not in self.identities) if before else ()
        kept = change.after.phone if change.after is not None else None
        phones = _phones_of(identities)
        return tuple(each for each in phones if kept is None or folded(each) != folded(kept))

    def _save(self, user: User, ledger: Ledger) -> None:
        """Keep a user's record, and let all names of the user lead to it."""
        ledger.save(user)
        domain, channel = self.event.domain, self.event.channel
        for each in user.identities:
            name = _name(domain, channel, each)
            if name != user.name:
                ledger.tie(name, user)


_told: Final = builder(_Told)


def _is_answer(event: Event) -> bool:
    """Return whether a provider answered with it whom a message of ours goes to.

    The number may be another one than we gave, which is how the user will come.
    """
    return isinstance(event, StatusChange) and event.id_space == OURS


def _user_of(event: Event) -> Party | None:
    """Return the party of an event that is not the business, if it names one."""
    if type(event) is Message:
        if event.direction is _INBOUND:
            return event.sender
        return event.recipient if event.conversation.kind is _DIRECT else None  # not the group
    party: Party | None = getattr(event, "recipient", None) or getattr(event, "party", None)
    return party


def _identities(event: Event, party: Party | None) -> tuple[str, ...]:
    """Return all names that an event tells of its user: a phone, ids, and what they were."""
    if party is None:
        return ()
    phone, user_id = party.phone, party.user_id
    if party.parent_user_id is None and type(getattr(event, "content", None)) is not System:
        if user_id is None:  # as mostly
            return (phone,) if phone else ()
        if phone and user_id and phone != user_id:
            return (phone, user_id)
    change = _change_of(event)
    found = [phone, user_id, party.parent_user_id]
    if change is not None:
        found += (_identity(word) for word in (change.previous, change.current))
        for each in (change.before, change.after):
            if each is not None:
                found += (each.phone, each.user_id, each.parent_user_id)
    return tuple(dict.fromkeys(each for each in found if each))


def _ids(party: Party | None) -> Sequence[str]:
    if party is None or (party.user_id is None and party.parent_user_id is None):
        return ()
    return [each for each in (party.user_id, party.parent_user_id) if each]


def _change_of(event: Event) -> System | None:
    """Return what an event tells of a change of its user's names, if it does."""
    content = getattr(event, "content", None)
    if type(content) is System and content.change in (SystemKind.NUMBER, SystemKind.USER_ID):
        return content
    return None


def _identity(word: str | None) -> str | None:
    return f"+{word}" if word is not None and word.isdigit() else word


def _together(some: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*some, *others)))[:_MOST_IDENTITIES]


def _name(domain: str | None, channel: str, identity: str) -> str:
    if identity.startswith("+5"):  # few do, and no other is written in two ways
        identity = folded(identity)
    return f"{domain or ''}/user/{channel}/{identity}"
