"""Taking callbacks inside a program's own application, and running as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.ingress import request_id
from bridge.ingress.intake import Intake
from bridge.settings import ServerSettings

if TYPE_CHECKING:
    from aiohttp import web

    from bridge.ingress.asgi import Application, AsgiApplication


class Embedded(AbstractAsyncContextManager["Embedded"]):
    """The part of `Bridge` that applications mount."""

    intake: Intake
    server: ServerSettings

    def mount(self, app: web.Application) -> None:
        """Take callbacks in an aiohttp application, and run while it runs.

        Raises `ConfigurationError` where the application is set up already, or has a route in
        the place of one of the bridge's.
        """
        from bridge.ingress.web import mount  # noqa: PLC0415 - HTTP, which commands do without

        mount(app, self.intake, self.server)
        if self.server.trusted_proxies:
            app.middlewares.append(request_id.middleware(self.server.trusted_proxies))
        app.cleanup_ctx.append(self.lifespan)

    def asgi(self, otherwise: Application | None = None, /) -> AsgiApplication:
        """Return an ASGI application that takes callbacks: to mount it, or to serve it by itself.

        In FastAPI, Starlette and Litestar it is mounted, and `lifespan` runs the bridge. Around
        another application (Django, Quart) it takes what comes below `server.prefix`, and runs
        the bridge while that application runs.
        """
        from bridge.ingress.asgi import AsgiApplication  # noqa: PLC0415 - as in `mount`

        return AsgiApplication(self.intake, self.server, self, otherwise)

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Run while an application does: `FastAPI(lifespan=bridge.lifespan)`."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self)
            except BridgeError as error:  # frameworks print what it came through above its text
                raise error.with_traceback(None) from None
            yield
