"""The names of events: one form for each, so that every adapter arrives at the same key.

A key holds the provider's id, or a SHA-256 of the raw item; never a random number and never
our own time. It leaves the account out, because one message is told under several names of
the account (a phone number, a channel number, a provider's own id). "/" separates its parts, and
is escaped inside of them, so that no id can be taken for another's. The trust domain comes
first: `in_domain` puts it there.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, final
from urllib.parse import unquote

import attrs

from bridge.model import Conversation, Event, Message, Status
from bridge.model.frozen import changer

E = TypeVar("E", bound=Event)

_moved: Final = changer(Conversation, "id")
_UNKNOWN: Final = Status.UNKNOWN
_STATUS: Final = "status"
_WORDS: Final = (Message.kind, _STATUS)
_MORE: Final = "more"  # before the number of a completion

OURS: Final = "bridge"
"""The id space of our own ids: those of messages that are sent through the bridge."""


def message_key(channel: str, message_id: str, sender: str | None = None) -> str:
    """Name a message.

    Give `sender` where the channel's ids are unique per sender only (inbound RCS).
    """
    if sender is None:
        return f"message/{channel}/{_part(message_id)}"
    return f"message/{channel}/{_part(sender)}/{_part(message_id)}"


def status_key(
    channel: str,
    message_id: str,
    status: Status,
    *,
    participant: str | None = None,
    provider_status: str | None = None,
) -> str:
    """Name the observation of a status; in a group each participant has one of their own.

    Unknown statuses differ by `provider_status`, the provider's own word.
    """
    word: str = status
    if status is _UNKNOWN and provider_status is not None:
        word = f"unknown:{provider_status}"
    parts: tuple[str, ...] = ("status", channel, _part(message_id), _part(word))
    if participant is not None:
        parts += (_part(participant),)
    return "/".join(parts)  # the f-string of an enum's member would take twice as long


@final
@attrs.frozen(kw_only=True)
class Happening:
    """What the key of a message or of a status says, whichever completion it is of.

    `rest` is what a status's key holds beyond the message: the status, and whose it is.
    """

    domain: str | None
    kind: str
    message_id: str
    rest: tuple[str, ...] = ()


def happening_of(key: str) -> Happening | None:
    """Return what the key of a message or of a status says; None for any other."""
    parts = key.split("/")
    domain = parts.pop(0) if parts[1:] and parts[1] in _WORDS else None
    kind, *parts = parts
    if kind not in _WORDS or len(parts) < 2:  # noqa: PLR2004 - a channel and an id
        return None
    if len(parts) > 3 and parts[-2] == _MORE:  # noqa: PLR2004 - `message/channel/id/more/1`
        parts = parts[:-2]
    at, end = (1, len(parts)) if kind == _STATUS else (-1, 0)
    return Happening(
        domain=domain,
        kind=kind,
        message_id=unquote(parts[at]),
        rest=tuple(parts[at + 1 : end]),
    )


def template_key(channel: str, template_id: str, aspect: str, value: str, when: str) -> str:
    """Name a change of a template; `when` is the provider's time for it."""
    return f"template/{channel}/{_part(template_id)}/{aspect}/{_part(value)}/{_part(when)}"


def event_key(kind: str, channel: str, identity: str) -> str:
    """Name any other event by the provider's id for it, or by its item's digest."""
    return f"{kind}/{channel}/{identity}"


def conversation_id(channel: str, account: str | None, identity: str) -> str:
    """Name a conversation with one user; `identity` is the phone if known, else the user id."""
    return f"{channel}:{account or ''}:{identity}"


def group_conversation_id(channel: str, account: str | None, group_id: str) -> str:
    """Name a conversation in a group."""
    return f"{channel}:{account or ''}:group:{group_id}"


def in_domain(event: E, domain: str) -> E:
    """Return the event as one of a trust domain: its key and its conversation are the domain's.

    So nothing of another domain can have the same key, nor be in the same conversation.
    `domain` holds no "/".
    """
    cls: Any = event.__class__  # a class is hashable
    conversation = getattr(event, "conversation", None)
    key = f"{domain}/{event.key}"
    if conversation is None:
        moved: E = changer(cls, "domain", "key")(event, domain, key)
    else:
        conversation = _moved(conversation, f"{domain}/{conversation.id}")
        moved = changer(cls, "domain", "key", "conversation")(event, domain, key, conversation)
    return moved


def _part(text: str) -> str:
    """Return an id as it stands between the slashes of a key."""
    if "/" in text or "%" in text:
        return text.replace("%", "%25").replace("/", "%2F")
    return text
