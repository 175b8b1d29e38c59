"""Who is to be erased, under which names, and what is about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

import attrs
import orjson

from bridge.journal.identity import identity_of, name_before, phones_of
from bridge.journal.ledger import Latest, Ledger, Record, User
from bridge.journal.query import conversation_of, identities, is_one_of
from bridge.model import (
    ConsentChange,
    Event,
    Handover,
    JsonValue,
    Message,
    StatusChange,
    Typing,
)
from bridge.model.keys import folded, spellings

_MOST_BEFORE: Final = 256  # users who had the subject's numbers, one after another


@attrs.frozen
class Subject:
    """A phone number or user id with its spellings, and the other names of its users by domain.

    A name that one trust domain knows of a user counts in that domain alone. `conversations` are
    the ids of the users' conversations, and `before` the names of the records of whoever had their
    numbers before them.
    """

    names: tuple[str, ...]
    others: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    conversations: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()

    @classmethod
    def of(cls, identity: str) -> Self:
        """Return the subject as an operator names it."""
        return cls(
            tuple(dict.fromkeys(n for each in identities(identity) for n in spellings(each)))
        )

    def known_from(self, records: Iterable[Record]) -> Self:
        """Return the subject with the names that these records know of."""
        others = dict(self.others)
        conversations, before = set(self.conversations), set(self.before)
        for record in records:
            if isinstance(record, User) and any(name in self.names for name in _known_by(record)):
                domain = _domain_of(record)
                names = (*record.identities, *_ids_of(record))
                others[domain] = _spelled((*others.get(domain, ()), *names))
                conversations |= {*record.conversations.values()}
                before |= _before(record, record.identities)
        return attrs.evolve(
            self,
            others=others,
            conversations=frozenset(conversations),
            before=frozenset(before),
        )

    def names_in(self, domain: str) -> tuple[str, ...]:
        """Return all names of the subject in a trust domain."""
        return (*self.names, *self.others.get(domain, ()))

    @property
    def needles(self) -> tuple[bytes, ...]:
        """Return what the JSON of an event holds that is about the subject: one of these."""
        names = (*self.names, *(name for names in self.others.values() for name in names))
        return tuple({orjson.dumps(name.removeprefix("+"))[1:-1] for name in names})

    def is_in(self, event: Event) -> bool:
        """Return whether an event is about the subject."""
        return any(concerns(event, name) for name in self.names_in(event.domain or ""))

    def owns(self, conversation: str) -> bool:
        """Return whether a conversation, by its id, is the subject's."""
        domain, slash, _ = conversation.partition("/")
        names = self.names_in(domain if slash else "")
        endings = tuple(f":{name}" for name in names)
        return conversation in self.conversations or conversation.endswith(endings)

    def is_known_by(self, record: Record) -> bool:
        """Return whether a record tells of the subject."""
        names = self.names_in(_domain_of(record))
        if isinstance(record, User):
            return any(name in _known_by(record) for name in names)
        if isinstance(record, Latest):  # which names nobody
            return False
        where = record.conversation
        told = {*record.standing, record.user and identity_of(record.user)}
        return any(
            name in told
            or folded(name) in told
            or (where is not None and where.id.endswith(f":{name}"))
            for name in names
        )


def leave_numbers(subject: Subject, ledger: Ledger) -> None:
    """Let those who had a subject's numbers before have no conversation by these any more.

    What is in it is erased too, and whoever gets the number next will have that conversation.
    """
    coming, seen = list(subject.before), set(subject.before)
    while coming and len(seen) <= _MOST_BEFORE:
        user = ledger.find(coming.pop())
        if not isinstance(user, User):
            continue
        names = subject.names_in(_domain_of(user))
        earlier = _before(user, names) - seen
        coming += earlier
        seen |= earlier
        ledger.unsettle(user)
        kept = {a: each for a, each in user.conversations.items() if not subject.owns(each)}
        left = {each: at for each, at in user.left.items() if each not in names}
        ledger.save(attrs.evolve(user, conversations=kept, left=left))


def _before(user: User, phones: Sequence[str]) -> set[str]:
    return {
        name_before(conversation, phone)
        for conversation in user.conversations.values()
        for phone in phones_of(phones)
    }


def _spelled(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for name in names for each in spellings(name)))


def _known_by(user: User) -> Iterable[str]:
    """Return a user's names; one who has none any more had the phones that have gone to others."""
    return (*(user.identities or user.left), *_ids_of(user))


def _ids_of(user: User) -> Iterable[str]:
    return (each for told in user.identified.values() for each in told if each is not None)


def _domain_of(record: Record) -> str:
    return record.name.partition("/")[0]


def concerns(event: Event, subject: str) -> bool:
    """Return whether an event is about a phone number (E.164, also without its plus) or user id.

    One that may have no parties (an `Unrecognized`, a `Notice`) is as well if its item carries the
    subject anywhere.
    """
    names = identities(subject)
    conversations = tuple(f":{name}" for name in names)
    if is_one_of(event, subject):
        return True
    if not isinstance(event, Message | StatusChange | ConsentChange | Handover | Typing):
        return _carries(event.raw, (*names, subject.removeprefix("+")), conversations)
    conversation = conversation_of(event)
    return conversation is not None and conversation.endswith(conversations)


def _carries(value: JsonValue, words: tuple[str, ...], endings: tuple[str, ...]) -> bool:
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, str | int):
            text = str(value)
            if text in words or text.endswith(endings):
                return True
    return False
