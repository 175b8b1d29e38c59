"""The responses of the admin interface: JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import orjson
from aiohttp import web

from bridge.adapter import Response
from bridge.ingress.responses import web_response
from bridge.journal.protocol import DeadLetter, Entry, Held, Outcome, Retry
from bridge.model import Event, masking
from bridge.model.codec import encode, to_dict
from bridge.model.masking import mask_phones_in, mask_told_in
from bridge.ops.callbacks import KnownCallback
from bridge.ops.results import Reparsed


def json_response(value: object, *, masked: bool = False) -> web.Response:
    """Return a value as JSON, with personal data masked or not."""
    body = dumps(value, masked=masked)
    return web_response(Response(body=body, content_type="application/json"))


def dumps(value: object, *, masked: bool = False) -> bytes:
    """Write a value as JSON; it may hold entries and outcomes."""
    return orjson.dumps(value, default=_masked if masked else _plain)


def _masked(value: object) -> object:
    match value:
        case Entry():
            return _entry(value, masking.masked(to_dict(value.event)))
        case DeadLetter() | Held():
            return masked_failure(_plain(value), value.entry.event)
        case KnownCallback():
            return _plain(value)
        case Reparsed():
            return _plain(value) | {"keys": [mask_phones_in(each.key) for each in value.events]}
    raise TypeError


def masked_failure(failure: Mapping[str, Any], event: Event) -> Mapping[str, Any]:
    """Return a failure without personal data, and without quotations of its event."""
    known = dict(failure)
    if "error" in known:
        known["error"] = mask_told_in(known["error"], to_dict(event))
    if "trace" in known:
        known["trace"] = [mask_phones_in(line) for line in known["trace"]]
    return known


def masked_outcomes(outcomes: Iterable[Outcome], event: Event) -> Sequence[Mapping[str, Any]]:
    """Return the outcomes of an event, without personal data."""
    return [masked_failure(_plain(each), event) for each in outcomes]


def _entry(value: Entry, event: object) -> Mapping[str, Any]:
    entry = {"position": value.position, "event": event}
    return entry | ({"mended": True} if value.reparsed else {})


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON
    match value:
        case Entry():
            return _entry(value, orjson.Fragment(encode(value.event)))
        case Outcome():
            known = {"subscriber": value.subscriber, "standing": value.standing}
            letter = {} if value.letter is None else {"letter": value.letter}
            return known | _retry(value.retry) | letter
        case DeadLetter():
            known = _retry(value.retry) | {"entry": value.entry}
            return {"id": value.id, "subscriber": value.subscriber} | known
        case Held():
            return _retry(value.retry) | {"entry": value.entry}
        case KnownCallback():
            received_at = instant(value.received_at.timestamp())
            return attrs.asdict(value) | {"received_at": received_at}
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
    return known | {name: instant(known[name]) for name in times if name in known}


def instant(seconds: float | None) -> str | None:
    """Return seconds since the epoch as a time of JSON."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
