"""What correlation remembers: records under names, known keys, and messages that wait.

A `Ledger` is implemented by each engine inside its own transaction, so that all engines decide
alike. A name is an id in an id space, or an identity of a user; several names may lead to one
record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import attrs
import orjson

from bridge.model import Conversation, ConversationKind, Event, Status
from bridge.model.codec import decode, encode


@attrs.frozen(kw_only=True)
class Track:
    """What a journal remembers of one message: where it belongs and how far it is.

    `name` is unique: domain, id space and the id in it. `standing` is the furthest status by
    participant, "" standing for the only one there is in a direct conversation. `observed`
    holds what was published while only a name outside the channel's own id space was known:
    status, participant, the provider's word.
    """

    name: str
    channel: str
    account: str | None
    message_id: str
    conversation: Conversation | None = None
    aliases: tuple[str, ...] = ()
    id_space: str | None = None
    standing: Mapping[str, Status] = attrs.field(factory=dict)
    observed: tuple[tuple[Status, str, str], ...] = ()


@attrs.frozen(kw_only=True)
class User:
    """What a journal remembers of one user of a channel within a trust domain.

    `since` and `seen` are times of receipt, in seconds: of the first callback that named the
    user, and of one within the last day that did. `identities` are the phones and user ids as
    providers wrote them, the first one first. `conversations` holds the id of the user's
    conversation by account: the one under which the user was first known there.
    """

    name: str
    since: float
    seen: float
    identities: tuple[str, ...]
    conversations: Mapping[str, str]


Record: TypeAlias = Track | User


@attrs.frozen(kw_only=True)
class Waiting:
    """An event that is durable and not published yet.

    `keys` are all names of its happening. `due` is when it is published though no fuller
    account of it has come, in seconds since the epoch; None for one that only waits its turn.
    """

    event: Event
    keys: tuple[str, ...]
    due: float | None = None


@attrs.frozen(kw_only=True)
class Queue:
    """What waits in one lane, in the order in which it is published."""

    lane: str
    items: tuple[Waiting, ...] = ()

    @property
    def due(self) -> float | None:
        """When the first of them is published at the latest; None for an empty queue."""
        return self.items[0].due if self.items else None


@attrs.frozen(kw_only=True)
class Known:
    """The event that was told first under some key; `lane` is where it waits, if it does."""

    event: Event
    lane: str | None = None


class Ledger(Protocol):
    """What correlation remembers; all calls for one append belong to one transaction."""

    def knows(self, key: str) -> bool:
        """Return whether a key is known: claimed, or one of an event that waits."""
        ...

    def claim(self, key: str) -> None:
        """Mark a key as known from now on."""
        ...

    def known(self, key: str) -> Known | None:
        """Return the event of a known key, while the journal keeps it."""
        ...

    def find(self, name: str) -> Record | None:
        """Return the record of that name, following ties to the name they lead to."""
        ...

    def save(self, record: Record) -> None:
        """Keep a record under its own name."""
        ...

    def tie(self, name: str, to: Record) -> None:
        """Let `name` lead to a record of another name from now on."""
        ...

    def queue(self, lane: str) -> Queue | None:
        """Return what waits in a lane, or None where nothing does."""
        ...

    def put(self, queue: Queue) -> None:
        """Keep what waits in a lane; an empty queue is forgotten."""
        ...


MOST_TIES: Final = 8
"""How many ties lead from a name to its record at most; one for each time users were joined."""


def encode_record(record: Record) -> bytes:
    """Write a record as one line of JSON, for an engine to keep."""
    if isinstance(record, User):
        return orjson.dumps(
            {
                "user": record.name,
                "since": record.since,
                "seen": record.seen,
                "identities": record.identities,
                "conversations": record.conversations,
            }
        )
    where = record.conversation
    return orjson.dumps(
        {
            "name": record.name,
            "channel": record.channel,
            "account": record.account,
            "message_id": record.message_id,
            "conversation": where and (where.id, where.kind, where.provider_id),
            "aliases": record.aliases,
            "id_space": record.id_space,
            "standing": record.standing,
            "observed": record.observed,
        }
    )


def decode_record(data: bytes) -> Record:
    """Read what `encode_record` wrote, in this version or an earlier one."""
    found: dict[str, Any] = orjson.loads(data)
    if "user" in found:
        return User(
            name=found["user"],
            since=found["since"],
            seen=found["seen"],
            identities=tuple(found["identities"]),
            conversations=found["conversations"],
        )
    where = found["conversation"]
    return Track(
        name=found["name"],
        channel=found["channel"],
        account=found["account"],
        message_id=found["message_id"],
        conversation=where
        and Conversation(id=where[0], kind=ConversationKind(where[1]), provider_id=where[2]),
        aliases=tuple(found["aliases"]),
        id_space=found.get("id_space"),
        standing={who: Status(status) for who, status in found["standing"].items()},
        observed=tuple((Status(status), who, word) for status, who, word in found["observed"]),
    )


def encode_waiting(items: Sequence[Waiting]) -> bytes:
    """Write what waits in a lane as one line of JSON, for an engine to keep."""
    return orjson.dumps(
        [(orjson.Fragment(encode(item.event)), item.keys, item.due) for item in items]
    )


def decode_queue(lane: str, data: bytes) -> Queue:
    """Read what `encode_waiting` wrote."""
    return Queue(
        lane=lane,
        items=tuple(
            Waiting(event=decode(orjson.dumps(event)), keys=tuple(keys), due=due)
            for event, keys, due in orjson.loads(data)
        ),
    )
