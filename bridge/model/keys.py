"""The names of events: one form for each, so that every adapter arrives at the same key.

Ids become keys, subjects and headers, are remembered for as long as the journal is, and are
repeated in each record: so `overlong` tells how long one may be. The providers' have some 130
bytes at most.

A key holds the provider's id, or a SHA-256 of the raw item; never a random number and never
our own time. It leaves the account out, because one message is told under several names of
the account (a phone number, a channel number, a provider's own id). "/" separates its parts, and
is escaped inside of them, so that no id can be taken for another's. The trust domain comes
first: `in_domain` puts it there.

A phone number that is written in two ways is compared as `folded`; what a provider told is never
changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final, TypeVar, final
from urllib.parse import unquote

import attrs

from bridge.model import Conversation, Event, Message, Status
from bridge.model.events import EVENT_CLASSES
from bridge.model.frozen import changer

E = TypeVar("E", bound=Event)

_moved: Final = changer(Conversation, "id")
_answerable: Final = changer(Message, "domain", "key", "conversation", "reply_until")
_UNKNOWN: Final = Status.UNKNOWN
_STATUS: Final = "status"
_WORDS: Final = (Message.kind, _STATUS)
_UNSHOWN: Final = "unsupported/"
_MORE: Final = "more"  # before the number of a completion

OURS: Final = "bridge"
"""The id space of our own ids: those of messages that are sent through the bridge."""

MAX_ID: Final = 512
"""How many bytes of UTF-8 an id may have."""

_SHORT: Final = MAX_ID // 4  # so many letters never have more bytes
_NAMES: Final = (
    "key",
    "channel",
    "account",
    "message_id",
    "id_space",
    "completes",
    "correlation",
    "template_id",
    "provider_status",
)
_PARTIES: Final = ("sender", "recipient", "party")
_OF_A_PARTY: Final = ("user_id", "parent_user_id", "username")

# A digit that comes and goes in three countries, so that one user comes in two spellings:
# +55 DD 9XXXX-XXXX for +55 DD XXXX-XXXX, +52 1 … for +52 …, +54 9 … for +54 …
# https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/phone-numbers
_SPELLINGS: Final = tuple(
    (
        re.compile(f"({before}){digit}({after})", re.ASCII),
        re.compile(f"({before})({after})", re.ASCII),
        digit,
    )
    for before, digit, after in (
        (r"\+55\d\d", "9", r"[6-9]\d{7}"),
        (r"\+52", "1", r"\d{10}"),
        (r"\+54", "9", r"\d{10}"),
    )
)


def message_key(channel: str, message_id: str, sender: str | None = None) -> str:
    """Name a message.

    Give `sender` where the channel's ids are unique per sender only (inbound RCS).
    """
    if sender is None:
        return f"message/{channel}/{_part(message_id)}"
    return f"message/{channel}/{_part(sender)}/{_part(message_id)}"


def deletion_key(channel: str, message_id: str) -> str:
    """Name the deletion of the message with this id, which is deleted once, whoever does it."""
    return event_key("deletion", channel, message_id)


def unshown_key(key: str) -> str:
    """Name what could not be shown of the message with this key, which may still come."""
    return f"{_UNSHOWN}{key}"


def unshown_key_of(message: Message) -> str:
    """Return the key of what could not be shown of a message that is shown."""
    domain = "" if message.domain is None else f"{message.domain}/"
    return f"{domain}{_UNSHOWN}{message.key.removeprefix(domain)}"


def shown_key(event: Event) -> str | None:
    """Return the key of the message that an event is in the place of; None for any other event."""
    domain = "" if event.domain is None else f"{event.domain}/"
    own = event.key.removeprefix(domain)
    return domain + own.removeprefix(_UNSHOWN) if own.startswith(_UNSHOWN) else None


def unshown_prefix(domain: str | None) -> str:
    """Return how the keys in a trust domain begin that name what could not be shown."""
    return _UNSHOWN if domain is None else f"{domain}/{_UNSHOWN}"


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
    """Name a change of a template; `when` is the provider's time for it, or the hour of receipt.

    `value` is the provider's word for it, or a digest where others may share word and time.
    """
    return f"template/{channel}/{_part(template_id)}/{aspect}/{_part(value)}/{_part(when)}"


def event_key(kind: str, channel: str, identity: str) -> str:
    """Name any other event by the provider's id for it, or by its item's digest."""
    return f"{kind}/{channel}/{identity}"


def hour_of(received_at: datetime) -> str:
    """Return the last part of the key of what comes without an id and without a time.

    `bridge.journal.untimed` says what is one and what is new within the hour.
    """
    return f"{received_at:%Y-%m-%dT%H}"


def is_untimed(event: Event) -> bool:
    """Return whether an event's key ends with its hour of receipt."""
    return event.key.endswith(f"/{hour_of(event.received_at)}")


def conversation_id(channel: str, account: str | None, identity: str) -> str:
    """Name a conversation with one user; `identity` is the phone if known, else the user id."""
    return f"{channel}:{account or ''}:{identity}"


def group_conversation_id(channel: str, account: str | None, group_id: str) -> str:
    """Name a conversation in a group."""
    return f"{channel}:{account or ''}:group:{group_id}"


def in_domain(event: E, domain: str, *, reply_until: datetime | None = None) -> E:
    """Return the event as one of a trust domain: its key and its conversation are the domain's.

    So nothing of another domain can have the same key, nor be in the same conversation.
    `domain` holds no "/". A message gets `reply_until` as well, where that is given.
    """
    cls: Any = event.__class__  # a class is hashable
    conversation = getattr(event, "conversation", None)
    key = f"{domain}/{event.key}"
    if conversation is None:
        moved: E = changer(cls, "domain", "key")(event, domain, key)
        return moved
    conversation = _moved(conversation, f"{domain}/{conversation.id}")
    if reply_until is None:
        moved = changer(cls, "domain", "key", "conversation")(event, domain, key, conversation)
    else:
        moved = _answerable(event, domain, key, conversation, reply_until)
    return moved


def _part(text: str) -> str:
    """Return an id as it stands between the slashes of a key."""
    if "/" in text or "%" in text:
        return text.replace("%", "%25").replace("/", "%2F")
    return text


# --- how long an id may be ---------------------------------------------------------------


def overlong(event: Event) -> str | None:
    """Return the name of an id in an event that is too long, or None where none is."""
    if _is_brief[type(event)](event):  # nearly always
        return None
    return next((name for name, value in _ids(event) if _is_long(value)), None)


def _ids(event: Event) -> Iterator[tuple[str, str | None]]:
    # The parts of a key are separated by "/", which is escaped within them.
    for part in event.key.split("/"):
        yield "key", part.replace("%2F", "/").replace("%25", "%")
    yield from ((name, getattr(event, name, None)) for name in _NAMES[1:])
    yield from (("aliases", alias) for alias in getattr(event, "aliases", ()))
    reply_to = getattr(event, "reply_to", None)
    yield "reply_to", None if reply_to is None else reply_to.message_id
    conversation = getattr(event, "conversation", None)
    if conversation is not None:
        identity = conversation.id.removeprefix(f"{event.channel}:{event.account or ''}:")
        yield "conversation", identity.removeprefix("group:").removeprefix("message:")
        yield "conversation", conversation.provider_id
    for name in _PARTIES:
        party = getattr(event, name, None)
        if party is not None:
            yield from ((name, getattr(party, each)) for each in _OF_A_PARTY)


def _is_long(value: str | None) -> bool:
    return (
        value is not None
        and len(value) > _SHORT
        and len(value.encode("utf-8", "surrogatepass")) > MAX_ID
    )


def _brevity(cls: type[Event]) -> Callable[[Event], bool]:
    """Return a function that returns whether all ids of an event of this class are short.

    So they are where all of them together are; and what is ASCII has a byte for each letter.
    """
    fields = attrs.fields_dict(cls)
    ids = [f"event.{name} or ''" for name in _NAMES if name in fields]
    if "aliases" in fields:
        ids.append("''.join(event.aliases)")
    parts = {"conversation": ("id", "provider_id"), "reply_to": ("message_id",)}
    parts |= dict.fromkeys(_PARTIES, _OF_A_PARTY)
    for name, of_part in parts.items():
        if name in fields:
            part = f"(part := event.{name})"
            for each in of_part:
                ids.append(f"'' if {part} is None else part.{each} or ''")
                part = "part"
    function: Callable[[Event], bool] = eval(  # noqa: S307 - made of our own field names
        f"lambda event: len(ids := ''.join(({', '.join(ids)}))) <= {MAX_ID} and ids.isascii()"
    )
    return function


_is_brief: Final = {cls: _brevity(cls) for cls in EVENT_CLASSES}


def folded(phone: str) -> str:
    """Return a number in E.164 without the digit that comes and goes; others as they are."""
    if phone.startswith("+5"):  # few do
        for long, _, _ in _SPELLINGS:
            match = long.fullmatch(phone)
            if match is not None:
                return match[1] + match[2]
    return phone


def spellings(phone: str) -> tuple[str, ...]:
    """Return a number in every way that it may be written; others alone."""
    short = folded(phone)
    matches = ((pattern.fullmatch(short), digit) for _, pattern, digit in _SPELLINGS)
    longer = (f"{match[1]}{digit}{match[2]}" for match, digit in matches if match is not None)
    return tuple(dict.fromkeys((phone, short, *longer)))
