"""Give what Meta sends new ids and times, each in the form in which it stands there."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Final

from bridge.adapter.samples import derived
from bridge.model import JsonValue

_ID_PREFIXES: Final = ("wamid.", "wacid.")
_LATER: Final = {
    "timestamp": 0,
    "time": 0,
    "expiration_timestamp": 24 * 3600,
    "category_update_timestamp": 24 * 3600,
}
# What tells apart callbacks that have neither id nor time.
_NUMBERS: Final = frozenset({"message_template_id", "chunk_order"})
_NUMBER_BYTES: Final = 6


def freshen(value: JsonValue, nonce: str, now: datetime) -> JsonValue:
    """Return any part of a callback with new ids and times."""
    if isinstance(value, dict):
        return {name: _freshen_field(name, field, nonce, now) for name, field in value.items()}
    if isinstance(value, list):
        return [freshen(item, nonce, now) for item in value]
    if isinstance(value, str) and value.startswith(_ID_PREFIXES):
        prefix, _, _ = value.partition(".")
        return f"{prefix}.{base64.b64encode(derived(value, nonce)).decode()}"
    return value


def _freshen_field(name: str, value: JsonValue, nonce: str, now: datetime) -> JsonValue:
    if name in _LATER and isinstance(value, int | str):
        seconds = int(now.timestamp()) + _LATER[name]
        return str(seconds) if isinstance(value, str) else seconds
    if name in _NUMBERS and isinstance(value, int):
        return int.from_bytes(derived(str(value), nonce)[:_NUMBER_BYTES], "big")
    return freshen(value, nonce, now)
