"""The responses of the admin interface: JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import orjson
from aiohttp import web

from bridge.adapter import Response
from bridge.ingress.responses import web_response
from bridge.journal.protocol import DeadLetter, Entry, Outcome, Retry
from bridge.model.codec import encode
from bridge.ops.operators import Reparsed


def json_response(value: object) -> web.Response:
    """Return a value as JSON."""
    return web_response(Response(body=dumps(value), content_type="application/json"))


def dumps(value: object) -> bytes:
    """Write a value, in which entries and what became of them may stand, as JSON."""
    return orjson.dumps(value, default=_plain)


def _plain(value: object) -> object:
    match value:
        case Entry():
            entry = {"position": value.position, "event": orjson.Fragment(encode(value.event))}
            return entry | ({"mended": True} if value.reparsed else {})
        case Outcome():
            known = {"subscriber": value.subscriber, "standing": value.standing}
            letter = {} if value.letter is None else {"letter": value.letter}
            return known | _retry(value.retry) | letter
        case DeadLetter():
            known = _retry(value.retry) | {"entry": value.entry}
            return {"id": value.id, "subscriber": value.subscriber} | known
        case Reparsed():
            return {
                "mended": value.is_whole,
                "keys": [event.key for event in value.events],
                "published": 0 if value.appended is None else value.appended.published,
            }
    raise TypeError


def _retry(retry: Retry) -> dict[str, Any]:
    known = {name: value for name, value in attrs.asdict(retry).items() if value not in (None, [])}
    times = ("due_at", "first_failed_at", "failed_at")
    return known | {name: _instant(known[name]) for name in times if name in known}


def _instant(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
