"""The aiohttp edge: a request becomes a `Callback`, a `Reply` or an error becomes a response.

Nothing else happens here, and nowhere else are status codes known. It needs only somebody who
receives callbacks (`Receiver`), so that the runtime can mount it without a circle.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, Protocol

import attrs
import orjson
from aiohttp import ClientPayloadError, web
from multidict import CIMultiDict, MultiDict, MultiDictProxy

from bridge.adapter import ACKNOWLEDGED, Callback, Reply
from bridge.connection import check_parser, connections, punctual
from bridge.errors import (
    BodyRefused,
    BridgeError,
    Fault,
    JournalError,
    MalformedBody,
    MethodRefused,
    NotAuthentic,
    UnknownAdapter,
)
from bridge.journal.base import Health
from bridge.settings import ServerSettings
from bridge.signing import client_address

_NO_QUERY: Final[MultiDictProxy[str]] = MultiDictProxy(MultiDict())
_PROBLEM: Final = "application/problem+json"
_HEADERS: Final = {"Server": "incs-bridge", "X-Content-Type-Options": "nosniff"}
_ACKNOWLEDGING: Final = CIMultiDict({**_HEADERS, "Content-Type": ACKNOWLEDGED.content_type})
_RETRY_AFTER: Final = "5"  # seconds
_SETTLING: Final = 3
"""Turns of the loop in which a connection accepted last gets far enough to be seen as idle;
otherwise the end would wait for its first request for the whole of the drain's time."""
_FAULTS: Final[Mapping[Fault, int]] = {
    Fault.TOO_LARGE: 413,
    Fault.ENCODED: 415,
    Fault.LATE: 408,
    Fault.BROKEN_OFF: 400,
}


class Receiver(Protocol):
    """Takes callbacks for the adapters it knows by name: a `Bridge`."""

    @property
    def adapters(self) -> Mapping[str, object]:
        """The configured adapters."""
        ...

    async def receive(self, name: str, callback: Callback, /) -> Reply:
        """Return the reply to a callback once its events are durable."""
        ...

    def refused(self, name: str, /) -> None:
        """Take note of a callback whose body was refused, so that it was never received."""
        ...

    async def health(self) -> Health:
        """Return whether a callback would be taken now."""
        ...


class Mountable(Receiver, Protocol):
    """A receiver that runs while an application does."""

    def mount(self, app: web.Application) -> None:
        """Add the receiver's routes and its life to the application's."""
        ...


def mount(app: web.Application, receiver: Receiver, settings: ServerSettings) -> None:
    """Add a route for each of the receiver's adapters, with a 404 of our own below them."""
    for name in receiver.adapters:
        handler = _handler(receiver, name, settings)
        app.router.add_route("*", f"{settings.prefix}/{name}", handler)
        app.router.add_route("*", f"{settings.prefix}/{name}/{{tail:.*}}", handler)
    if settings.prefix:
        app.router.add_route("*", f"{settings.prefix}/{{unknown:.*}}", _not_found)


def _handler(
    receiver: Receiver, name: str, settings: ServerSettings
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            callback = Callback(
                method=request.method,
                tail=request.match_info.get("tail", "").strip("/"),
                headers=request.headers,
                query=request.query if "?" in request.raw_path else _NO_QUERY,
                body=await _body(request, settings),
                received_at=datetime.now(UTC),
                client=client_address(
                    request.remote,
                    request.headers.getall("X-Forwarded-For", ()),
                    settings.trusted_proxies,
                ),
            )
            reply = await receiver.receive(name, callback)
        except BodyRefused as error:
            receiver.refused(name)
            response = _response(reply_to(error))
            response.force_close()  # where the next request would begin is anybody's guess
            return response
        except BridgeError as error:
            reply = reply_to(error)
        return _response(reply)

    return handle


async def _body(request: web.Request, settings: ServerSettings) -> bytes:
    # Each of them: aiohttp decodes by the last one, and without a limit.
    for encoding in request.headers.getall("Content-Encoding", ()):
        if encoding.lower() != "identity":
            raise BodyRefused(Fault.ENCODED)
    if not request.body_exists:
        return b""
    length = request.content_length
    if length is not None and length > settings.max_body:
        raise BodyRefused(Fault.TOO_LARGE)
    try:
        if length is not None and request.content.is_eof():
            return request.content.read_nowait()  # it came with its head, as most do
        async with asyncio.timeout(settings.body_timeout):
            if length is not None:
                return await request.content.read()  # the parser ends it at its length
            if request.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
                raise BodyRefused(Fault.BROKEN_OFF)  # a coding beneath the chunks stays undone
            return await _chunked(request, settings.max_body)
    except TimeoutError:
        raise BodyRefused(Fault.LATE) from None
    except (ClientPayloadError, web.RequestPayloadError, ConnectionError):
        raise BodyRefused(Fault.BROKEN_OFF) from None


async def _chunked(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise BodyRefused(Fault.TOO_LARGE)
    return bytes(body)


def reply_to(error: BridgeError) -> Reply:
    """Return what a provider is told about an error: a problem (RFC 9457) that gives nothing away.

    For those who receive callbacks with a web framework of their own.
    """
    match error:
        case NotAuthentic():
            return _problem(401, "the callback is not authentic")
        case MalformedBody():
            return _problem(
                400, str(error), line=error.line, column=error.column, offset=error.offset
            )
        case BodyRefused():
            return _problem(_FAULTS[error.fault], str(error))
        case MethodRefused():
            return attrs.evolve(
                _problem(405, str(error)), headers={"Allow": ", ".join(sorted(error.allowed))}
            )
        case UnknownAdapter():
            return _problem(404, "there is nothing here")
        case JournalError():
            return attrs.evolve(
                _problem(503, "the callback could not be stored: send it again"),
                headers={"Retry-After": _RETRY_AFTER},
            )
        case _:
            return attrs.evolve(
                _problem(503, "the callback could not be taken: send it again"),
                headers={"Retry-After": _RETRY_AFTER},
            )


def _problem(status: int, detail: str, **more: int) -> Reply:
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Reply(status=status, body=orjson.dumps(body), content_type=_PROBLEM)


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status,
        body=reply.body,
        headers=(
            {**_HEADERS, **reply.headers, "Content-Type": reply.content_type}
            if reply is not ACKNOWLEDGED
            else _ACKNOWLEDGING
        ),
    )


async def _not_found(_: web.Request) -> web.Response:
    return _response(reply_to(UnknownAdapter()))


# --- a server of our own -------------------------------------------------------------------


async def serve(
    receiver: Mountable,
    settings: ServerSettings,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT: then take nothing new, finish what came, and return.

    `ready` is called with the base URL once callbacks are taken; port 0 picks a free one.
    Raises `OSError` where the address cannot be had, `JournalError` where the journal cannot.
    """
    check_parser()
    app = web.Application(middlewares=[punctual])
    receiver.mount(app)
    app.router.add_get("/healthz", _alive)
    app.router.add_get("/readyz", _readiness(receiver))
    app.router.add_route("*", "/{unknown:.*}", _not_found)
    runner = web.AppRunner(app, shutdown_timeout=settings.drain_timeout)
    with _stopping() as stop:
        await runner.setup()
        try:
            server = await asyncio.get_running_loop().create_server(
                connections(runner, settings, _refusal), settings.host, settings.port
            )
            if ready is not None:
                ready(_url(server))
            await stop.wait()
            server.close()
            for _ in range(_SETTLING):
                await asyncio.sleep(0)
        finally:
            await runner.cleanup()


@contextmanager
def _stopping() -> Iterator[asyncio.Event]:
    """Give an event that SIGTERM and SIGINT set; a second one of them cuts the ending short."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stop = asyncio.Event()

    def stop_or_cancel() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop_or_cancel)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _refusal(status: int) -> web.Response:
    """Return the response to a request that never reached a handler, or that broke one."""
    if status == HTTPStatus.BAD_REQUEST:
        return _response(_problem(status, "this is not HTTP as it should be"))
    return _response(reply_to(BridgeError()))


def _url(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _alive(_: web.Request) -> web.Response:
    return _response(Reply(body=b"alive\n"))


def _readiness(receiver: Receiver) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def ready(_: web.Request) -> web.Response:
        health = await receiver.health()
        if health.ready:
            return _response(Reply(body=b"ready\n"))
        return _response(Reply(status=503, body=f"not ready: {health.reason}\n".encode()))

    return ready
