"""The shape that most callbacks have, read in one go: one text of one user with a card.

`plain_message` never says what is wrong: it returns None for whatever is not exactly of that
shape, and the thorough reader looks at it then. Where it returns a message, the thorough reader
would return the same one.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/text
"""

from __future__ import annotations

from typing import Final

from adapters.whatsapp.surroundings import business_of
from adapters.whatsapp.wire import JsonObject
from bridge.adapter import Scope
from bridge.frozen import builder
from bridge.keys import conversation_id, message_key
from bridge.model import Conversation, Direction, JsonValue, Message, Origin, Party, Text
from bridge.payload import instant, phone

_FIELDS: Final = 5  # from, id, timestamp, type, text

# Members of an enum are looked up once: each look-up takes as long as a call.
_BY_USER: Final = Origin.USER
_INBOUND: Final = Direction.INBOUND

_new_conversation: Final = builder(Conversation)
_new_message: Final = builder(Message)
_new_party: Final = builder(Party)
_new_text: Final = builder(Text)


def plain_message(value: JsonObject, scope: Scope) -> Message | None:
    """Return the only message of a value if it is a plain text, else None; never raises."""
    item, card = _only(value.get("messages")), _only(value.get("contacts"))
    if item is None or card is None or "statuses" in value or "errors" in value:
        return None
    number, message_id, text = item.get("from"), item.get("id"), item.get("text")
    profile, user_id = card.get("profile"), item.get("from_user_id")
    if (
        len(item) != (_FIELDS if user_id is None else _FIELDS + 1)  # no context, no referral, …
        or item.get("type") != "text"
        or type(number) is not str
        or type(message_id) is not str
        or type(text) is not dict
        or type(profile) is not dict
        or "username" in profile
        or card.get("wa_id") != number
        or not (message_id and number.isdigit())
    ):
        return None
    if user_id is None:
        user_id = card.get("user_id")
    user_phone, occurred_at = phone(number), instant(item.get("timestamp"))
    body, name = text.get("body"), profile.get("name")
    if (
        user_phone is None
        or occurred_at is None
        or type(body) is not str
        or type(name) is not str
        or not (user_id is None or (type(user_id) is str and user_id))
    ):
        return None
    return _new_message(
        key=message_key(scope.channel, message_id),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=occurred_at,
        received_at=scope.received_at,
        raw=item,
        message_id=message_id,
        direction=_INBOUND,
        origin=_BY_USER,
        conversation=_new_conversation(
            id=conversation_id(scope.channel, scope.account, user_phone)
        ),
        sender=_new_party(phone=user_phone, user_id=user_id, name=name or None),
        recipient=business_of(value, scope),
        content=_new_text(text=body),
    )


def _only(items: JsonValue) -> JsonObject | None:
    if type(items) is list and len(items) == 1 and type(items[0]) is dict:
        return items[0]
    return None
