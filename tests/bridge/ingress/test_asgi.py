"""The ASGI edge inside the frameworks that people use, served by uvicorn on real sockets.

What it has in common with the other edges is in `test_web.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import django.conf
import orjson
import pytest
from aiohttp import ClientSession
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from fastapi import FastAPI
from litestar import Litestar, asgi, get
from quart import Quart
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import bridge
from bridge.adapter import Callback, Verified
from bridge.errors import ConfigurationError, JournalError
from bridge.ingress import request_id
from bridge.journal.memory import MemoryJournal
from bridge.journal.query import Query
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Message
from bridge.runtime import Bridge
from bridge.settings import ServerSettings
from tests.bridge.asgi_servers import uvicorn_serving
from tests.bridge.fakes import TOKEN, Plain

BODY = orjson.dumps({"messages": [{"id": "1", "text": "hello"}]})
URL = f"/callbacks/plain/{TOKEN}"
PAGE = "a page of the application's own"


def a_bridge(journal=None, **server) -> Bridge:
    bridge = Bridge(journal=journal or MemoryJournal(), server=ServerSettings(**server))
    bridge.add_adapter("plain", Plain())
    return bridge


# --- an application of each framework, with a page of its own at / ------------------------------


def in_fastapi(bridge: Bridge):
    app = FastAPI(lifespan=bridge.lifespan)
    app.mount("/callbacks", bridge.asgi())
    app.add_api_route("/", lambda: PlainTextResponse(PAGE))
    return app


def in_starlette(bridge: Bridge):
    routes = [
        Route("/", lambda _: PlainTextResponse(PAGE)),
        Mount("/callbacks", app=bridge.asgi()),
    ]
    return Starlette(routes=routes, lifespan=bridge.lifespan)


def in_litestar(bridge: Bridge):
    @get("/")
    async def index() -> str:
        return PAGE

    callbacks = asgi("/callbacks", is_mount=True, copy_scope=False)(bridge.asgi())
    return Litestar([index, callbacks], lifespan=[bridge.lifespan], logging_config=None)


def in_quart(bridge: Bridge):
    app = Quart("tests")
    app.add_url_rule("/", view_func=lambda: PAGE)
    app.asgi_app = bridge.asgi(app.asgi_app)
    return app


def index(_):
    return HttpResponse(PAGE)


urlpatterns = [path("", index)]


def in_django(bridge: Bridge):
    if not django.conf.settings.configured:
        django.conf.settings.configure(LOGGING_CONFIG=None)
    application = get_asgi_application()
    django.conf.settings.ROOT_URLCONF = __name__
    django.conf.settings.ALLOWED_HOSTS = ["127.0.0.1"]
    return bridge.asgi(application)


FRAMEWORKS = [in_fastapi, in_starlette, in_litestar, in_quart, in_django]


@pytest.mark.parametrize("embed", FRAMEWORKS)
async def test_in_a_framework(embed):
    """One line takes callbacks, the bridge runs while the application does, whose page is there."""
    got = []
    bridge = a_bridge()
    bridge.on(Message)(got.append)
    async with uvicorn_serving(embed(bridge)) as url, ClientSession(url) as client:
        assert (await bridge.health()).ready
        async with client.get("/") as page:
            assert (page.status, await page.text()) == (200, PAGE)
        async with client.post(URL, data=BODY) as response:
            assert (response.status, await response.read()) == (200, b"ok")
        async with client.post(f"{URL}x", data=BODY) as response:
            assert response.status == 401
        async with client.post("/callbacks/nobody/x", data=BODY) as response:
            assert response.status == 404
    assert [event.content.text for event in got] == ["hello"]
    assert not (await bridge.health()).ready


@pytest.mark.parametrize("embed", FRAMEWORKS)
async def test_no_token_is_in_the_access_log(embed, caplog):
    """Uvicorn's access log names the adapter, and neither the rest of the path nor the query."""
    caplog.set_level(logging.INFO, "uvicorn.access")
    async with uvicorn_serving(embed(a_bridge())) as url, ClientSession(url) as client:
        for address in (URL, f"{URL}x?hub.verify_token={TOKEN}", f"/callbacks/plian/{TOKEN}"):
            async with client.post(address, data=BODY):
                pass
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert TOKEN not in caplog.text
    known, refused, unknown = [line.rpartition("/pl")[2] for line in lines]
    assert known == 'ain/MASKED HTTP/1.1" 200'
    assert refused == 'ain/MASKED?MASKED HTTP/1.1" 401'
    assert unknown.endswith('MASKED HTTP/1.1" 404')


@pytest.mark.parametrize("application", [get_wsgi_application, lambda: 3, lambda: "app"])
def test_what_is_no_asgi_application_is_told_at_once(application):
    """One of WSGI is refused, and not the first request."""
    in_django(a_bridge())
    with pytest.raises(ConfigurationError, match="takes an ASGI application, not "):
        a_bridge().asgi(application())


async def test_it_is_durable_by_default(tmp_path, monkeypatch):
    """Without a journal of its own a bridge in an application keeps events in a file."""
    monkeypatch.chdir(tmp_path)
    bridge = Bridge()
    bridge.add_adapter("plain", Plain())
    async with (
        uvicorn_serving(in_fastapi(bridge)) as url,
        ClientSession(url) as client,
        client.post(URL, data=BODY) as response,
    ):
        assert response.status == 200
    async with SqliteJournal(tmp_path / "bridge.db") as journal:
        ((entry,),) = [page async for page in journal.scan(Query())]
    assert entry.event.content.text == "hello"


class TestClient:
    """Who sent a callback, behind proxies and without."""

    @pytest.fixture
    def seen(self):
        return []

    @pytest.fixture
    def adapter(self, seen):
        class Noting(Plain):
            def verify(self, callback: Callback, /) -> Verified:
                seen.append((callback.client, request_id.current()))
                return super().verify(callback)

        return Noting()

    async def post(self, adapter, headers, **server):
        bridge = Bridge(journal=MemoryJournal(), server=ServerSettings(**server))
        bridge.add_adapter("plain", adapter)
        app = uvicorn_serving(bridge.asgi(), proxy_headers=False)
        async with (
            app as url,
            ClientSession(url) as client,
            client.post(URL, data=BODY, headers=headers) as response,
        ):
            assert response.status == 200

    async def test_a_proxy_is_believed_if_it_is_trusted(self, adapter, seen):
        """A trusted proxy tells the client's address and the request's id."""
        headers = {"X-Forwarded-For": "203.0.113.7", "X-Request-Id": "abc-1"}
        trusted = (ip_network("127.0.0.0/8"),)
        await self.post(adapter, headers, trusted_proxies=trusted)
        assert seen == [(ip_address("203.0.113.7"), "abc-1")]

    async def test_nobody_else_is_believed(self, adapter, seen):
        """Without trusted proxies the peer is the client, whatever the headers say."""
        await self.post(adapter, {"X-Forwarded-For": "203.0.113.7", "X-Request-Id": "abc-1"})
        ((client, told),) = seen
        assert client == ip_address("127.0.0.1")
        assert told != "abc-1"


class TestLifespan:
    async def test_a_journal_that_cannot_be_opened_ends_the_server(self, tmp_path):
        """The application does not start, and the server is told why."""
        async with SqliteJournal(tmp_path / "bridge.db"):
            bridge = a_bridge(SqliteJournal(tmp_path / "bridge.db"))
            said = []
            await bridge.asgi()({"type": "lifespan"}, self.nothing, self.into(said))
        assert [message["type"] for message in said] == ["lifespan.startup.failed"]
        assert "is open in another journal" in said[0]["message"]

    async def test_a_second_worker_is_told_why_at_the_end(self, tmp_path):
        """In FastAPI a worker whose journal another process has ends with the reason.

        Little of the bridge's own code stands above it.
        """
        (tmp_path / "config.toml").write_text("[adapters.incs]\ntokens = ['a token of this test']")
        (tmp_path / "app.py").write_text(
            "from fastapi import FastAPI\n"
            "from bridge import Bridge\n"
            "bridge = Bridge.from_toml('config.toml')\n"
            "app = FastAPI(lifespan=bridge.lifespan)\n"
        )
        command = (sys.executable, "-m", "uvicorn", "app:app", "--port", "0")
        environ = os.environ | {"PYTHONPATH": str(Path(bridge.__file__).parents[1])}
        async with SqliteJournal(tmp_path / "bridge.db"):
            worker = await asyncio.create_subprocess_exec(
                *command, cwd=tmp_path, env=environ, stderr=asyncio.subprocess.PIPE
            )
            _, written = await worker.communicate()
        assert worker.returncode != 0
        *trace, reason, _, last = written.decode().splitlines()
        assert f"is open in another journal or process (process {os.getpid()}). One" in reason
        assert last.endswith("Application startup failed. Exiting.")
        assert len([line for line in trace if str(Path(bridge.__file__).parent) in line]) == 1

    async def test_a_failure_that_is_no_bridges_is_told_too(self):
        """A server would take an exception for an application without a lifespan."""
        bridge = a_bridge()

        async def broken(scope, receive, send):
            await receive()
            raise OSError("no disk")

        said = []
        await bridge.asgi(broken)({"type": "lifespan"}, self.nothing, self.into(said))
        assert said == [{"type": "lifespan.startup.failed", "message": "OSError: no disk"}]
        assert not (await bridge.health()).ready

    async def test_the_end_is_told_when_everything_has_ended(self):
        """The server hears of an application's end once the bridge has stopped as well."""
        bridge = a_bridge()
        ready_at_the_end = []

        async def inner(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})

        async def send(message):
            ready_at_the_end.append((message["type"], (await bridge.health()).ready))

        await bridge.asgi(inner)({"type": "lifespan"}, self.nothing, send)
        assert ready_at_the_end == [
            ("lifespan.startup.complete", True),
            ("lifespan.shutdown.complete", False),
        ]

    async def test_a_bridge_that_does_not_run_says_what_is_missing(self, caplog):
        """Without a lifespan callbacks get 503, and one line says what to give the framework."""
        app = FastAPI()
        app.mount("/callbacks", a_bridge().asgi())
        async with uvicorn_serving(app) as url, ClientSession(url) as client:
            for _ in range(3):
                async with client.post(URL, data=BODY) as response:
                    assert response.status == 503
        lines = [line for line in caplog.messages if "bridge.lifespan" in line]
        assert len(lines) == 1

    @staticmethod
    async def nothing():
        return {"type": "lifespan.startup"}

    @staticmethod
    def into(said):
        async def send(message):
            said.append(message)

        return send


class TestConnections:
    async def test_a_client_that_goes_away_leaves_nothing(self):
        """Half a body is refused, and no event comes of it."""
        got = []
        bridge = a_bridge()
        bridge.on(Message)(got.append)
        async with uvicorn_serving(bridge.asgi()) as url:
            _, writer = await asyncio.open_connection("127.0.0.1", int(url[17:]))
            writer.write(f"POST {URL} HTTP/1.1\r\nHost: b\r\nContent-Length: 99\r\n\r\n".encode())
            writer.write(BODY)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        assert got == []

    async def test_a_websocket_is_closed(self):
        """The application takes callbacks only."""
        said = []
        scope = {"type": "websocket", "path": "/callbacks/plain"}
        await a_bridge().asgi()(scope, TestLifespan.nothing, TestLifespan.into(said))
        assert said == [{"type": "websocket.close"}]

    async def test_where_the_journal_fails_the_answer_is_503(self):
        """What cannot be stored is to be sent again, after a pause."""

        class Full(MemoryJournal):
            async def append(self, events):
                raise JournalError("the disk is full")

        async with (
            uvicorn_serving(a_bridge(Full()).asgi()) as url,
            ClientSession(url) as client,
            client.post(URL, data=BODY) as response,
        ):
            assert (response.status, response.headers["Retry-After"]) == (503, "5")
