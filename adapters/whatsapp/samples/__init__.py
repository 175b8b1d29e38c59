"""Callbacks as Meta documents them, to try a bridge with.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from importlib.resources import files
from typing import Final

from bridge.adapter import Sample
from bridge.model import JsonValue

NAMES: Final = (
    "text",
    "image",
    "voice",
    "audio",
    "video",
    "document",
    "sticker",
    "location",
    "contacts",
    "quoted-reply",
    "button",
    "button-reply",
    "list",
    "flow",
    "order",
    "reaction",
    "reaction-removed",
    "edit",
    "revoke",
    "referral",
    "product-enquiry",
    "group-text",
    "username",
    "number-change",
    "user-id-change",
    "identity-change",
    "call-permission",
    "request-welcome",
    "unsupported",
    "batch",
    "statuses",
    "played",
    "failed",
    "group-statuses",
    "echo",
    "history",
    "template-status",
    "template-rejected",
    "template-category",
    "template-quality",
    "template-components",
    "preferences",
    "contacts-sync",
    "call",
    "call-status",
    "group",
    "user-id-update",
    "account-alert",
    "account-update",
    "phone-number-quality",
)
"""The samples in the order in which they are best read: a file each."""

_ID_PREFIXES: Final = ("wamid.", "wacid.")
_LATER: Final = {
    "timestamp": 0,
    "time": 0,
    "expiration_timestamp": 24 * 3600,
    "category_update_timestamp": 24 * 3600,
}
_TEMPLATE_ID: Final = "message_template_id"
_TEMPLATE_ID_BYTES: Final = 6


def load() -> tuple[Sample, ...]:
    """Read every sample."""
    folder = files(__name__)
    read = [(name, json.loads((folder / f"{name}.json").read_text("utf-8"))) for name in NAMES]
    return tuple(
        Sample(name=name, title=sample["title"], body=sample["body"]) for name, sample in read
    )


def freshen(value: JsonValue, nonce: str, now: datetime) -> JsonValue:
    """Give what Meta sends new ids and times, in the form in which they stand there."""
    if isinstance(value, dict):
        return {name: _freshen_field(name, field, nonce, now) for name, field in value.items()}
    if isinstance(value, list):
        return [freshen(item, nonce, now) for item in value]
    if isinstance(value, str) and value.startswith(_ID_PREFIXES):
        prefix, _, _ = value.partition(".")
        return f"{prefix}.{base64.b64encode(_digest(value, nonce)).decode()}"
    return value


def _freshen_field(name: str, value: JsonValue, nonce: str, now: datetime) -> JsonValue:
    if name in _LATER and isinstance(value, int | str):
        seconds = int(now.timestamp()) + _LATER[name]
        return str(seconds) if isinstance(value, str) else seconds
    if name == _TEMPLATE_ID and isinstance(value, int):
        return int.from_bytes(_digest(str(value), nonce)[:_TEMPLATE_ID_BYTES], "big")
    return freshen(value, nonce, now)


def _digest(value: str, nonce: str) -> bytes:
    return hashlib.sha256(f"{nonce}/{value}".encode()).digest()
