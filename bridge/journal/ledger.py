"""What correlation remembers: records under names, known keys, and events that wait.

A `Ledger` is implemented by each engine inside its own transaction, so that all engines decide
alike. A name is an id of a message in an id space, or an identity of a user; several names may
lead to one record. Names and keys begin with the trust domain, so that nothing is shared between
domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeAlias

import attrs
import orjson

from bridge.journal.reading import read_event
from bridge.model import Conversation, ConversationKind, Event, Status
from bridge.model.codec import encode
from bridge.model.frozen import changer, quick_init

_NONE: Final[Mapping[str, Any]] = {}


@attrs.frozen(kw_only=True)
class Observation:
    """A status that was published while only a name outside the channel's id space was known.

    `key` is the event's; None in what an earlier version wrote.
    """

    status: Status
    participant: str
    provider_status: str
    key: str | None = None


@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Track:
    """What a journal remembers of one message: where it belongs and how far it is.

    `user` is the name of the user record of the direct conversation that the message is in.
    `standing` is the furthest status by participant, "" standing for the only one that there is
    in a direct conversation. `observed` holds the statuses that were published before the
    channel's own id was known. `correlation` is the key of the intent, where the message was sent
    through the bridge.
    """

    name: str
    channel: str
    account: str | None
    message_id: str
    conversation: Conversation | None = None
    user: str | None = None
    aliases: tuple[str, ...] = ()
    id_space: str | None = None
    standing: Mapping[str, Status] = _NONE
    observed: tuple[Observation, ...] = ()
    correlation: str | None = None


Ids: TypeAlias = tuple[str | None, str | None]
"""A user id and that of its parent, each None where it is not told."""
Word: TypeAlias = Sequence[Any]
"""What was told, true or false, and when that was so, in seconds by the provider's clock."""


@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class User:
    """What a journal remembers of one user of a channel within a trust domain.

    `since` and `seen` are times of receipt, in seconds: of the first callback that named the
    user, and of one within the last day that did. `identities` are the phones and user ids as
    providers wrote them, the first one first. `conversations` holds the id of the user's
    conversation by account: the one under which the user was first known there. `identified`
    holds, by account, the ids last told there that are still the user's. `left` are phones
    that the user has no more, or may not have, since a change of number or id was told: with the
    provider's time of a change that says so, and None where one leaves it open.

    By account, too: a free-form message may go until `reply_until`, in seconds. `owned` is whether
    the conversation is ours to answer, where it ever was another's, and `granted` whether the user
    takes marketing, each with the provider's time of that word. A group has a record for these.
    `unshown` are the keys of the last messages of which was told only that they cannot be shown.
    """

    name: str
    since: float
    seen: float
    identities: tuple[str, ...]
    conversations: Mapping[str, str]
    identified: Mapping[str, Ids]
    reply_until: Mapping[str, float]
    owned: Mapping[str, Word]
    granted: Mapping[str, Word]
    left: Mapping[str, float | None] = _NONE
    unshown: tuple[str, ...] = ()


opened: Final[Callable[..., User]] = changer(User, "reply_until")
"""Make a user's record with other windows."""


@attrs.frozen(kw_only=True)
class Latest:
    """What a journal remembers of a thing that changes, where no time is told of its changes.

    `at` is when the last callback about it was received, in seconds; `told` are the keys of what
    that one told, and `key` is the last of those that were published.
    """

    name: str
    at: float
    key: str
    told: tuple[str, ...]


Record: TypeAlias = Track | User | Latest


@attrs.frozen(kw_only=True)
class Waiting:
    """An event that is durable and not published yet.

    `keys` are all names of its happening, and `size` the length of its JSON. `due` is when it is
    published though nothing fuller has come, in seconds since the epoch; None for an event that
    only waits its turn.
    """

    event: Event
    keys: tuple[str, ...]
    size: int
    due: float | None = None


@attrs.frozen(kw_only=True)
class Queue:
    """What waits in one lane, in the order in which it is published; the first item is due."""

    lane: str
    items: tuple[Waiting, ...] = ()

    @property
    def due(self) -> float | None:
        """When the first item is published at the latest; None for an empty queue."""
        return self.items[0].due if self.items else None

    @property
    def size(self) -> int:
        """How many bytes of JSON wait."""
        return sum(item.size for item in self.items)


@attrs.frozen(kw_only=True)
class Known:
    """The event of a known key; `lane` is where it waits, if it does."""

    event: Event
    lane: str | None = None


Place: TypeAlias = tuple[str, str]
"""An account and a conversation."""


@attrs.define(kw_only=True, eq=False, weakref_slot=False)
class Settled:
    """That messages of a conversation which say this of their user are that `user`'s, at `place`.

    It is to be looked at anew `after` a time. The user may be written to `until` another one, as
    far as was told. `unshown` is as in the user's record, and `awaited` which messages
    of the domain were told of before it is known whose they are.
    """

    said: tuple[Any, ...]
    place: Place
    after: datetime
    until: datetime
    unshown: tuple[str, ...]
    awaited: frozenset[str]
    user: User


class Ledger(Protocol):
    """What correlation remembers; all calls for one append belong to one transaction.

    `settled` is for reading: what was noted of conversations by their ids, and holds still.
    """

    settled: Mapping[str, Settled]

    def knows(self, key: str) -> bool:
        """Return whether a key is known: claimed, or one of an event that waits."""
        ...

    def claim(self, key: str, of: str | None = None) -> None:
        """Make a key known from now on; `of` is the key of its event, where that is another."""
        ...

    def known(self, key: str) -> Known | None:
        """Return the event of a known key, while the journal keeps it."""
        ...

    def find(self, name: str) -> Record | None:
        """Return the record of that name, or the one that it is tied to."""
        ...

    def save(self, record: Record) -> None:
        """Keep a record under its own name."""
        ...

    def open(self, settled: Settled, until: datetime) -> None:
        """Note until when the user of a message may be written to: for longer than was noted.

        That follows from the message that the append publishes, so it may be written later.
        """
        ...

    def tie(self, name: str, to: Record) -> None:
        """Let `name` lead to a record of another name from now on."""
        ...

    def note_settled(self, settled: Settled) -> None:
        """Note whose the messages of a conversation are.

        It holds until a record of that user is saved, or a name that was somebody's is tied.
        """
        ...

    def unsettle(self, user: User | None) -> None:
        """Forget what was noted of the conversations of a user, who may lose a name; None: all."""
        ...

    def queue(self, lane: str) -> Queue | None:
        """Return what waits in a lane, or None where nothing does."""
        ...

    def put(self, queue: Queue) -> None:
        """Keep what waits in a lane; an empty queue is forgotten."""
        ...


_USER: Final = "user"
_LATEST: Final = "latest"


# --- what engines keep -----------------------------------------------------------------------


def encode_record(record: Record) -> bytes:
    """Write a record as one line of JSON."""
    if isinstance(record, User):
        fields: dict[str, object] = {
            _USER: record.name,
            "since": record.since,
            "seen": record.seen,
            "identities": record.identities,
            "conversations": record.conversations,
            "identified": record.identified,
        }
        if record.reply_until:  # what nothing is known of is left out: few have all of these
            fields["reply_until"] = record.reply_until
        if record.owned:
            fields["owned"] = record.owned
        if record.granted:
            fields["granted"] = record.granted
        if record.left:
            fields["left"] = record.left
        if record.unshown:
            fields["unshown"] = record.unshown
        return orjson.dumps(fields)
    if isinstance(record, Latest):
        return orjson.dumps(
            {_LATEST: record.name, "at": record.at, "key": record.key, "told": record.told}
        )
    where = record.conversation
    return orjson.dumps(
        {
            "name": record.name,
            "channel": record.channel,
            "account": record.account,
            "message_id": record.message_id,
            "conversation": where and (where.id, where.kind, where.provider_id),
            "of": record.user,
            "aliases": record.aliases,
            "id_space": record.id_space,
            "standing": record.standing,
            "observed": [
                (each.status, each.participant, each.provider_status, each.key)
                for each in record.observed
            ],
            "correlation": record.correlation,
        }
    )


def decode_record(data: bytes) -> Record:
    """Read what `encode_record` wrote, in this version or an earlier one."""
    found: dict[str, Any] = orjson.loads(data)
    if _USER in found:
        return User(
            name=found[_USER],
            since=found["since"],
            seen=found["seen"],
            identities=tuple(found["identities"]),
            conversations=found["conversations"],
            identified=_identified(found["identified"]),
            reply_until=found.get("reply_until", _NONE),
            owned=_words(found.get("owned")),
            granted=_words(found.get("granted")),
            left=_left(found.get("left")),
            unshown=tuple(found.get("unshown", ())),
        )
    if _LATEST in found:
        return Latest(
            name=found[_LATEST], at=found["at"], key=found["key"], told=tuple(found["told"])
        )
    where = found["conversation"]
    return Track(
        name=found["name"],
        channel=found["channel"],
        account=found["account"],
        message_id=found["message_id"],
        conversation=where
        and Conversation(id=where[0], kind=ConversationKind(where[1]), provider_id=where[2]),
        user=found.get("of"),
        aliases=tuple(found["aliases"]),
        id_space=found.get("id_space"),
        standing={who: Status(status) for who, status in found["standing"].items()},
        observed=tuple(
            Observation(
                status=Status(status),
                participant=participant,
                provider_status=word,
                key=key[0] if key else None,
            )
            for status, participant, word, *key in found["observed"]
        ),
        correlation=found.get("correlation"),
    )


def _words(told: Mapping[str, Word] | None) -> Mapping[str, Word]:
    return {account: tuple(word) for account, word in told.items()} if told else _NONE


def _identified(told: Mapping[str, Sequence[str | None]] | Sequence[str]) -> Mapping[str, Ids]:
    """Read the ids of a user by account; an earlier version kept the accounts alone."""
    if isinstance(told, Mapping):
        return {account: (ids[0], ids[1]) for account, ids in told.items()}
    return dict.fromkeys(told, (None, None))


def _left(told: Mapping[str, float | None] | Sequence[str] | None) -> Mapping[str, float | None]:
    """Read the phones that a user has left, which had no times in earlier versions."""
    if isinstance(told, Mapping):
        return told
    return dict.fromkeys(told) if told else _NONE


def encode_waiting(items: Sequence[Waiting]) -> bytes:
    """Write what waits in a lane as one line of JSON."""
    return orjson.dumps(
        [(orjson.Fragment(encode(item.event)), item.keys, item.due) for item in items]
    )


def decode_queue(lane: str, data: bytes) -> Queue:
    """Read what `encode_waiting` wrote."""
    items = []
    for fields, keys, due in orjson.loads(data):
        line = orjson.dumps(fields)
        event = read_event(line, f"waiting-{blake2b(line, digest_size=8).hexdigest()}")
        items.append(Waiting(event=event, keys=tuple(keys), size=len(line), due=due))
    return Queue(lane=lane, items=tuple(items))
