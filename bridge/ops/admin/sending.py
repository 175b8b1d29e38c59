"""`POST /send`, which is `Bridge.send` for other programs, and `GET /outbox`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
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
from bridge.ops.admin.forms import FORM, Form, Forms
from bridge.ops.admin.guard import SEND
from bridge.ops.admin.requests import BadRequest, body_of, is_masked, limit_of, word
from bridge.ops.admin.responses import json_response
from bridge.ops.openapi import SEND_FILE, SEND_MESSAGE
from bridge.ops.operators import Operators
from bridge.ops.results import Served
from bridge.outbox.composing import Adapt, Asking
from bridge.outbox.failures import failures
from bridge.outbox.sending import Sending
from bridge.outbox.uploads import Details
from bridge.outbox.ways import NAME as OUTBOX
from bridge.settings import seconds

KEY_HEADER: Final = "Idempotency-Key"
"""https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/"""

_LONGEST_WAIT: Final = 60.0
_MOST_WAYS: Final = 8
_SHOWN: Final = frozenset({"content-type"})
_HIDDEN: Final = "********"


@attrs.frozen(kw_only=True)
class _Asked:
    to: str
    via: str
    content: Content | str
    details: Details
    options: Asking
    dry_run: bool
    wait: float
    until: Status


def add_to(app: web.Application, operators: Operators) -> None:
    """Add the routes `POST /send` and `GET /outbox`."""
    forms = Forms()

    async def send(request: web.Request) -> web.Response:
        return await _send(request, operators, forms)

    async def outbox(request: web.Request) -> web.Response:
        return await _outbox(request, operators)

    app.router.add_post(SEND, send)
    app.router.add_get("/outbox", outbox)


async def _outbox(request: web.Request, operators: Operators) -> web.Response:
    """Return the state of the outbox; `sending` is null where no adapter can send.

    The counts are of messages that are held back, up to 1,000; `held` lists the first of them. A
    message whose request has begun is under way, and in doubt once that request has failed.
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


async def _send(request: web.Request, operators: Operators, forms: Forms) -> web.Response:
    """Make a message durable and return its ids, or the requests of a dry run.

    With `wait`, also the status that it has got within that many seconds.
    """
    if request.content_type == FORM:
        async with forms.read(request, {*SEND_FILE}) as form:
            asked = _asked(request, form.body, _details(form))
            taken = await _take(asked, operators, form.path)
    else:
        asked = _asked(request, await body_of(request, {*SEND_MESSAGE}))
        taken = await _take(asked, operators)
    if isinstance(taken, Sending):
        return json_response(await _told(taken, asked))
    return json_response({"requests": [_shown(each) for each in taken]})


async def _take(
    asked: _Asked, operators: Operators, path: Path | None = None
) -> Sending | Sequence[Request]:
    """Make a message durable, or return the requests of a dry run.

    A file at `path` is its content; the provider has it before the message is durable.
    """
    to, via, content, outbox = asked.to, asked.via, asked.content, operators.outbox
    if asked.dry_run:
        if path is not None:
            content = await outbox.described(path, via=via, **asked.details)
        return outbox.compose(to, content, via=via, **asked.options)
    if not (await operators.health()).ready:
        raise NotRunning("the bridge takes no messages now")
    with operators.operation("send") as details:
        if path is None:
            sending = await outbox.send(to, content, via=via, **asked.options)
        else:
            sending = await outbox.send_file(to, path, asked.details, via=via, **asked.options)
        details.count = len(sending.messages)
    return sending


async def _told(sending: Sending, asked: _Asked) -> Mapping[str, object]:
    told: dict[str, object] = {
        "message_id": sending.message_id,
        "key": sending.key,
        "is_new": sending.is_new,
        "events": [message.key for message in sending.messages],
    }
    if asked.wait:
        change: StatusChange | None
        try:
            change = await sending.outcome(asked.wait, until=asked.until)
        except TimeoutError:
            change = None
        told["outcome"] = None if change is None else orjson.Fragment(encode(change))
    return told


def _asked(request: web.Request, body: Mapping[str, Any], details: Details | None = None) -> _Asked:
    """Return the parsed request; `details` are those of a file that is its content."""
    return _Asked(
        to=_needed(body, "to"),
        via=_needed(body, "via"),
        content=_content(body) if details is None else "",
        details=details or Details(),
        options=_options(request, body),
        dry_run=_is_true(body, "dry_run"),
        wait=_wait(body),
        until=_until(body),
    )


def _details(form: Form) -> Details:
    details = form.details
    details["caption"] = word(form.body.get("caption"), "caption")
    details["media"] = word(form.body.get("media"), "media")
    return details


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
    keys = [word(body.get("key"), "key"), request.headers.get(KEY_HEADER)]
    keys[1] = None if keys[1] is None else keys[1].strip().strip('"')
    given = {each for each in keys if each is not None}
    if len(given) > 1:
        raise BadRequest(f"key: another one than in {KEY_HEADER}")
    if "" in given:  # without one it might be sent twice, which a key is to prevent
        raise BadRequest("key: empty")
    options["key"] = next(iter(given), None)
    if body.get("otherwise") is not None:
        template = _read(body["otherwise"], "otherwise")
        if not isinstance(template, Template):
            raise BadRequest("otherwise: expected a template")
        options["otherwise"] = template
    fallback = [] if body.get("fallback") is None else body["fallback"]
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
    options["force"] = _is_true(body, "force")
    return options


def _is_true(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise BadRequest(f"{name}: expected true or false")
    return value is True


def _wait(body: Mapping[str, Any]) -> float:
    wait = body.get("wait", 0)
    told = seconds(wait) if type(wait) is str else wait
    if isinstance(told, bool) or not (isinstance(told, int | float) and 0 <= told <= _LONGEST_WAIT):
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
