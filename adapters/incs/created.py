"""INCS's own form of a message, in both directions, and the status it implies.

The same message reaches us in the channel's form too (`new_message`), so keys are made of the
channel's id; INCS's number stays beside it as an alias.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, final

import attrs

from bridge.adapter import Scope, new_message, new_status_change
from bridge.adapter.payload import identifier, instant, integer, phone
from bridge.adapters.incs import wire
from bridge.adapters.incs.channels import Channels
from bridge.adapters.incs.content import content_of, custom_type_of
from bridge.adapters.incs.statuses import numbered_status, provider_error
from bridge.adapters.rcs import wire as rcs
from bridge.errors import Unreadable
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
from bridge.model.frozen import builder
from bridge.model.keys import group_conversation_id, message_key, status_key

_MASK: Final = "X"  # a masked phone: +628XXXXXXXXX
_COUNTRY_LETTERS: Final = 2

# Members of an enum are looked up once: each look-up takes as long as a call.
_AGENT: Final = Role.AGENT
_BY_AGENT: Final = Origin.AGENT
_BY_API: Final = Origin.API
_BY_USER: Final = Origin.USER
_GROUP: Final = ConversationKind.GROUP
_INBOUND: Final = Direction.INBOUND
_OUTBOUND: Final = Direction.OUTBOUND


@final
@attrs.frozen(kw_only=True, weakref_slot=False)
class _Sides:
    """Who wrote to whom; `identity` is what the other side than the business's is known by."""

    direction: Direction
    sender: Party
    recipient: Party
    identity: str
    conversation: Conversation


@final
@attrs.frozen(kw_only=True, weakref_slot=False)
class _Name:
    """What a message is called: by its channel where it has answered, by INCS until then."""

    message_id: str
    incs_id: str | None
    resolved: bool


_new_conversation: Final = builder(Conversation)
_new_name: Final = builder(_Name)
_new_party: Final = builder(Party)
_new_sides: Final = builder(_Sides)


def message_created(
    body: dict[str, JsonValue], channels: Channels, received_at: datetime
) -> list[Event]:
    """Translate a message that INCS stored, and the status of one that went out.

    A status is told even where the content cannot be read. Raises `Unreadable`.
    """
    message = body.get("message")
    if type(message) is not dict:
        raise Unreadable("message", "not an object")
    name = _name(message)
    custom_type = custom_type_of(message)
    scope = channels.scope(
        received_at,
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
    if sides.direction is _OUTBOUND:
        status = _status(body, message, name, sides, scope)
        if status is not None:
            events.append(status)
    return events


def _name(message: dict[str, JsonValue]) -> _Name:
    incs_id = identifier(message.get("id"))
    channel_msg_id = identifier(message.get("channel_msg_id"))
    if channel_msg_id is not None:
        return _new_name(message_id=channel_msg_id, incs_id=incs_id, resolved=True)
    if incs_id is None:
        raise Unreadable("message.id", "missing")
    return _new_name(message_id=incs_id, incs_id=incs_id, resolved=False)


def _message(
    body: dict[str, JsonValue],
    message: dict[str, JsonValue],
    name: _Name,
    sides: _Sides,
    scope: Scope,
) -> Message:
    content, reply_to = content_of(message)
    inbound = sides.direction is _INBOUND
    if not name.resolved:
        key = message_key(wire.CHANNEL, name.message_id)
    elif inbound and scope.channel == rcs.CHANNEL:
        key = message_key(scope.channel, name.message_id, sides.identity)
    else:
        key = message_key(scope.channel, name.message_id)
    return new_message(
        scope,
        key=key,
        occurred_at=instant(message.get("created_at")) or scope.received_at,
        raw=body,
        message_id=name.message_id,
        aliases=(name.incs_id,) if name.resolved and name.incs_id is not None else (),
        id_space=None if name.incs_id is None else wire.CHANNEL,
        direction=sides.direction,
        origin=_BY_USER if inbound else _written_by_us(message),
        conversation=sides.conversation,
        sender=sides.sender,
        recipient=sides.recipient,
        content=content,
        reply_to=reply_to,
    )


def _written_by_us(message: dict[str, JsonValue]) -> Origin:
    return _BY_API if integer(message.get("source")) == wire.SOURCE_API else _BY_AGENT


def _status(
    body: dict[str, JsonValue],
    message: dict[str, JsonValue],
    name: _Name,
    sides: _Sides,
    scope: Scope,
) -> StatusChange | None:
    word = identifier(message.get("channel_status"))
    if word is None or word == wire.STATUS_CREATED:
        return None
    status = numbered_status(word)
    return new_status_change(
        scope,
        key=status_key(
            scope.channel if name.resolved else wire.CHANNEL,
            name.message_id,
            status,
            provider_status=word,
        ),
        occurred_at=instant(message.get("updated_at")) or scope.received_at,
        raw=body,
        message_id=name.message_id,
        status=status,
        provider_status=word,
        error=provider_error(message.get("error")),
        recipient=sides.recipient,
        conversation=sides.conversation,
        id_space=None if name.resolved else wire.CHANNEL,
        resolved=name.resolved,
    )


# --- who wrote to whom -------------------------------------------------------------------


def _sides(message: dict[str, JsonValue], scope: Scope) -> _Sides:
    """Tell the direction, for which INCS has no field: whose side looks like a user's."""
    auth_id = identifier(message.get("auth_id"))
    sender = _side(message, "sender", "send_id", auth_id)
    receiver = _side(message, "receiver", "recv_id", auth_id)
    group = receiver if integer(message.get("session_type")) == wire.SESSION_GROUP else None
    author = _user(sender)
    by_business = author is not None and author.phone and author.phone == scope.business_phone
    if sender is not None and author is not None and not by_business:
        identity = author.phone or sender
        return _new_sides(
            direction=_INBOUND,
            sender=author,
            recipient=_agent(receiver) if group is None else _new_party(),
            identity=identity,
            conversation=_conversation(message, scope, group, identity),
        )
    reader = _user(receiver)
    if receiver is None or (sender is None and reader is None):
        raise Unreadable("message.receiver" if sender is not None else "message.sender", "missing")
    if group is not None or reader is None:
        reader = _new_party(user_id=receiver)
    identity = reader.phone or receiver
    return _new_sides(
        direction=_OUTBOUND,
        sender=_agent(sender),
        recipient=reader,
        identity=identity,
        conversation=_conversation(message, scope, group, identity),
    )


def _side(message: dict[str, JsonValue], name: str, older: str, auth_id: str | None) -> str | None:
    value = identifier(message.get(name)) or identifier(message.get(older))
    if value is None or auth_id is None or "_" not in value:
        return value
    # The older form of a user is "<auth_id>_<phone>".
    return value.removeprefix(f"{auth_id}_") or None


def _agent(account: str | None) -> Party:
    return _new_party(user_id=account, role=_AGENT)


def _user(value: str | None) -> Party | None:
    """Return a user's party, or None for what is an agent's account or a group."""
    if value is None:
        return None
    number = phone(value)
    if number is not None:
        return _new_party(phone=number)
    digits = value.removeprefix("+").rstrip(_MASK)
    if digits != value and digits.isdigit():
        return _new_party()
    # Meta's id of a user who shows no phone: CC.<letters and digits>.
    country, _, rest = value.partition(".")
    if len(country) == _COUNTRY_LETTERS and country.isupper() and rest.replace(".", "").isalnum():
        return _new_party(user_id=value)
    return None


def _conversation(
    message: dict[str, JsonValue], scope: Scope, group: str | None, identity: str
) -> Conversation:
    provider_id = identifier(message.get("conversation_id"))
    if group is None:
        return scope.conversation(identity, provider_id)
    return _new_conversation(
        id=group_conversation_id(scope.channel, scope.account, group),
        kind=_GROUP,
        provider_id=provider_id,
    )
