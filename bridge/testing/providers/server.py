"""The HTTP server of a simulated provider: it records messages, and fails as it is told to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self, final

import attrs
from aiohttp import web

from bridge.adapter import Request, Response
from bridge.adapter.simulation import (
    Arrived,
    Rules,
    Said,
    Simulation,
    SimulationSource,
    answered,
)
from bridge.testing.providers.callbacks import Callbacks

_HOST: Final = "127.0.0.1"
_HTML: Final = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_MAX_BODY: Final = 110 * 1024 * 1024  # the largest file that a provider takes, and its form


class Trouble(StrEnum):
    """What may go wrong with a request."""

    DOWN = "down"
    """The connection is closed without an answer, and nothing was done."""

    LOST = "lost"
    """Everything is done as usual, and the connection is closed before the answer."""

    HALF = "half"
    """Everything is done as usual, and the answer breaks off half-way."""

    EMPTY = "empty"
    """Everything is done as usual, and the answer is 200 without a body."""

    SLOW = "slow"
    """Everything is done as usual, and the answer takes `slowness` seconds."""

    HTML = "html"
    """A gateway answers in the provider's place: 502 in HTML, and nothing was done."""

    REDIRECT = "redirect"
    """The answer leads elsewhere, and nothing was done."""

    ERROR_INSIDE = "error_inside"
    """The answer is 200 with an error in it, and nothing was done."""


@final
class SimulatedProvider:
    """A provider on loopback; an async context manager. Its attributes may be changed at any time.

    `trouble` is what goes wrong with each request, `troubles` with each of the next ones; None is
    no trouble. `early` posts the first callback of a request before its answer. `clock` is what
    the provider takes for the time; rates and windows go by it.
    """

    def __init__(self, *, clock: Callable[[], datetime] | None = None, seed: int = 0) -> None:
        self.url = ""
        self.trouble: Trouble | None = None
        self.troubles: deque[Trouble | None] = deque()
        self.slowness = 30.0
        self.early = False
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.callbacks = Callbacks(seed)
        self.clock = clock if clock is not None else lambda: datetime.now(UTC)
        self._simulation: Simulation | None = None
        application = web.Application(client_max_size=_MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        """Listen; `url` is known from now on."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, _HOST, 0)
        await site.start()
        _, port = self._runner.addresses[0][:2]
        self.url = f"http://{_HOST}:{port}"
        await self.callbacks.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and raise what went wrong in the background."""
        await self._runner.cleanup()
        await self.callbacks.stop()

    def play(
        self,
        source: SimulationSource,
        callbacks_to: str | None = None,
        *,
        simulation: Simulation | None = None,
    ) -> Simulation:
        """Simulate the provider of an adapter, and post callbacks to a URL if one is given."""
        self._simulation = source.simulation() if simulation is None else simulation
        self.callbacks.direct(source, callbacks_to)
        return self._simulation

    @property
    def simulation(self) -> Simulation:
        """Return the simulation that `play` set."""
        if self._simulation is None:
            raise RuntimeError("a simulated provider has to play() an adapter's first")
        return self._simulation

    @property
    def rules(self) -> Rules:
        """How the provider behaves."""
        return self.simulation.rules

    @property
    def arrived(self) -> list[Arrived]:
        """Every message that reached a user, in order."""
        return self.simulation.arrived

    async def say(self, user: str, content: Said, *, account: str | None = None) -> bool:
        """Let a user write; return whether the bridge acknowledged it."""
        body = self.simulation.say(user, content, self.clock(), account=account)
        return await self.callbacks.post(body)

    # --- requests ----------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/files/"):
            content = self.simulation.files.get(request.path.removeprefix("/files/"))
            return web.Response(status=404) if content is None else web.Response(body=content)
        received = Request(
            method=request.method,
            url=f"{self.url}{request.path_qs}",
            headers=dict(request.headers),
            body=await request.read(),
        )
        self.requests.append(received)
        trouble = self.troubles.popleft() if self.troubles else self.trouble
        match trouble:
            case Trouble.DOWN:
                return _close(request)
            case Trouble.HTML:
                return web.Response(status=502, text=_HTML, content_type="text/html")
            case Trouble.REDIRECT:
                return web.Response(status=302, headers={"Location": f"{self.url}/elsewhere"})
            case Trouble.ERROR_INSIDE:
                refusal = self.simulation.refusal(self.simulation.trouble)
                return _web_response(attrs.evolve(refusal, status=200))
            case _:
                return await self._do(received, request, trouble)

    async def _do(
        self, received: Request, request: web.Request, trouble: Trouble | None
    ) -> web.StreamResponse:
        answer = answered(self.simulation, received, self.clock())
        self.responses.append(answer.response)
        callbacks = answer.callbacks
        if self.early and callbacks:
            await self.callbacks.post(callbacks[0].body)
            callbacks = callbacks[1:]
        self.callbacks.follow(callbacks)
        match trouble:
            case Trouble.LOST:
                return _close(request)
            case Trouble.HALF:
                return await _half(answer.response, request)
            case Trouble.EMPTY:
                return web.Response()
            case Trouble.SLOW:
                await asyncio.sleep(self.slowness)
        return _web_response(answer.response)


def _web_response(response: Response) -> web.Response:
    headers = {"Content-Type": response.content_type, **response.headers}
    return web.Response(status=response.status, body=response.body, headers=headers)


def _close(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(response: Response, request: web.Request) -> web.StreamResponse:
    half = web.StreamResponse(status=response.status)
    half.content_type = "application/json"
    half.content_length = len(response.body)
    await half.prepare(request)
    await half.write(response.body[: len(response.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return half
