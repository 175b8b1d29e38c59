"""The connections of a server of our own: how many there may be, and how slow each may be.

aiohttp bounds how long a connection may idle. This module adds a limit for a request's head,
so that a client which sends nothing, or a byte now and then, is disconnected. Its error responses
do not quote the request, which may hold tokens and messages.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final, final

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from bridge.adapter.signing import Address, client_address
from bridge.errors import BridgeError
from bridge.ingress.responses import problem, response_to, web_response
from bridge.process.forked import forks, let_go_of
from bridge.process.raised import raised_at
from bridge.process.throttle import Throttle
from bridge.settings import ServerSettings

_LINGERING: Final = 2.0  # seconds
_log: Final = logging.getLogger(__name__)


def check_parser() -> None:
    """Warn where aiohttp was installed without its C parser.

    The one written in Python is slower by far, and differs from it in what it lets through.
    """
    if HttpRequestParser is HttpRequestParserPy:
        _log.warning(
            "aiohttp runs without its C parser: unset AIOHTTP_NO_EXTENSIONS, "
            "or install a wheel that was built for this platform"
        )


def connections(server: web.Server, settings: ServerSettings) -> Callable[[], asyncio.Protocol]:
    """Return a protocol factory that refuses connections beyond the limit.

    The handler calls `answering` when it begins with a request, and `answered` at its end.
    """
    idle = Idle(settings)

    def connect() -> asyncio.Protocol:
        return Connection(server, settings, idle)

    return connect


def forgotten_in_children(
    listeners: Sequence[asyncio.Server], handlers: web.Server
) -> AbstractContextManager[None]:
    """Close what a server has open in each child that is forked before the block ends."""

    def let_go() -> None:
        transports = (connection.transport for connection in handlers.connections)
        connected = [each.get_extra_info("socket") for each in transports if each is not None]
        sockets = [*connected, *(each for server in listeners for each in server.sockets)]
        let_go_of(each.fileno() for each in sockets)

    return forks.letting_go(let_go)


@final
class Idle:
    """The open connections, and which of them may be closed for a new one.

    Beyond the limit, of all or of one peer, the connection is closed that has waited longest for a
    complete request; where all are being answered, the new one is refused.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._most = settings.max_connections
        self._most_of_one = settings.max_connections_per_peer
        self._proxies = settings.trusted_proxies
        self._waiting: dict[Connection, None] = {}
        self._of_peer: dict[Address | None, dict[Connection, None]] = {}
        self._count = 0
        self.throttle = Throttle(_log)
        """Of all that strangers can have logged here."""

    def take(self, new: Connection) -> bool:
        """Count a connection; return whether there is room for it."""
        peer = new.client
        mine = self._of_peer.get(peer, {})
        if len(mine) >= self._most_of_one and not any(
            peer is not None and peer in network for network in self._proxies
        ):
            waiting = next((each for each in self._waiting if each.client == peer), None)
        elif self._count >= self._most:
            waiting = next(iter(self._waiting), None)
        else:
            self._add(new)
            return True
        what = "turned away" if waiting is None else "closed that had been idle"
        self.throttle.log(logging.WARNING, f"too many connections: one was {what}")
        if waiting is None:
            return False
        self.gone(waiting)
        waiting.force_close()
        self._add(new)
        return True

    def _add(self, new: Connection) -> None:
        self._of_peer.setdefault(new.client, {})[new] = None
        self._count += 1
        new.is_counted = True
        self._waiting[new] = None

    def gone(self, connection: Connection) -> None:
        """Count a connection no more, if it was counted."""
        if not connection.is_counted:
            return
        connection.is_counted = False
        self._count -= 1
        self._waiting.pop(connection, None)
        mine = self._of_peer[connection.client]
        del mine[connection]
        if not mine:
            del self._of_peer[connection.client]

    def begins(self, connection: Connection) -> None:
        """Note that a connection has a whole request to answer."""
        self._waiting.pop(connection, None)

    def ends(self, connection: Connection) -> None:
        """Note that a connection waits for its next request."""
        if connection.is_counted:
            self._waiting[connection] = None


@final
class Connection(web.RequestHandler):
    """A connection that is closed when the head of a request takes too long.

    The time runs from the opening, and later from the first byte that follows an answer.
    """

    __slots__ = (
        "_deadline",
        "_header_timeout",
        "_idle",
        "_to_be_read",
        "_write_timeout",
        "client",
        "is_answering",
        "is_counted",
    )

    def __init__(self, server: web.Server, settings: ServerSettings, idle: Idle) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # as AppRunner does; a path may hold a token
            auto_decompress=False,  # a small body could become a huge one, and is refused anyway
            keepalive_timeout=settings.keepalive_timeout,
            # How long the rest of a refused body is still read, so that the answer is seen.
            lingering_time=min(settings.body_timeout, _LINGERING),
        )
        self._header_timeout = settings.header_timeout
        self._write_timeout = settings.body_timeout
        self._idle = idle
        self._deadline: asyncio.TimerHandle | None = None
        self._to_be_read: asyncio.TimerHandle | None = None
        self.is_answering = False
        self.is_counted = False
        self.client: Address | None = None
        """Who is at the other end, which may be a proxy."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request, where there is room for the connection."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.client = client_address(peer[0] if isinstance(peer, tuple) else peer, (), ())
        if self._idle.take(self):
            self._expect_a_head()
        else:
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop waiting."""
        self._idle.gone(self)
        self._stop_expecting()
        self._stop_waiting_for_the_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the timer of a head, unless one runs or a request is being answered."""
        super().data_received(data)
        # Most heads come whole, and need no timer.
        if not (self._messages or self.is_answering) and self._deadline is None:
            self._expect_a_head()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT002 - aiohttp's
        """Resume what was paused; aiohttp asks for it after each body, and then parses anew."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read what it is answered."""
        super().pause_writing()
        if self._to_be_read is None and self.transport is not None:
            loop = asyncio.get_running_loop()
            self._to_be_read = loop.call_later(self._write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads again."""
        self._stop_waiting_for_the_reader()
        super().resume_writing()

    def _stop_waiting_for_the_reader(self) -> None:
        if self._to_be_read is not None:
            self._to_be_read.cancel()
            self._to_be_read = None

    def answering(self, request: web.BaseRequest) -> None:
        """Note that a head has arrived, and that its body follows.

        Until the body is complete, the connection may be closed to make room for another one.
        """
        if self._deadline is not None:
            self._stop_expecting()
        self.is_answering = True
        if request.content.is_eof():  # it came with its head, as most do
            self._idle.begins(self)
        else:
            request.content.on_eof(self._received)

    def _received(self) -> None:
        if self.is_answering:
            self._idle.begins(self)

    def answered(self) -> None:
        """Note that what comes now belongs to another request."""
        self.is_answering = False
        self._idle.ends(self)

    def _expect_a_head(self) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._header_timeout, self.force_close)

    def _stop_expecting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Answer what is not HTTP, or what failed, without quoting any of it."""
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:  # the client's fault
            self._idle.throttle.log(
                logging.INFO,
                "a request was refused that is not HTTP",
                error=type(exc).__name__,
                client=request.remote,
            )
        else:
            self._log_bug(exc)
        refusal = response_to(BridgeError())
        if status == HTTPStatus.BAD_REQUEST:
            refusal = problem(status, "this is not HTTP as it should be")
        response = web_response(refusal)
        response.force_close()
        return response

    def log_exception(self, *_args: object, **fields: object) -> None:
        """Log what aiohttp met outside of a request, without quoting any of it."""
        error = fields.get("exc_info")
        self._log_bug(error if isinstance(error, BaseException) else None)

    def _log_bug(self, error: BaseException | None) -> None:
        # Neither the exception's text nor a traceback: either could hold what the request holds.
        name, where = type(error).__name__, None if error is None else raised_at(error)
        self._idle.throttle.log(
            logging.ERROR,
            "a request failed: this is a bug",
            key=f"{name} {where}",
            error=name,
            where=where,
        )
