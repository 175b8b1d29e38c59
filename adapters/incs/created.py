"""INCS's own form of a message, in both directions, and the status it implies.

The same message reaches us in the channel's form too (`new_message`), so keys are made of the
channel's id; INCS's number stays beside it as an alias.
"""

from __future__ import annotations

from typing import Final, final

import attrs

from adapters.incs import wire
from adapters.incs.channels import Channels
from adapters.incs.content import content_of, custom_type_of
from adapters.incs.statuses import numbered_status, provider_error
from adapters.rcs import wire as rcs
from bridge.adapter import Scope
from bridge.errors import Unreadable
from bridge.frozen import builder, quick_init
from bridge.keys import group_conversation_id, message_key, status_key
from bridge.model import (
    Conversation,
    ConversationKind,
    Direction,
    Event,
    JsonValue,
    Message,
    Origin,
    Party,
    Role,
    StatusChange,
)
from bridge.payload import identifier, instant, integer, phone

_MASK: Final = "X"  # a masked phone: +628XXXXXXXXX
_COUNTRY_LETTERS: Final = 2

_new_message: Final = builder(Message)
_new_status: Final = builder(StatusChange)


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class _Sides:
    """Who wrote to whom; `identity` is what the other side than the business's is known by."""

    direction: Direction
    sender: Party
    recipient: Party
    identity: str
    conversation: Conversation


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class _Name:
    """What a message is called: by its channel where it has answered, by INCS until then."""

    message_id: str
    incs_id: str | None
    resolved: bool


def message_created(body: dict[str, JsonValue], blank: Scope, channels: Channels) -> list[Event]:
    """Translate a message that INCS stored, and the status of one that went out.

    A status is told even where the content cannot be read. Raises `Unreadable`.
    """
    message = body.get("message")
    if type(message) is not dict:
        raise Unreadable("message", "not an object")
    name = _name(message)
    custom_type = custom_type_of(message)
    scope = channels.scope(
        blank,
        evidence=wire.channel_of(name.message_id)
        or (wire.CUSTOM_CHANNELS.get(custom_type) if custom_type is not None else None),
        channel_id=message.get("auth_id"),
    )
    sides = _sides(message, scope)
    events: list[Event] = []
    try:
        events.append(_message(body, message, name, sides, scope))
    except Unreadable as error:
        events.append(scope.unrecognized(body, error.reason, error.path))
    if sides.direction is Direction.OUTBOUND:
        status = _status(body, message, name, sides, scope)
        if status is not None:
            events.append(status)
    return events


def _name(message: dict[str, JsonValue]) -> _Name:
    incs_id = identifier(message.get("id"))
    channel_msg_id = identifier(message.get("channel_msg_id"))
    if channel_msg_id is not None:
        return _Name(message_id=channel_msg_id, incs_id=incs_id, resolved=True)
    if incs_id is None:
        raise Unreadable("message.id", "missing")
    return _Name(message_id=incs_id, incs_id=incs_id, resolved=False)


def _message(
    body: dict[str, JsonValue],
    message: dict[str, JsonValue],
    name: _Name,
    sides: _Sides,
    scope: Scope,
) -> Message:
    content, reply_to = content_of(message)
    inbound = sides.direction is Direction.INBOUND
    if not name.resolved:
        key = message_key(wire.CHANNEL, name.message_id)
    elif inbound and scope.channel == rcs.CHANNEL:
        key = message_key(scope.channel, name.message_id, sides.identity)
    else:
        key = message_key(scope.channel, name.message_id)
    by_api = integer(message.get("source")) == wire.SOURCE_API
    written_by_us = Origin.API if by_api else Origin.AGENT
    return _new_message(
        key=key,
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=instant(message.get("created_at")) or scope.received_at,
        received_at=scope.received_at,
        raw=body,
        message_id=name.message_id,
        aliases=(name.incs_id,) if name.resolved and name.incs_id is not None else (),
        direction=sides.direction,
        origin=Origin.USER if inbound else written_by_us,
        conversation=sides.conversation,
        sender=sides.sender,
        recipient=sides.recipient,
        content=content,
        reply_to=reply_to,
    )


def _status(
    body: dict[str, JsonValue],
    message: dict[str, JsonValue],
    name: _Name,
    sides: _Sides,
    scope: Scope,
) -> StatusChange | None:
    word = identifier(message.get("channel_status"))
    if word is None or integer(word) == wire.STATUS_CREATED:
        return None
    status = numbered_status(word)
    return _new_status(
        key=status_key(
            scope.channel if name.resolved else wire.CHANNEL,
            name.message_id,
            status,
            provider_status=word,
        ),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=instant(message.get("updated_at")) or scope.received_at,
        received_at=scope.received_at,
        raw=body,
        message_id=name.message_id,
        status=status,
        provider_status=word,
        error=provider_error(message.get("error")),
        recipient=sides.recipient,
        conversation=sides.conversation,
        resolved=name.resolved,
    )


# --- who wrote to whom -------------------------------------------------------------------


def _sides(message: dict[str, JsonValue], scope: Scope) -> _Sides:
    """Tell the direction, for which INCS has no field: whose side looks like a user's."""
    sender = _side(message, "sender", "send_id")
    receiver = _side(message, "receiver", "recv_id")
    group = receiver if integer(message.get("session_type")) == wire.SESSION_GROUP else None
    provider_id = identifier(message.get("conversation_id"))
    author = _user(sender)
    by_business = author is not None and author.phone and author.phone == scope.business_phone
    if sender is not None and author is not None and not by_business:
        identity = author.phone or sender
        return _Sides(
            direction=Direction.INBOUND,
            sender=author,
            recipient=Party(user_id=receiver, role=Role.AGENT) if group is None else Party(),
            identity=identity,
            conversation=_conversation(scope, group, identity, provider_id),
        )
    reader = _user(receiver)
    if receiver is None or (sender is None and reader is None):
        raise Unreadable("message.receiver" if sender is not None else "message.sender", "missing")
    if group is not None or reader is None:
        reader = Party(user_id=receiver)
    identity = reader.phone or receiver
    return _Sides(
        direction=Direction.OUTBOUND,
        sender=Party(user_id=sender, role=Role.AGENT),
        recipient=reader,
        identity=identity,
        conversation=_conversation(scope, group, identity, provider_id),
    )


def _side(message: dict[str, JsonValue], name: str, older: str) -> str | None:
    value = identifier(message.get(name)) or identifier(message.get(older))
    auth_id = identifier(message.get("auth_id"))
    if value is None or auth_id is None:
        return value
    # The older form of a user is "<auth_id>_<phone>".
    return value.removeprefix(f"{auth_id}_") or None


def _user(value: str | None) -> Party | None:
    """Return a user's party, or None for what is an agent's account or a group."""
    if value is None:
        return None
    number = phone(value)
    if number is not None:
        return Party(phone=number)
    digits = value.removeprefix("+").rstrip(_MASK)
    if digits != value and digits.isdigit():
        return Party()
    # Meta's id of a user who shows no phone: CC.<letters and digits>.
    country, _, rest = value.partition(".")
    if len(country) == _COUNTRY_LETTERS and country.isupper() and rest.replace(".", "").isalnum():
        return Party(user_id=value)
    return None


def _conversation(
    scope: Scope, group: str | None, identity: str, provider_id: str | None
) -> Conversation:
    if group is None:
        return scope.conversation(identity, provider_id=provider_id)
    return Conversation(
        id=group_conversation_id(scope.channel, scope.account, group),
        kind=ConversationKind.GROUP,
        provider_id=provider_id,
    )
