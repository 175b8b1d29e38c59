"""The HTTP client: one message to one outcome, whatever happens on the way.

Redirects are not followed, responses are bounded, and every failure says whether the provider
may have taken the message all the same.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias, TypeVar, final

import attrs

from bridge.adapter import (
    Accepted,
    Controlling,
    Outcome,
    Probe,
    Probing,
    Refused,
    Remedy,
    Request,
    Response,
    Sender,
    ServiceAccount,
    Upload,
    Uploading,
)
from bridge.errors import ConfigurationError, NotRunning, Unanswered
from bridge.model import Media, Message, ProviderError
from bridge.outbox.tokens import Tokens
from bridge.process.lazy import later

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = later("aiohttp")

R = TypeVar("R")

MAX_RESPONSE: Final = 256 * 1024
"""How many bytes of a response are read; a longer one counts as broken off."""

_NO_URL: Final = "the address to send to is no URL of http or https"
_UNAUTHORIZED: Final = 401
_UPLOAD: Final = 300.0  # seconds that a file may take altogether
_KEEPALIVE: Final = 10.0
"""Shorter than servers keep a connection: one that they close as we send leaves a doubt."""


Body: TypeAlias = Callable[[], object]
"""Makes a request's body, once for each time that it is sent: a file is used up by it."""

Transport: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Exchanges a request, credentials and all, for a response; raises `Unanswered`."""


class Sends(Protocol):
    """What the outbox sends with."""

    async def send(
        self, sender: Sender, message: Message, /, *, ttl: float | None = None
    ) -> Outcome:
        """Send a message and return what became of it; see `Client.send`."""
        ...


@final
class Client:
    """Sends requests; an async context manager, to be shared between tasks.

    With a `transport`, requests go there and not over the network. `timeout` is for how many
    seconds a provider may take for a response, `connect_timeout` for how many it may take to be
    reached. `connections` is how many may be open at once.
    """

    def __init__(
        self,
        *,
        timeout: float = 30.0,
        connect_timeout: float = 10.0,
        connections: int = 100,
        transport: Transport | None = None,
    ) -> None:
        self._transport = transport
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._tokens = Tokens(self.exchange)

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._usual = self._within(self._timeout)
        self._tokens = Tokens(self.exchange)  # locks are of one event loop
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEEPALIVE),
            timeout=self._usual,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    def _within(self, total: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=total, connect=self._connect_timeout)

    async def __aexit__(self, *_: object) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, sender: Sender, message: Message, /, *, ttl: float | None = None
    ) -> Outcome:
        """Send a message and return what became of it; `ttl` as for `Sender.compose`.

        Raises `Unsendable` where the message cannot be composed, and nothing else.
        """
        response = await self._response(sender.compose(message, ttl=ttl))
        return response if isinstance(response, Refused) else sender.conclude(message, response)

    async def probe(self, sender: Probing, probe: Probe, /) -> Outcome:
        """Return whether credentials work; raises nothing."""
        if isinstance(probe.request, ServiceAccount):
            token = await _refusals(self._tokens.token(probe.request))
            return token if isinstance(token, Refused) else Accepted()
        response = await self._response(probe.request)
        return response if isinstance(response, Refused) else sender.judge(response)

    async def control(self, sender: Controlling, request: Request, /) -> Outcome:
        """Return what became of a request of `Controlling.control`; raises nothing."""
        response = await self._response(request)
        return response if isinstance(response, Refused) else sender.controlled(response)

    async def upload(
        self, sender: Uploading, upload: Upload, media: Media, file: Path | bytes, /
    ) -> str | Refused:
        """Return the id that the provider gives a file; raises `OSError` where it is not there."""

        def body() -> object:
            content = io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")
            opened.enter_context(content)
            if upload.form is None:
                return content
            form = aiohttp.FormData(upload.form)
            name = media.filename or "file"
            form.add_field("file", content, filename=name, content_type=media.mime_type)
            return form

        with ExitStack() as opened:
            response = await self._response(upload.request, body)
        return response if isinstance(response, Refused) else sender.uploaded(response)

    async def _response(self, request: Request, body: Body | None = None) -> Response | Refused:
        return await _refusals(self._authorized(request, body))

    async def _authorized(self, request: Request, body: Body | None) -> Response:
        """Exchange a request for a response, with a bearer token where it wants one.

        A token that is refused may have been revoked, so that a new one is tried, once.
        """
        account = request.authorization
        if account is None:
            return await self.exchange(request, body=body)
        token = await self._tokens.token(account)
        response = await self.exchange(request, bearer=token, body=body)
        if response.status == _UNAUTHORIZED:
            self._tokens.forget(account, token)
            token = await self._tokens.token(account)
            response = await self.exchange(request, bearer=token, body=body)
        return response

    async def exchange(
        self, request: Request, /, *, bearer: str | None = None, body: Body | None = None
    ) -> Response:
        """Send a request and return its response, also one that is an error.

        Raises `Unanswered` where there is none.
        """
        headers = dict(request.headers)
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        if self._transport is not None:
            return await self._transport(attrs.evolve(request, headers=headers))
        if self._session is None:
            raise NotRunning("the client of the outbox is not open")
        if not request.url.lower().startswith(("http://", "https://")):
            raise Unanswered(_NO_URL, in_doubt=False)
        data = request.body or None if body is None else body()
        timeout = self._usual if body is None else self._within(_UPLOAD)
        try:
            async with self._session.request(
                request.method,
                request.url,
                headers=headers,
                data=data,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                return Response(
                    status=answer.status,
                    body=await _bounded(answer),
                    content_type=answer.headers.get("Content-Type", ""),
                    headers=dict(answer.headers),
                )
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.InvalidURL,
            UnicodeError,  # of a name in which a label is empty, or too long
        ) as error:  # no connection, no request: nothing can have been taken
            raise Unanswered(_words(error), in_doubt=False) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unanswered(_words(error), in_doubt=True) from error


async def _refusals(asked: Awaitable[R]) -> R | Refused:
    """Return what is awaited, or the refusal that an error of ours amounts to."""
    try:
        return await asked
    except Unanswered as error:
        told = ProviderError(code="unanswered", title=error.reason)
        return Refused(error=told, remedy=Remedy.AGAIN, in_doubt=error.in_doubt)
    except ConfigurationError as error:
        told = ProviderError(code="credentials", title=str(error))
        return Refused(error=told, remedy=Remedy.STOP_ACCOUNT)


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_RESPONSE:
            answer.close()
            break
    return bytes(body[:MAX_RESPONSE])


def _words(error: BaseException) -> str:
    """Say what happened; the text of an error may hold the URL, and so a phone."""
    if isinstance(error, TimeoutError):
        return "no response in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port}: {error.strerror or 'refused'}"
    if isinstance(error, aiohttp.InvalidURL | UnicodeError):
        return _NO_URL
    return f"the connection failed: {type(error).__name__}"
