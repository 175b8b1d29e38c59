"""The servers that are compared, each in a process of its own: `python -m benchmarks.servers NAME`.

All answer at the same path. The bridge itself is not here: it runs as `bridge serve`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.bodies import APP_SECRET, PATH, SIGNATURE
from benchmarks.counting import Counts


def bare(port: int, *, signed: bool) -> None:
    """Run what a handler on bare aiohttp could do at most: read the body, answer 200."""
    import uvloop
    from aiohttp import web

    numbers = Counts.from_environment().numbers
    secret = APP_SECRET.encode()

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        if signed:
            expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
            if not hmac.compare_digest(expected, request.headers.get(SIGNATURE, "")):
                return web.Response(status=401)
        numbers[0] += 1
        return web.Response()

    async def main() -> None:
        app = web.Application()
        app.router.add_post(PATH, handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()

    uvloop.run(main())


def pywa_asgi(port: int, *, signed: bool, fastapi: bool) -> None:
    """Run pywa's asynchronous client on Starlette or FastAPI, as its documentation does."""
    import uvicorn
    from pywa_async.client import WhatsApp

    numbers = Counts.from_environment().numbers
    options = _options(signed=signed)
    if fastapi:
        from fastapi import FastAPI

        app = FastAPI()
        client = WhatsApp(server=app, **options)
    else:
        client = WhatsApp(**options)

    @client.on_message  # type: ignore[misc]  # pywa types it for its class alone
    async def count(_client: WhatsApp, _message: object) -> None:
        numbers[0] += 1

    if not fastapi:
        app = client._setup_and_get_starlette_app()  # noqa: SLF001 - what its `run` serves
    _silence()
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_config=None)


def pywa_flask(port: int, *, signed: bool) -> None:
    """Run pywa's synchronous client on Flask, under waitress."""
    import waitress  # type: ignore[import-untyped]
    from flask import Flask
    from pywa.client import WhatsApp

    numbers = Counts.from_environment().numbers
    app = Flask(__name__)
    client = WhatsApp(server=app, **_options(signed=signed))

    @client.on_message  # type: ignore[misc]  # pywa types it for its class alone
    def count(_client: WhatsApp, _message: object) -> None:
        numbers[0] += 1  # under the GIL and in one place, so nothing is lost that matters

    _silence()
    waitress.serve(app, host="127.0.0.1", port=port, threads=8, connection_limit=1000)


def _options(*, signed: bool) -> dict[str, Any]:
    return {
        "phone_id": "106540352242922",
        "token": "unused",
        "verify_token": "unused",
        "app_secret": APP_SECRET,
        "webhook_endpoint": PATH,
        "validate_updates": signed,
    }


def _silence() -> None:
    """Turn its log off, which it writes for each update: the bridge is measured without one too."""
    import logging

    for name in ("pywa", "pywa_async", "uvicorn", "waitress"):
        logging.getLogger(name).setLevel(logging.ERROR)


SERVERS: dict[str, Callable[[int], None]] = {
    "bare": lambda port: bare(port, signed=False),
    "bare-signed": lambda port: bare(port, signed=True),
    "pywa-starlette": lambda port: pywa_asgi(port, signed=True, fastapi=False),
    "pywa-starlette-unsigned": lambda port: pywa_asgi(port, signed=False, fastapi=False),
    "pywa-fastapi": lambda port: pywa_asgi(port, signed=True, fastapi=True),
    "pywa-fastapi-unsigned": lambda port: pywa_asgi(port, signed=False, fastapi=True),
    "pywa-flask": lambda port: pywa_flask(port, signed=True),
    "pywa-flask-unsigned": lambda port: pywa_flask(port, signed=False),
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
