"""INCS's own form of a message, in both directions, and the status it implies.

The same message reaches us in the channel's form too (`new_message`), so keys are made of the
channel's id; INCS's number stays beside it as an alias.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, final

import attrs

from bridge.adapter import Scope, build
from bridge.adapter.payload import identifier, instant, integer, phone
from bridge.adapter.reading import JsonObject, required_id, required_object
from bridge.adapters.incs import wire
from bridge.adapters.incs.capabilities import VIBER
from bridge.adapters.incs.channels import Channels
from bridge.adapters.incs.content import content_of, custom_type_of
from bridge.adapters.incs.statuses import status_change, status_of
from bridge.adapters.rcs import wire as rcs
from bridge.adapters.whatsapp.wire import party
from bridge.errors import Unreadable
from bridge.model import (
    Conversation,
    ConversationKind,
    Direction,
    Event,
    Message,
    Origin,
    Party,
    Role,
)
from bridge.model.frozen import builder
from bridge.model.keys import folded

_DIRECT: Final = ConversationKind.DIRECT
_NO_ID: Final = "0"  # as `custom_id` is where there is none
_AGENT: Final = re.compile(r"[A-Za-z]+_\d+", re.ASCII)  # incs_1, staff_1001
_MASK: Final = "X"  # a masked phone: +628XXXXXXXXX
_COUNTRY_LETTERS: Final = 2


@final
@attrs.frozen(kw_only=True, weakref_slot=False)
class _Sides:
    """Who wrote to whom; `identity` is what the other side than the business's is known by."""

    direction: Direction
    sender: Party
    recipient: Party
    identity: str
    conversation: Conversation


_new_sides: Final = builder(_Sides)


def message_created(body: JsonObject, channels: Channels, received_at: datetime) -> list[Event]:
    """Translate a message that INCS stored, and the status of one that went out.

    Raises `Unreadable` where it has no id, or does not say who wrote to whom.
    """
    message = required_object(body, "message")
    channel_msg_id = identifier(message.get("channel_msg_id"))
    if channel_msg_id == _NO_ID:
        channel_msg_id = None
    # Until its channel has answered, a message is called by INCS's number.
    message_id = channel_msg_id or required_id(body, "message", "id")
    custom_type = custom_type_of(message)
    scope = channels.scope(
        body,
        received_at,
        evidence=wire.channel_of(message_id)
        or (wire.CUSTOM_CHANNELS.get(custom_type) if custom_type is not None else None),
        channel_id=message.get("auth_id"),
    )
    sides = _sides(message, message_id, scope)
    events: list[Event] = [_message(message, channel_msg_id, sides, scope, channels)]
    word = identifier(message.get("channel_status"))
    if sides.direction is Direction.OUTBOUND and word not in (None, wire.STATUS_CREATED):
        events.append(
            status_change(
                scope,
                message_id,
                status_of(word),
                word,
                at=message.get("updated_at"),
                error=message.get("error"),
                recipient=sides.recipient if sides.conversation.kind is _DIRECT else None,
                conversation=sides.conversation,
                resolved=channel_msg_id is not None,
            )
        )
    return events


def _message(
    message: JsonObject,
    channel_msg_id: str | None,
    sides: _Sides,
    scope: Scope,
    channels: Channels,
) -> Message:
    content, reply_to = content_of(message)
    incs_id = identifier(message.get("id"))
    message_id = channel_msg_id or incs_id or ""
    aliases: tuple[str, ...] = () if channel_msg_id is None or incs_id is None else (incs_id,)
    if channel_msg_id is not None and aliases and channels.is_open(channel_msg_id):
        aliases += (channel_msg_id,)  # a status may name it so, and not the channel
    inbound = sides.direction is Direction.INBOUND
    origin = Origin.USER if inbound else _written_by_us(message)
    # No other callback of a user's message on Viber is documented, so nothing fuller comes.
    settle = channels.settle if inbound and scope.channel != VIBER else None
    if origin is Origin.API and scope.account in channels.senders:
        settle = channels.overtake  # until the response says whether it is the bridge's own
    by_sender = inbound and scope.channel == rcs.CHANNEL and channel_msg_id is not None
    return build.message(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
        key=scope.message_key(
            content,
            message_id,
            sides.identity if by_sender else None,
            id_space=wire.CHANNEL if channel_msg_id is None else scope.channel,
        ),
        occurred_at=instant(message.get("created_at")) or scope.received_at,
        raw=scope.body,
        message_id=message_id,
        aliases=aliases,
        id_space=None if incs_id is None else wire.CHANNEL,
        direction=sides.direction,
        origin=origin,
        conversation=sides.conversation,
        sender=sides.sender,
        recipient=sides.recipient,
        content=content,
        reply_to=reply_to,
        settle=settle if aliases else None,
    )


def _written_by_us(message: JsonObject) -> Origin:
    return Origin.API if integer(message.get("source")) == wire.SOURCE_API else Origin.AGENT


# --- who wrote to whom -------------------------------------------------------------------


def _sides(message: JsonObject, message_id: str, scope: Scope) -> _Sides:
    """Tell the direction, for which INCS has no field: whose side looks like a user's.

    Where both do, the side is the business's that has its number.
    """
    auth_id = identifier(message.get("auth_id"))
    sender = _side(message, "sender", "send_id", auth_id)
    receiver = _side(message, "receiver", "recv_id", auth_id)
    if sender is None and receiver is None:
        raise Unreadable("message.sender", "missing")
    group = receiver if integer(message.get("session_type")) == wire.SESSION_GROUP else None
    author, reader = _user(sender), _user(receiver)
    if author is None:
        inbound = reader is None and _is_inbound(sender, receiver)
    else:
        is_named = reader is not None or group is not None
        inbound = not (is_named and _is_ours(author, scope))
    if inbound:
        user, named = author or build.party(user_id=sender), sender
        agent = build.party(user_id=receiver, role=Role.AGENT)
        parties = (user, build.party() if group else agent)
    else:
        if group is not None:
            reader = build.party()  # a group is nobody
        elif reader is None:
            reader = build.party(user_id=receiver)
        user, named = reader, receiver
        parties = (build.party(user_id=sender, role=Role.AGENT), reader)
    identity = user.phone or named or f"message:{message_id}"
    provider_id = identifier(message.get("conversation_id"))
    return _new_sides(
        direction=Direction.INBOUND if inbound else Direction.OUTBOUND,
        sender=parties[0],
        recipient=parties[1],
        identity=identity,
        conversation=scope.conversation(identity, provider_id)
        if group is None
        else scope.group(group, provider_id),
    )


def _is_ours(author: Party, scope: Scope) -> bool:
    ours = scope.business.phone
    return None not in (author.phone, ours) and folded(author.phone or "") == folded(ours or "")


def _is_inbound(sender: str | None, receiver: str | None) -> bool:
    """Tell where neither is a user's phone or id: an agent's account is the business's side."""
    return sender is None or (_is_agent(receiver) and not _is_agent(sender))


def _is_agent(value: str | None) -> bool:
    return value is not None and _AGENT.fullmatch(value) is not None


def _side(message: JsonObject, name: str, older: str, auth_id: str | None) -> str | None:
    value = identifier(message.get(name))
    if value in (None, _NO_ID):
        value = identifier(message.get(older))
    if value == _NO_ID:
        return None
    if value is None or auth_id is None or "_" not in value:
        return value
    # The older form of a user is "<auth_id>_<phone>".
    return value.removeprefix(f"{auth_id}_") or None


def _user(value: str | None) -> Party | None:
    """Return a user's party, or None for what is an agent's account or a group."""
    if value is None:
        return None
    number = phone(value)
    if number is not None:
        return build.party(phone=number)
    digits = value.removeprefix("+").rstrip(_MASK)
    if digits != value and digits.isdigit():
        return build.party()
    # Meta's id of a user who shows no phone: CC.<letters and digits>.
    country, _, rest = value.partition(".")
    if len(country) == _COUNTRY_LETTERS and country.isupper() and rest.replace(".", "").isalnum():
        return party(value, None, None, {})
    return None
