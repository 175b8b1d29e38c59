"""The door: who holds it open, who lies about what they bring, and who gets in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import subprocess
import sys
import traceback
from datetime import UTC, datetime
from ipaddress import ip_network
from itertools import chain
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bridge
from adapters.incs import Incs, IncsSettings
from adapters.rcs import Rcs, RcsSettings
from adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.adapter import Callback, Parsed, Reply, Verified
from bridge.errors import NotAuthentic
from bridge.journal.memory import MemoryJournal
from bridge.model import Event
from bridge.runtime import Bridge
from bridge.settings import ServerSettings
from bridge.signing import Secret
from tests.adapters import cases
from tests.adapters.laws import disturbed, json_values
from tests.bridge.fakes import TOKEN, Plain
from tests.bridge.serving import PATIENCE, connect, exchange, post, serving, statuses

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
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


# --- the three adapters ------------------------------------------------------------------

APP_SECRET = "an-app-secret-of-whatsapp"
CLIENT_TOKEN = "a-client-token-of-rcs"
INCS_TOKEN = "a-path-token-of-incs"
INNER = orjson.dumps(
    {
        "senderPhoneNumber": "+14155550123",
        "messageId": "rcs-1",
        "agentId": "agent",
        "text": "hello",
    }
)


class Keeping(MemoryJournal):
    """Remembers what was appended, in the order of the callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Event] = []

    async def append(self, events):
        self.kept += events
        return await super().append(events)


def real_bridge(**server) -> Bridge:
    made = Bridge(journal=Keeping(), server=ServerSettings(**server))
    made.add_adapter(
        "whatsapp",
        WhatsApp(
            "whatsapp",
            WhatsAppSettings(
                app_secrets=(Secret(APP_SECRET),), verify_tokens=(Secret("a-verify-token"),)
            ),
        ),
    )
    made.add_adapter("rcs", Rcs("rcs", RcsSettings(client_tokens=(Secret(CLIENT_TOKEN),))))
    made.add_adapter("incs", Incs("incs", IncsSettings(tokens=(Secret(INCS_TOKEN),))))
    return made


def whatsapp_signature(body: bytes) -> str:
    return hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()


def rcs_signature(inner: bytes) -> str:
    digest = hmac.new(CLIENT_TOKEN.encode(), inner, hashlib.sha512).digest()
    return base64.b64encode(digest).decode()


def envelope(inner: bytes) -> bytes:
    return orjson.dumps({"message": {"data": base64.b64encode(inner).decode()}})


def authentic(adapter: str, body: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return path, headers and body of a callback as the provider would send it."""
    if adapter == "whatsapp":
        headers = {"X-Hub-Signature-256": f"sha256={whatsapp_signature(body)}"}
        return "/callbacks/whatsapp", headers, body
    if adapter == "rcs":
        return "/callbacks/rcs", {"X-Goog-Signature": rcs_signature(body)}, envelope(body)
    return f"/callbacks/incs/{INCS_TOKEN}", {}, body


WHATSAPP_BODY = b'{"object":"whatsapp_business_account","entry":[]}'
GOOD_HEX = whatsapp_signature(WHATSAPP_BODY).encode()
GOOD_BASE64 = rcs_signature(INNER).encode()
MALFORMED_WHATSAPP = [
    [],
    [b""],
    [b"sha256="],
    [b"sha256"],
    [b"="],
    [GOOD_HEX],
    [b"sha1=" + GOOD_HEX],
    [b"SHA256=" + GOOD_HEX],
    [b"sha256=" + GOOD_HEX[:-1]],
    [b"sha256=" + GOOD_HEX[:-2]],
    [b"sha256=" + GOOD_HEX + b"00"],
    [b"sha256=" + b"zz" * 32],
    [b"sha256=" + b"\xff\xfe" * 32],
    [b"sha256=" + "é".encode() * 32],
    [b"sha256=" + "\u0660".encode() * 64],
    [b"sha256=" + b"0" * 7000],
    [b"sha256=" + GOOD_HEX, b"sha256=" + GOOD_HEX],
    [b"sha256=" + GOOD_HEX, b"sha256=" + b"0" * 64],
    [b"sha256=" + GOOD_HEX + b", sha256=" + GOOD_HEX],
]
MALFORMED_RCS = [
    [],
    [b""],
    [b"="],
    [b"===="],
    [b"not base64!"],
    [b"\xff\xfe"],
    ["é".encode()],
    [b"A"],
    [GOOD_BASE64[:-4]],
    [GOOD_BASE64 + b"AAAA"],
    [b"A" * 7000],
    [hashlib.sha512(INNER).hexdigest().encode()],
    [GOOD_BASE64, GOOD_BASE64],
    [GOOD_BASE64, b"AAAA"],
]


class TestSignatures:
    """A signature is right, or the callback stays outside."""

    @pytest.mark.parametrize("values", MALFORMED_WHATSAPP)
    async def test_a_malformed_signature_of_meta(self, values):
        """Whatever stands in `X-Hub-Signature-256`, the answer is 401 and no exception."""
        made = real_bridge()
        headers = [b"X-Hub-Signature-256: " + value for value in values]
        async with serving(made) as url:
            request = post("/callbacks/whatsapp", CLOSE, *headers, body=WHATSAPP_BODY)
            assert statuses(await exchange(url, request)) == [401]
        assert made.journal.kept == []

    @pytest.mark.parametrize("values", MALFORMED_RCS)
    async def test_a_malformed_signature_of_google(self, values):
        """Whatever stands in `X-Goog-Signature`, the answer is 401 and no exception."""
        made = real_bridge()
        headers = [b"X-Goog-Signature: " + value for value in values]
        async with serving(made) as url:
            request = post("/callbacks/rcs", CLOSE, *headers, body=envelope(INNER))
            assert statuses(await exchange(url, request)) == [401]
        assert made.journal.kept == []

    @pytest.mark.parametrize("adapter", ["whatsapp", "rcs", "incs"])
    async def test_the_right_one_opens(self, adapter):
        """An authentic callback is answered by exactly 200: Google repeats any other 2xx."""
        made = real_bridge()
        bodies = {"whatsapp": WHATSAPP_BODY, "rcs": INNER, "incs": b'{"event": "tomorrow"}'}
        path, headers, body = authentic(adapter, bodies[adapter])
        async with serving(made) as url, ClientSession(url) as client:
            response = await client.post(path, headers=headers, data=body)
            assert (response.status, await response.read()) == (200, b"")

    @pytest.mark.parametrize("forwarded", ["203.0.113.7", "192.0.2.1, 203.0.113.7"])
    async def test_networks_are_read_from_trusted_proxies_only(self, forwarded):
        """`X-Forwarded-For` opens a closed network if a trusted proxy says so, else never."""
        allowed = (ip_network("203.0.113.0/24"),)
        codes = []
        for proxies in ((), (ip_network("127.0.0.0/8"),)):
            made = Bridge(journal=MemoryJournal(), server=ServerSettings(trusted_proxies=proxies))
            made.add_adapter("plain", Plain(), allow_networks=allowed)
            async with serving(made) as url:
                request = post(PATH, CLOSE, f"X-Forwarded-For: {forwarded}", body=BODY)
                codes += statuses(await exchange(url, request))
        assert codes == [401, 200]

    async def test_a_forged_hop_before_a_trusted_proxys_is_not_believed(self):
        """What a client writes into `X-Forwarded-For` itself does not open the network."""
        made = Bridge(
            journal=MemoryJournal(),
            server=ServerSettings(trusted_proxies=(ip_network("127.0.0.0/8"),)),
        )
        made.add_adapter("plain", Plain(), allow_networks=(ip_network("203.0.113.0/24"),))
        async with serving(made) as url:
            header = "X-Forwarded-For: 203.0.113.7, 198.51.100.9"
            assert statuses(await exchange(url, post(PATH, CLOSE, header, body=BODY))) == [401]


# --- nothing is given away ---------------------------------------------------------------

PRIVATE = "what-somebody-wrote"


class Talkative(Plain):
    """Breaks with exceptions that quote everything they were given."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self._step = step

    def verify(self, callback, /):
        if self._step == "verify":
            raise RuntimeError(callback.body, callback.headers, TOKEN)
        return super().verify(callback)

    def parse(self, verified, /):
        raise RuntimeError(verified.payload, TOKEN)


class Injecting(Plain):
    """Replies with a header that would begin another one."""

    def parse(self, verified, /):
        return Parsed(reply=Reply(headers={"X-Broken": f"a\r\nX-Leak: {PRIVATE}"}))


class Clumsy(Bridge):
    """Breaks outside of an adapter, with an exception that quotes the body."""

    async def receive(self, name, callback, /):
        raise RuntimeError(callback.body, TOKEN)


def private_bodies() -> list[bytes]:
    inner = orjson.dumps({"senderPhoneNumber": "+14155550123", "text": PRIVATE})
    return [
        inner,
        envelope(inner),
        orjson.dumps({"entry": [{"changes": [PRIVATE]}], "event": PRIVATE}),
        f'{{"text": {PRIVATE}}}'.encode(),
        f'{{"{PRIVATE}": NaN}}'.encode(),
        f'"{PRIVATE}"'.encode(),
        PRIVATE.encode() + b"\xff",
    ]


def given_away(shown: str) -> list[str]:
    """Return which of the things that nobody may see are seen."""
    hidden = [PRIVATE, APP_SECRET, CLIENT_TOKEN, INCS_TOKEN, TOKEN, "a-verify-token"]
    for body in private_bodies():
        hidden += [whatsapp_signature(body), rcs_signature(body), base64.b64encode(body).decode()]
    return [word for word in hidden if word in shown]


class TestDiscretion:
    """Neither a secret, an expected signature nor a body is ever shown."""

    async def test_no_response_and_no_log_line_gives_anything_away(self, caplog, capfd):
        """Nothing leaks from refused, malformed, broken and good requests, logged at DEBUG."""
        caplog.set_level(logging.DEBUG)
        made = real_bridge()
        made.add_adapter("unverified", Talkative("verify"))
        made.add_adapter("unparsed", Talkative("parse"))
        handshake = orjson.dumps({"clientToken": "wrong", "secret": PRIVATE})
        requests = [post("/callbacks/rcs", CLOSE, body=handshake)]
        for body in private_bodies():
            requests += [
                post(path, CLOSE, header, body=body)
                for path in ("/callbacks/whatsapp", "/callbacks/rcs", "/callbacks/incs/wrong")
                for header in ("X-Hub-Signature-256: sha256=00", "X-Goog-Signature: AAAA")
            ]
            for adapter in ("whatsapp", "rcs", "incs"):
                path, headers, sent = authentic(adapter, body)
                lines = [f"{name}: {value}" for name, value in headers.items()]
                requests.append(post(path, CLOSE, *lines, body=sent))
                requests.append(post(path, *lines, body=sent[:-1]) + b"\0" + sent)
            requests += [
                post(f"/callbacks/unverified/{TOKEN}", CLOSE, body=body),
                post(f"/callbacks/unparsed/{TOKEN}", CLOSE, body=body),
                post(PATH, "Transfer-Encoding: chunked", body=body, length=False),
                post(PATH, "Content-Length: -1", body=body, length=False),
                b"POST " + body + b" HTTP/1.1\r\n\r\n",
                post(PATH, b"X-Bad: \0" + body, body=body),
            ]
        async with serving(made) as url:
            answers = [await exchange(url, request) for request in requests]
        seen = {code for answer in answers for code in statuses(answer)}
        assert seen == {200, 400, 401}
        _check_discreet(answers, caplog, capfd)

    async def test_a_bug_of_ours_gives_nothing_away(self, caplog, capfd):
        """An exception that nobody foresaw is 503 and one line about where it arose."""
        caplog.set_level(logging.DEBUG)
        made = Clumsy(journal=MemoryJournal())
        made.add_adapter("plain", Plain())
        async with serving(made) as url:
            answer = await exchange(url, post(PATH, CLOSE, body=PRIVATE.encode()))
        assert statuses(answer) == [503]
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert record.error == "RuntimeError"
        assert "test_door.py" in record.where
        _check_discreet([answer], caplog, capfd)

    async def test_a_reply_that_is_no_http_gives_nothing_away(self, caplog, capfd):
        """An adapter whose reply cannot be sent ends the connection, and one line says where."""
        caplog.set_level(logging.DEBUG)
        made = Bridge(journal=MemoryJournal())
        made.add_adapter("plain", Injecting())
        async with serving(made) as url:
            answer = await exchange(url, post(PATH, CLOSE, body=BODY))
        assert statuses(answer) == []
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert record.error == "ValueError"
        _check_discreet([answer], caplog, capfd)

    @pytest.mark.parametrize("body", private_bodies())
    def test_no_exception_and_no_repr_gives_anything_away(self, body):
        """Adapters, settings and what passes through them show nothing, however they fail."""
        shown = []
        for name, adapter in real_bridge().adapters.items():
            for tail, headers in (
                ("", {"X-Hub-Signature-256": "sha256=00", "X-Goog-Signature": "AAAA"}),
                (INCS_TOKEN, authentic(name, body)[1]),
            ):
                sent = authentic(name, body)[2]
                callback = Callback(body=sent, received_at=NOW, headers=headers, tail=tail)
                shown += [repr(callback), repr(adapter)]
                try:
                    verified = adapter.verify(callback)
                except NotAuthentic as error:
                    shown.append("".join(traceback.format_exception(error)))
                    continue
                parsed = adapter.parse(verified)
                shown += [repr(verified), repr(parsed.malformed), str(parsed.malformed)]
                shown += [repr(event.reason) for event in parsed.events if hasattr(event, "reason")]
        for settings_ in (
            WhatsAppSettings(
                app_secrets=(Secret(APP_SECRET),), verify_tokens=(Secret("a-verify-token"),)
            ),
            RcsSettings(client_tokens=(Secret(CLIENT_TOKEN),), tokens=(Secret(TOKEN),)),
            IncsSettings(tokens=(Secret(INCS_TOKEN),)),
        ):
            shown += [repr(settings_), str(settings_)]
        assert given_away("\n".join(shown)) == []


def _check_discreet(answers, caplog, capfd) -> None:
    out, err = capfd.readouterr()
    shown = [out, err, *(answer.decode("latin-1") for answer in answers)]
    for record in caplog.records:
        shown += [record.getMessage(), *(repr(value) for value in vars(record).values())]
        if record.exc_info and record.exc_info[1]:
            shown += traceback.format_exception(record.exc_info[1])
    assert given_away("\n".join(shown)) == []


# --- any body ----------------------------------------------------------------------------


@pytest.fixture
async def at_the_door():
    """Serve the three adapters, and give a function that posts an authentic body to one."""
    made = real_bridge()
    async with serving(made) as url, ClientSession(url) as client:

        async def send(adapter: str, body: bytes) -> tuple[int, list[Event]]:
            before = len(made.journal.kept)
            path, headers, sent = authentic(adapter, body)
            async with client.post(path, headers=headers, data=sent) as response:
                await response.read()
                return response.status, made.journal.kept[before:]

        yield send


def real_bodies(adapter: str) -> list:
    return [json.loads(case.request) for case in cases.load(adapter)]


any_body = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ADAPTERS = {"whatsapp": WhatsApp, "rcs": Rcs, "incs": Incs}


@pytest.mark.parametrize("adapter", ADAPTERS)
class TestAnyBody:
    """For any body that is authentic, all three adapters, over the real server."""

    @any_body
    @given(data=st.data())
    async def test_an_object_is_acknowledged_and_all_of_it_is_kept(
        self, adapter, at_the_door, data
    ):
        """Any JSON object gets 200, and exactly the events that its adapter reads in it."""
        objects = st.dictionaries(st.text(max_size=8), json_values)
        body = json.dumps(data.draw(disturbed(real_bodies(adapter)) | objects)).encode()
        status, kept = await at_the_door(adapter, body)
        reader = ADAPTERS[adapter](adapter, ADAPTERS[adapter].Settings(insecure=True))
        expected = reader.parse(Verified(payload=body, received_at=NOW)).events
        assert status == 200
        assert [event.key for event in kept] == [event.key for event in expected]

    @any_body
    @given(data=st.data())
    async def test_what_is_no_object_is_refused(self, adapter, at_the_door, data):
        """Any other JSON gets 400 and leaves nothing behind."""
        value = data.draw(json_values.filter(lambda value: not isinstance(value, dict)))
        assert await at_the_door(adapter, json.dumps(value).encode()) == (400, [])

    @any_body
    @given(body=st.binary(max_size=60))
    async def test_any_bytes_are_answered(self, adapter, at_the_door, body):
        """Any bytes at all get 200 or 400, and 400 leaves nothing behind."""
        status, kept = await at_the_door(adapter, body)
        assert status == 200 or (status, kept) == (400, [])


@any_body
@given(
    messages=st.lists(json_values, max_size=4),
    statuses=st.lists(json_values, max_size=4),
    entries=st.integers(1, 3),
)
async def test_every_item_of_a_batch_is_accounted_for(at_the_door, messages, statuses, entries):
    """Entries times messages and statuses go in, and that many events are kept."""
    value = {"metadata": {}, "messages": messages, "statuses": statuses}
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry] * entries}).encode()
    status, kept = await at_the_door("whatsapp", body)
    assert status == 200
    assert len(kept) == entries * (len(messages) + len(statuses))


@any_body
@given(items=st.lists(disturbed([json.loads(INNER)]), min_size=1, max_size=3))
async def test_every_inner_object_is_accounted_for(at_the_door, items):
    """Each signed object of RCS is acknowledged by exactly 200 and kept as one event."""
    answers = [await at_the_door("rcs", json.dumps(item).encode()) for item in items]
    assert [status for status, _ in answers] == [200] * len(items)
    assert len(list(chain.from_iterable(kept for _, kept in answers))) == len(items)


# --- the parser --------------------------------------------------------------------------

START = """
import logging
from bridge.connection import check_parser
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
