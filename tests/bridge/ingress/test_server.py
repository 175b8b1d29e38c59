"""The server of our own: its life, its limits, and what it does beside answering callbacks."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson
import pytest
from aiohttp import ClientSession, web

from bridge.adapter import Parsed
from bridge.errors import BridgeError
from bridge.ingress.server import Acknowledgement, listening
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Health
from bridge.model import Message
from bridge.settings import ServerSettings
from tests.bridge.fakes import TOKEN, Plain
from tests.bridge.ingress.test_web import BODY, URL, a_bridge
from tests.bridge.serving import connect, exchange, post, serving, statuses


async def test_it_serves_until_told_to_stop_and_finishes_what_came():
    """A server ends after the subscriber has had the acknowledged event."""
    got = []
    bridge = a_bridge()
    bridge.on(Message)(got.append)
    async with serving(bridge) as url, ClientSession(url) as client:
        assert (await client.post(URL, data=BODY)).status == 200
    assert len(got) == 1


async def test_it_tells_whether_it_lives_and_whether_it_is_ready():
    """/healthz asks nobody; /readyz says whether callbacks are taken, and not why."""

    class Sick(MemoryJournal):
        async def health(self):
            return Health(ready=False, reason="disk full")

    bridge = a_bridge(journal=Sick())
    async with serving(bridge) as url, ClientSession(url) as client:
        assert (await client.get("/healthz")).status == 200
        response = await client.get("/readyz")
        assert (response.status, await response.text()) == (503, "not ready\n")
        assert (await client.get("/")).status == 404
    async with serving(a_bridge()) as url, ClientSession(url) as client:
        assert (await client.get("/readyz")).status == 200


async def test_answers_that_nobody_reads_do_not_pile_up():
    """A client that asks on and on and reads no answer is not read from until it does."""
    count, most = 8_000, 0  # answers of more bytes than the system's own buffers take
    acknowledgement = Acknowledgement()

    async def handle(request):
        nonlocal most
        most = max(most, request.transport.get_write_buffer_size())
        return acknowledgement

    loop = asyncio.get_running_loop()
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    server = await loop.create_server(runner.server, sock=listener)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        asking = asyncio.create_task(
            loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * count)
        )
        async with asyncio.timeout(60):
            while not most:
                await asyncio.sleep(0)
            for _ in range(10_000):  # turns in which a server without a limit would go on
                await asyncio.sleep(0)
            answers = bytearray()
            answers += await loop.sock_recv(client, 1 << 20)
            while len(answers) < answers.index(b"HTTP/1.1", 1) * count:  # all are of one length
                answers += await loop.sock_recv(client, 1 << 20)
            await asking
    server.close()
    await runner.cleanup()
    assert answers.count(b"HTTP/1.1 200 OK") == count
    assert most < 128 << 10  # twice where asyncio pauses


async def test_an_address_that_is_taken_is_an_error():
    """The server says so at once."""
    intake = a_bridge().intake
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BridgeError, match=r"cannot listen on .*: Address already in use"):
            async with listening(intake, ServerSettings(port=port)):
                pass


async def test_ipv6_addresses_are_shown_in_brackets():
    """The base URL of a server on ::1 can be pasted."""
    try:
        async with listening(a_bridge().intake, ServerSettings(host="::1", port=0)) as one:
            assert one.url.startswith("http://[::1]:")
    except OSError:
        pytest.skip("no IPv6 here")


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it():
    """`Expect: 100-continue` is answered before the body is sent, and the callback is taken."""
    async with serving(a_bridge()) as url, asyncio.timeout(10):
        reader, writer = await connect(url)
        head = post(URL, "Expect: 100-continue", f"Content-Length: {len(BODY)}", length=False)
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/healthz", 200),
        ("POST", "/healthz", 404),
        ("GET", "/callbacks", 404),
        ("POST", "/callbacks/", 404),
        ("POST", "/callbacks/plainer", 404),
        ("POST", "/callbacks/pl%61in/{token}?a=b", 200),
        ("POST", "http://bridge/callbacks/plain/{token}/", 200),
    ],
)
async def test_a_path_leads_to_one_adapter_or_nowhere(method, path, status):
    """An address may be written in any way that HTTP allows, and no other is taken for it."""
    async with serving(a_bridge()) as url, asyncio.timeout(10):
        reader, writer = await connect(url)
        request = post(path.format(token=TOKEN), body=BODY).replace(b"POST", method.encode(), 1)
        writer.write(request)
        assert (await reader.readline()).split()[1] == str(status).encode()
        writer.close()


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [("1.1", "keep-alive", True), ("1.1", "close", False), ("1.0", "close", False)],
)
async def test_an_acknowledgement_is_complete_whatever_the_client_speaks(
    version, connection, stays
):
    """Every 200 has the same headers, and the connection ends where the client asked for it."""

    class Quiet(Plain):
        def parse(self, verified):
            return Parsed(events=super().parse(verified).events)

    async with serving(a_bridge(Quiet())) as url, asyncio.timeout(10):
        reader, writer = await connect(url)
        request = post(URL, f"Connection: {connection}", body=BODY)
        writer.write(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1))
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        sent_at = parsedate_to_datetime(headers.pop("Date"))
        assert abs((datetime.now(UTC) - sent_at).total_seconds()) < 60
        assert status.endswith(" 200 OK")
        assert headers == {
            "Server": "incs-bridge",
            "X-Content-Type-Options": "nosniff",
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": "0",
            **({} if stays or version == "1.0" else {"Connection": "close"}),
        }
        if stays:
            writer.write(post("/healthz", "Connection: close").replace(b"POST", b"GET", 1))
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        else:
            assert await reader.read() == b""
        writer.close()


async def test_what_follows_a_large_body_on_its_connection_is_answered():
    """Bodies too large for one read are taken whole, and so are the requests sent behind them."""
    large = orjson.dumps({"messages": [{"id": "2", "text": "x" * 1_000_000}]})
    got = []
    bridge = a_bridge()
    bridge.on(Message)(lambda message: got.append(len(message.content.text)))
    async with serving(bridge) as url, asyncio.timeout(30):
        requests = [post(URL, body=large), post(URL, body=BODY)]
        requests.append(post(URL, "Connection: close", body=large.replace(b'"2"', b'"3"')))
        answers = await exchange(url, b"".join(requests))
    assert statuses(answers) == [200, 200, 200]
    assert sorted(got) == [5, 1_000_000, 1_000_000]


@pytest.mark.parametrize(
    "headers",
    [
        ("Connection: Upgrade", "Upgrade: websocket"),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"),
        ("Connection: keep-alive, Upgrade", "Upgrade: other"),
        ("Upgrade: websocket",),
    ],
)
@pytest.mark.parametrize("path", [URL, "/nowhere"])
async def test_a_request_for_another_protocol_ends_the_connection(path, headers):
    """A request with `Upgrade` is answered as any other, and nothing behind it is read.

    As with Java's HTTP client, which asks for HTTP/2 with its first request.
    """
    async with serving(a_bridge()) as url:
        twice = post(path, *headers, body=BODY) + post(path, body=BODY)
        answer = await exchange(url, twice)
    assert statuses(answer) == [200 if path == URL else 404]
    assert b"Connection: close\r\n" in answer


async def test_a_tunnel_ends_the_connection():
    """What follows a CONNECT is nobody's request."""
    async with serving(a_bridge()) as url:
        answer = await exchange(url, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + post(URL))
    assert statuses(answer) == [404]


async def test_a_refused_body_is_read_for_a_moment():
    """Who goes on sending a body that is refused sees the answer before the connection ends."""
    async with serving(a_bridge(), max_body=100) as url:
        reader, writer = await connect(url)
        writer.write(post(URL, "Content-Length: 3000000", length=False) + b"x" * 100_000)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert statuses(answer) == [413]
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(30):
                while True:
                    writer.write(b"y" * 1000)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.close()
