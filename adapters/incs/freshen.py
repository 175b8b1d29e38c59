"""Give the callbacks of INCS new ids and times, each in the form in which it stands there."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bridge.adapter.payload import integer
from bridge.adapter.reading import JsonObject
from bridge.adapter.samples import derived, fresh_uuid, rfc3339
from bridge.adapters.incs import wire
from bridge.adapters.rcs.freshen import freshen as freshen_item
from bridge.adapters.rcs.wire import is_item
from bridge.adapters.whatsapp.freshen import freshen as freshen_value
from bridge.model import JsonValue

_COUNTING_DIGITS: Final = 8  # the last digits of INCS's numbers; before them stand year and month
_COUNTED: Final = 10**_COUNTING_DIGITS
_ANSWERS: Final = (wire.CUSTOM_WHATSAPP_BUTTON, wire.CUSTOM_RCS_SUGGESTION)

# The documentation gives this id to an order and to a list reply; they are told apart by time.
_REUSED_ID: Final = "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQUFERjg0NDEzNDdFODU3MUMxMAA="


def freshen(body: JsonObject, nonce: str, now: datetime) -> JsonObject:
    """Return a callback with new ids and times; what it answers moves along."""
    if is_item(body):
        return freshen_item(body, nonce, now)
    fresh = dict(body)
    for name in ("message_id", "template_id"):
        if name in body:
            fresh[name] = _fresh_id(body[name], nonce, now)
    if "received_at" in body:
        fresh["received_at"] = int(now.timestamp())
    if "updated_at" in body:
        fresh["updated_at"] = rfc3339(now)
    message = body.get("message")
    if type(message) is dict:
        fresh["message"] = _fresh_message(message, nonce, now)
    return fresh


def _fresh_message(message: JsonObject, nonce: str, now: datetime) -> JsonObject:
    if is_item(message):
        return freshen_item(message, nonce, now)
    items = message.get("messages")
    if type(items) is list:
        # With its time, the id of two messages becomes two ids.
        items = [
            {**item, "id": f"{_REUSED_ID}/{item.get('timestamp')}"}
            if type(item) is dict and item.get("id") == _REUSED_ID
            else item
            for item in items
        ]
        value = {**message, "messages": items}
        return {name: freshen_value(part, nonce, now) for name, part in value.items()}
    fresh = dict(message)
    for name in ("id", "channel_msg_id"):
        if name in message:
            fresh[name] = _fresh_id(message[name], nonce, now)
    if integer(message.get("custom_type")) in _ANSWERS and "custom_id" in message:
        fresh["custom_id"] = _fresh_id(message["custom_id"], nonce, now)
    for name in ("created_at", "updated_at"):
        if name in message:
            fresh[name] = rfc3339(now)
    return fresh


def _fresh_id(old: JsonValue, nonce: str, now: datetime) -> JsonValue:
    """Return a new id of the old one's shape; what is no id stays as it is."""
    if type(old) is int:
        return old // _COUNTED * _COUNTED + int(_counted(str(old), nonce))
    if wire.channel_of(old) is not None:
        return freshen_value(old, nonce, now)
    if type(old) is str and old.isascii() and old.isdigit():
        return old[:-_COUNTING_DIGITS] + _counted(old, nonce)
    return fresh_uuid(old, nonce)


def _counted(old: str, nonce: str) -> str:
    number = int.from_bytes(derived(old, nonce)) % _COUNTED
    return f"{number:0{_COUNTING_DIGITS}}"
