"""Events by hand, for the suite that every journal has to pass, and how it reads them back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from bridge.journal.protocol import Cursor, Entry, Held, Retry
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
    TemplateAspect,
    TemplateChange,
    Text,
    Unrecognized,
    Unsupported,
)
from bridge.model.keys import (
    conversation_id,
    event_key,
    hour_of,
    message_key,
    status_key,
    template_key,
    unshown_key,
)

NOON: Final = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
ANNE: Final = "+16505551234"
BERT: Final = "+16505559876"
ACCOUNT: Final = "123456123"
ANNES_ID: Final = "US.13491208655302741918"
_PATIENCE: Final = 30.0
_COMMON: Final[dict[str, Any]] = {
    "source": "contract",
    "channel": "whatsapp",
    "occurred_at": NOON,
    "received_at": NOON + timedelta(seconds=1),
}


def message(
    message_id: str,
    *,
    phone: str = ANNE,
    user_id: str | None = None,
    direction: Direction = Direction.INBOUND,
    aliases: tuple[str, ...] = (),
    **fields: Any,  # noqa: ANN401 - of a message
) -> Message:
    """Return a message of a user's, or of the business's to a user; "" is no phone."""
    user = Party(phone=phone or None, user_id=user_id)
    business = Party(phone="+16505556666", role=Role.BUSINESS)
    inbound = direction is Direction.INBOUND
    identity = phone or user_id or message_id
    values: dict[str, Any] = {
        "key": message_key("whatsapp", message_id),
        "account": ACCOUNT,
        "raw": {"id": message_id, "from": phone.removeprefix("+")},
        "message_id": message_id,
        "aliases": aliases,
        "id_space": "incs" if aliases else None,
        "direction": direction,
        "origin": Origin.USER if inbound else Origin.API,
        "conversation": Conversation(id=conversation_id("whatsapp", ACCOUNT, identity)),
        "sender": user if inbound else business,
        "recipient": business if inbound else user,
        "content": Text(text="hello"),
    }
    return Message(**(_COMMON | values | fields))


def poorly(event: Message, number: str = "9001", *, settle: float = _PATIENCE) -> Message:
    """Return what a provider's second, poorer account of a message tells."""
    now = datetime.now(UTC)  # it is to settle for so long from now on
    return attrs.evolve(
        event,
        aliases=(number,),
        id_space="incs",
        content=Text(text="[message]"),
        settle=settle,
        received_at=now,
    )


def unshown(event: Message, number: str = "9001", *, settle: float = _PATIENCE) -> Message:
    """Return what a provider's second account tells that cannot show the message."""
    poor = poorly(event, number, settle=settle)
    return attrs.evolve(poor, key=unshown_key(event.key), content=Unsupported(provider_type="106"))


def status(
    status: Status,
    message_id: str,
    *,
    resolved: bool = True,
    **fields: Any,  # noqa: ANN401 - of a status
) -> StatusChange:
    """Return what became of a message; unresolved, under another space's number of it."""
    channel = "whatsapp" if resolved else "incs"
    values: dict[str, Any] = {
        "key": status_key(channel, message_id, status),
        "channel": channel,
        "account": ACCOUNT if resolved else None,
        "raw": {"id": message_id, "status": status},
        "message_id": message_id,
        "status": status,
        "provider_status": status,
        "id_space": None if resolved else "incs",
        "resolved": resolved,
    }
    return StatusChange(**(_COMMON | values | fields))


def template(value: str, received_at: datetime) -> TemplateChange:
    """Return a change of a template's status that comes without a time."""
    return TemplateChange(
        **(_COMMON | {"occurred_at": received_at, "received_at": received_at}),
        key=template_key("whatsapp", "5552", "status", value, hour_of(received_at)),
        raw={},
        template_id="5552",
        aspect=TemplateAspect.STATUS,
        value=value,
    )


def unwritable(identity: str) -> Notice:
    """Return an event that no JSON can hold."""
    return Notice(
        **_COMMON,
        key=event_key("notice", "whatsapp", identity),
        raw=object(),  # type: ignore[arg-type] # what an adapter must not do
        topic="quality",
    )


def unread(identity: str) -> Unrecognized:
    """Return an item that could not be read."""
    return Unrecognized(
        **(_COMMON | {"channel": "rcs"}),
        key=event_key("unrecognized", "rcs", identity),
        raw={"n": identity},
        reason="no id",
    )


async def read(cursor: Cursor, count: int) -> list[Entry]:
    """Return the next entries, however few the cursor gives at a time."""
    entries: list[Entry] = []
    async with asyncio.timeout(_PATIENCE):
        while len(entries) < count:
            entries += await cursor.read(count - len(entries))
    return entries


def ids(entries: Sequence[Entry]) -> list[str]:
    """Return the ids of the messages among entries."""
    return [entry.event.message_id for entry in entries if isinstance(entry.event, Message)]


FAILED: Final = Retry(tries=5, first_failed_at=100.0, failed_at=160.5, error="ValueError")
"""What is known of a dead letter's tries."""


def failed(entry: Entry) -> Held:
    """Return an entry after the last of its tries."""
    return Held(entry=entry, retry=FAILED)
