"""ASGI applications on real sockets, by uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


@asynccontextmanager
async def uvicorn_serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an application on a free port until the block ends; give its URL."""
    config = uvicorn.Config(app, port=0, lifespan="on", log_config=None, **options)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())  # without handlers for the test's signals
    try:
        while not server.started:
            if serving.done():
                serving.result()
                raise RuntimeError("the application did not start")
            await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving
