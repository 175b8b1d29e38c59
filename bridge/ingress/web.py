"""The aiohttp edge: a request becomes a `Callback`, a `Response` or an error becomes a response.

Nothing else happens here, and nowhere else are status codes known. It needs only somebody who
receives callbacks (`Receiver`), so that the runtime can mount it without a circle.
`bridge.ingress.server` is the server that needs no application.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, Protocol

import attrs
import orjson
from aiohttp import ClientPayloadError, hdrs, web
from multidict import CIMultiDict, MultiDict, MultiDictProxy

from bridge.adapter import ACKNOWLEDGED, Callback, Response
from bridge.adapter.signing import Address, client_address
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
from bridge.journal.protocol import Health
from bridge.model.frozen import builder
from bridge.settings import ServerSettings

# What aiohttp gives is of the right types already, so that nothing has to be converted.
_new_callback: Final = builder(Callback, converted=True)

_NO_QUERY: Final[MultiDictProxy[str]] = MultiDictProxy(MultiDict())
_PROBLEM: Final = "application/problem+json"
_HEADERS: Final = {"Server": "incs-bridge", "X-Content-Type-Options": "nosniff"}
ACKNOWLEDGING: Final = CIMultiDict({**_HEADERS, "Content-Type": ACKNOWLEDGED.content_type})
_RETRY_AFTER: Final = "5"  # seconds
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

    async def receive(self, name: str, callback: Callback, /) -> Response:
        """Return the reply to a callback once its events are durable."""
        ...

    def refused(self, name: str, /) -> None:
        """Take note of a callback whose body was refused, so that it was never received."""
        ...

    async def health(self) -> Health:
        """Return whether a callback would be taken now."""
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
        tail = request.match_info.get("tail", "")
        client = client_of(request, settings)
        reply, is_broken = await take(request, receiver, (name, tail), client, settings)
        response = web_response(reply)
        if is_broken:
            response.force_close()
        return response

    return handle


def client_of(request: web.BaseRequest, settings: ServerSettings) -> Address | None:
    """Return who sent a request, as far as proxies are trusted."""
    forwarded_for = request.headers.getall("X-Forwarded-For", ())
    return client_address(request.remote, forwarded_for, settings.trusted_proxies)


async def take(
    request: web.BaseRequest,
    receiver: Receiver,
    place: tuple[str, str],
    client: Address | None,
    settings: ServerSettings,
) -> tuple[Response, bool]:
    """Let a receiver take a request as a callback.

    `place` is an adapter's name and what the path holds below it. Return the reply, and whether
    the connection is of no use any more: where a body was not read to its end, where the next
    request would begin is anybody's guess.
    """
    name, tail = place
    try:
        body = _at_hand(request, settings.max_body)
        if body is None:
            body = await _body(request, settings)
        callback = _new_callback(
            method=request.method,
            tail=tail.strip("/"),
            headers=request.headers,
            query=request.query if "?" in request.raw_path else _NO_QUERY,
            body=body,
            received_at=datetime.now(UTC),
            client=client,
        )
        return await receiver.receive(name, callback), False
    except BodyRefused as error:
        receiver.refused(name)
        return response_to(error), True
    except BridgeError as error:
        return response_to(error), False


def _at_hand(request: web.BaseRequest, limit: int) -> bytes | None:
    """Return a body that came with its head, as most do; None where there is more to it."""
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


async def _body(request: web.BaseRequest, settings: ServerSettings) -> bytes:
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
            if length is not None:
                return await request.content.read()  # the parser ends it at its length
            if headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
                raise BodyRefused(Fault.BROKEN_OFF)  # a coding beneath the chunks stays undone
            return await _chunked(request, settings.max_body)
    except TimeoutError:
        raise BodyRefused(Fault.LATE) from None
    except (ClientPayloadError, web.RequestPayloadError, ConnectionError):
        raise BodyRefused(Fault.BROKEN_OFF) from None


async def _chunked(request: web.BaseRequest, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise BodyRefused(Fault.TOO_LARGE)
    return bytes(body)


def response_to(error: BridgeError) -> Response:
    """Return what a provider is told about an error: a problem (RFC 9457) that gives nothing away.

    For those who receive callbacks with a web framework of their own.
    """
    match error:
        case NotAuthentic():
            return problem(401, "the callback is not authentic")
        case MalformedBody():
            return problem(
                400, str(error), line=error.line, column=error.column, offset=error.offset
            )
        case BodyRefused():
            return problem(_FAULTS[error.fault], str(error))
        case MethodRefused():
            return attrs.evolve(
                problem(405, str(error)), headers={"Allow": ", ".join(sorted(error.allowed))}
            )
        case UnknownAdapter():
            return problem(404, "there is nothing here")
        case JournalError():
            return attrs.evolve(
                problem(503, "the callback could not be stored: send it again"),
                headers={"Retry-After": _RETRY_AFTER},
            )
        case _:
            return attrs.evolve(
                problem(503, "the callback could not be taken: send it again"),
                headers={"Retry-After": _RETRY_AFTER},
            )


def problem(status: int, detail: str, **more: int) -> Response:
    """Return a reply that says what is wrong, as RFC 9457 has it."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(status=status, body=orjson.dumps(body), content_type=_PROBLEM)


def web_response(reply: Response) -> web.Response:
    """Return the response that carries a reply."""
    return web.Response(
        status=reply.status,
        body=reply.body,
        headers=(
            {**_HEADERS, **reply.headers, "Content-Type": reply.content_type}
            if reply is not ACKNOWLEDGED
            else ACKNOWLEDGING
        ),
    )


async def _not_found(_: web.BaseRequest) -> web.Response:
    return web_response(response_to(UnknownAdapter()))
