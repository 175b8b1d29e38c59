"""The listener for operators: JSON over HTTP for the commands, probes, and metrics.

Whoever reaches it can read every event, so it is never the public port: on loopback by default,
behind a token otherwise. A web page in the browser of somebody on this machine reaches loopback
too, so without a token nothing is answered that a page could have asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

import attrs
import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from bridge import operations
from bridge.codec import encode
from bridge.errors import BridgeError, ConfigurationError, JournalError, NotRunning, Problem
from bridge.journal.base import DeadLetter, Entry, Outcome, Start
from bridge.journal.query import MOST, Query
from bridge.metrics import CONTENT_TYPE, Metrics, lag_seconds
from bridge.operations import StillRunning, UnknownSubscriber
from bridge.payload import instant
from bridge.runtime import Bridge, Reparsed
from bridge.settings import AdminSettings
from bridge.signing import Tokens

_MAX_BODY: Final = 1 << 20
_MAX_FOLLOWERS: Final = 32
_BATCH: Final = 256
_STILL_THERE: Final = 10.0  # seconds after which a silent follower is told where it stands
_OPEN: Final = frozenset({"/healthz", "/readyz"})  # probes cannot be given a token everywhere
_HEADERS: Final = {"Server": "incs-bridge", "X-Content-Type-Options": "nosniff"}
_BRIDGE: Final = web.AppKey("bridge", Bridge)
_METRICS: Final = web.AppKey("metrics", Metrics)
_FOLLOWERS: Final = web.AppKey("followers", set[asyncio.Task[Any]])

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(BridgeError):
    """A request makes no sense; the text says why, and quotes nothing personal."""


@asynccontextmanager
async def listening(bridge: Bridge, settings: AdminSettings) -> AsyncIterator[str | None]:
    """Answer operators until the block ends; give the base URL, or None where it is disabled.

    Raises `ConfigurationError` where the address cannot be had.
    """
    if not settings.enabled:
        yield None
        return
    metrics = Metrics()
    bridge.instrument(metrics)
    app = application(bridge, metrics, settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            place = f"{settings.host} port {settings.port}"
            reason = error.strerror or str(error)
            problem = Problem("admin.port", f"cannot listen on {place}: {reason}")
            raise ConfigurationError((problem,)) from error
        host, port = runner.addresses[0][:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def application(bridge: Bridge, metrics: Metrics, settings: AdminSettings) -> web.Application:
    """Return the application, for a server of your own; `metrics` has to be a hook of `bridge`."""
    app = web.Application(middlewares=[_guard(settings), _explain], client_max_size=_MAX_BODY)
    app[_BRIDGE] = bridge
    app[_METRICS] = metrics
    app[_FOLLOWERS] = set()
    app.on_shutdown.append(_dismiss)
    app.router.add_get("/healthz", _alive)
    app.router.add_get("/readyz", _ready)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/events", _search)
    app.router.add_get("/events/follow", _follow)
    app.router.add_get("/event", _describe)
    app.router.add_get("/subscribers", _subscribers)
    app.router.add_delete("/subscribers/{name}", _forget)
    app.router.add_get("/dead", _dead)
    app.router.add_post("/dead/retry", _retry)
    app.router.add_post("/dead/drop", _drop)
    app.router.add_post("/replay", _replay)
    app.router.add_post("/reparse", _reparse)
    app.router.add_post("/purge", _purge)
    return app


async def _dismiss(app: web.Application) -> None:
    for task in app[_FOLLOWERS]:
        task.cancel()


# --- who may come in, and what they are told when something is wrong -------------------------


def _guard(settings: AdminSettings) -> Middleware:
    tokens = Tokens(() if settings.token is None else (settings.token,))

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _OPEN:
            return await handler(request)
        if tokens:
            scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not tokens.match(presented.strip()):
                response = _problem(401, "this needs the token of [admin]")
                response.headers["WWW-Authenticate"] = "Bearer"
                return response
        elif "Origin" in request.headers or not _is_local(request):
            return _problem(403, "this is not for web pages")
        return await handler(request)

    return guard


def _is_local(request: web.Request) -> bool:
    """Return whether the request names this machine; a name of the page's own leads here too."""
    host = request.url.host
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadRequest as error:
        return _problem(400, str(error))
    except UnknownSubscriber as error:
        return _problem(404, str(error))
    except StillRunning as error:
        return _problem(409, str(error))
    except (JournalError, NotRunning) as error:
        return _problem(503, str(error))
    except web.HTTPException as error:
        return _problem(error.status, "there is nothing here")


def _problem(status: int, detail: str) -> web.Response:
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/problem+json",
        headers=_HEADERS,
    )


def _answer(value: object) -> web.Response:
    return web.Response(
        body=orjson.dumps(value, default=_plain), content_type="application/json", headers=_HEADERS
    )


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


# --- probes --------------------------------------------------------------------------------


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="alive\n", headers=_HEADERS)


async def _ready(request: web.Request) -> web.Response:
    health = await request.app[_BRIDGE].health()
    if health.ready:
        return web.Response(text="ready\n", headers=_HEADERS)
    return web.Response(status=503, text=f"not ready: {health.reason}\n", headers=_HEADERS)


async def _metrics(request: web.Request) -> web.Response:
    text = await request.app[_METRICS].render(request.app[_BRIDGE])
    return web.Response(body=text, headers={**_HEADERS, "Content-Type": CONTENT_TYPE})


# --- looking ---------------------------------------------------------------------------------


async def _search(request: web.Request) -> web.Response:
    """Return a page of entries; `next` is where the following page begins, if there may be one."""
    query = _query(request)
    entries = await request.app[_BRIDGE].journal.search(query)
    more = len(entries) == query.limit
    return _answer({"entries": entries, "next": entries[-1].position if more else None})


async def _describe(request: web.Request) -> web.Response:
    described = await operations.describe(request.app[_BRIDGE], request.query.get("key", ""))
    if described is None:
        return _problem(404, "the journal keeps no event of this key")
    return _answer(
        {
            "entry": described.entry,
            "outcomes": described.outcomes,
            "history": described.history,
        }
    )


async def _follow(request: web.Request) -> web.StreamResponse:
    """Stream entries as lines of JSON, from a position, a time, or now on.

    A line without an event tells the position from which to go on, should the stream break.
    """
    followers = request.app[_FOLLOWERS]
    if len(followers) >= _MAX_FOLLOWERS:
        return _problem(503, f"{_MAX_FOLLOWERS} followers are being served already")
    query = _query(request)
    start = await _start(request, query)
    cursor = await request.app[_BRIDGE].journal.follow(start=start)
    response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a handler runs in a task
    followers.add(task)
    position = cursor.position
    try:
        while True:
            await response.write(orjson.dumps({"position": position}) + b"\n")
            try:
                async with asyncio.timeout(_STILL_THERE):
                    entries = await cursor.read(_BATCH)
            except TimeoutError:
                continue
            lines = [
                orjson.dumps(entry, default=_plain) + b"\n"
                for entry in entries
                if query.matches(entry.event, mended=entry.mended)
            ]
            if lines:
                await response.write(b"".join(lines))
            position = entries[-1].position
    finally:
        followers.discard(task)


async def _start(request: web.Request, query: Query) -> Start | int:
    """Return where a follower begins: beyond a position, at a time, or with what is to come."""
    if "after" in request.query:
        return query.after
    if query.since is None:
        return Start.END
    first = attrs.evolve(query, limit=1)
    entries = await request.app[_BRIDGE].journal.search(first)
    return entries[0].position - 1 if entries else Start.END


def _query(request: web.Request) -> Query:
    values = request.query
    allowed = {field.name for field in attrs.fields(Query)} - {"kinds"} | {"kind"}
    if unknown := values.keys() - allowed:
        raise BadRequest(f"unknown: {', '.join(sorted(unknown))}")
    words = {
        name: values.get(name)
        for name in ("channel", "account", "content", "conversation", "party", "message_id")
    }
    return Query(
        **words,
        kinds=tuple(values.getall("kind", ())),
        since=_time(values, "since"),
        until=_time(values, "until"),
        mended=_flag(values, "mended"),
        after=_number(values, "after", 0),
        before=_number(values, "before", 0) or None,
        newest_first=bool(_flag(values, "newest_first")),
        limit=min(max(_number(values, "limit", 100), 1), MOST),
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


def _number(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 19):  # noqa: PLR2004 - of 64 bits
        raise BadRequest(f"{name}: expected a number")
    return int(text)


# --- subscribers and dead letters ------------------------------------------------------------


async def _subscribers(request: web.Request) -> web.Response:
    bridge = request.app[_BRIDGE]
    found = []
    for state in await bridge.journal.subscribers():
        delivery = bridge.deliveries.get(state.name)
        found.append(
            {
                **attrs.asdict(state),
                "running": delivery is not None,
                "lag_seconds": round(await lag_seconds(bridge.journal, state), 3),
                "held_lanes": 0 if delivery is None else delivery.held_lanes,
                "failed_tries": request.app[_METRICS].failures(state.name),
            }
        )
    return _answer({"subscribers": found})


async def _forget(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if not await operations.forget(request.app[_BRIDGE], name):
        raise UnknownSubscriber("the journal knows no subscriber of this name")
    return _answer({"forgotten": name})


async def _dead(request: web.Request) -> web.Response:
    """Return a page of dead letters, or the one with an `id`."""
    bridge, values = request.app[_BRIDGE], request.query
    if "id" in values:
        letter = await operations.dead_letter(bridge, _number(values, "id", 0))
        return _answer({"letters": [] if letter is None else [letter], "next": None})
    limit = min(max(_number(values, "limit", 100), 1), MOST)
    letters = await bridge.journal.dead_letters(
        values.get("subscriber"), after=_number(values, "after", 0), limit=limit
    )
    return _answer({"letters": letters, "next": letters[-1].id if len(letters) == limit else None})


async def _retry(request: web.Request) -> web.Response:
    ids, subscriber = await _letters(request)
    return _answer({"retried": await operations.retry(request.app[_BRIDGE], ids, subscriber)})


async def _drop(request: web.Request) -> web.Response:
    ids, subscriber = await _letters(request)
    return _answer({"dropped": await operations.drop(request.app[_BRIDGE], ids, subscriber)})


async def _letters(request: web.Request) -> tuple[Sequence[int] | None, str | None]:
    body = await _body(request, {"ids", "subscriber"})
    ids, subscriber = body.get("ids"), body.get("subscriber")
    if ids is not None and not (isinstance(ids, list) and all(type(each) is int for each in ids)):
        raise BadRequest("ids: expected numbers")
    return ids, _word(subscriber, "subscriber")


# --- giving again ----------------------------------------------------------------------------


async def _replay(request: web.Request) -> web.Response:
    body = await _body(request, {"keys", "subscriber", "dry_run"})
    replayed = await operations.replay(
        request.app[_BRIDGE],
        _keys(body),
        _word(body.get("subscriber"), "subscriber"),
        dry_run=body.get("dry_run") is True,
    )
    return _answer(attrs.asdict(replayed))


async def _reparse(request: web.Request) -> web.Response:
    body = await _body(request, {"keys", "dry_run"})
    done = await operations.reparse(
        request.app[_BRIDGE], _keys(body), dry_run=body.get("dry_run") is True
    )
    return _answer({"reparsed": done})


async def _purge(request: web.Request) -> web.Response:
    body = await _body(request, {"subject"})
    subject = _word(body.get("subject"), "subject")
    if not subject:
        raise BadRequest("subject: expected a phone number or a user id")
    return _answer({"erased": await request.app[_BRIDGE].journal.purge(subject)})


async def _body(request: web.Request, allowed: set[str]) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(body, dict) or body.keys() - allowed:
        raise BadRequest(f"expected an object with {', '.join(sorted(allowed))}")
    return body


def _keys(body: Mapping[str, Any]) -> Sequence[str]:
    keys = body.get("keys")
    if not isinstance(keys, list) or len(keys) > MOST or not all(type(k) is str for k in keys):
        raise BadRequest(f"keys: expected at most {MOST} strings")
    return keys


def _word(value: object, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise BadRequest(f"{name}: expected a string")
