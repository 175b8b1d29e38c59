"""A server of our own: callbacks in, and nothing that an application would need besides.

It stands on aiohttp's low-level server, since a router and middlewares take as long as a handler
that does nothing. Inside an application of yours, `Bridge.mount` does the same with routes.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol

from aiohttp import HttpVersion11, hdrs, web

from bridge.adapter import ACKNOWLEDGED, Response
from bridge.errors import BridgeError, UnknownAdapter
from bridge.ingress import request_id
from bridge.ingress.connection import Connection, check_parser, connections
from bridge.ingress.web import (
    ACKNOWLEDGING,
    Receiver,
    client_of,
    problem,
    response_to,
    take,
    web_response,
)
from bridge.settings import ServerSettings

_SETTLING: Final = 3
"""Turns of the loop in which a connection accepted last gets far enough to be seen as idle;
otherwise the end would wait for its first request for the whole of the drain's time."""


class Serviceable(Receiver, AbstractAsyncContextManager[Any], Protocol):
    """A receiver that takes callbacks while its context is open: a `Bridge`."""


async def serve(
    receiver: Serviceable,
    settings: ServerSettings,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT: then take nothing new, finish what came, and return.

    `ready` is called with the base URL once callbacks are taken; port 0 picks a free one.
    Raises `OSError` where the address cannot be had, `JournalError` where the journal cannot.
    """
    check_parser()
    handlers = web.Server(_handler(receiver, settings))
    runner = web.ServerRunner(handlers, shutdown_timeout=settings.drain_timeout)
    with _stopping() as stop:
        async with receiver:
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


def _handler(
    receiver: Receiver, settings: ServerSettings
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Return what answers each request."""
    below = f"{settings.prefix}/"
    exactly = {f"{below}{name}": name for name in receiver.adapters}
    trusted = settings.trusted_proxies
    acknowledgement = Acknowledgement()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - this server makes no others
        connection.answering()
        try:
            if hdrs.EXPECT in request.headers:
                await _encourage(request)
            name, tail = exactly.get(request.raw_path), ""
            if name is None:
                name, tail = _place(request.path)
                if name is None:
                    return await _other(request, receiver)
            if not trusted:
                client = connection.client
                reply, is_broken = await take(request, receiver, (name, tail), client, settings)
            else:
                with request_id.using(request_id.told_by_proxy(request, trusted)):
                    client = client_of(request, settings)
                    reply, is_broken = await take(request, receiver, (name, tail), client, settings)
            if reply is ACKNOWLEDGED and acknowledgement.suits(request):
                return acknowledgement
            response = web_response(reply)
            if is_broken:
                response.force_close()
            return response
        finally:
            connection.answered()

    def _place(path: str) -> tuple[str | None, str]:
        if not path.startswith(below):
            return None, ""
        name, _, tail = path[len(below) :].partition("/")
        return exactly.get(f"{below}{name}"), tail

    return handle


async def _other(request: web.BaseRequest, receiver: Receiver) -> web.Response:
    if request.method in (hdrs.METH_GET, hdrs.METH_HEAD):
        if request.path == "/healthz":
            return web_response(Response(body=b"alive\n"))
        if request.path == "/readyz":
            return await _readiness(receiver)
    return web_response(response_to(UnknownAdapter()))


class Acknowledgement(web.StreamResponse):
    """The 200 that nearly every callback gets: one object and one write for all of them.

    To put together the same few headers each time takes as long as to parse a callback.
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
        """Return whether a request may be answered so: HTTP/1.1 on a connection that stays."""
        return request.keep_alive and request.version == HttpVersion11

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


async def _encourage(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to go on and send the body (RFC 9110, section 10.1.1)."""
    if (
        request.version == HttpVersion11
        and request.headers[hdrs.EXPECT].lower() == "100-continue"
        and not request.content.is_eof()
    ):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the response proper has not begun


async def _readiness(receiver: Receiver) -> web.Response:
    health = await receiver.health()
    status, word = (200, "ready") if health.ready else (503, "not ready")
    told = word if health.reason is None else f"{word}: {health.reason}"
    return web_response(Response(status=status, body=f"{told}\n".encode()))


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
        return web_response(problem(status, "this is not HTTP as it should be"))
    return web_response(response_to(BridgeError()))


def _url(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
