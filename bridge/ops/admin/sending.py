"""`POST /send`: messages of other programs go out as those of `Bridge.send` do.

`GET /outbox` says how sending stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

import attrs
import orjson
from aiohttp import web

from bridge.adapter import Request
from bridge.adapter.payload import instant
from bridge.errors import CodecError, NotRunning
from bridge.journal.query import MOST
from bridge.model import Content, Status, StatusChange, Template
from bridge.model.codec import content_from_dict, encode
from bridge.ops.admin.guard import SEND
from bridge.ops.admin.requests import BadRequest, body_of, is_masked, limit_of, word
from bridge.ops.admin.responses import json_response
from bridge.ops.operators import Operators, Served
from bridge.outbox.composing import Adapt, Asking
from bridge.outbox.failures import failures
from bridge.outbox.ways import NAME as OUTBOX
from bridge.settings import seconds

NAMES: Final = frozenset(
    {"to", "via", "text", "content", "key", "otherwise", "fallback", "not_before", "expires"}
    | {"adapt", "force", "wait", "until", "dry_run"}
)
KEY_HEADER: Final = "Idempotency-Key"
"""https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/"""

_LONGEST_WAIT: Final = 60.0
_MOST_WAYS: Final = 8
_SHOWN: Final = frozenset({"content-type"})
_HIDDEN: Final = "********"


def add_to(app: web.Application, operators: Operators) -> None:
    """Take messages to send, and say how sending stands."""

    async def send(request: web.Request) -> web.Response:
        return await _send(request, operators)

    async def outbox(request: web.Request) -> web.Response:
        return await _outbox(request, operators)

    app.router.add_post(SEND, send)
    app.router.add_get("/outbox", outbox)


async def _outbox(request: web.Request, operators: Operators) -> web.Response:
    """Return how sending stands; `sending` is null where nothing can be sent.

    The counts are of what is held back, up to 1,000; `held` lists the first of it. A message of
    which a request has begun is under way, and in doubt once that has failed.
    """
    masked, limit = is_masked(request), limit_of(request.query)
    served = next((s for s in await operators.subscribers() if s.state.name == OUTBOX), None)
    held = [] if served is None else await operators.held(OUTBOX, limit=MOST)
    begun = [each.retry for each in held if each.retry.begun]
    in_doubt = sum(each.error is not None for each in begun)
    failed = await failures(operators.journal, operators.outbox.ways)
    told = {
        "sending": None if served is None else _standing(served),
        "put_off": len(held) - len(begun),
        "under_way": len(begun) - in_doubt,
        "in_doubt": in_doubt,
        "held": held[:limit],
        "refusals": operators.outbox.refusals,
        "failures": [attrs.asdict(each) for each in failed],
    }
    return json_response(told, masked=masked)


def _standing(served: Served) -> Mapping[str, object]:
    state = served.state
    return {
        "running": served.running,
        "waiting": state.lag + state.held,
        "lag_seconds": round(served.lag_seconds, 3),
        "held_lanes": served.held_lanes,
        "dead": state.dead,
    }


async def _send(request: web.Request, operators: Operators) -> web.Response:
    """Make a message durable and return its names, or what would go out for it.

    With `wait`, also the status that came of it within so many seconds.
    """
    body = await body_of(request, set(NAMES))
    to, via = _needed(body, "to"), _needed(body, "via")
    content, options, outbox = _content(body), _options(request, body), operators.outbox
    if body.get("dry_run") is True:
        requests = outbox.compose(to, content, via=via, **options)
        return json_response({"requests": [_shown(each) for each in requests]})
    if not (await operators.health()).ready:
        raise NotRunning("the bridge takes no messages now")
    wait, until = _wait(body), _until(body)
    with operators.operation("send") as details:
        sending = await outbox.send(to, content, via=via, **options)
        details.count = len(sending.messages)
    told: dict[str, object] = {
        "message_id": sending.message_id,
        "key": sending.key,
        "is_new": sending.is_new,
        "events": [message.key for message in sending.messages],
    }
    if wait:
        change: StatusChange | None
        try:
            change = await sending.outcome(wait, until=until)
        except TimeoutError:
            change = None
        told["outcome"] = None if change is None else orjson.Fragment(encode(change))
    return json_response(told)


def _needed(body: Mapping[str, Any], name: str) -> str:
    text = word(body.get(name), name)
    if not text:
        raise BadRequest(f"{name}: missing")
    return text


def _content(body: Mapping[str, Any]) -> Content | str:
    if ("text" in body) == ("content" in body):
        raise BadRequest("expected either a text or a content")
    if "text" in body:
        return _needed(body, "text")
    return _read(body["content"], "content")


def _read(value: Any, name: str) -> Content:  # noqa: ANN401 - JSON
    try:
        return content_from_dict(value)
    except CodecError as error:
        raise BadRequest(f"{name}: {error}") from None


def _options(request: web.Request, body: Mapping[str, Any]) -> Asking:
    options = Asking()
    key = word(body.get("key"), "key")
    header = request.headers.get(KEY_HEADER, "").strip().strip('"')
    if key and header and key != header:
        raise BadRequest(f"key: another one than in {KEY_HEADER}")
    if key or header:
        options["key"] = key or header
    if body.get("otherwise") is not None:
        template = _read(body["otherwise"], "otherwise")
        if not isinstance(template, Template):
            raise BadRequest("otherwise: expected a template")
        options["otherwise"] = template
    fallback = body.get("fallback", [])
    if (
        not isinstance(fallback, list)
        or len(fallback) > _MOST_WAYS
        or not all(type(each) is str for each in fallback)
    ):
        raise BadRequest(f"fallback: expected at most {_MOST_WAYS} strings")
    options["fallback"] = fallback
    if (when := word(body.get("not_before"), "not_before")) is not None:
        options["not_before"] = instant(when) or when
    if (when := word(body.get("expires"), "expires")) is not None:
        options["expires"] = instant(when) or when
    adapt = body.get("adapt", "degrade")
    if adapt not in get_args(Adapt):
        raise BadRequest(f"adapt: expected one of {', '.join(get_args(Adapt))}")
    options["adapt"] = adapt
    options["force"] = body.get("force") is True
    return options


def _wait(body: Mapping[str, Any]) -> float:
    wait = body.get("wait", 0)
    told = seconds(wait) if type(wait) is str else wait
    if not isinstance(told, int | float) or not 0 <= told <= _LONGEST_WAIT:
        raise BadRequest(f"wait: expected at most {_LONGEST_WAIT:g} seconds")
    return float(told)


def _until(body: Mapping[str, Any]) -> Status:
    try:
        return Status(body.get("until", Status.ACCEPTED))
    except ValueError:
        raise BadRequest(f"until: expected one of {', '.join(Status)}") from None


def _shown(request: Request) -> Mapping[str, object]:
    """Return a request without its secrets."""
    headers = {
        name: value if name.lower() in _SHOWN else _HIDDEN
        for name, value in request.headers.items()
    }
    if request.authorization is not None:
        headers["Authorization"] = _HIDDEN
    return {
        "method": request.method,
        "url": request.url,
        "headers": headers,
        "body": orjson.Fragment(request.body) if request.body else None,
    }
