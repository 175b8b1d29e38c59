"""How the admin interface says things: in JSON, and a problem (RFC 9457) where it cannot."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import attrs
import orjson
from aiohttp import web

from bridge.journal.protocol import DeadLetter, Entry, Outcome
from bridge.model.codec import encode
from bridge.runtime import Reparsed

HEADERS: Final = {"Server": "incs-bridge", "X-Content-Type-Options": "nosniff"}


def problem(status: int, detail: str) -> web.Response:
    """Return the response to what cannot be done."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/problem+json",
        headers=HEADERS,
    )


def answer(value: object) -> web.Response:
    """Return a value as the response's JSON."""
    return web.Response(body=dumps(value), content_type="application/json", headers=HEADERS)


def dumps(value: object) -> bytes:
    """Write a value, in which entries and what became of them may stand, as JSON."""
    return orjson.dumps(value, default=_plain)


def _plain(value: object) -> object:
    match value:
        case Entry():
            entry = {"position": value.position, "event": orjson.Fragment(encode(value.event))}
            return entry | ({"mended": True} if value.mended else {})
        case Outcome():
            known = attrs.asdict(value, filter=lambda _, item: item is not None)
            times = ("due_at", "first_failed_at", "failed_at")
            return known | {name: _instant(known[name]) for name in times if name in known}
        case DeadLetter():
            failure = value.failure
            return {
                "id": value.id,
                "subscriber": value.subscriber,
                "tries": failure.tries,
                "first_failed_at": _instant(failure.first_failed_at),
                "failed_at": _instant(failure.failed_at),
                "error": failure.error,
                "entry": failure.entry,
            }
        case Reparsed():
            return {
                "mended": value.mended,
                "keys": [event.key for event in value.events],
                "published": 0 if value.appended is None else value.appended.published,
            }
    raise TypeError


def _instant(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
