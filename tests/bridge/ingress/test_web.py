"""The edge: requests in, responses out, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from io import BytesIO
from ipaddress import ip_address, ip_network
from queue import SimpleQueue

import orjson
import pytest
from aiohttp import ClientSession, web
from fastapi import FastAPI

from bridge.adapter import Callback, Parsed, Response, Verified
from bridge.errors import BridgeError, ConfigurationError, JournalError
from bridge.ingress.responses import response_to
from bridge.journal.memory import MemoryJournal
from bridge.model import Message
from bridge.runtime import Bridge
from bridge.settings import ServerSettings
from tests.bridge.asgi_servers import uvicorn_serving
from tests.bridge.fakes import TOKEN, Plain
from tests.bridge.serving import serving

URL = f"/callbacks/plain/{TOKEN}"
BODY = orjson.dumps({"messages": [{"id": "1", "text": "hello"}]})


def a_bridge(adapter=None, journal=None, **server) -> Bridge:
    bridge = Bridge(journal=journal or MemoryJournal(), server=ServerSettings(**server))
    bridge.add_adapter("plain", adapter or Plain())
    return bridge


@pytest.fixture(params=["in an application", "in a server of its own", "as an ASGI application"])
async def client_of(request, aiohttp_client):
    async with AsyncExitStack() as stack:

        async def make(bridge: Bridge):
            if request.param == "in an application":
                app = web.Application()
                bridge.mount(app)
                return await aiohttp_client(app)
            if request.param == "as an ASGI application":
                url = await stack.enter_async_context(uvicorn_serving(bridge.asgi()))
            else:
                url = await stack.enter_async_context(serving(bridge))
            return await stack.enter_async_context(ClientSession(url))

        yield make


def port_of(client) -> int:
    return (client._base_url if isinstance(client, ClientSession) else client.make_url("/")).port


async def problem(response) -> dict:
    assert response.content_type == "application/problem+json"
    return orjson.loads(await response.read())


class TestAnswers:
    async def test_a_callback_is_acknowledged(self, client_of):
        """A good callback gets the adapter's reply, and its message reaches the subscriber."""
        got = SimpleQueue()
        bridge = a_bridge()
        bridge.on(Message)(got.put)
        client = await client_of(bridge)
        response = await client.post(URL, data=BODY)
        assert (response.status, await response.read()) == (200, b"ok")
        event = await asyncio.to_thread(got.get, timeout=10)
        assert event.content.text == "hello"

    @pytest.mark.parametrize("path", ["/callbacks/plain", "/callbacks/plain/", URL + "x"])
    async def test_without_the_token_the_answer_says_nothing(self, client_of, path):
        """A wrong and a missing token get one and the same 401."""
        client = await client_of(a_bridge())
        response = await client.post(path, data=BODY)
        assert response.status == 401
        assert await problem(response) == {
            "title": "Unauthorized",
            "status": 401,
            "detail": "the callback is not authentic",
        }

    async def test_what_is_not_json_is_told_where_it_breaks(self, client_of):
        """The problem holds line, column and offset, and nothing of the body."""
        client = await client_of(a_bridge())
        response = await client.post(URL, data=b'{"messages":\n [secret]}')
        assert response.status == 400
        answer = await problem(response)
        assert (answer["line"], answer["column"], answer["offset"]) == (2, 3, 15)
        assert "secret" not in orjson.dumps(answer).decode()

    async def test_a_body_over_the_limit_is_refused(self, client_of):
        """Announced or chunked, a body that is too large gets 413."""

        async def chunks():
            for _ in range(11):
                yield b"x" * 10

        client = await client_of(a_bridge(max_body=100))
        assert (await client.post(URL, data=b"x" * 101)).status == 413
        assert (await client.post(URL, data=chunks())).status == 413

    async def test_the_limit_is_the_bridges_and_not_the_applications(self, client_of):
        """Two megabytes are taken in an application whose own limit is one."""
        client = await client_of(a_bridge())
        text = "x" * (2 * 1024 * 1024)
        body = orjson.dumps({"messages": [{"id": "1", "text": text}]})
        assert (await client.post(URL, data=BytesIO(body))).status == 200

    async def test_a_chunked_body_is_taken(self, client_of):
        """A body without a length is read to its end."""

        async def chunks():
            yield BODY[:7]
            yield BODY[7:]

        client = await client_of(a_bridge())
        assert (await client.post(URL, data=chunks())).status == 200

    async def test_an_encoded_body_is_refused(self, client_of):
        """A Content-Encoding other than identity gets 415: signatures cover what was sent."""
        client = await client_of(a_bridge())
        headers = {"Content-Encoding": "gzip"}
        assert (await client.post(URL, data=b"\x1f\x8b", headers=headers)).status == 415
        headers = {"Content-Encoding": "identity"}
        assert (await client.post(URL, data=BODY, headers=headers)).status == 200

    async def test_another_method_is_refused_with_those_that_would_do(self, client_of):
        """GET on an adapter that only takes POST gets 405 with Allow."""
        client = await client_of(a_bridge())
        response = await client.get(URL)
        assert (response.status, response.headers["Allow"]) == (405, "POST")

    @pytest.mark.parametrize("path", ["/callbacks", "/callbacks/", "/callbacks/other/x"])
    async def test_an_unknown_path_is_not_found(self, client_of, path):
        """Where no adapter is, there is nothing."""
        client = await client_of(a_bridge())
        assert (await client.post(path, data=BODY)).status == 404

    async def test_a_body_that_does_not_arrive_in_time_is_given_up(self, client_of):
        """A request whose body stalls gets 408."""
        stalled = asyncio.Event()

        async def chunks():
            yield b"{"
            await stalled.wait()

        client = await client_of(a_bridge(body_timeout=0.05))
        response = await client.post(URL, data=chunks())
        assert response.status == 408
        stalled.set()

    async def test_a_lying_length_stores_nothing(self, client_of):
        """A connection that ends before the announced length leaves no event behind."""
        bridge = a_bridge()
        got = []
        bridge.on(Message)(got.append)
        client = await client_of(bridge)
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client))
        head = f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY) + 10}\r\n\r\n"
        writer.write(head.encode() + BODY)
        writer.write_eof()
        await reader.read()
        writer.close()
        await client.close()
        assert got == []

    async def test_what_cannot_be_stored_is_asked_for_again(self, client_of):
        """A journal in trouble gives 503 with Retry-After, never 200."""

        class Full(MemoryJournal):
            async def append(self, events):
                raise JournalError("disk full")

        client = await client_of(a_bridge(journal=Full()))
        response = await client.post(URL, data=BODY)
        assert response.status == 503
        assert response.headers["Retry-After"]
        assert "disk" not in (await response.text())

    async def test_other_errors_of_ours_are_asked_for_again_too(self):
        """An error without a code of its own is 503: the provider will come again."""
        assert response_to(BridgeError()).status == 503


class Recording(Plain):
    """Remembers what it was asked to verify."""

    methods = frozenset({"GET", "POST"})

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: list[Callback] = []

    def verify(self, callback: Callback, /) -> Verified:
        self.callbacks.append(callback)
        return Verified(payload=callback.body, received_at=callback.received_at)

    def parse(self, verified: Verified, /) -> Parsed:
        return Parsed(response=Response(body=b"42", content_type="text/plain"))


class TestCallbacks:
    async def test_a_request_is_handed_over_as_it_came(self, client_of):
        """Method, tail, query, repeated headers, raw body and client reach the adapter."""
        adapter = Recording()
        client = await client_of(a_bridge(adapter))
        response = await client.get(
            "/callbacks/plain/a/b?x=1&x=2", headers=[("X-Sig", "1"), ("X-Sig", "2")]
        )
        assert (await response.text(), response.content_type) == ("42", "text/plain")
        (callback,) = adapter.callbacks
        assert (callback.method, callback.tail, callback.body) == ("GET", "a/b", b"")
        assert callback.query.getall("x") == ["1", "2"]
        assert callback.headers.getall("x-sig") == ["1", "2"]
        assert callback.client == ip_address("127.0.0.1")

    async def test_a_trusted_proxy_is_believed(self, client_of):
        """The client is whom the trusted proxy names; without trust it is the peer."""
        adapter = Recording()
        client = await client_of(a_bridge(adapter, trusted_proxies=(ip_network("127.0.0.0/8"),)))
        await client.get(URL, headers={"X-Forwarded-For": "203.0.113.5, 192.0.2.1"})
        assert adapter.callbacks[0].client == ip_address("192.0.2.1")


def set_up() -> web.Application:
    app = web.Application()
    app.freeze()
    return app


def with_another_bridge() -> web.Application:
    app = web.Application()
    a_bridge().mount(app)
    return app


def with_a_route() -> web.Application:
    app = web.Application()
    app.router.add_view("/callbacks/plain", web.View)
    return app


@pytest.mark.parametrize(
    ("app", "told"),
    [
        (set_up, "the application takes no more routes, .* mount the bridge before web.run_app"),
        (with_another_bridge, "has a route for /callbacks/plain already.* a `server.prefix` each"),
        (with_a_route, "has a route for /callbacks/plain already"),
        (lambda: None, "takes an aiohttp.web.Application, not NoneType"),
        (FastAPI, r"not FastAPI; in other frameworks it is `bridge.asgi\(\)`"),
    ],
)
def test_what_takes_no_callbacks_is_told_at_once(app, told):
    """An application that would never give the bridge a callback is refused, with what to do.

    Nothing of the bridge is left in it, and the bridge can go into another one.
    """
    bridge = a_bridge(trusted_proxies=(ip_network("10.0.0.0/8"),))
    found = app()
    with pytest.raises(ConfigurationError, match=told):
        bridge.mount(found)
    bridge.add_adapter("other", Plain())
    bridge.mount(web.Application())


async def test_several_bridges_in_one_application(aiohttp_client):
    """With a prefix each, every one of them gets its own callbacks."""
    app, got = web.Application(), []
    for prefix in ("/one", "/two"):
        bridge = a_bridge(prefix=prefix)
        bridge.on(Message, name=prefix)(lambda event, prefix=prefix: got.append(prefix))
        bridge.mount(app)
    client = await aiohttp_client(app)
    for prefix in ("/two", "/one"):
        async with client.post(f"{prefix}/plain/{TOKEN}", data=BODY) as response:
            assert response.status == 200
    await client.close()
    assert sorted(got) == ["/one", "/two"]
