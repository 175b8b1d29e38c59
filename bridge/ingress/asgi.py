"""The ASGI edge: an application for FastAPI, Starlette, Litestar, Django, Quart and the like.

A request becomes a `Callback`, a `Response` becomes ASGI's; nothing else happens here.
https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, final

import attrs
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bridge.adapter import Callback, Response
from bridge.adapter.signing import client_address
from bridge.errors import (
    BodyRefused,
    BridgeError,
    ConfigurationError,
    Fault,
    NotRunning,
    UnknownAdapter,
)
from bridge.ingress import request_id
from bridge.ingress.intake import Intake
from bridge.ingress.memory import Memory, Room
from bridge.ingress.responses import HEADERS, response_to
from bridge.raised import described
from bridge.settings import ServerSettings
from bridge.throttle import Throttle

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_MASKED: Final = "MASKED"  # of letters, which no server quotes
_log: Final = logging.getLogger(__name__)


@final
class AsgiApplication:
    """Takes callbacks where it is mounted, or below `prefix` where it serves by itself.

    With `otherwise`, that application gets every other request. Where this is the server's own
    application, the bridge runs while the server does. The rest of a callback's path and its
    query are masked in the scope once they are read, since servers log them.
    """

    def __init__(
        self,
        intake: Intake,
        settings: ServerSettings,
        running: AbstractAsyncContextManager[object],
        otherwise: Application | None = None,
    ) -> None:
        if otherwise is not None:
            _check(otherwise)
        self._names = frozenset(intake.mount())
        self._intake = intake
        self._settings = settings
        self._memory = Memory(settings.max_bodies)
        self._running = running
        self._otherwise = otherwise
        self._throttle = Throttle(_log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as the specification says."""
        if scope["type"] == "lifespan":
            await _live(self._running, self._otherwise, scope, receive, send)
            return
        name, tail = self._place(scope) if scope["type"] == "http" else (None, "")
        if name is None and self._otherwise is not None:
            await self._otherwise(scope, receive, send)
        elif scope["type"] == "http":
            await _send(await self._respond(scope, receive, name, tail), send)
        else:
            await send({"type": "websocket.close"})

    def _place(self, scope: Scope) -> tuple[str | None, str]:
        """Return the adapter that a request is for ("" where there is none), and the path below it.

        None: the request is for the other application.
        """
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        path = path.removeprefix(root) if path.startswith(f"{root}/") else path
        below = path.removeprefix(f"{self._settings.prefix}/")
        is_below = below != path
        if not is_below and self._otherwise is not None:
            return None, ""
        tail = ""
        for rest in (path.removeprefix("/"), below):
            name, _, tail = rest.partition("/")
            if name in self._names:
                return name, tail
        return "", tail

    async def _respond(
        self, scope: Scope, receive: Receive, name: str | None, tail: str
    ) -> Response:
        """Return the response to a callback; never raises a `BridgeError`."""
        query: bytes = scope.get("query_string", b"")
        _mask(scope, tail)
        if not name:
            return response_to(UnknownAdapter())
        headers = CIMultiDictProxy(CIMultiDict(_text(scope["headers"])))
        peer = (scope.get("client") or (None,))[0]
        trusted = self._settings.trusted_proxies
        told = request_id.told_by(peer, headers.getall(request_id.HEADER, ()), trusted)
        with request_id.using(told), Room(self._memory) as room:
            try:
                head = Callback(
                    method=scope["method"],
                    tail=tail.strip("/"),
                    headers=headers,
                    query=URL.build(query_string=query.decode("latin-1"), encoded=True).query,
                    body=b"",
                    received_at=datetime.now(UTC),
                    client=client_address(peer, headers.getall(hdrs.X_FORWARDED_FOR, ()), trusted),
                )
                self._intake.admit(name, head)
                body = await self._body(headers, receive, room)
                callback = attrs.evolve(head, body=body, received_at=datetime.now(UTC))
                return await self._intake.receive(name, callback)
            except BodyRefused as error:
                self._intake.refuse(name, error)
                return response_to(error)
            except NotRunning as error:
                words = f"callbacks are refused: {error}; give the framework `bridge.lifespan`"
                self._throttle.log(logging.ERROR, words, key="not running")
                return response_to(error)
            except BridgeError as error:
                return response_to(error)

    async def _body(self, headers: CIMultiDictProxy[str], receive: Receive, room: Room) -> bytes:
        """Return the whole body, as it was sent. Raises `BodyRefused`."""
        limit = self._settings.max_body
        for encoding in headers.getall(hdrs.CONTENT_ENCODING, ()):
            if encoding.lower() != "identity":
                raise BodyRefused(Fault.ENCODED)
        length = headers.get(hdrs.CONTENT_LENGTH, "0")
        if length.isdigit() and int(length) > limit:
            raise BodyRefused(Fault.TOO_LARGE)
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise BodyRefused(Fault.BROKEN_OFF)
                    body += message.get("body", b"")
                    room.take(len(body))
                    if len(body) > limit:
                        raise BodyRefused(Fault.TOO_LARGE)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise BodyRefused(Fault.LATE) from None


def _check(application: Application) -> None:
    """Refuse what is no ASGI application, WSGI's included, before the first request fails."""
    try:
        inspect.signature(application).bind(None, None, None)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"asgi() takes an ASGI application, not {type(application).__name__}; one of WSGI "
            "(Flask, Django's get_wsgi_application) goes into a server of its own"
        ) from None


def _text(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in headers
    ]


def _mask(scope: Scope, tail: str) -> None:
    """Hide what may be a token from servers that log the scope after the response."""
    if tail:
        scope["path"] = f"{scope['path'].removesuffix(tail)}{_MASKED}"
        scope["raw_path"] = scope["path"].encode()
    if scope.get("query_string"):
        scope["query_string"] = _MASKED.encode()


async def _send(response: Response, send: Send) -> None:
    headers = {**HEADERS, **response.headers, "Content-Type": response.content_type}
    headers["Content-Length"] = str(len(response.body))
    del headers["Server"]  # the server says what it is
    raw = [(name.lower().encode("latin-1"), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": response.body})


async def _live(
    running: AbstractAsyncContextManager[object],
    inner: Application | None,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Run while the server does, and let an application inside do so too.

    https://asgi.readthedocs.io/en/latest/specs/lifespan.html
    """
    ended: list[Message] = []
    phase = "startup"
    is_inside = False

    async def receive_inside() -> Message:
        nonlocal is_inside
        is_inside = True
        return await receive()

    async def send_inside(message: Message) -> None:
        nonlocal phase
        if message["type"].startswith("lifespan.shutdown"):
            ended.append(message)  # the server may exit as soon as it is told
            return
        await send(message)
        if message["type"] == "lifespan.startup.complete":
            phase = "shutdown"

    try:
        async with running:
            if inner is not None:
                try:
                    await inner(scope, receive_inside, send_inside)
                except Exception:
                    if is_inside:
                        raise
                    # It has no lifespan, and says so: Django for one.
            if not is_inside:
                await receive()
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
    except Exception as error:  # noqa: BLE001 - the server is told
        # A server that is not told takes it for an application without a lifespan.
        words = str(error) if isinstance(error, BridgeError) else described(error)
        await send({"type": f"lifespan.{phase}.failed", "message": words})
    else:
        if phase == "shutdown":
            await send(ended[0] if ended else {"type": "lifespan.shutdown.complete"})
