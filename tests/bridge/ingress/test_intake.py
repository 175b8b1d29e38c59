"""The door: who holds it open, and who lies about what they bring."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

import bridge
from bridge.journal.memory import MemoryJournal
from bridge.model import Event
from bridge.runtime import Bridge
from bridge.settings import ServerSettings
from tests.bridge.fakes import TOKEN, Plain
from tests.bridge.serving import PATIENCE, connect, exchange, post, serving, statuses

PATH = f"/callbacks/plain/{TOKEN}"
CLOSE = "Connection: close"
A_DAY = 86_400.0
ANY_MOMENT = 0.05  # a limit that is over long before a test runs out of patience


def message(identity: str) -> bytes:
    return orjson.dumps({"messages": [{"id": identity, "text": "hello"}]})


def plain_bridge(**server) -> tuple[Bridge, list[str]]:
    """Return a bridge with the plain adapter, and the list of the ids it will have published."""
    made = Bridge(journal=MemoryJournal(), server=ServerSettings(**server))
    made.add_adapter("plain", Plain())
    published: list[str] = []
    made.on(Event)(lambda event: published.append(event.message_id))
    return made, published


class TestSlowness:
    """Whoever takes their time is shown out, and nobody else waits for them."""

    SLOW = (
        b"",
        b"POST /callb",
        b"POST / HTTP/1.1\r\nHost: bridge\r\nX-Slow: 1",
        post(PATH, "Content-Length: 1000", body=b'{"messages": [', length=False),
        post(PATH, "Transfer-Encoding: chunked", body=b"3\r\n{", length=False),
    )

    async def test_others_are_served_while_slow_ones_are_held_open(self):
        """Sixty connections that never finish a request leave everybody else's answers alone."""
        made, published = plain_bridge(header_timeout=A_DAY, body_timeout=A_DAY)
        async with serving(made) as url:
            slow = []
            for beginning in self.SLOW * 12:
                reader, writer = await connect(url)
                writer.write(beginning)
                slow.append((reader, writer))
            for number in range(20):
                answer = await exchange(url, post(PATH, CLOSE, body=message(str(number))))
                assert statuses(answer) == [200]
            assert not any(reader.at_eof() for reader, _ in slow)
            for _, writer in slow:
                writer.close()
        assert len(published) == 20

    @pytest.mark.parametrize("beginning", SLOW[:3])
    async def test_a_head_that_does_not_come_is_not_waited_for(self, beginning):
        """A connection is closed unanswered that sends nothing, or half a head, in time."""
        made, _ = plain_bridge(
            header_timeout=ANY_MOMENT, body_timeout=A_DAY, keepalive_timeout=A_DAY
        )
        async with serving(made) as url:
            assert await exchange(url, beginning) == b""

    @pytest.mark.parametrize("beginning", SLOW[3:])
    async def test_a_body_that_does_not_come_is_not_waited_for(self, beginning):
        """The answer to a body that stalls is 408, and then the connection is closed."""
        made, published = plain_bridge(
            header_timeout=A_DAY, body_timeout=ANY_MOMENT, keepalive_timeout=A_DAY
        )
        async with serving(made) as url:
            assert statuses(await exchange(url, beginning)) == [408]
        assert published == []

    async def test_the_second_request_has_to_come_in_time_too(self):
        """Half a head after a good request ends the connection; the good one was answered."""
        made, published = plain_bridge(header_timeout=ANY_MOMENT, keepalive_timeout=A_DAY)
        async with serving(made) as url:
            reader, writer = await connect(url)
            writer.write(post(PATH, body=message("1")))
            assert (await reader.readline()).split()[1] == b"200"
            writer.write(b"POST /callb")
            async with asyncio.timeout(PATIENCE):
                assert (await reader.read()).endswith(b"ok")
            writer.close()
        assert published == ["1"]

    async def test_a_byte_now_and_then_buys_no_time(self):
        """A head that drips is given up as one that stalls is: the limit is for all of it."""
        made, _ = plain_bridge(header_timeout=ANY_MOMENT, keepalive_timeout=A_DAY)
        async with serving(made) as url:
            reader, writer = await connect(url)
            writer.write(b"POST / HTTP/1.1\r\nHost: bridge\r\nX-Slow: ")
            closed = asyncio.ensure_future(reader.read())
            async with asyncio.timeout(PATIENCE):
                while not closed.done():
                    writer.write(b"x")
                    await asyncio.wait((closed,), timeout=ANY_MOMENT / 5)
            assert isinstance(closed.exception(), ConnectionError) or closed.result() == b""
            writer.close()

    async def test_an_idle_connection_outlives_the_limit_of_a_head(self):
        """Between two requests only `keepalive_timeout` counts."""
        made, published = plain_bridge(header_timeout=ANY_MOMENT, keepalive_timeout=A_DAY)
        async with serving(made) as url:
            reader, writer = await connect(url)
            writer.write(post(PATH, body=message("1")))
            await reader.readuntil(b"ok")
            # A connection that sends nothing, opened now, is closed later than one that would
            # have been given up since.
            assert await exchange(url, b"") == b""
            writer.write(post(PATH, CLOSE, body=message("2")))
            async with asyncio.timeout(PATIENCE):
                assert (await reader.read()).endswith(b"ok")
            writer.close()
        assert published == ["1", "2"]

    async def test_silent_connections_give_their_places_back(self):
        """Where silence took every place, there is one again once the silent ones are closed."""
        made, published = plain_bridge(max_connections=3, header_timeout=ANY_MOMENT)
        async with serving(made) as url:
            silent = [await connect(url) for _ in range(3)]
            async with asyncio.timeout(PATIENCE):
                for reader, writer in silent:
                    assert await reader.read() == b""
                    writer.close()
            answer = await exchange(url, post(PATH, CLOSE, body=message("1")))
            assert statuses(answer) == [200]
        assert published == ["1"]


BODY = message("never")
LENGTH = len(BODY)
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (LENGTH, BODY)

LIES = {
    "shorter": ([f"Content-Length: {LENGTH - 2}"], BODY),
    "negative": (["Content-Length: -1"], BODY),
    "signed": ([f"Content-Length: +{LENGTH}"], BODY),
    "hexadecimal": ([f"Content-Length: {LENGTH:#x}"], BODY),
    "empty": (["Content-Length:"], BODY),
    "spaced": (["Content-Length: 4 0"], BODY),
    "huge": ([f"Content-Length: {10**30}"], BODY),
    "listed": ([f"Content-Length: {LENGTH}, {LENGTH}"], BODY),
    "repeated": ([f"Content-Length: {LENGTH}"] * 2, BODY),
    "contradicted": ([f"Content-Length: {LENGTH}", "Content-Length: 3"], BODY),
    "length-and-chunks": ([f"Content-Length: {LENGTH}", "Transfer-Encoding: chunked"], CHUNKED),
    "chunks-and-length": (["Transfer-Encoding: chunked", "Content-Length: 4"], CHUNKED),
    "chunked-twice": (["Transfer-Encoding: chunked, chunked"], CHUNKED),
    "chunked-first": (["Transfer-Encoding: chunked, identity"], CHUNKED),
    "chunked-then-identity": (
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        CHUNKED,
    ),
    "another-coding": (["Transfer-Encoding: xchunked"], CHUNKED),
    "identity-coding": (["Transfer-Encoding: identity"], CHUNKED),
    "compressed-chunks": (["Transfer-Encoding: gzip, chunked"], CHUNKED),
    "vertical-tab": (["Transfer-Encoding: \x0bchunked"], CHUNKED),
    "space-before-colon": (["Transfer-Encoding : chunked"], CHUNKED),
    "folded": (["X-Folded: a", " b", f"Content-Length: {LENGTH}"], BODY),
    "null": (["X-Null: a\0b", f"Content-Length: {LENGTH}"], BODY),
    "chunk-no-size": (["Transfer-Encoding: chunked"], b"zz\r\n" + BODY),
    "chunk-negative": (["Transfer-Encoding: chunked"], b"-5\r\n" + BODY),
    "chunk-overflow": (["Transfer-Encoding: chunked"], b"f" * 17 + b"\r\n" + BODY),
    "chunk-too-short": (["Transfer-Encoding: chunked"], b"3\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk-line-feeds": (["Transfer-Encoding: chunked"], CHUNKED.replace(b"\r\n", b"\n")),
    "huge-header": (["X-Huge: " + "x" * 20_000, f"Content-Length: {LENGTH}"], BODY),
    "many-headers": ([*(f"X-{n}: 1" for n in range(1000)), f"Content-Length: {LENGTH}"], BODY),
}


class TestFraming:
    """Where a body ends is what the request says, or there is no request."""

    @pytest.mark.parametrize(("headers", "body"), LIES.values(), ids=LIES)
    async def test_a_body_of_doubtful_length_is_refused(self, headers, body):
        """Each gets 400 and a closed connection; nothing is published, or taken for a second."""
        made, published = plain_bridge()
        async with serving(made) as url:
            request = post(PATH, *headers, body=body, length=False)
            answer = await exchange(url, request + post(PATH, body=message("smuggled")))
        assert statuses(answer) == [400]
        assert b"never" not in answer
        assert published == []

    @pytest.mark.parametrize(
        ("header", "body"),
        [
            (f"Content-Length: {LENGTH + 5}", BODY),
            ("Transfer-Encoding: chunked", CHUNKED[:-5]),
            ("Transfer-Encoding: chunked", CHUNKED[:20]),
        ],
    )
    async def test_a_body_that_breaks_off_is_not_published(self, header, body):
        """A connection that ends before its body does leaves no event, even if all is there."""
        made, published = plain_bridge()
        async with serving(made) as url:
            answer = await exchange(url, post(PATH, header, body=body, length=False), eof=True)
        assert 200 not in statuses(answer)
        assert published == []

    async def test_chunks_of_any_size_make_one_body(self):
        """A body in chunks of one byte, with extensions and trailers, is taken."""
        chunks = b"".join(b"1;name=value\r\n%c\r\n" % byte for byte in BODY)
        request = post(
            PATH,
            CLOSE,
            "Transfer-Encoding: chunked",
            body=chunks + b"0\r\nX-Trailer: 1\r\n\r\n",
            length=False,
        )
        made, published = plain_bridge()
        async with serving(made) as url:
            assert statuses(await exchange(url, request)) == [200]
        assert published == ["never"]

    @pytest.mark.parametrize(
        "encodings",
        [["gzip"], ["deflate"], ["br"], ["x-unknown"], ["identity", "gzip"], ["gzip", "identity"]],
    )
    async def test_a_compressed_body_is_refused(self, encodings):
        """What was signed is what was sent, so that nothing is decompressed: 415."""
        headers = [f"Content-Encoding: {encoding}" for encoding in encodings]
        made, published = plain_bridge()
        async with serving(made) as url:
            answer = await exchange(url, post(PATH, *headers, body=BODY))
        assert statuses(answer) == [415]
        assert published == []

    async def test_requests_in_a_row_are_answered_in_their_order(self):
        """Ten requests that are sent at once each get their answer, the bad one its own."""
        made, published = plain_bridge()
        bodies = [message(str(number)) for number in range(10)]
        bodies[4] = b"{"
        requests = [post(PATH, body=body) for body in bodies[:-1]]
        async with serving(made) as url:
            last = post(PATH, CLOSE, body=bodies[-1])
            answer = await exchange(url, b"".join((*requests, last)))
        assert statuses(answer) == [200] * 4 + [400] + [200] * 5
        assert sorted(published) == ["0", "1", "2", "3", "5", "6", "7", "8", "9"]

    @pytest.mark.parametrize("greeting", [b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n", b"\r\n\0"])
    async def test_what_is_not_http_is_refused(self, greeting):
        """A stranger's protocol gets 400 and a closed connection."""
        made, _ = plain_bridge()
        async with serving(made) as url:
            assert statuses(await exchange(url, greeting + b"\r\n\r\n")) == [400]

    @pytest.mark.parametrize("tail", ["%ff%fe", "%00", "..%2f..%2fplain", "%", "é", "x" * 7000])
    async def test_no_path_is_too_odd(self, tail):
        """Whatever stands in the token's place is refused as a wrong token, or as no HTTP."""
        made, _ = plain_bridge()
        async with serving(made) as url:
            answer = await exchange(url, post(f"/callbacks/plain/{tail}", CLOSE, body=BODY))
        assert statuses(answer) in ([401], [400])


# --- the parser --------------------------------------------------------------------------

START = """
import logging
from bridge.ingress.connection import check_parser
logging.basicConfig()
check_parser()
"""


@pytest.mark.parametrize(
    ("environ", "warned"), [({}, False), ({"AIOHTTP_NO_EXTENSIONS": "1"}, True)]
)
def test_the_parser_written_in_python_is_warned_of(environ, warned):
    """A server says so where aiohttp reads HTTP without its C parser, and else says nothing."""
    done = subprocess.run(
        [sys.executable, "-c", START],
        env={**os.environ, **environ},
        cwd=Path(bridge.__file__).parents[1],
        capture_output=True,
        check=True,
        text=True,
    )
    assert ("C parser" in done.stderr) is warned
