"""The connections of a server of our own: how many there may be, and how slow each may be.

aiohttp bounds how long a connection may idle. What comes on top is a limit for a request's head,
so that nobody keeps a place by sending nothing, or a byte now and then; and errors that do not
quote the request, since a request holds tokens and what people wrote.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, final

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from bridge.adapter.signing import Address, client_address
from bridge.errors import BridgeError
from bridge.ingress.responses import problem, response_to, web_response
from bridge.raised import raised_at
from bridge.settings import ServerSettings
from bridge.throttle import Throttle

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
    """Return a protocol factory that turns away connections beyond the limit.

    Its handler has to say `answering` and `answered`.
    """
    throttle = Throttle(_log)

    def connect() -> asyncio.Protocol:
        if len(server.connections) >= settings.max_connections:
            throttle.log(logging.WARNING, "too many connections: one was turned away")
            return _TurnedAway()
        return Connection(server, settings)

    return connect


class _TurnedAway(asyncio.Protocol):
    """A connection too many: closed before a byte of it is read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@final
class Connection(web.RequestHandler):
    """A connection that is closed where the head of a request takes too long.

    The time runs from the opening, and later from the first byte that follows an answer.
    """

    __slots__ = ("_deadline", "_header_timeout", "client", "is_answering")

    def __init__(self, server: web.Server, settings: ServerSettings) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # as AppRunner does; a path may hold a token
            auto_decompress=False,  # a small body could become a huge one, and is refused anyway
            keepalive_timeout=settings.keepalive_timeout,
            # How long the rest of a refused body is still read, so that the answer is seen.
            lingering_time=settings.body_timeout,
        )
        self._header_timeout = settings.header_timeout
        self._deadline: asyncio.TimerHandle | None = None
        self.is_answering = False
        self.client: Address | None = None
        """Who is at the other end, which may be a proxy."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.client = client_address(peer[0] if isinstance(peer, tuple) else peer, (), ())
        self._expect_a_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop waiting."""
        self._stop_expecting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Begin to wait for the rest of a head where none is awaited and none is answered."""
        super().data_received(data)
        # Most heads come whole, and need no timer.
        if not (self._messages or self.is_answering) and self._deadline is None:
            self._expect_a_head()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT002 - aiohttp's
        """Resume what was paused; aiohttp asks for it after each body, and then parses anew."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def answering(self) -> None:
        """Note that a head has arrived: what comes now is that request's body."""
        if self._deadline is not None:
            self._stop_expecting()
        self.is_answering = True

    def answered(self) -> None:
        """Note that what comes now belongs to another request."""
        self.is_answering = False

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
            _log.info(
                "a request was refused that is not HTTP",
                extra={"error": type(exc).__name__, "client": request.remote},
            )
        else:
            _log_bug(exc)
        refusal = response_to(BridgeError())
        if status == HTTPStatus.BAD_REQUEST:
            refusal = problem(status, "this is not HTTP as it should be")
        response = web_response(refusal)
        response.force_close()
        return response

    def log_exception(self, *_args: object, **fields: object) -> None:
        """Log what aiohttp met outside of a request, without quoting any of it."""
        error = fields.get("exc_info")
        _log_bug(error if isinstance(error, BaseException) else None)


def _log_bug(error: BaseException | None) -> None:
    # Neither the exception's text nor a traceback: either could hold what the request holds.
    _log.error(
        "a request failed: this is a bug",
        extra={
            "error": type(error).__name__,
            "where": None if error is None else raised_at(error),
        },
    )
