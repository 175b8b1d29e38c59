"""Who gets in at the RCS adapter, and what it answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import orjson
import pytest

from bridge.adapter import Adapter, Callback, SampleSource, Verified
from bridge.adapter.signing import Secret
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.errors import ConfigurationError, NotAuthentic
from tests.adapters.cases import RECEIVED_AT

TOKEN = "SJENCPGJESMGUFPY"
INNER = json.dumps(
    {
        "senderPhoneNumber": "+14155550123",
        "messageId": "0b3c6f52-5a57-4c8e-9a4d-0f6a1de9f001",
        "sendTime": "2026-02-02T08:11:41.193204Z",
        # These bytes make both alphabets of base64 differ: ~~~ and ??? give + and /.
        "text": "~~~???>>>",
        "agentId": "shop_agent@rbm.goog",
    }
).encode()


def signature(payload: bytes, token: str = TOKEN) -> str:
    return base64.b64encode(hmac.new(token.encode(), payload, hashlib.sha512).digest()).decode()


def enveloped(payload: bytes = INNER, *, signed: str | None = None, data: str | None = None):
    data = base64.b64encode(payload).decode() if data is None else data
    body = {
        "message": {
            "data": data,
            "attributes": {"type": "ignored"},
            "messageId": "1",
            "message_id": "1",
            "publishTime": "2026-02-02T08:11:42Z",
        },
        "subscription": "projects/x/subscriptions/y",
    }
    return callback(body, {"X-Goog-Signature": signature(payload) if signed is None else signed})


def callback(body, headers=(), tail: str = "") -> Callback:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Callback(body=raw, received_at=RECEIVED_AT, headers=headers, tail=tail)


@pytest.fixture
def rcs() -> Rcs:
    return Rcs("rcs", RcsSettings(client_tokens=(Secret(TOKEN),)))


def test_it_is_an_adapter_with_samples(rcs):
    """The class keeps the contract that the bridge asks of it."""
    assert isinstance(rcs, Adapter)
    assert isinstance(rcs, SampleSource)
    assert rcs.methods == {"POST"}


def test_the_decoded_data_is_what_is_trusted(rcs):
    """A signature over the decoded data lets those bytes in, and nothing of the envelope."""
    verified = rcs.verify(enveloped())

    assert verified.payload == INNER
    assert [event.kind for event in rcs.parse(verified).events] == ["message"]


def test_url_safe_data_and_signature(rcs):
    """Data and signature may come in the URL-safe alphabet, without padding."""
    safe = base64.urlsafe_b64encode(INNER).decode().rstrip("=")
    sign = signature(INNER).translate(str.maketrans("+/", "-_")).rstrip("=")
    assert set(safe + sign) & set("-_")

    assert rcs.verify(enveloped(data=safe, signed=sign)).payload == INNER


def test_data_in_lines(rcs):
    """Data may come in lines, as MIME writes base64 (RFC 2045)."""
    for newline in ("\n", "\r\n"):
        lines = base64.encodebytes(INNER).decode().replace("\n", newline)
        assert lines.count(newline) > 1
        assert rcs.verify(enveloped(data=lines)).payload == INNER


def test_tokens_are_rotated():
    """During a rotation the signature under either client token is accepted."""
    rcs = Rcs("rcs", RcsSettings(client_tokens=(Secret("next"), Secret(TOKEN))))

    assert rcs.verify(enveloped()).payload == INNER
    assert rcs.verify(enveloped(signed=signature(INNER, "next"))).payload == INNER


@pytest.mark.parametrize(
    "signed",
    [
        "",
        "not base64!",
        "ü",
        signature(INNER)[:-8],
        signature(INNER, "another token"),
        signature(INNER + b" "),
        hmac.new(TOKEN.encode(), INNER, hashlib.sha512).hexdigest(),
        base64.b64encode(hmac.new(TOKEN.encode(), INNER, hashlib.sha256).digest()).decode(),
    ],
)
def test_a_wrong_signature_is_refused(rcs, signed):
    """An empty, malformed, foreign or shortened signature is not authentic."""
    with pytest.raises(NotAuthentic):
        rcs.verify(enveloped(signed=signed))


def test_a_signature_over_the_envelope_is_refused(rcs):
    """What is signed is the decoded data, not the request's body."""
    body = enveloped().body

    with pytest.raises(NotAuthentic):
        rcs.verify(callback(body, {"X-Goog-Signature": signature(body)}))


def test_a_repeated_signature_is_refused(rcs):
    """Two signatures are not authentic, even where both are right."""
    headers = [("X-Goog-Signature", signature(INNER))] * 2

    with pytest.raises(NotAuthentic):
        rcs.verify(callback(enveloped().body, headers))


def test_a_missing_signature_is_refused(rcs):
    """An envelope without a signature is not authentic."""
    with pytest.raises(NotAuthentic):
        rcs.verify(callback(enveloped().body))


@pytest.mark.parametrize("data", ["%%%", "a", "ü"])
def test_data_that_is_not_base64_is_refused(rcs, data):
    """An envelope whose data cannot be decoded is not authentic."""
    with pytest.raises(NotAuthentic):
        rcs.verify(enveloped(data=data))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"message": {"data": 7}}', b"\xff", INNER])
def test_other_bodies_are_refused(rcs, body):
    """What is neither an envelope nor a handshake is not authentic, a bare object included."""
    with pytest.raises(NotAuthentic):
        rcs.verify(callback(body, {"X-Goog-Signature": signature(body)}))


def test_the_handshake_is_answered_with_its_secret(rcs):
    """A handshake with our client token gets its secret back as plain text, and is no event."""
    parsed = rcs.parse(rcs.verify(callback({"clientToken": TOKEN, "secret": "1234567890"})))

    assert parsed.response.status == 200
    assert parsed.response.body == b"1234567890"
    assert parsed.response.content_type.startswith("text/plain")
    assert parsed.events == ()


@pytest.mark.parametrize(
    "body",
    [
        {"clientToken": "wrong", "secret": "1"},
        {"clientToken": "", "secret": "1"},
        {"clientToken": 7, "secret": "1"},
        {"clientToken": TOKEN},
        {"clientToken": TOKEN, "secret": 7},
        {"clientToken": TOKEN, "secret": "s" * 1025},
    ],
)
def test_a_wrong_handshake_is_refused(rcs, body):
    """A foreign token, and a secret that is missing or too long, are not authentic."""
    with pytest.raises(NotAuthentic) as caught:
        rcs.verify(callback(body))

    assert TOKEN not in str(caught.value)


def test_bare_objects_need_a_token_in_the_path():
    """A bare object gets in only with one of the tokens at the end of the path."""
    rcs = Rcs("rcs", RcsSettings(bare=True, tokens=(Secret("old"), Secret("new"))))

    assert rcs.verify(callback(INNER, tail="new")).payload == INNER
    for tail in ("", "other"):
        with pytest.raises(NotAuthentic):
            rcs.verify(callback(INNER, tail=tail))


def test_an_envelope_that_a_gateway_hands_on_needs_the_token():
    """Where no client token is configured, the path's token proves an envelope, signed or not."""
    rcs = Rcs("rcs", RcsSettings(bare=True, tokens=(Secret("t"),)))

    for headers in ((), enveloped().headers):
        handed_on = callback(enveloped().body, headers, tail="t")
        assert rcs.verify(handed_on).payload == INNER
        with pytest.raises(NotAuthentic):
            rcs.verify(callback(enveloped().body, headers))


def test_a_token_in_the_path_does_not_stand_for_a_signature():
    """Where a client token is configured, it signs every envelope; a handshake always needs one."""
    without = Rcs("rcs", RcsSettings(bare=True, tokens=(Secret("t"),)))
    settings = RcsSettings(bare=True, tokens=(Secret("t"),), client_tokens=(Secret(TOKEN),))
    handshake = b'{"clientToken": "t", "secret": "1"}'

    for rcs, body in (
        (Rcs("rcs", settings), enveloped().body),
        (Rcs("rcs", settings), handshake),
        (without, handshake),
    ):
        with pytest.raises(NotAuthentic):
            rcs.verify(callback(body, tail="t"))


def test_data_that_a_gateway_has_decoded_needs_the_token(rcs):
    """Google's object as text in its envelope is a bare one: it takes the path's token."""
    bare = Rcs("rcs", RcsSettings(bare=True, tokens=(Secret("t"),)))
    body = {"message": {"data": f" {INNER.decode()}"}}
    parsed = bare.parse(bare.verify(callback(body, tail="t")))
    assert [event.message_id for event in parsed.events] == ["0b3c6f52-5a57-4c8e-9a4d-0f6a1de9f001"]
    for adapter in (bare, rcs):
        with pytest.raises(NotAuthentic):
            adapter.verify(callback(body))


def test_insecure_does_without_what_is_not_configured():
    """An insecure adapter accepts an envelope, a handshake and a bare object unproved."""
    rcs = Rcs("rcs", RcsSettings(insecure=True))

    assert rcs.verify(callback(enveloped().body)).payload == INNER
    assert rcs.verify(callback(INNER)).payload == INNER
    handshake = rcs.verify(callback({"clientToken": "any", "secret": "1"}))
    assert rcs.parse(handshake).response.body == b"1"


def test_insecure_still_checks_what_is_configured():
    """A configured token is checked, insecure or not."""
    rcs = Rcs(
        "rcs",
        RcsSettings(insecure=True, client_tokens=(Secret(TOKEN),), tokens=(Secret("t"),)),
    )

    for request in (
        enveloped(signed=""),
        callback(INNER),
        callback({"clientToken": "x", "secret": "1"}),
    ):
        with pytest.raises(NotAuthentic):
            rcs.verify(request)


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({}, ["client_tokens"]),
        ({"client_tokens": (Secret(""),)}, ["client_tokens"]),
        ({"bare": True}, ["tokens"]),
        ({"bare": True, "client_tokens": (Secret(TOKEN),)}, ["tokens"]),
    ],
)
def test_an_open_door_is_a_configuration_error(settings, keys):
    """Settings that let anybody in are refused, by the name of the setting."""
    with pytest.raises(ConfigurationError) as caught:
        RcsSettings(**settings)

    assert [problem.key for problem in caught.value.problems] == keys


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        (b'{"text": }', "not JSON: Expecting value (line 1, column 10)"),
        (b'["text"]', "the body is an array, not a JSON object (line 1, column 1)"),
        (b"", "the body is empty (line 1, column 1)"),
        (b"OK\xff", "the body is not valid UTF-8 (line 1, column 3)"),
    ],
)
def test_what_is_signed_and_no_object_is_kept(rcs, signed, reason):
    """Google repeats what is refused and holds the rest back, so its text is an event."""
    request = rcs.authenticate(signed)
    callback = Callback(body=request.body, headers=request.headers, received_at=RECEIVED_AT)

    parsed = rcs.parse(rcs.verify(callback))

    (event,) = parsed.events
    assert (parsed.response.status, parsed.malformed) == (200, None)
    assert (event.kind, event.reason) == ("unrecognized", reason)
    assert event.raw == signed.decode("utf-8", "backslashreplace")


def test_a_whole_body_that_is_not_json_is_malformed():
    """A gateway that forwards a body which is no JSON hears where it breaks."""
    rcs = Rcs("rcs", RcsSettings(bare=True, tokens=(Secret("path-token"),)))
    callback = Callback(body=b'{"text": }', tail="path-token", received_at=RECEIVED_AT)

    parsed = rcs.parse(rcs.verify(callback))

    assert parsed.events == ()
    assert parsed.malformed is not None
    assert parsed.malformed.column == 10


def test_a_body_that_nests_too_deep_is_kept_as_text(rcs):
    """A payload too deep for our own JSON becomes one event that holds its text."""
    text = '{"a": ' + "[" * 300 + "]" * 300 + "}"

    (event,) = rcs.parse(Verified(payload=text.encode(), received_at=RECEIVED_AT)).events

    assert event.kind == "unrecognized"
    assert event.raw == text


def test_secrets_are_not_shown():
    """Neither the settings nor a refusal show a token."""
    settings = RcsSettings(client_tokens=(Secret(TOKEN),), tokens=(Secret("path-token"),))

    assert TOKEN not in repr(settings)
    assert "path-token" not in repr(settings)


# --- samples -----------------------------------------------------------------------------


def test_every_sample_passes_its_own_adapter(rcs):
    """A sample, made fresh and proved as Google would, comes out as one readable event."""
    for sample in rcs.samples():
        body = orjson.dumps(rcs.freshen(sample.body, "n", RECEIVED_AT))
        outgoing = rcs.authenticate(body)
        verified = rcs.verify(callback(outgoing.body, outgoing.headers, outgoing.tail))
        (event,) = rcs.parse(verified).events
        assert event.kind != "unrecognized", sample.name
        assert verified.payload == body


def test_samples_are_new_in_each_run(rcs):
    """Two nonces give two keys for every sample; the same nonce gives the same one."""

    def keys(nonce: str) -> list[str]:
        result = []
        for sample in rcs.samples():
            body = orjson.dumps(rcs.freshen(sample.body, nonce, RECEIVED_AT))
            parsed = rcs.parse(Verified(payload=body, received_at=RECEIVED_AT))
            result += [event.key for event in parsed.events]
        return result

    first = keys("a")
    assert first == keys("a")
    assert len(set(first)) == len(first)
    assert set(first).isdisjoint(keys("b"))


@pytest.mark.parametrize("body", [[1], {"messageId": 7}, {"suggestionResponse": {"trackdata": {}}}])
def test_what_is_no_id_stays_as_it_is(rcs, body):
    """A body without ids, or with something else in their place, is left alone."""
    assert rcs.freshen(body, "n", RECEIVED_AT) == body


def test_what_an_answer_points_at_moves_along(rcs):
    """The message that a suggestion was shown in gets the id that it has everywhere."""
    shown = {"suggestionResponse": {"trackdata": {"msgId": "a", "cardIndex": 1}}}
    fresh = rcs.freshen(shown, "n", RECEIVED_AT)

    assert fresh["suggestionResponse"]["trackdata"] == {
        "msgId": rcs.freshen({"messageId": "a"}, "n", RECEIVED_AT)["messageId"],
        "cardIndex": 1,
    }


def test_an_unsigned_adapter_wraps_without_a_signature():
    """An insecure adapter sends the envelope alone, a bare one the object with its token."""
    assert (
        "data"
        in json.loads(Rcs("r", RcsSettings(insecure=True)).authenticate(b"{}").body)["message"]
    )
    bare = Rcs("r", RcsSettings(bare=True, tokens=(Secret("t"),))).authenticate(b"{}")
    assert (bare.body, bare.tail) == (b"{}", "t")


def test_what_an_envelope_holds_is_never_a_handshake(rcs):
    """A signed object that looks like a handshake is kept as an event, and nothing is echoed."""
    request = callback({"clientToken": TOKEN, "secret": "echo me"})
    signed = Verified(payload=request.body, received_at=RECEIVED_AT, callback=callback(INNER))
    parsed = rcs.parse(signed)

    assert parsed.response.body == b""
    assert [event.kind for event in parsed.events] == ["unrecognized"]


def test_callbacks_in_an_array_are_several():
    """A gateway's array gives the events of each object in it, and none is a handshake."""
    open_to_gateways = Rcs("rcs", RcsSettings(bare=True, tokens=(Secret("word"),)))
    read = {"eventType": "READ", "messageId": "o1", "senderPhoneNumber": "+14155550123"}
    asked = {"clientToken": TOKEN, "secret": "s"}
    verified = open_to_gateways.verify(callback([json.loads(INNER), read, asked], tail="word"))

    parsed = open_to_gateways.parse(verified)

    kinds = [event.kind for event in parsed.events]
    assert kinds == ["message", "status_change", "unrecognized"]
    assert parsed.response.body == b""


@pytest.mark.parametrize("configured", ["shop_agent", "shop_agent@rbm.goog"])
def test_the_own_agent_is_one_account(configured):
    """Its id is what sending names it by, where a gateway leaves Google's domain out."""
    rcs = Rcs("rcs", RcsSettings(insecure=True, bare=True, agent_id=configured))
    bare = {**json.loads(INNER), "agentId": "shop_agent"}
    other = {**bare, "agentId": "another_agent"}
    bodies = [json.loads(INNER), bare, other]

    events = [rcs.parse(rcs.verify(callback(body))).events[0] for body in bodies]

    own = "shop_agent@rbm.goog"
    assert [event.account for event in events] == [own, own, "another_agent"]
    assert [event.recipient.user_id for event in events] == [own, own, "another_agent"]
    assert {event.conversation.id for event in events[:2]} == {f"rcs:{own}:+14155550123"}
