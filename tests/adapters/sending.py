"""What the tests of senders share: a message to send, and the cases of the documentation.

`data/sending/<adapter>.json` holds one case for each documented request: the content in our own
JSON, and the request written by hand from the page that `source` names.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bridge.adapter import Response
from bridge.model import (
    Content,
    Conversation,
    ConversationKind,
    Direction,
    Message,
    Origin,
    Party,
    ReplyTo,
    Role,
    Text,
)
from bridge.model.codec import from_dict, to_dict

DATA = Path(__file__).parent / "data" / "sending"
NOON = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
OURS = "7d1e2c6a-0f5b-4f0e-9d7e-3b1a5c2f4e6d"
USER = "+16505551234"


def outbound(
    content: Content,
    *,
    channel: str = "whatsapp",
    account: str | None = None,
    recipient: Party | None = None,
    reply_to: str | None = None,
    group: str | None = None,
) -> Message:
    """Return a message of ours to a user."""
    return Message(
        key=f"message/{channel}/{OURS}",
        source="test",
        channel=channel,
        account=account,
        occurred_at=NOON,
        received_at=NOON,
        raw=None,
        message_id=OURS,
        direction=Direction.OUTBOUND,
        origin=Origin.API,
        conversation=Conversation(
            id=f"{channel}:{account or ''}:{USER}",
            kind=ConversationKind.DIRECT if group is None else ConversationKind.GROUP,
            provider_id=group,
        ),
        sender=Party(role=Role.BUSINESS),
        recipient=Party(phone=USER) if recipient is None else recipient,
        content=content,
        reply_to=None if reply_to is None else ReplyTo(message_id=reply_to),
    )


def cases(adapter: str) -> list[dict[str, Any]]:
    """Return the documented requests of one provider."""
    return json.loads((DATA / f"{adapter}.json").read_text("utf-8"))


def message_of(case: dict[str, Any], **fields: Any) -> Message:
    """Return the message of a case; `fields` are those of our JSON that it does not tell."""
    told = to_dict(outbound(Text(text="")))
    told |= fields
    told |= {
        name: case[name]
        for name in ("channel", "content", "reply_to", "recipient", "conversation")
        if name in case
    }
    message = from_dict(told)
    assert isinstance(message, Message)
    return message


def response(body: Any, status: int = 200, **headers: str) -> Response:
    """Return a response of a provider; what is no bytes becomes JSON."""
    return Response(
        status=status,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
