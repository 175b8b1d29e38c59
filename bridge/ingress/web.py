"""The aiohttp edge: a request becomes a `Callback`, a `Response` becomes aiohttp's.

Nothing else happens here. `bridge.ingress.server` is the server that needs no application.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

import attrs
from aiohttp import ClientPayloadError, hdrs, web
from multidict import MultiDict, MultiDictProxy
from yarl import URL

from bridge.adapter import Callback, Response
from bridge.adapter.signing import Address, client_address
from bridge.errors import BodyRefused, BridgeError, ConfigurationError, Fault, UnknownAdapter
from bridge.ingress.intake import Intake
from bridge.ingress.memory import Memory, Room
from bridge.ingress.responses import response_to, web_response
from bridge.model.frozen import builder
from bridge.settings import ServerSettings

# What aiohttp gives is of the right types already, so that nothing has to be converted.
_new_callback: Final = builder(Callback, converted=True)

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]
_MASKED: Final = "MASKED"  # of letters, which no server quotes
_NO_QUERY: Final[MultiDictProxy[str]] = MultiDictProxy(MultiDict())


def mount(app: web.Application, intake: Intake, settings: ServerSettings) -> None:
    """Add a route for each adapter, with a 404 of our own below them.

    Raises `ConfigurationError`, and adds none, where the application takes no more routes or has
    one that would take callbacks.
    """
    _check(app)
    memory = Memory(settings.max_bodies)
    routes: dict[str, _Handler] = {}
    for name in intake.adapters:
        handler = _handler(intake, name, settings, memory)
        routes[f"{settings.prefix}/{name}"] = handler
        routes[f"{settings.prefix}/{name}/{{tail:.*}}"] = handler
    if settings.prefix:
        routes[f"{settings.prefix}/{{unknown:.*}}"] = _not_found(settings)
    taken = {each.canonical for each in app.router.resources()}
    for path in routes:
        if path.replace(":.*", "") in taken:
            raise ConfigurationError(
                f"the application has a route for {path} already, which would get what comes "
                "there: mount a bridge once, and give several of them a `server.prefix` each"
            )
    intake.mount()
    for path, handler in routes.items():
        app.router.add_route("*", path, handler)


def _check(app: object) -> None:
    if not isinstance(app, web.Application):
        raise ConfigurationError(
            f"mount() takes an aiohttp.web.Application, not {type(app).__name__}; in other "
            "frameworks it is `bridge.asgi()` (docs/embed.md)"
        )
    if app.pre_frozen:
        raise ConfigurationError(
            "the application takes no more routes, since it runs or is set up to: mount the "
            "bridge before web.run_app, AppRunner.setup and add_subapp"
        )


def _handler(intake: Intake, name: str, settings: ServerSettings, memory: Memory) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        tail = request.match_info.get("tail", "")
        client = client_of(request, settings)
        try:
            return web_response(
                await respond(request, intake, settings, name, memory, tail=tail, client=client)
            )
        finally:
            _mask(request, f"{settings.prefix}/{name}", tail)

    return handle


def _not_found(settings: ServerSettings) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        _mask(request, settings.prefix, request.match_info["unknown"])
        return web_response(response_to(UnknownAdapter()))

    return handle


def _mask(request: web.Request, path: str, tail: str) -> None:
    """Hide what may be a token from the application's access log, which is written afterwards."""
    if tail or request.query_string:
        url = URL(f"{path}/{_MASKED}")
        # aiohttp has no other way: its logger is given the request as it is.
        request._rel_url = url  # noqa: SLF001
        request._message = request._message._replace(path=str(url), url=url)  # noqa: SLF001
        request._cache.clear()  # noqa: SLF001


def client_of(request: web.BaseRequest, settings: ServerSettings) -> Address | None:
    """Return the client of a request, as told by trusted proxies."""
    forwarded_for = request.headers.getall("X-Forwarded-For", ())
    return client_address(request.remote, forwarded_for, settings.trusted_proxies)


async def respond(
    request: web.BaseRequest,
    intake: Intake,
    settings: ServerSettings,
    name: str,
    memory: Memory,
    *,
    tail: str,
    client: Address | None,
) -> Response:
    """Take a request as a callback for an adapter; `tail` is the path below the adapter's own.

    Never raises a `BridgeError`. Where a body was not read to its end, the response ends the
    connection, since the next request could not be found in it.
    """
    is_read = False
    try:
        body = _at_hand(request, settings.max_body)
        if body is not None:
            is_read = True
            return await intake.receive(name, _callback(request, body, tail, client))
        intake.admit(name, _callback(request, b"", tail, client))
        with Room(memory) as room:
            body = await _body(request, settings, room)
            is_read = True
            return await intake.receive(name, _callback(request, body, tail, client))
    except BodyRefused as error:
        intake.refuse(name, error)
        return _closing(response_to(error))
    except BridgeError as error:
        response = response_to(error)
        return response if is_read else _closing(response)


def _callback(request: web.BaseRequest, body: bytes, tail: str, client: Address | None) -> Callback:
    return _new_callback(
        method=request.method,
        tail=tail.strip("/"),
        headers=request.headers,
        query=request.query if "?" in request.raw_path else _NO_QUERY,
        body=body,
        received_at=datetime.now(UTC),
        client=client,
    )


def _closing(response: Response) -> Response:
    return attrs.evolve(response, headers={**response.headers, hdrs.CONNECTION: "close"})


def _at_hand(request: web.BaseRequest, limit: int) -> bytes | None:
    """Return a body that came with its head, as most do; None where more of it follows."""
    headers, content = request.headers, request.content
    if (
        not content.is_eof()
        or hdrs.CONTENT_ENCODING in headers
        or hdrs.TRANSFER_ENCODING in headers
        or content.exception() is not None
    ):
        return None
    body = content.read_nowait()
    if len(body) > limit:
        raise BodyRefused(Fault.TOO_LARGE)
    return body


async def _body(request: web.BaseRequest, settings: ServerSettings, room: Room) -> bytes:
    # Each of them: aiohttp decodes by the last one, and without a limit.
    headers = request.headers
    for encoding in headers.getall(hdrs.CONTENT_ENCODING, ()):
        if encoding.lower() != "identity":
            raise BodyRefused(Fault.ENCODED)
    if not request.body_exists:
        return b""
    length = request.content_length
    if length is not None and length > settings.max_body:
        raise BodyRefused(Fault.TOO_LARGE)
    try:
        async with asyncio.timeout(settings.body_timeout):
            if headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
                raise BodyRefused(Fault.BROKEN_OFF)  # a coding beneath the chunks stays undone
            return await _read(request, settings.max_body, room)
    except TimeoutError:
        raise BodyRefused(Fault.LATE) from None
    except (ClientPayloadError, web.RequestPayloadError, ConnectionError):
        raise BodyRefused(Fault.BROKEN_OFF) from None


async def _read(request: web.BaseRequest, limit: int, room: Room) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():  # the parser ends it at its length
        room.take(len(body) + len(chunk))
        body += chunk
        if len(body) > limit:
            raise BodyRefused(Fault.TOO_LARGE)
    return bytes(body)
