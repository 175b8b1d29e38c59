"""The listener for operators: JSON over HTTP for the commands, probes, and metrics.

Its clients can read every event, so it is never the public port: behind a token, or on a socket
that only the server's own user can connect to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final

import attrs
import orjson
from aiohttp import web

from bridge.adapter import Response
from bridge.errors import ConfigurationError, JournalError, Problem
from bridge.ingress.connection import Connection, connections, forgotten_in_children
from bridge.ingress.responses import (
    ALIVE,
    HEADERS,
    problem,
    readiness,
    web_response,
)
from bridge.journal.query import Query, conversation_of
from bridge.model.codec import encode
from bridge.model.masking import mask_phones_in
from bridge.ops.admin import pages, sending, watching
from bridge.ops.admin.following import LINES, Followers
from bridge.ops.admin.guard import Handler, explain, guard
from bridge.ops.admin.requests import (
    CHATTING,
    BadRequest,
    body_of,
    identity,
    is_masked,
    keys_of,
    letters_of,
    limit_of,
    number,
    positions_of,
    query_of,
    word,
)
from bridge.ops.admin.responses import instant, json_response, masked_outcomes
from bridge.ops.admin.socket import bound
from bridge.ops.metrics import CONTENT_TYPE, Metrics
from bridge.ops.operators import Operators
from bridge.outbox.ways import NAME as OUTBOX
from bridge.settings import AdminSettings, ServerSettings
from bridge.settings.wording import base_url, no_listener

_MAX_BODY: Final = 1 << 20
_QUIET: Final = 1200.0
"""After how many seconds without a callback an operator is told that a source is quiet."""

_OPERATORS: Final = web.AppKey("operators", Operators)
_METRICS: Final = web.AppKey("metrics", Metrics)
_STARTED_AT: Final = web.AppKey("started_at", datetime)
_LIMITS: Final = ServerSettings(
    max_connections=128, max_connections_per_peer=128, body_timeout=30.0
)
"""The limits of connections are those of callbacks, with fewer connections: operators must not use
up what callbacks need."""
_FOLLOWERS: Final = web.AppKey("followers", Followers)
_routes: Final = web.RouteTableDef()


@asynccontextmanager
async def listening(
    operators: Operators,
    metrics: Metrics,
    settings: AdminSettings,
    *,
    developing: bool = False,
    chat: Iterable[web.AbstractRouteDef] = (),
) -> AsyncIterator[str]:
    """Answer operators until the block ends; give the base URL, or the socket as `unix:PATH`.

    With `developing`, it listens at a port beside the socket, for a browser, and gives its URL.
    Raises `ConfigurationError` where the address cannot be used.
    """
    app = application(operators, metrics, settings, developing=developing, chat=tuple(chat))
    app.middlewares.insert(0, _under_way)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - as `setup` made it
    connect = connections(runner.server, _LIMITS)
    path = settings.own_socket
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        servers: list[asyncio.Server] = []
        stack.enter_context(forgotten_in_children(servers, runner.server))
        place = f"unix:{path}"
        if path is not None:
            listener = stack.enter_context(bound(path))
            server = await asyncio.get_running_loop().create_unix_server(connect, sock=listener)
            servers.append(server)
            stack.callback(server.close)
        if path is None or developing:
            server = await _at_port(connect, settings)
            servers.append(server)
            stack.callback(server.close)
            place = base_url(*server.sockets[0].getsockname()[:2])
        yield place


async def _at_port(
    connect: Callable[[], asyncio.Protocol], settings: AdminSettings
) -> asyncio.Server:
    """Listen at the host and the port. Raises `ConfigurationError`."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(connect, settings.host, settings.port)
    except OSError as error:
        fault = Problem("admin.port", no_listener(settings.host, settings.port, error))
        raise ConfigurationError((fault,)) from error


@web.middleware
async def _under_way(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell a connection when a request begins and when it is answered."""
    connection = request.protocol
    assert isinstance(connection, Connection)  # noqa: S101 - `listening` makes no others
    connection.answering(request)
    try:
        return await handler(request)
    finally:
        connection.answered()


def application(
    operators: Operators,
    metrics: Metrics,
    settings: AdminSettings,
    *,
    heartbeat: float = 10.0,
    developing: bool = False,
    chat: Iterable[web.AbstractRouteDef] = (),
) -> web.Application:
    """Return the application, for a server of your own; `metrics` has to observe the bridge.

    It serves the inspector at `/` where there is a token, or with `developing`, and then may have
    the routes of `bridge.testing.chat`. A client that follows events gets a position every
    `heartbeat` seconds where there is no event for it.
    """
    app = web.Application(
        middlewares=[guard(settings, operators), explain], client_max_size=_MAX_BODY
    )
    if settings.own_token or developing:
        pages.add_to(app)
    app[CHATTING] = bool(chat)
    app.add_routes(chat)
    app[_OPERATORS] = operators
    app[_METRICS] = metrics
    app[_STARTED_AT] = datetime.now(UTC)
    pace = watching.QUICK if developing else watching.CALM
    app[_FOLLOWERS] = Followers(operators, pace, heartbeat)
    app.on_shutdown.append(app[_FOLLOWERS].dismiss)
    app.cleanup_ctx.append(_remembering)
    app.add_routes(_routes)
    sending.add_to(app, operators)
    return app


async def _remembering(app: web.Application) -> AsyncIterator[None]:
    with app[_OPERATORS].remembering_callbacks():
        yield


# --- probes --------------------------------------------------------------------------------


@_routes.get("/healthz")
async def _alive(_: web.Request) -> web.Response:
    return web_response(ALIVE)


@_routes.get("/readyz")
async def _ready(request: web.Request) -> web.Response:
    return web_response(readiness(await request.app[_OPERATORS].health()))


@_routes.get("/metrics")
async def _metrics(request: web.Request) -> web.Response:
    text = await request.app[_METRICS].render(request.app[_OPERATORS])
    return web_response(Response(body=text, content_type=CONTENT_TYPE))


@_routes.get("/status")
async def _status(request: web.Request) -> web.Response:
    """Return an overview; where the journal fails, the parts that do not need it."""
    operators = request.app[_OPERATORS]
    masked = is_masked(request)
    health = await operators.health()
    try:
        subscribers = await _states(request)
        newest = await operators.journal.search(Query(newest_first=True, limit=1))
    except JournalError:  # the health gives the reason
        subscribers, newest = (), ()
    return json_response(
        {
            "version": metadata.version("incs-bridge"),
            "started_at": request.app[_STARTED_AT],
            **attrs.asdict(health),
            "durable": operators.journal.durable,
            "chat": request.app[CHATTING],
            "adapters": list(operators.adapters),
            "sources": [_source(request, name) for name in operators.adapters],
            "subscribers": subscribers,
            "sends": _sends(subscribers),
            "last_event": {
                "key": mask_phones_in(newest[0].event.key) if masked else newest[0].event.key,
                "position": newest[0].position,
                "kind": newest[0].event.kind,
                "received_at": newest[0].event.received_at,
            }
            if newest
            else None,
        }
    )


def _sends(subscribers: Sequence[Mapping[str, Any]]) -> Mapping[str, int] | None:
    for state in subscribers:
        if state["name"] == OUTBOX:
            return {"waiting": state["lag"] + state["held"], "dead": state["dead"]}
    return None


def _source(request: web.Request, name: str) -> Mapping[str, object]:
    source = request.app[_METRICS].source(name)
    since = source.accepted_at or request.app[_STARTED_AT].timestamp()
    return {
        "name": name,
        "quiet": time.time() - since > _QUIET,
        "accepted_at": instant(source.accepted_at),
        "refused_at": instant(source.refused_at),
        "refusals": source.refusals,
    }


# --- looking ---------------------------------------------------------------------------------


@_routes.get("/events")
async def _search(request: web.Request) -> web.Response:
    """Return a page of entries; `next` is where the following page begins, if there may be one."""
    query, masked = await _query(request), is_masked(request)
    entries = await request.app[_OPERATORS].journal.search(query)
    more = len(entries) == query.limit
    page = {"entries": entries, "next": entries[-1].position if more else None}
    return json_response(page, masked=masked)


async def _query(request: web.Request) -> Query:
    """Return the search that is asked for; `conversation_of` is the position of an event in it."""
    query = query_of(request)
    position = number(request.query, "conversation_of", 0)
    if not position:
        return query
    entry = await request.app[_OPERATORS].at(position)
    conversation = None if entry is None else conversation_of(entry.event)
    if conversation is None:
        raise BadRequest("conversation_of: no event of a conversation is at this position")
    return attrs.evolve(query, conversation=conversation)


@_routes.get("/event")
async def _describe(request: web.Request) -> web.Response:
    """Return all that is known about the event of a key, or at a position."""
    operators, values, masked = request.app[_OPERATORS], request.query, is_masked(request)
    key, named = values.get("key", ""), "of this key"
    if "position" in values:
        entry = await operators.at(number(values, "position", 0))
        key, named = "" if entry is None else entry.event.key, "at this position"
    described = await operators.describe(key)
    if described is None:
        return web_response(problem(404, f"the journal keeps no event {named}"))
    found = attrs.asdict(described, recurse=False)
    if masked:
        found["outcomes"] = masked_outcomes(described.outcomes, described.entry.event)
    found["callbacks_since"] = instant(request.app[_STARTED_AT].timestamp())
    return json_response(found, masked=masked)


@_routes.get("/events/follow", allow_head=False)
async def _follow(request: web.Request) -> web.StreamResponse:
    return await request.app[_FOLLOWERS].serve(request, await _query(request))


@_routes.get("/export", allow_head=False)
async def _export(request: web.Request) -> web.StreamResponse:
    """Stream the journal as lines; the last one says that the export is complete."""
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": LINES})
    await response.prepare(request)
    async for line in request.app[_OPERATORS].export():
        await response.write(line)
    return response


# --- subscribers and dead letters ------------------------------------------------------------


@_routes.get("/subscribers")
async def _subscribers(request: web.Request) -> web.Response:
    return json_response({"subscribers": await _states(request)})


async def _states(request: web.Request) -> Sequence[Mapping[str, Any]]:
    metrics = request.app[_METRICS]
    return [
        {
            **attrs.asdict(one.state, filter=attrs.filters.exclude("lagging_since")),
            "running": one.running,
            "lag_seconds": round(one.lag_seconds, 3),
            "held_lanes": one.held_lanes,
            "failed_tries": metrics.failures(one.state.name),
        }
        for one in await request.app[_OPERATORS].subscribers()
    ]


@_routes.get("/subscribers/{name}/held")
async def _held(request: web.Request) -> web.Response:
    """Return the events that a subscriber tries again, each of which blocks its conversation."""
    masked, limit = is_masked(request), limit_of(request.query)
    held = await request.app[_OPERATORS].held(request.match_info["name"], limit=limit)
    return json_response({"held": held}, masked=masked)


@_routes.delete("/subscribers/{name}")
async def _forget(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    await request.app[_OPERATORS].forget(name)
    return json_response({"forgotten": name})


@_routes.get("/dead")
async def _dead(request: web.Request) -> web.Response:
    """Return a page of dead letters, or the one with an `id`."""
    operators, values, masked = request.app[_OPERATORS], request.query, is_masked(request)
    if "id" in values:
        letter = await operators.dead_letter(number(values, "id", 0))
        found = [] if letter is None else [letter]
        return json_response({"letters": found, "next": None}, masked=masked)
    limit = limit_of(values)
    letters = await operators.dead_letters(
        values.get("subscriber"), after=number(values, "after", 0), limit=limit
    )
    more = len(letters) == limit
    following = letters[-1].id if more else None
    return json_response({"letters": letters, "next": following}, masked=masked)


@_routes.post("/dead/retry")
async def _retry(request: web.Request) -> web.Response:
    ids, subscriber = await letters_of(request)
    return json_response({"retried": await request.app[_OPERATORS].retry(ids, subscriber)})


@_routes.post("/dead/drop")
async def _drop(request: web.Request) -> web.Response:
    ids, subscriber = await letters_of(request)
    return json_response({"dropped": await request.app[_OPERATORS].drop(ids, subscriber)})


# --- events once more ------------------------------------------------------------------------


@_routes.post("/replay")
async def _replay(request: web.Request) -> web.Response:
    """Replay the events with these keys, or without any, a page of those that a search finds."""
    body = await body_of(request, {"keys", "positions", "subscriber", "dry_run"})
    operators, dry_run = request.app[_OPERATORS], body.get("dry_run") is True
    name = word(body.get("subscriber"), "subscriber")
    if body.keys() & {"keys", "positions"}:
        keys = await _keys(request, body)
        replayed = await operators.replay(keys, name, dry_run=dry_run)
    elif name:
        replayed = await operators.replay_found(query_of(request), name, dry_run=dry_run)
    else:
        raise BadRequest("subscriber: missing; it names the subscriber that gets the events again")
    return json_response(attrs.asdict(replayed))


@_routes.post("/reparse")
async def _reparse(request: web.Request) -> web.Response:
    body = await body_of(request, {"keys", "positions", "dry_run"})
    dry_run, keys = body.get("dry_run") is True, await _keys(request, body)
    done = await request.app[_OPERATORS].reparse(keys, dry_run=dry_run)
    return json_response({"reparsed": done})


async def _keys(request: web.Request, body: Mapping[str, Any]) -> Sequence[str]:
    """Return the keys that a request names, by themselves or by their events' positions."""
    if "positions" not in body:
        return keys_of(body)
    found = [await request.app[_OPERATORS].at(each) for each in positions_of(body)]
    return [entry.event.key for entry in found if entry is not None]


@_routes.post("/normalize")
async def _normalize(request: web.Request) -> web.Response:
    """Return the events that an adapter makes of a body; nothing is kept."""
    body = await body_of(request, {"adapter", "body"})
    adapter, text = word(body.get("adapter"), "adapter"), word(body.get("body"), "body")
    parsed = request.app[_OPERATORS].normalize(adapter or "", (text or "").encode())
    malformed = None if parsed.malformed is None else str(parsed.malformed)
    events = [orjson.Fragment(encode(event)) for event in parsed.events]
    return json_response({"events": events, "malformed": malformed})


@_routes.post("/purge")
async def _purge(request: web.Request) -> web.Response:
    body = await body_of(request, {"subject"})
    subject = identity(body.get("subject"), "subject")
    if not subject:
        raise BadRequest("subject: expected a phone number or a user id")
    return json_response({"erased": await request.app[_OPERATORS].purge(subject)})
