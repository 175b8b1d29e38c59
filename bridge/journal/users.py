"""Whose an event is, and what it tells of its user.

The names that an event tells are tied to each other. Users who turn out to be one are joined, and
a phone that has gone to somebody else is taken from whoever had it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from bridge.journal import about, terms
from bridge.journal.identity import (
    change_of,
    heard,
    identities_of,
    identity_in,
    ids_of,
    ids_told,
    left_at,
    name_before,
    name_by,
    name_of,
    name_of_former,
    open_group,
    party_ids,
    phones_after,
    phones_before,
    phones_of,
    user_of,
)
from bridge.journal.ids import are_last_told, are_others, ids_after, ids_now, ids_together
from bridge.journal.ledger import Ledger, User
from bridge.model import (
    ConsentChange,
    Conversation,
    ConversationKind,
    Direction,
    Event,
    Message,
    StatusChange,
    System,
    Typing,
)
from bridge.model.frozen import builder, changer
from bridge.model.keys import OURS, folded

Joined: TypeAlias = tuple[str, str, str]
"""An account, a conversation of it that ends, and the one that goes on in its place."""

_DAY: Final = 86_400.0
_SECOND: Final = 1.0  # to which providers tell when a message was written
_SKEW: Final = 60.0  # seconds by which a provider's clock and ours may differ
_MOST_BEFORE: Final = 16  # users who had one phone, one after another
_MOST_IDENTITIES: Final = 32  # of one user; further ones are users of their own
_DIRECT: Final = ConversationKind.DIRECT
_INBOUND: Final = Direction.INBOUND
_on_terms: Final = changer(User, "reply_until", "owned", "granted")
_NEVER: Final[Mapping[str, Any]] = {}
_moved: Final = changer(Conversation, "id")
_new_user: Final = builder(User)
_learned: Final = changer(User, "seen", "identities", "conversations", "identified", "left")


def settle(
    event: Event, conversation: Conversation, ledger: Ledger, known_as: str | None = None
) -> tuple[Conversation, User | None, Sequence[Joined]]:
    """Return the conversation that an event belongs to, its user, and what has been joined.

    The names that the event tells are tied to each other, and to the user who is `known_as` that
    record. A direct conversation is the user's own; one of a group stays.
    """
    party = user_of(event)
    identities = identities_of(event, party)
    if not identities and known_as is None:
        return conversation, None, ()
    account = event.account or ""
    is_direct = conversation.kind is _DIRECT
    at = event.received_at.timestamp()
    name = known_as or name_by(event.domain, event.channel, identities[0])
    user = ledger.find(name)
    joined: Sequence[Joined] = ()
    if is_direct and known_as is None and isinstance(user, User) and identities[1:] == ():
        late = _late(event, identities[0], user, conversation, ledger)
        if late is not None:
            return late
    if not (
        isinstance(user, User)
        and (identities == user.identities or all(each in user.identities for each in identities))
        and (party is None or are_last_told(party_ids(party), user, account))
        and (account in user.conversations or not is_direct)
        and at <= user.seen + _DAY
        and (not user.left or party is None or party.phone not in user.left)
        and (type(event) is not Message or type(event.content) is not System)
    ):  # seldom
        ids = ids_told(event, party, ledger)
        told = _told(event=event, identities=identities, ids=ids, account=account, at=at)
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
            open_group(event, conversation, account, at, ledger)
    elif user is not None and (now := heard(event, user, account)) is not user:
        user = now
        ledger.save(user)
    return conversation, user, joined


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
        owners = self._owners(ledger)
        late = [each for each in phones_of(self.identities) if self._is_late(each, owners)]
        if late:
            return self._without(late).learn(direct, ledger, known_as)
        found: dict[str, User] = {}
        last: User | None = None  # who had the phone
        names = self._names()
        for identity, name in zip(self.identities, names, strict=True):
            user = ledger.find(name)
            if isinstance(user, User) and self._is_anothers(user, identity, owners):
                last = self._let_go(user, ledger)
            elif isinstance(user, User):
                found[user.name] = user
        if len(found) > 1 and (taken := self._taken(found.values())):
            return self._without(taken).learn(direct, ledger, known_as)
        user = ledger.find(known_as) if known_as is not None else None
        if isinstance(user, User):
            if self._is_apart(user, found.values()):
                named, joined = self._join(found.values(), None, ledger)
                self._follow(named, last, ledger)
                return named if self.ids and type(self.event) is Message else user, joined
            if not self._is_anothers(
                user, self.identities[0] if self.identities else "", owners
            ) and (_is_answer(self.event) or not self._has_other_phone(user)):
                found[user.name] = user
            elif isinstance(self.event, StatusChange):
                return user, ()  # of the user whom the message went to, whoever has read it
        if found:
            user, joined = self._join(found.values(), direct, ledger)
            self._follow(user, last, ledger)
            return user, joined
        if not self.identities:
            return None, ()
        phone = self.identities[0]
        gone = None if last is None else left_at(last, phone)
        if direct is None or gone is None or not direct.id.endswith(f":{phone}"):
            user = self.begin(names[0], direct, ledger)
        else:  # the phone's conversation is of those who had it before, in every account
            direct = self._apart(direct, gone)
            user = self.begin(names[0], direct, ledger)
            ledger.tie(name_of(direct.id)[0], user)
        self._follow(user, last, ledger)
        return user, ()

    def _without(self, phones: Sequence[str]) -> _Told:
        others = tuple(each for each in self.identities if each not in phones)
        return attrs.evolve(self, identities=others)

    def _owners(self, ledger: Ledger) -> Sequence[User]:
        """Return the users who are known by the ids that are told."""
        if not self.ids or change_of(self.event) is not None:
            return ()
        found = (
            ledger.find(name_by(self.event.domain, self.event.channel, each)) for each in self.ids
        )
        return [each for each in found if isinstance(each, User)]

    def _is_late(self, phone: str, owners: Sequence[User]) -> bool:
        """Return whether one of these users had a phone when an event was, and then left it."""
        gone = (left_at(each, phone) for each in owners)
        return any(each is not None and self._occurred_at <= each for each in gone)

    def _follow(self, user: User, last: User | None, ledger: Ledger) -> None:
        """Remember who had the phones that are told before this user."""
        for conversation in user.conversations.values() if last is not None else ():
            for phone in phones_of(self.identities):
                if last is not None and left_at(last, phone) is not None:
                    ledger.tie(name_before(conversation, phone), last)

    def begin(self, name: str, direct: Conversation | None, ledger: Ledger) -> User:
        """Return the record of somebody who is not known yet, under this name."""
        is_identified = any(party_ids(user_of(self.event))) and change_of(self.event) is None
        user = _new_user(
            name=name,
            since=self.at,
            seen=self.at,
            identities=tuple(self.identities[:_MOST_IDENTITIES]),
            conversations=_NEVER if direct is None else {self.account: direct.id},
            identified={self.account: party_ids(user_of(self.event))} if is_identified else _NEVER,
            reply_until=_NEVER,
            owned=_NEVER,
            granted=_NEVER,
            left=self._left(_NEVER, self.identities),
        )
        if direct is not None:
            user = heard(self.event, user, self.account)
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
                identified=ids_together(user.identified, other.identified),
                left={**other.left, **user.left},
                unshown=_together(other.unshown, user.unshown),
            )
            user = _on_terms(user, *terms.joined(user, other))
            ledger.tie(other.name, user)
        return self._keep(user, direct, ledger), joined

    def _names(self) -> list[str]:
        event = self.event
        return [name_by(event.domain, event.channel, identity) for identity in self.identities]

    def _is_anothers(self, user: User, identity: str, owners: Sequence[User] = ()) -> bool:
        """Return whether this is a user with another user id than the one that is told.

        Or one who gave up the phone that is told before somebody wrote from it, and one who has it
        from whom it is told with the user id to whom it has come back. A change of number to it
        tells so as well, where the phone was known before that.
        """
        change = change_of(self.event)
        if change is not None:
            return identity in phones_after(change) and self._had_before(user, identity, change)
        if any(each in user.identities for each in self.ids):
            return False
        if self.ids and self.account in user.identified:
            return are_others(party_ids(user_of(self.event)), owners, user, self.account)
        if any(left_at(each, identity) is not None for each in owners):
            return True
        gone = left_at(user, self.identities[0]) if self.identities else None
        return (
            gone is not None
            and self._occurred_at > gone
            and (bool(self.ids) or _is_by_user(self.event))
        )

    def _is_apart(self, user: User, named: Iterable[User]) -> bool:
        """Return whether a user, whom the event is known to be of, is none of those it names.

        They go by other ids, or one of them has a phone by now that the user has left.
        """
        others = [each for each in named if each.name != user.name]
        if not others or change_of(self.event) is not None:
            return False
        if any(left_at(user, each) is not None for each in phones_of(self.identities)):
            return True
        ids = user.identified.get(self.account, (None, None))
        theirs = [each for each in others if self.account in each.identified]
        return any(ids) and any(are_others(ids, (), each, self.account) for each in theirs)

    def _had_before(self, user: User, phone: str, change: System) -> bool:
        """Return whether a user had a phone before somebody else changed to it."""
        told = [each for each in self.identities if each != phone]
        gone = left_at(user, phone)
        if folded(phone) not in map(folded, user.identities):
            return gone is not None
        if gone is not None and gone + _SKEW < self._occurred_at:
            return not any(each in user.identities and left_at(user, each) is None for each in told)
        return (
            user.since + _SKEW < self._occurred_at
            and not any(each in user.identities for each in told)
            and not any(left_at(user, each) is not None for each in phones_before(change))
        )

    def _taken(self, users: Iterable[User]) -> Sequence[str]:
        """Return the phones that a change of number left, and that others have by now."""
        change = change_of(self.event)
        told = set(self.identities)
        taken: list[str] = []
        phones = phones_before(change) if change is not None else ()
        for phone in filter(told.__contains__, phones):
            theirs = told - {phone}
            holders = [user for user in users if phone in user.identities]
            taken += (
                phone
                for user in holders
                if theirs.isdisjoint(user.identities)
                and (
                    (self.ids and self.account in user.identified)
                    or any(left_at(each, phone) is not None for each in users if each is not user)
                )
            )
        return taken

    @property
    def _occurred_at(self) -> float:
        return self.event.occurred_at.timestamp()

    def _has_other_phone(self, user: User) -> bool:
        phones = {folded(each) for each in phones_of(user.identities)}
        told = {folded(each) for each in phones_of(self.identities)}
        return bool(phones and told) and not phones & told

    def _let_go(self, user: User, ledger: Ledger) -> User:
        """Take the phone that is told from a user who had it before, and return that user.

        The record has a name of its own from then on, which no other user can come to have.
        """
        ledger.unsettle(user)
        told = {folded(each) for each in self.identities}
        kept = tuple(each for each in user.identities if folded(each) not in told)
        latest = self._occurred_at - _SECOND
        gone = {
            each: min(left_at(user, each) or latest, latest)
            for each in phones_of(user.identities)
            if folded(each) in told
        }
        former = [name_of_former(each) for each in user.conversations.values()]
        names = former or [
            name_by(self.event.domain, self.event.channel, each) for each in kept[:1]
        ]
        if names:
            name = user.name if user.name in former else names[0]
            left = dict([*user.left.items(), *gone.items()][-_MOST_IDENTITIES:])
            user = attrs.evolve(user, name=name, identities=kept, left=left)
            self._save(user, ledger)
            for each in former:
                if each != name:
                    ledger.tie(each, user)
        return user

    def _keep(self, user: User, direct: Conversation | None, ledger: Ledger) -> User:
        """Add what is told to a user's record."""
        conversations = user.conversations
        if direct is not None and self.account not in conversations:
            conversations = {**conversations, self.account: self._own(direct, user, ledger)}
        change = change_of(self.event)
        if change is not None:
            is_new = self._tells_new_id(change, user)
            identified = ids_after(change, user, self.account, is_new=is_new)
        else:
            identified = ids_now(self.event, user, self.account)
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

    def _own(self, direct: Conversation, user: User, ledger: Ledger) -> str:
        """Return the id of a user's conversation, which is not that of who had the phone before."""
        former = ledger.find(name_of_former(direct.id))
        if not isinstance(former, User) or former.name == user.name:
            return direct.id
        apart = self._apart(direct, left_at(former, direct.id.rpartition(":")[2]) or 0.0).id
        name = name_of(apart)[0]
        if name != user.name:
            ledger.tie(name, user)
        return apart

    def _apart(self, direct: Conversation, gone: float) -> Conversation:
        """Return a conversation apart from that of who had the phone, and left it at that time."""
        phone = direct.id.rpartition(":")[2]
        own = self.ids[0] if self.ids else f"{phone}~{gone:.0f}"
        return attrs.evolve(direct, id=f"{direct.id.removesuffix(phone)}{own}")

    def _tells_new_id(self, change: System, user: User) -> bool:
        """Return whether a change says by which user id the user goes from now on."""
        known = {*user.identities, *ids_of(change.before), identity_in(change.previous)}
        return any(each not in known for each in ids_of(change.after))

    def _left(
        self, before: Mapping[str, float | None], identities: Sequence[str]
    ) -> Mapping[str, float | None]:
        """Return the phones that a user has no more, or may not have.

        The provider changes a user id where the number has changed. A phone that was given up is
        the user's again only where it is told later, with the user's id.
        """
        change, at = change_of(self.event), self._occurred_at
        if change is None:
            if not before:
                return before
            again = set(self.identities)
            return {
                each: gone
                for each, gone in before.items()
                if each not in again or (gone is not None and (not self.ids or at <= gone))
            }
        kept = change.after.phone if change.after is not None else None
        gone = phones_before(change) if kept is not None else ()
        phones = [*dict.fromkeys((*before, *phones_of(identities)))]
        return {
            each: before.get(each) or (at if each in gone else None)
            for each in phones[-_MOST_IDENTITIES:]
            if kept is None or folded(each) != folded(kept)
        }

    def _save(self, user: User, ledger: Ledger) -> None:
        """Keep a user's record, and let all names of the user lead to it."""
        ledger.save(user)
        domain, channel = self.event.domain, self.event.channel
        for each in user.identities:
            name = name_by(domain, channel, each)
            if name != user.name:
                ledger.tie(name, user)


_told: Final = builder(_Told)


def _late(
    event: Event, identity: str, user: User, conversation: Conversation, ledger: Ledger
) -> tuple[Conversation, User, Sequence[Joined]] | None:
    """Return whose an event is that tells of a time when somebody else had the phone.

    It tells nothing new of that user but the terms.
    """
    then = _had_then(event, identity, user, conversation, ledger)
    if then is user:
        return None
    account = event.account or ""
    now = heard(event, then, account)
    if now is not then:
        ledger.save(now)
    return _moved(conversation, then.conversations[account]), now, ()


def _had_then(
    event: Event, identity: str, user: User, conversation: Conversation, ledger: Ledger
) -> User:
    """Return who had a phone when an event was: its user now, or one of those before.

    Whoever is not known by the conversation that a phone makes has it from somebody else.
    """
    account = event.account or ""
    own = user.conversations.get(account)
    if own is None or own == conversation.id or change_of(event) is not None:
        return user
    at = about.time_of(event, ledger).timestamp()
    is_prompt = at + _SKEW > event.received_at.timestamp()
    if is_prompt and at > user.since and not user.left:  # as most are: nothing is read for them
        return user
    then = user
    for _ in range(_MOST_BEFORE):
        found = ledger.find(name_before(then.conversations[account], identity))
        gone = left_at(found, identity) if isinstance(found, User) else None
        if not isinstance(found, User) or gone is None or at > gone:
            return then
        if account not in found.conversations:
            return user
        then = found
    return then


def _is_answer(event: Event) -> bool:
    """Return whether a provider answered with it whom a message of ours goes to.

    The number may be another one than we gave, which is how the user will come.
    """
    return isinstance(event, StatusChange) and event.id_space == OURS


def _is_by_user(event: Event) -> bool:
    """Return whether an event is something that the user did."""
    by_user = type(event) is Message and event.direction is _INBOUND
    return by_user or isinstance(event, ConsentChange | Typing)


def _together(some: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*some, *others)))[:_MOST_IDENTITIES]
