"""What nobody proved costs next to nothing: refused before it is read, over real sockets."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from ipaddress import ip_network

import orjson
import pytest
from aiohttp import ClientSession

from bridge.journal.memory import MemoryJournal
from bridge.runtime import Bridge
from bridge.settings import ServerSettings
from tests.bridge.fakes import TOKEN, Plain
from tests.bridge.providers import INCS_TOKEN, INNER, authentic, envelope, real_bridge
from tests.bridge.serving import PATIENCE, connect, exchange, post, serving, statuses

NESTED = b'{"a":"\\ud800","b":[' + b'["a"],' * 600_000 + b"1]}"
FORGED = {"X-Goog-Signature": "A" * 86 + "=="}


@pytest.fixture
def parsed(monkeypatch) -> list[int]:
    """Return the sizes of all texts that are read as JSON during the test."""
    sizes: list[int] = []

    def spied(loads):
        def spy(text, *args, **kwargs):
            sizes.append(len(text))
            return loads(text, *args, **kwargs)

        return spy

    monkeypatch.setattr(orjson, "loads", spied(orjson.loads))
    monkeypatch.setattr(json, "loads", spied(json.loads))
    return sizes


class TestRcs:
    """Only an envelope's string is signed, so it has to be found in a body of a stranger."""

    async def post(self, body: bytes, headers: dict[str, str]) -> int:
        async with serving(real_bridge(max_body=4 << 20)) as url, ClientSession(url) as client:
            data = io.BytesIO(body)
            async with client.post("/callbacks/rcs", data=data, headers=headers) as response:
                return response.status

    async def test_a_body_without_a_signature_is_not_read(self, parsed):
        """Whatever it holds, no JSON of it is read where no well-formed signature came."""
        for body in (NESTED, envelope(INNER), b"{}"):
            for headers in ({}, {"X-Goog-Signature": "?"}, {"X-Goog-Signature": "AAAA"}):
                assert await self.post(body, headers) == 401
        assert parsed == []

    async def test_a_forged_body_is_read_for_its_string_alone(self, parsed):
        """With a well-formed signature, some kilobytes around the string are read, and it."""
        large = b'{"message":{"data":"' + b"A" * 4_000_000 + b'"}}'
        for body in (NESTED, b'{"x":' + NESTED + b',"data":""}', large):
            parsed.clear()
            assert await self.post(body, FORGED) == 401
            assert [size for size in parsed if size > 16 << 10] in ([], [4_000_002])

    @pytest.mark.parametrize("text", ["short", "~?>" * 10_000])
    async def test_the_signed_string_is_found_wherever_it_stands(self, text):
        """Names of the same spelling around it, and escapes in it, hide nothing."""
        inner = orjson.dumps({**orjson.loads(INNER), "text": text})
        _, headers, sent = authentic("rcs", inner)
        data = json.loads(sent)["message"]["data"]
        escaped = data.replace("=", "\\u003d").replace("/", "\\/")
        for body in (
            f'{{"message": {{"data" : "{data}", "attributes": {{"data": "x"}}}}, "data": ""}}',
            f'{{"message":{{"data":"{escaped}"}}}}',
            f'{{"message": {{ "data"\n:\t"{data}"}}, "data": "y"}}',
        ):
            assert await self.post(body.encode(), headers) == 200
        for broken in (f'{{"message":{{"data":"{data}\\x"}}}}', f'{{"message":{{"data":"{data}'):
            assert await self.post(broken.encode(), headers) == 401


class TestBeforeTheBody:
    """Networks, method and what proves a callback by its head are looked at first."""

    LARGE = 3 << 20

    async def answered_early(self, url: str, method: str, path: str, *headers: str) -> int:
        """Announce a large body, send none of it, and return the status."""
        reader, writer = await connect(url)
        lines = (f"{method} {path} HTTP/1.1", "Host: b", f"Content-Length: {self.LARGE}", *headers)
        writer.write("\r\n".join((*lines, "", "")).encode())
        async with asyncio.timeout(PATIENCE):
            answer = await reader.readline()
        writer.close()
        return statuses(answer)[0]

    @pytest.mark.parametrize(
        ("status", "method", "path", "header"),
        [
            (401, "POST", "/callbacks/incs/wrong-token", "X: y"),
            (401, "POST", "/callbacks/incs", "X: y"),
            (401, "POST", "/callbacks/whatsapp", "X: y"),
            (401, "POST", "/callbacks/whatsapp", "X-Hub-Signature-256: sha256=?"),
            (401, "POST", "/callbacks/rcs", "X: y"),
            (401, "POST", "/callbacks/rcs", "X-Goog-Signature: AAAA"),
            (405, "PUT", f"/callbacks/incs/{INCS_TOKEN}", "X: y"),
            (404, "POST", "/callbacks/nobody", "X: y"),
        ],
    )
    async def test_a_stranger_is_refused_by_the_head(self, status, method, path, header):
        """What the head tells is told before any of the body has come."""
        async with serving(real_bridge(body_timeout=PATIENCE)) as url:
            assert await self.answered_early(url, method, path, header) == status

    async def test_another_network_is_refused_by_the_head(self):
        """A callback from a network that is not allowed is refused before its body."""
        made = Bridge(journal=MemoryJournal(), server=ServerSettings(body_timeout=PATIENCE))
        made.intake.add("plain", Plain(), (ip_network("192.0.2.0/24"),))
        async with serving(made) as url:
            assert await self.answered_early(url, "POST", f"/callbacks/plain/{TOKEN}") == 401

    async def test_a_signed_body_in_pieces_is_taken(self):
        """What has the right head is read to its end, however it arrives."""
        inner = orjson.dumps({**orjson.loads(INNER), "text": "x" * 500_000})
        for adapter, body in (
            ("rcs", inner),
            ("incs", b'{"event":"e","x":"%b"}' % inner.hex().encode()),
        ):
            made = real_bridge()
            path, headers, sent = authentic(adapter, body)
            async with serving(made) as url:
                reader, writer = await connect(url)
                lines = [f"{name}: {value}" for name, value in headers.items()]
                head = post(
                    path, *lines, "Connection: close", f"Content-Length: {len(sent)}", length=False
                )
                for piece in (head, *(sent[i : i + 70_000] for i in range(0, len(sent), 70_000))):
                    writer.write(piece)
                    await writer.drain()
                assert statuses(await reader.read()) == [200]
                writer.close()
            assert len(made.journal.kept) == 1


class TestMemory:
    """All bodies together have a budget."""

    async def test_large_bodies_share_a_budget_and_small_ones_pass(self):
        """Beyond the budget a large body gets 503, a small one 200; its end makes room again."""
        made = real_bridge(max_bodies=1 << 20, body_timeout=PATIENCE)
        path, _, small = authentic("incs", b'{"event":"e"}')
        async with serving(made) as url:
            holding = []
            for _ in range(3):  # each holds 400 kB, of which the first 64 are free
                reader, writer = await connect(url)
                writer.write(post(path, "Content-Length: 500000", length=False) + b"x" * 400_000)
                await writer.drain()
                holding.append((reader, writer))
            large = post(
                path, "Connection: close", body=b'{"event":"e","x":"' + b"x" * 900_000 + b'"}'
            )
            async with asyncio.timeout(PATIENCE):
                while statuses(answer := await exchange(url, large)) != [503]:
                    await asyncio.sleep(0)
            assert b"Retry-After" in answer
            assert statuses(await exchange(url, post(path, "Connection: close", body=small))) == [
                200
            ]
            for _, writer in holding:
                writer.close()
            async with asyncio.timeout(PATIENCE):
                while statuses(await exchange(url, large)) != [200]:
                    await asyncio.sleep(0)


class TestConnections:
    """Nobody keeps others out by keeping connections."""

    async def test_the_longest_idle_connection_makes_room(self):
        """Where all places are taken by connections that wait, a new one is served."""
        path, _, body = authentic("incs", b'{"event":"e"}')
        async with serving(real_bridge(max_connections=5)) as url:
            idle = [await connect(url) for _ in range(5)]
            answer = await exchange(url, post(path, "Connection: close", body=body))
            assert statuses(answer) == [200]
            async with asyncio.timeout(PATIENCE):
                assert await idle[0][0].read() == b""  # the one that waited longest
                idle[1][1].write(post(path, "Connection: close", body=body))
                assert statuses(await idle[1][0].read()) == [200]
            for _, writer in idle:
                writer.close()

    async def test_connections_with_a_request_are_not_closed_for_others(self):
        """Where all have a whole request to answer, the new one is turned away."""
        path, _, body = authentic("incs", b'{"event":"e"}')
        made = real_bridge(max_connections=2, body_timeout=PATIENCE)
        append, begun, may_go_on = made.journal.append, asyncio.Semaphore(0), asyncio.Event()

        async def append_later(events):
            begun.release()
            await may_go_on.wait()
            return await append(events)

        made.journal.append = append_later
        async with serving(made) as url:
            busy = [await connect(url) for _ in range(2)]
            head = post(path, "Expect: 100-continue", f"Content-Length: {len(body)}", length=False)
            for reader, writer in busy:
                writer.write(head)
                await reader.readuntil(b"\r\n\r\n")
                writer.write(body)
                await begun.acquire()
            assert await exchange(url, b"") == b""
            may_go_on.set()
            for reader, writer in busy:
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                writer.close()

    async def test_bodies_that_do_not_come_make_room(self):
        """Where requests without the end of their bodies take all places, a callback is answered.

        Also where they come from several addresses, each within its limit, with a signature of
        the right form; the one that waited longest ends.
        """
        path, _, body = authentic("incs", b'{"event":"e"}')
        forged = f"X-Hub-Signature-256: sha256={'0' * 64}"
        head = post("/callbacks/whatsapp", forged, "Content-Length: 1000", length=False)
        limits = {"max_connections": 4, "max_connections_per_peer": 2, "body_timeout": PATIENCE}
        async with serving(real_bridge(**limits)) as url:
            port = int(url.rsplit(":", 1)[1])
            slow = [
                await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{peer}", 0))
                for peer in (2, 2, 3, 3)
            ]
            for _, writer in slow:
                writer.write(head + b"{")
            async with asyncio.timeout(PATIENCE):
                for number in range(4):
                    answer = await exchange(url, post(path, "Connection: close", body=body))
                    assert statuses(answer) == [200]
                    if not number:
                        assert await slow[0][0].read() == b""
            for _, writer in slow:
                writer.close()

    async def test_one_peer_has_a_limit(self):
        """Beyond it, the peer's own longest idle connection ends, and no other's."""
        async with serving(real_bridge(max_connections_per_peer=3)) as url:
            idle = [await connect(url) for _ in range(4)]
            async with asyncio.timeout(PATIENCE):
                assert await idle[0][0].read() == b""
            port = int(url.rsplit(":", 1)[1])
            other = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            path, _, body = authentic("incs", b'{"event":"e"}')
            for reader, writer in (*idle[1:], other):
                writer.write(post(path, "Connection: close", body=body))
                assert statuses(await reader.read()) == [200]
                writer.close()
            idle[0][1].close()

    async def test_a_trusted_proxy_has_no_limit_of_its_own(self):
        """All callbacks may come through one proxy."""
        proxies = (ip_network("127.0.0.0/8"),)
        settings = {"max_connections_per_peer": 2, "trusted_proxies": proxies}
        path, _, body = authentic("incs", b'{"event":"e"}')
        async with serving(real_bridge(**settings)) as url:
            idle = [await connect(url) for _ in range(5)]
            for reader, writer in idle:
                writer.write(post(path, "Connection: close", body=body))
                assert statuses(await reader.read()) == [200]
                writer.close()

    async def test_one_that_never_reads_is_closed(self):
        """A client that asks and asks and reads nothing loses its connection."""
        async with serving(real_bridge(body_timeout=0.2)) as url:
            port = int(url.rsplit(":", 1)[1])
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", port))
                request = b"GET /nothing HTTP/1.1\r\nHost: b\r\n\r\n" * 1000
                with pytest.raises(ConnectionError):
                    async with asyncio.timeout(PATIENCE):
                        while True:
                            await loop.sock_sendall(client, request)
