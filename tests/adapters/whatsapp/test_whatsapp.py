"""The adapter's door: who gets in, and what is answered."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.adapter import ACKNOWLEDGED, Adapter, AdapterClass, Callback, SampleSource, Verified
from bridge.adapter.signing import Secret
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.errors import ConfigurationError, NotAuthentic
from bridge.model import Unrecognized

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)

# RFC 4231, test case 2.
SECRET = Secret("Jefe")
BODY = b"what do ya want for nothing?"
SIGNATURE = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

HANDSHAKE = {
    "hub.mode": "subscribe",
    "hub.challenge": "1158201444",
    "hub.verify_token": "meatyhamhock",
}


def adapter(**settings) -> WhatsApp:
    defaults = {"app_secrets": (SECRET,), "verify_tokens": (Secret("meatyhamhock"),)}
    return WhatsApp("wa", WhatsAppSettings(**{**defaults, **settings}))


def post(*signatures: str, body: bytes = BODY) -> Callback:
    headers = [("X-Hub-Signature-256", signature) for signature in signatures]
    return Callback(body=body, received_at=NOW, headers=headers)


def get(query) -> Callback:
    return Callback(body=b"", received_at=NOW, method="GET", query=query)


def test_the_class_fits_the_contract():
    """The class and its objects are what an entry point, the bridge and `trigger` expect."""
    factory: AdapterClass = WhatsApp
    made = factory("wa", factory.Settings(insecure=True))
    assert isinstance(made, Adapter)
    assert isinstance(made, SampleSource)
    assert made.methods == {"GET", "POST"}


# --- signatures --------------------------------------------------------------------------


def test_a_signed_body_is_verified():
    """The signature over the raw body opens the door, and the payload is that body."""
    callback = post(f"sha256={SIGNATURE}")
    assert adapter().verify(callback) == Verified(payload=BODY, received_at=NOW, callback=callback)


def test_each_of_several_secrets_opens():
    """While a secret is being replaced, callbacks under either of them are taken."""
    both = adapter(app_secrets=(Secret("newer"), SECRET))
    assert both.verify(post(f"sha256={SIGNATURE}")).payload == BODY


@pytest.mark.parametrize(
    "signatures",
    [
        (),
        ("",),
        ("sha256=",),
        (SIGNATURE,),
        (f"sha1={SIGNATURE}",),
        (f"sha256={SIGNATURE[:-2]}",),
        (f"sha256={SIGNATURE}00",),
        (f"sha256={SIGNATURE[:-1]}",),
        (f"sha256={SIGNATURE[:-2]}zz",),
        (f"sha256={SIGNATURE[:-2]}é",),
        (f"sha256={SIGNATURE[:-2]}\udcff\ud800",),
        (f"sha256={SIGNATURE[:-1]}4",),
        (f"sha256={SIGNATURE}", f"sha256={SIGNATURE}"),
    ],
)
def test_whatever_is_no_signature_of_the_body_stays_outside(signatures):
    """A missing, repeated, malformed or wrong signature is `NotAuthentic` and nothing else."""
    with pytest.raises(NotAuthentic) as caught:
        adapter().verify(post(*signatures))
    assert SIGNATURE not in str(caught.value)
    assert BODY.decode() not in str(caught.value)


def test_a_changed_body_stays_outside():
    """A signature is good for the bytes it was made from, and for no others."""
    with pytest.raises(NotAuthentic):
        adapter().verify(post(f"sha256={SIGNATURE}", body=BODY + b" "))


@pytest.mark.parametrize("secrets", [(), (Secret(""),)])
def test_no_secret_is_a_configuration_error(secrets):
    """An adapter that could check nothing does not start unless it is told to."""
    with pytest.raises(ConfigurationError, match="app_secrets"):
        adapter(app_secrets=secrets)


def test_insecure_takes_unsigned_bodies():
    """Told to be insecure and without a secret, the adapter takes what has no signature."""
    assert adapter(app_secrets=(), insecure=True).verify(post()).payload == BODY


def test_insecure_does_not_switch_a_secret_off():
    """Where there is a secret it is checked, whatever `insecure` says."""
    with pytest.raises(NotAuthentic):
        adapter(insecure=True).verify(post())


# --- the handshake -----------------------------------------------------------------------


def test_the_handshake_echoes_the_challenge():
    """Meta's GET with our token is answered by its challenge, as plain text."""
    made = adapter()
    parsed = made.parse(made.verify(get(HANDSHAKE)))
    assert parsed.events == ()
    assert parsed.response.status == 200
    assert parsed.response.body == b"1158201444"
    assert parsed.response.content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "query",
    [
        {},
        {**HANDSHAKE, "hub.mode": "unsubscribe"},
        {**HANDSHAKE, "hub.mode": ""},
        {**HANDSHAKE, "hub.verify_token": "meatyhamhocks"},
        {**HANDSHAKE, "hub.verify_token": ""},
        {**HANDSHAKE, "hub.verify_token": "\ud800"},
        {**HANDSHAKE, "hub.challenge": ""},
        {**HANDSHAKE, "hub.challenge": "1" * 1025},
        {**HANDSHAKE, "hub.challenge": "\ud800"},
        {name: value for name, value in HANDSHAKE.items() if name != "hub.mode"},
        {name: value for name, value in HANDSHAKE.items() if name != "hub.verify_token"},
        {name: value for name, value in HANDSHAKE.items() if name != "hub.challenge"},
        [*HANDSHAKE.items(), ("hub.verify_token", "meatyhamhock")],
        [*HANDSHAKE.items(), ("hub.challenge", "2")],
    ],
)
def test_any_other_handshake_stays_outside(query):
    """A handshake without our token, a subscription and one challenge is `NotAuthentic`."""
    with pytest.raises(NotAuthentic) as caught:
        adapter().verify(get(query))
    assert "meatyhamhock" not in str(caught.value)


def test_without_tokens_no_handshake_succeeds():
    """No configured token does not mean any token, not even the empty one."""
    with pytest.raises(NotAuthentic):
        adapter(verify_tokens=(Secret(""),)).verify(get({**HANDSHAKE, "hub.verify_token": ""}))


def test_the_settings_do_not_show_their_secrets():
    """A `repr` of the settings, as a log may hold it, tells no secret."""
    shown = repr(WhatsAppSettings(app_secrets=(SECRET,), verify_tokens=(Secret("hamhock"),)))
    assert "Jefe" not in shown
    assert "hamhock" not in shown


# --- bodies ------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"null"])
def test_what_is_no_object_is_malformed(payload):
    """A body that is no JSON object publishes nothing and says where it breaks."""
    parsed = adapter().parse(Verified(payload=payload, received_at=NOW))
    assert parsed.events == ()
    assert parsed.malformed is not None


def test_what_nests_too_deep_is_kept_as_text():
    """A body too deep for our own JSON is one event that holds its text."""
    payload = b'{"object":' + b"[" * 300 + b"]" * 300 + b"}"
    parsed = adapter().parse(Verified(payload=payload, received_at=NOW))
    (event,) = parsed.events
    assert isinstance(event, Unrecognized)
    assert event.raw == payload.decode()
    assert parsed.malformed is None


def test_a_callback_is_acknowledged_with_200_and_nothing_else():
    """Meta takes nothing but 200 for an answer, and reads no body."""
    parsed = adapter().parse(Verified(payload=b'{"entry":[]}', received_at=NOW))
    assert parsed.response == ACKNOWLEDGED
    assert parsed.events == ()


def test_the_configured_name_is_the_source():
    """Events carry the name under which the adapter is configured."""
    parsed = adapter().parse(Verified(payload=b"{}", received_at=NOW))
    assert [event.source for event in parsed.events] == ["wa"]
