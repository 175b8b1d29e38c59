"""Events built by hand, for tests that need some."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bridge.keys import conversation_id, message_key, status_key
from bridge.model import (
    Conversation,
    Direction,
    Message,
    Notice,
    Origin,
    Party,
    Role,
    Status,
    StatusChange,
    Text,
)

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
ACCOUNT = "30058"
USER = "+6281519140327"


def message(message_id: str = "wamid.1", *, user: str = USER, **changes: Any) -> Message:
    """An inbound WhatsApp text."""
    values: dict[str, Any] = {
        "key": message_key("whatsapp", message_id),
        "source": "incs",
        "channel": "whatsapp",
        "account": ACCOUNT,
        "occurred_at": NOW,
        "received_at": NOW,
        "raw": {"id": message_id},
        "message_id": message_id,
        "direction": Direction.INBOUND,
        "origin": Origin.USER,
        "conversation": Conversation(id=conversation_id("whatsapp", ACCOUNT, user)),
        "sender": Party(phone=user),
        "recipient": Party(phone="+6281519236680", role=Role.BUSINESS),
        "content": Text(text="hello"),
    }
    return Message(**{**values, **changes})


def sent(message_id: str = "wamid.9", *, user: str = USER, **changes: Any) -> Message:
    """An outbound WhatsApp text, written by an agent."""
    values: dict[str, Any] = {
        "direction": Direction.OUTBOUND,
        "origin": Origin.AGENT,
        "sender": Party(user_id="incs_1", role=Role.AGENT),
        "recipient": Party(phone=user),
    }
    return message(message_id, user=user, **{**values, **changes})


def status(
    status: Status = Status.SENT, message_id: str = "wamid.9", **changes: Any
) -> StatusChange:
    """A status of an outbound WhatsApp message, under the channel's id."""
    values: dict[str, Any] = {
        "key": status_key("whatsapp", message_id, status),
        "source": "incs",
        "channel": "whatsapp",
        "account": ACCOUNT,
        "occurred_at": NOW,
        "received_at": NOW,
        "raw": {"id": message_id, "status": str(status)},
        "message_id": message_id,
        "status": status,
        "provider_status": str(status),
    }
    return StatusChange(**{**values, **changes})


def numbered_status(status_: Status = Status.SENT, number: str = "260400000084") -> StatusChange:
    """The same under INCS's own number, with nothing known about the channel."""
    return status(
        status_,
        number,
        key=status_key("incs", number, status_),
        channel="incs",
        account=None,
        resolved=False,
    )


def notice(topic: str = "account_update", **changes: Any) -> Notice:
    """Something that a provider tells an account."""
    values: dict[str, Any] = {
        "key": f"notice/whatsapp/{topic}",
        "source": "incs",
        "channel": "whatsapp",
        "account": ACCOUNT,
        "occurred_at": NOW,
        "received_at": NOW,
        "raw": {"topic": topic},
        "topic": topic,
    }
    return Notice(**{**values, **changes})
