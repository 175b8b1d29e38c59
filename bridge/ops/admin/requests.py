"""Reading and checking requests to the admin interface."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from aiohttp import web

from bridge.adapter.payload import instant, phone
from bridge.errors import BridgeError
from bridge.journal.query import MOST, Query
from bridge.ops.interface import SEARCH

_MOST_POSITIONS: Final = 1 << 62
CHATTING: Final = web.AppKey("chatting", bool)
"""Whether users are simulated, so that all personal data is the developer's own."""

_log: Final = logging.getLogger(__name__)


class BadRequest(BridgeError):
    """A request is malformed; the text says why, and quotes nothing personal."""


def query_of(request: web.Request) -> Query:
    """Return the search that a request's parameters describe."""
    values = request.query
    if unknown := values.keys() - SEARCH.keys():
        raise BadRequest(f"unknown: {', '.join(sorted(unknown))}")
    words = ("channel", "account", "content", "conversation", "message_id")
    return Query(
        **{name: values.get(name) for name in words},
        party=identity(values.get("party"), "party"),
        kinds=tuple(values.getall("kind", ())),
        since=_time(values, "since"),
        until=_time(values, "until"),
        reparsed=_flag(values, "mended"),
        after=number(values, "after", 0),
        before=number(values, "before", 0) or None,
        newest_first=bool(_flag(values, "newest_first")),
        limit=limit_of(values),
    )


def _time(values: Mapping[str, str], name: str) -> datetime | None:
    if name not in values:
        return None
    value = instant(values[name])
    if value is None:
        raise BadRequest(f"{name}: expected a time in RFC 3339")
    return value


def _flag(values: Mapping[str, str], name: str) -> bool | None:
    try:
        return {None: None, "true": True, "false": False}[values.get(name)]
    except KeyError:
        raise BadRequest(f"{name}: expected true or false") from None


def is_masked(request: web.Request) -> bool:
    """Return whether personal data is to be masked; an explicit `masked=false` is logged."""
    masked = _flag(request.query, "masked")
    if masked is False:
        # Who develops a bot sees at each step what they wrote themselves.
        level = logging.DEBUG if request.app.get(CHATTING) else logging.INFO
        told = {"path": request.path, "to": request.remote}
        _log.log(level, "personal data is shown", extra=told)
    return bool(masked)


def limit_of(values: Mapping[str, str]) -> int:
    """Return how many things a page may hold."""
    return min(max(number(values, "limit", 100), 1), MOST)


def number(values: Mapping[str, str], name: str, default: int) -> int:
    """Return a parameter that has to be a number."""
    text = values.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 19):  # noqa: PLR2004 - of 64 bits
        raise BadRequest(f"{name}: expected a number")
    return int(text)


async def letters_of(request: web.Request) -> tuple[Sequence[int] | None, str | None]:
    """Return the ids of dead letters (None: all), and the subscriber whose letters are meant."""
    body = await body_of(request, {"ids", "subscriber"})
    ids, subscriber = body.get("ids"), body.get("subscriber")
    if ids is not None and not (isinstance(ids, list) and all(type(each) is int for each in ids)):
        raise BadRequest("ids: expected numbers")
    return ids, word(subscriber, "subscriber")


async def body_of(request: web.Request, allowed: set[str]) -> dict[str, Any]:
    """Return a request's JSON object. Raises `BadRequest` for other names than these."""
    return object_of(await request.read(), allowed)


def object_of(text: bytes, allowed: set[str]) -> dict[str, Any]:
    """Return a JSON object. Raises `BadRequest` for other names than these."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(body, dict) or body.keys() - allowed:
        raise BadRequest(f"expected an object with {', '.join(sorted(allowed))}")
    return body


def keys_of(body: Mapping[str, Any]) -> Sequence[str]:
    """Return the events' keys that an object names."""
    keys = body.get("keys")
    if not isinstance(keys, list) or len(keys) > MOST or not all(type(k) is str for k in keys):
        raise BadRequest(f"keys: expected at most {MOST} strings")
    return keys


def positions_of(body: Mapping[str, Any]) -> Sequence[int]:
    """Return the events' positions that an object names."""
    positions = body.get("positions")
    if not (
        isinstance(positions, list)
        and len(positions) <= MOST
        and all(type(each) is int and 0 < each < _MOST_POSITIONS for each in positions)
    ):
        raise BadRequest(f"positions: expected at most {MOST} numbers")
    return positions


def identity(value: object, name: str) -> str | None:
    """Return a phone number or a user id; the number may be written with punctuation."""
    text = word(value, name)
    if text is None or not text.startswith("+"):
        return text
    number = phone(text)
    if number is None:
        raise BadRequest(f"{name}: expected + and digits, or a user id")
    return number


def word(value: object, name: str) -> str | None:
    """Return a string, or None where it is missing."""
    if value is None or isinstance(value, str):
        return value
    raise BadRequest(f"{name}: expected a string")
