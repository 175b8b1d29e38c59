"""The listener for operators: JSON over HTTP for the commands, probes, and metrics.

Whoever reaches it can read every event, so it is never the public port: on loopback by default,
behind a token otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

import attrs
from aiohttp import web

from bridge.errors import ConfigurationError, Problem
from bridge.journal.protocol import Start
from bridge.journal.query import Query
from bridge.ops import operators as operations
from bridge.ops.admin.guard import explain, guard
from bridge.ops.admin.requests import (
    BadRequest,
    body_of,
    identity,
    keys_of,
    letters_of,
    limit_of,
    number,
    query_of,
    word,
)
from bridge.ops.admin.responses import HEADERS, answer, dumps, problem
from bridge.ops.metrics import CONTENT_TYPE, Metrics, lag_seconds
from bridge.ops.operators import UnknownSubscriber
from bridge.runtime import Bridge
from bridge.settings import AdminSettings

_MAX_BODY: Final = 1 << 20
_MAX_FOLLOWERS: Final = 32
_BATCH: Final = 256
_BRIDGE: Final = web.AppKey("bridge", Bridge)
_METRICS: Final = web.AppKey("metrics", Metrics)
_HEARTBEAT: Final = web.AppKey("heartbeat", float)
_FOLLOWERS: Final = web.AppKey("followers", set[asyncio.Task[Any]])


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


def application(
    bridge: Bridge, metrics: Metrics, settings: AdminSettings, *, heartbeat: float = 10.0
) -> web.Application:
    """Return the application, for a server of your own; `metrics` has to be a hook of `bridge`.

    A follower to whom nothing happens is told so every `heartbeat` seconds.
    """
    app = web.Application(middlewares=[guard(settings), explain], client_max_size=_MAX_BODY)
    app[_BRIDGE] = bridge
    app[_METRICS] = metrics
    app[_HEARTBEAT] = heartbeat
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


# --- probes --------------------------------------------------------------------------------


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="alive\n", headers=HEADERS)


async def _ready(request: web.Request) -> web.Response:
    health = await request.app[_BRIDGE].health()
    if health.ready:
        text = "ready" if health.reason is None else f"ready: {health.reason}"
        return web.Response(text=f"{text}\n", headers=HEADERS)
    return web.Response(status=503, text=f"not ready: {health.reason}\n", headers=HEADERS)


async def _metrics(request: web.Request) -> web.Response:
    text = await request.app[_METRICS].render(request.app[_BRIDGE])
    return web.Response(body=text, headers={**HEADERS, "Content-Type": CONTENT_TYPE})


# --- looking ---------------------------------------------------------------------------------


async def _search(request: web.Request) -> web.Response:
    """Return a page of entries; `next` is where the following page begins, if there may be one."""
    query = query_of(request)
    entries = await request.app[_BRIDGE].journal.search(query)
    more = len(entries) == query.limit
    return answer({"entries": entries, "next": entries[-1].position if more else None})


async def _describe(request: web.Request) -> web.Response:
    described = await operations.describe(request.app[_BRIDGE], request.query.get("key", ""))
    if described is None:
        return problem(404, "the journal keeps no event of this key")
    return answer(
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
    followers, task = request.app[_FOLLOWERS], asyncio.current_task()
    if len(followers) >= _MAX_FOLLOWERS or task is None:
        return problem(503, f"{_MAX_FOLLOWERS} followers are being served already")
    followers.add(task)
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": "application/x-ndjson"})
    try:
        await _stream(request, query_of(request), response)
    except ConnectionError:
        pass  # the follower has seen enough
    finally:
        followers.discard(task)
    return response


async def _stream(request: web.Request, query: Query, response: web.StreamResponse) -> NoReturn:
    cursor = await request.app[_BRIDGE].journal.follow(start=await _start(request, query))
    await response.prepare(request)
    position = cursor.position
    while True:
        await response.write(dumps({"position": position}) + b"\n")
        try:
            async with asyncio.timeout(request.app[_HEARTBEAT]):
                entries = await cursor.read(_BATCH)
        except TimeoutError:
            continue
        lines = [
            dumps(entry) + b"\n"
            for entry in entries
            if query.matches(entry.event, reparsed=entry.reparsed)
        ]
        if lines:
            await response.write(b"".join(lines))
        position = entries[-1].position


async def _start(request: web.Request, query: Query) -> Start | int:
    """Return where a follower begins: beyond a position, at a time, or with what is to come."""
    # Where an engine's servers are away there are no positions: this says so, instead of waiting.
    await request.app[_BRIDGE].journal.search(Query(limit=1))
    if "after" in request.query:
        last = (await request.app[_BRIDGE].journal.follow()).position
        # A position that is yet to come is one of another journal's, which was in memory or lost.
        return query.after if query.after <= last else Start.BEGINNING
    if query.since is None:
        return Start.END
    first = attrs.evolve(query, limit=1)
    entries = await request.app[_BRIDGE].journal.search(first)
    return entries[0].position - 1 if entries else Start.END


# --- subscribers and dead letters ------------------------------------------------------------


async def _subscribers(request: web.Request) -> web.Response:
    bridge = request.app[_BRIDGE]
    found = []
    for state in await bridge.journal.subscribers():
        delivery = bridge.deliveries.get(state.name)
        found.append(
            {
                **attrs.asdict(state, filter=attrs.filters.exclude("lagging_since")),
                "running": delivery is not None,
                "lag_seconds": round(await lag_seconds(bridge.journal, state), 3),
                "held_lanes": 0 if delivery is None else delivery.held_lanes,
                "failed_tries": request.app[_METRICS].failures(state.name),
            }
        )
    return answer({"subscribers": found})


async def _forget(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if not await operations.forget(request.app[_BRIDGE], name):
        raise UnknownSubscriber("the journal knows no subscriber of this name")
    return answer({"forgotten": name})


async def _dead(request: web.Request) -> web.Response:
    """Return a page of dead letters, or the one with an `id`."""
    bridge, values = request.app[_BRIDGE], request.query
    if "id" in values:
        letter = await bridge.journal.dead_letter(number(values, "id", 0))
        return answer({"letters": [] if letter is None else [letter], "next": None})
    await operations.check_known(bridge, values.get("subscriber"))
    limit = limit_of(values)
    letters = await bridge.journal.dead_letters(
        values.get("subscriber"), after=number(values, "after", 0), limit=limit
    )
    return answer({"letters": letters, "next": letters[-1].id if len(letters) == limit else None})


async def _retry(request: web.Request) -> web.Response:
    ids, subscriber = await letters_of(request)
    return answer({"retried": await operations.retry(request.app[_BRIDGE], ids, subscriber)})


async def _drop(request: web.Request) -> web.Response:
    ids, subscriber = await letters_of(request)
    return answer({"dropped": await operations.drop(request.app[_BRIDGE], ids, subscriber)})


# --- giving again ----------------------------------------------------------------------------


async def _replay(request: web.Request) -> web.Response:
    """Replay the events with these keys, or without any, a page of those that a search finds."""
    body = await body_of(request, {"keys", "subscriber", "dry_run"})
    bridge, dry_run = request.app[_BRIDGE], body.get("dry_run") is True
    name = word(body.get("subscriber"), "subscriber")
    if "keys" in body:
        replayed = await operations.replay(bridge, keys_of(body), name, dry_run=dry_run)
    elif name:
        query = query_of(request)
        replayed = await operations.replay_found(bridge, query, name, dry_run=dry_run)
    else:
        raise BadRequest("subscriber: who is to get what is found?")
    return answer(attrs.asdict(replayed))


async def _reparse(request: web.Request) -> web.Response:
    body = await body_of(request, {"keys", "dry_run"})
    done = await operations.reparse(
        request.app[_BRIDGE], keys_of(body), dry_run=body.get("dry_run") is True
    )
    return answer({"reparsed": done})


async def _purge(request: web.Request) -> web.Response:
    body = await body_of(request, {"subject"})
    subject = identity(body.get("subject"), "subject")
    if not subject:
        raise BadRequest("subject: expected a phone number or a user id")
    return answer({"erased": await request.app[_BRIDGE].journal.purge(subject)})
