"""Read of an unproved body no more than it takes to prove it.

Google's envelope is one long string, `message.data`, and little around it. The string is taken
out of the raw bytes, and only what is left is read as JSON. So a body of a stranger costs a
search and a hash, whatever it is made of.

https://developers.google.com/business-communications/rcs-business-messaging/guides/integrate/webhooks
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from bridge.adapter.body import read_embedded, read_object
from bridge.adapter.payload import base64_bytes, mapping, sole
from bridge.adapter.reading import JsonObject
from bridge.errors import MalformedBody
from bridge.model import JsonValue

_MAX_AROUND: Final = 16 << 10
"""How many bytes may stand around `message.data`; Google writes some 500."""
MAX_HANDSHAKE: Final = 8 << 10
"""How many bytes a handshake may have; it is a token and a secret."""
_DATA: Final = re.compile(rb'"data"[ \t\r\n]*+:[ \t\r\n]*+"')


def read_data(body: bytes) -> str | None:
    """Return `message.data` of an envelope, or None where the body is none."""
    if len(body) <= _MAX_AROUND:  # nearly all, and read at once
        return _data(body)
    found = _DATA.search(body)
    if found is None:
        return None
    start = found.end()
    end = body.find(b'"', start)
    if len(body) - (end - start) > _MAX_AROUND:
        return None
    data = _data(body[:start] + body[end:])
    if data != "":
        return data
    try:  # the string that was taken out; some write its letter = as an escape
        taken: str = orjson.loads(body[start - 1 : end + 1])
    except orjson.JSONDecodeError:
        return None
    return taken


def _data(body: bytes) -> str | None:
    data = mapping(_read(body).get("message")).get("data")
    return data if type(data) is str else None


def held_in(data: JsonValue) -> JsonObject:
    """Return the object that an envelope holds, encoded or decoded; an empty one where none is.

    One that a gateway hands on may be JSON in a string, or stand in an array alone.
    """
    if type(data) is str:
        decoded = base64_bytes(data)
        data = read_embedded(data if decoded is None else decoded.decode("utf-8", "replace"))
    return sole(data)


def read_handshake(body: bytes) -> JsonObject | None:
    """Return the body of a handshake, or None for any other."""
    if len(body) > MAX_HANDSHAKE or b'"clientToken"' not in body:
        return None
    told = _read(body)
    is_envelope = type(mapping(told.get("message")).get("data")) is str
    return told if "clientToken" in told and not is_envelope else None


def _read(body: bytes) -> JsonObject:
    try:
        return read_object(body)
    except MalformedBody:
        return {}
