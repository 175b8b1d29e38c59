"""The shape that most callbacks have, read in one go: one text of one user with a card.

Nothing here says what is wrong: whatever is not exactly of that shape gives None, and the
thorough reader (`envelope`, `translate`) looks at it then. Where a message is returned, the
thorough reader would return the same one, and nothing else.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/text
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from bridge.adapter import build
from bridge.adapter.payload import unix_times
from bridge.adapter.reading import JsonObject
from bridge.adapters.whatsapp.value_context import remembered_account
from bridge.adapters.whatsapp.wire import CHANNEL, ENTRY, MESSAGES, OBJECT
from bridge.model import Direction, Message, Origin, Party
from bridge.model.keys import conversation_id, message_key

# How many names the objects have that are read here; one more is left to the thorough reader.
_ITEM: Final = 5  # from, id, timestamp, type, text
_VALUE: Final = 4  # messaging_product, metadata, contacts, messages
_PAIR: Final = 2

_is_phone: Final = re.compile(r"[1-9]\d{4,14}", re.ASCII).fullmatch  # as Meta writes E.164

# Members of an enum are looked up once: each look-up takes as long as a call.
_BY_USER: Final = Origin.USER
_INBOUND: Final = Direction.INBOUND


def plain_callback(body: JsonObject, source: str, received_at: datetime) -> Message | None:
    """Return the only message of a callback if it is a plain text, else None; never raises."""
    parts: Any = body
    try:
        if parts["object"] != OBJECT or len(parts) != _PAIR:
            return None
        (entry,) = parts["entry"]
        (change,) = entry["changes"]
        value = change["value"]
        if change["field"] != MESSAGES or len(change) != _PAIR or not entry.keys() <= ENTRY:
            return None
        metadata = value["metadata"]
        account, business = remembered_account(
            metadata["phone_number_id"], metadata["display_phone_number"]
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # a part is missing, or is not what the lines above take it for
    return plain_message(value, source, account, business, received_at)


def plain_message(
    value: JsonObject, source: str, account: str | None, business: Party, received_at: datetime
) -> Message | None:
    """Return the only message of a value if it is a plain text, else None; never raises."""
    if len(value) != _VALUE or business.phone is None:
        return None
    parts: Any = value
    try:
        (item,), (card,) = parts["messages"], parts["contacts"]
        user_id = item.get("from_user_id")
        # Anything more is a context, a referral, …
        if item["type"] != "text" or len(item) != (_ITEM if user_id is None else _ITEM + 1):
            return None
        number, message_id, profile = item["from"], item["id"], card["profile"]
        body, name = item["text"]["body"], profile["name"]
        if not _is_phone(number) or card["wa_id"] != number or len(profile) != 1:
            return None
        if len(card) != _PAIR:
            told = card["user_id"]  # and nothing more, of which the event would not tell
            if len(card) != _PAIR + 1 or (user_id is not None and user_id != told):
                return None
            user_id = told
        metadata = parts["metadata"]
        if len(metadata) != _PAIR or "messaging_product" not in value:
            return None
        if type(metadata["phone_number_id"]) is not str:
            return None
        if type(metadata["display_phone_number"]) is not str:
            return None
        occurred_at = unix_times[item["timestamp"]]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # a part is missing, or is not what the lines above take it for
    user_phone = f"+{number}"
    if (
        type(body) is not str
        or type(name) is not str
        or type(message_id) is not str
        or not message_id
        or not (user_id is None or (type(user_id) is str and user_id))
    ):
        return None
    return build.message(
        source=source,
        channel=CHANNEL,
        account=account,
        received_at=received_at,
        key=message_key(CHANNEL, message_id),
        occurred_at=occurred_at,
        raw=item,
        message_id=message_id,
        direction=_INBOUND,
        origin=_BY_USER,
        conversation=build.conversation(id=conversation_id(CHANNEL, account, user_phone)),
        sender=build.party(phone=user_phone, user_id=user_id, name=name or None),
        recipient=business,
        content=build.text(text=body),
    )
