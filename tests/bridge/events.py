"""Events made by hand, for tests of what carries events and does not look into them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.model import (
    Conversation,
    ConversationKind,
    Direction,
    Message,
    Notice,
    Origin,
    Party,
    Role,
    Status,
    StatusChange,
    Text,
    Unrecognized,
)
from bridge.model.keys import (
    conversation_id,
    event_key,
    group_conversation_id,
    message_key,
    status_key,
)

NOON = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
ACCOUNT = "30058"
USER_PHONE = "+16505551234"
BUSINESS = Party(phone="+16505556666", role=Role.BUSINESS)


def message(
    message_id: str = "wamid.1",
    *,
    user: str = USER_PHONE,
    text: str = "hello",
    direction: Direction = Direction.INBOUND,
    aliases: tuple[str, ...] = (),
    channel: str = "whatsapp",
    key: str | None = None,
    **fields: Any,
) -> Message:
    """Return a text message of one user; outbound ones go the other way."""
    party = Party(phone=user)
    inbound = direction is Direction.INBOUND
    values: dict[str, Any] = {
        "key": key or message_key(channel, message_id),
        "source": "test",
        "channel": channel,
        "account": ACCOUNT,
        "occurred_at": NOON,
        "received_at": NOON + timedelta(seconds=1),
        "raw": {"id": message_id, "from": user.removeprefix("+"), "text": {"body": text}},
        "message_id": message_id,
        "aliases": aliases,
        "direction": direction,
        "origin": Origin.USER if inbound else Origin.API,
        "conversation": Conversation(id=conversation_id(channel, ACCOUNT, user)),
        "sender": party if inbound else BUSINESS,
        "recipient": BUSINESS if inbound else party,
        "content": Text(text=text),
    }
    return Message(**(values | fields))


def sent(message_id: str = "wamid.1", **fields: Any) -> Message:
    """Return a text message of the business."""
    return message(message_id, direction=Direction.OUTBOUND, **fields)


def created(number: str, message_id: str | None = None, **fields: Any) -> Message:
    """Return the outbound message of INCS's `message_created`, which alone ties the two ids.

    Without a channel's id the message goes by INCS's number.
    """
    if message_id is None:
        return message(
            number,
            direction=Direction.OUTBOUND,
            key=message_key("incs", number),
            id_space="incs",
            **fields,
        )
    return message(
        message_id, direction=Direction.OUTBOUND, aliases=(number,), id_space="incs", **fields
    )


def status(
    status: Status = Status.DELIVERED,
    message_id: str = "wamid.1",
    *,
    channel: str = "whatsapp",
    word: str | None = None,
    participant: str | None = None,
    group: str = "group-1",
    **fields: Any,
) -> StatusChange:
    """Return a status under the channel's id; with `participant`, that one's in a group."""
    values: dict[str, Any] = {
        "key": status_key(
            channel, message_id, status, participant=participant, provider_status=word
        ),
        "source": "test",
        "channel": channel,
        "account": ACCOUNT,
        "occurred_at": NOON,
        "received_at": NOON + timedelta(seconds=1),
        "raw": {"id": message_id, "status": word or status},
        "message_id": message_id,
        "status": status,
        "provider_status": word or status,
    }
    if participant is not None:
        values["recipient"] = Party(phone=participant)
        values["conversation"] = Conversation(
            id=group_conversation_id(channel, ACCOUNT, group), kind=ConversationKind.GROUP
        )
    return StatusChange(**(values | fields))


def numbered_status(
    status: Status = Status.DELIVERED, number: str = "9001", *, word: str | None = None
) -> StatusChange:
    """Return a status of INCS's `message_status_updated`, which knows its own number only."""
    return StatusChange(
        key=status_key("incs", number, status, provider_status=word),
        source="test",
        channel="incs",
        occurred_at=NOON,
        received_at=NOON + timedelta(seconds=1),
        raw={"message": {"id": number}, "status": word or status},
        message_id=number,
        status=status,
        provider_status=word or status,
        id_space="incs",
        resolved=False,
    )


def notice(identity: str = "1", **fields: Any) -> Notice:
    """Return something that a provider tells an account."""
    values: dict[str, Any] = {
        "key": event_key("notice", "whatsapp", identity),
        "source": "test",
        "channel": "whatsapp",
        "account": ACCOUNT,
        "occurred_at": NOON,
        "received_at": NOON,
        "raw": {"event": "quality", "n": identity},
        "topic": "quality",
    }
    return Notice(**(values | fields))


def unrecognized(identity: str = "1", **fields: Any) -> Unrecognized:
    """Return an item that could not be read."""
    values: dict[str, Any] = {
        "key": event_key("unrecognized", "whatsapp", identity),
        "source": "test",
        "channel": "whatsapp",
        "occurred_at": NOON,
        "received_at": NOON,
        "raw": {"n": identity},
        "reason": "no id",
    }
    return Unrecognized(**(values | fields))
