"""Every sample of the INCS documentation, payload for payload, to try a bridge with.

The first 31 are those. What follows is of every other kind that its tables name: the remaining
statuses, the types of WhatsApp and RCS messages, the numbers of templates and suggestions.

https://document.infin8linx.com
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bridge.adapter import Sample
from bridge.adapter.payload import integer
from bridge.adapters.incs import wire
from bridge.adapters.rcs import samples as rcs
from bridge.adapters.rcs.wire import is_item
from bridge.adapters.whatsapp import samples as whatsapp
from bridge.model import JsonValue

_COUNTING_DIGITS: Final = 8  # the last digits of INCS's numbers; before them stand year and month
_COUNTED: Final = 10**_COUNTING_DIGITS
_ANSWERS: Final = (wire.CUSTOM_WHATSAPP_BUTTON, wire.CUSTOM_RCS_SUGGESTION)

# The documentation gives this id to an order and to a list reply; they are told apart by time.
_REUSED_ID: Final = "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQUFERjg0NDEzNDdFODU3MUMxMAA="


def load() -> tuple[Sample, ...]:
    """Read the samples in the order of the documentation."""
    return rcs.load(__name__)


def freshen(body: dict[str, JsonValue], nonce: str, now: datetime) -> dict[str, JsonValue]:
    """Give a callback new ids and times, each in the form in which it stands there."""
    if is_item(body):
        return rcs.freshen(body, nonce, now)
    fresh = dict(body)
    for name in ("message_id", "template_id"):
        if name in body:
            fresh[name] = _fresh_id(body[name], nonce, now)
    if "received_at" in body:
        fresh["received_at"] = int(now.timestamp())
    if "updated_at" in body:
        fresh["updated_at"] = rcs.rfc3339(now)
    message = body.get("message")
    if type(message) is dict:
        fresh["message"] = _fresh_message(message, nonce, now)
    return fresh


def _fresh_message(
    message: dict[str, JsonValue], nonce: str, now: datetime
) -> dict[str, JsonValue]:
    if is_item(message):
        return rcs.freshen(message, nonce, now)
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
        return {name: whatsapp.freshen(part, nonce, now) for name, part in value.items()}
    fresh = dict(message)
    for name in ("id", "channel_msg_id"):
        if name in message:
            fresh[name] = _fresh_id(message[name], nonce, now)
    if integer(message.get("custom_type")) in _ANSWERS and "custom_id" in message:
        fresh["custom_id"] = _fresh_id(message["custom_id"], nonce, now)
    for name in ("created_at", "updated_at"):
        if name in message:
            fresh[name] = rcs.rfc3339(now)
    return fresh


def _fresh_id(old: JsonValue, nonce: str, now: datetime) -> JsonValue:
    """Return a new id of the old one's shape; what is no id stays as it is."""
    if type(old) is int:
        return old // _COUNTED * _COUNTED + int(_counted(str(old), nonce))
    if wire.channel_of(old) is not None:
        return whatsapp.freshen(old, nonce, now)
    if type(old) is str and old.isascii() and old.isdigit():
        return old[:-_COUNTING_DIGITS] + _counted(old, nonce)
    return rcs.fresh_uuid(old, nonce)


def _counted(old: str, nonce: str) -> str:
    number = int.from_bytes(rcs.derived(old, nonce)) % _COUNTED
    return f"{number:0{_COUNTING_DIGITS}}"
