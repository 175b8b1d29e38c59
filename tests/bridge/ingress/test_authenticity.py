"""Who gets in at the door, over real sockets; and that nobody learns anything there."""

from __future__ import annotations

import base64
import hashlib
import logging
import time
import traceback
from collections import Counter
from datetime import UTC, datetime
from ipaddress import ip_network

import orjson
import pytest
from aiohttp import ClientSession

from bridge.adapter import Callback, Parsed, Response
from bridge.adapter.signing import Secret
from bridge.adapters.incs import IncsSettings
from bridge.adapters.rcs import RcsSettings
from bridge.adapters.whatsapp import WhatsAppSettings
from bridge.errors import NotAuthentic
from bridge.journal.memory import MemoryJournal
from bridge.runtime import Bridge
from bridge.settings import ServerSettings
from tests.bridge.fakes import TOKEN, Plain
from tests.bridge.providers import (
    APP_SECRET,
    CLIENT_TOKEN,
    INCS_TOKEN,
    INNER,
    authentic,
    envelope,
    rcs_signature,
    real_bridge,
    whatsapp_signature,
)
from tests.bridge.serving import exchange, post, serving, statuses

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
PATH = f"/callbacks/plain/{TOKEN}"
CLOSE = "Connection: close"
CHUNKED = "Transfer-Encoding: chunked"
BODY = orjson.dumps({"messages": [{"id": "never", "text": "hello"}]})
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


class Unadmitting(Plain):
    """Breaks over each head, and refuses what is behind it."""

    def admit(self, head, /):
        raise RuntimeError(head.headers, TOKEN)


class Injecting(Plain):
    """Replies with a header that would begin another one."""

    def parse(self, verified, /):
        return Parsed(response=Response(headers={"X-Broken": f"a\r\nX-Leak: {PRIVATE}"}))


class Clumsy(MemoryJournal):
    """Breaks outside of an adapter, with an exception that quotes the body."""

    async def append(self, events):
        raise RuntimeError(events[0].raw, TOKEN)


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

    @pytest.mark.parametrize(
        "request_",
        [
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
            post("/callbacks/plain/wrong", CLOSE, body=BODY),
            post("/callbacks/unverified/wrong", CLOSE, body=BODY),
            post("/callbacks/unadmitted/wrong", CLOSE, CHUNKED, body=b"0\r\n\r\n", length=False),
        ],
        ids=["not HTTP", "too long", "refused", "a crash of verify", "a crash of admit"],
    )
    async def test_a_stranger_fills_no_log(self, caplog, request_):
        """Whatever is refused again and again is a line in ten seconds."""
        caplog.set_level(logging.INFO)
        made = Bridge(journal=MemoryJournal())
        made.add_adapter("plain", Plain())
        made.add_adapter("unverified", Talkative("verify"))
        made.add_adapter("unadmitted", Unadmitting())
        async with serving(made) as url:
            began = time.monotonic()
            for _ in range(50):
                assert statuses(await exchange(url, request_)) in ([400], [401])
            took = time.monotonic() - began
        lines = Counter(record.getMessage() for record in caplog.records)
        assert 1 <= max(lines.values()) <= 2 + took / 10

    async def test_a_bug_of_ours_gives_nothing_away(self, caplog, capfd):
        """An exception that nobody foresaw is 503 and one line about where it arose."""
        caplog.set_level(logging.DEBUG)
        made = Bridge(journal=Clumsy())
        made.add_adapter("plain", Plain())
        body = orjson.dumps({"messages": [{"id": "never", "text": PRIVATE}]})
        async with serving(made) as url:
            answer = await exchange(url, post(PATH, CLOSE, body=body))
        assert statuses(answer) == [503]
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert record.error == "RuntimeError"
        assert __file__ in record.where
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
