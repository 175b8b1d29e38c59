"""The server of `bridge serve`, which takes callbacks and nothing else.

It uses aiohttp's low-level server, since a router and middlewares take as long as a handler that
does nothing. Inside an application of yours, `Bridge.mount` does the same with routes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from typing import Final, cast

import attrs
from aiohttp import HttpVersion11, hdrs, web

from bridge.adapter import ACKNOWLEDGED, Response
from bridge.errors import BridgeError, UnknownAdapter
from bridge.ingress import request_id
from bridge.ingress.connection import Connection, check_parser, connections, forgotten_in_children
from bridge.ingress.intake import Intake
from bridge.ingress.memory import Memory
from bridge.ingress.responses import (
    ACKNOWLEDGING,
    ALIVE,
    readiness,
    response_to,
    web_response,
)
from bridge.ingress.web import client_of, respond
from bridge.journal.protocol import Health
from bridge.settings import ServerSettings
from bridge.settings.wording import base_url, no_listener

_TO_CANCEL: Final = 0.05  # seconds
_SETTLING: Final = 3
"""Turns of the loop until a connection that was just accepted counts as idle; without them the end
would wait for its first request until the drain times out."""


@attrs.frozen
class Listener:
    """A server that takes callbacks at `url`."""

    url: str
    _server: asyncio.Server
    _handlers: web.Server

    @property
    def under_way(self) -> int:
        """Return how many requests are being answered."""
        connections = cast("list[Connection]", self._handlers.connections)
        return sum(connection.is_answering for connection in connections)

    async def drain(self, within: float) -> None:
        """Accept no connections, and answer pending requests for at most `within` seconds.

        Then every connection is closed.
        """
        if not self._server.is_serving():
            return
        self._server.close()
        for _ in range(_SETTLING):
            await asyncio.sleep(0)
        self._handlers.pre_shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._handlers.shutdown(None)
        await self._handlers.shutdown(_TO_CANCEL)


@asynccontextmanager
async def listening(intake: Intake, settings: ServerSettings) -> AsyncIterator[Listener]:
    """Take callbacks over HTTP until the block ends, and then drain for `drain_timeout` seconds.

    With port 0 the system chooses one. Raises `BridgeError` where the address cannot be used.
    """
    check_parser()
    handlers = web.Server(_handler(intake, settings))
    try:
        server = await asyncio.get_running_loop().create_server(
            connections(handlers, settings), settings.host, settings.port
        )
    except OSError as error:
        raise BridgeError(no_listener(settings.host, settings.port, error)) from error
    listener = Listener(base_url(*server.sockets[0].getsockname()[:2]), server, handlers)
    with forgotten_in_children([server], handlers):
        try:
            yield listener
        finally:
            await listener.drain(settings.drain_timeout)


def _handler(
    intake: Intake, settings: ServerSettings
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Return what answers each request."""
    below = f"{settings.prefix}/"
    exactly = {f"{below}{name}": name for name in intake.mount()}
    trusted = settings.trusted_proxies
    acknowledgement = Acknowledgement()
    memory = Memory(settings.max_bodies)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - this server makes no others
        connection.answering(request)
        try:
            if hdrs.EXPECT in request.headers:
                await _encourage(request)
            name, tail = exactly.get(request.raw_path), ""
            if name is None:
                name, tail = _place(request.path)
                if name is None:
                    return _ending(request, web_response(await _other(request, intake)))
            client = connection.client
            if trusted:
                client = client_of(request, settings)
                # Each request has a context of its own, which ends with it.
                request_id.use(request_id.told_by_proxy(request, trusted))
            response = await respond(
                request, intake, settings, name, memory, tail=tail, client=client
            )
            if response is ACKNOWLEDGED and acknowledgement.suits(request):
                return acknowledgement
            return _ending(request, web_response(response))
        finally:
            connection.answered()

    def _place(path: str) -> tuple[str | None, str]:
        if not path.startswith(below):
            return None, ""
        name, _, tail = path[len(below) :].partition("/")
        return exactly.get(f"{below}{name}"), tail

    return handle


async def _other(request: web.BaseRequest, intake: Intake) -> Response:
    if request.method in (hdrs.METH_GET, hdrs.METH_HEAD):
        if request.path == "/healthz":
            return ALIVE
        if request.path == "/readyz":
            health = await intake.health()
            return readiness(Health(ready=health.ready))  # the reason is for operators
    return response_to(UnknownAdapter())


class Acknowledgement(web.StreamResponse):
    """The 200 that nearly every callback gets: one object for all of them, and one write for each.

    Building the same few headers each time takes as long as parsing a callback.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made_at = 0
        self._bytes = b""

    @property
    def keep_alive(self) -> bool:
        """Return True: for a connection that ends, `suits` is false."""
        return True

    @staticmethod
    def suits(request: web.BaseRequest) -> bool:
        """Return whether it suits a request: HTTP/1.1 on a connection that stays open."""
        return (
            request.keep_alive
            and request.version == HttpVersion11
            and hdrs.UPGRADE not in request.headers
        )

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write everything."""
        now = int(time.time())
        if now != self._made_at:
            self._made_at = now
            headers = {**ACKNOWLEDGING, "Content-Length": "0", "Date": formatdate(now, usegmt=True)}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self._bytes = f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode()
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone away")
        transport.write(self._bytes)
        if transport.get_write_buffer_size():  # the client does not read as fast as it asks
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: everything has been written."""


def _ending(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Return a response that ends the connection of a request for another protocol.

    The parser reads nothing more there, so a further request would wait for ever.
    """
    if hdrs.UPGRADE in request.headers or request.method == hdrs.METH_CONNECT:
        response.force_close()
    return response


async def _encourage(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to go on and send the body (RFC 9110, section 10.1.1)."""
    if (
        request.version == HttpVersion11
        and request.headers[hdrs.EXPECT].lower() == "100-continue"
        and not request.content.is_eof()
    ):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the response proper has not begun
