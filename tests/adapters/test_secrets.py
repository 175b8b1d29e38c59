"""The secrets of each adapter's settings, as a program may give them."""

from __future__ import annotations

import base64
import hashlib
import hmac

import attrs
import pytest

from bridge.adapter import Callback
from bridge.adapter.signing import Secret
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.errors import ConfigurationError, NotAuthentic
from tests.adapters.cases import RECEIVED_AT

WORD = "meatyhamhock"
BODY = b'{"text": "Hi"}'
ENVELOPE = b'{"message": {"data": "%s"}}' % base64.b64encode(BODY)


def whatsapp_signature(word):
    """Sign as Meta does."""
    return "sha256=" + hmac.new(word.encode(), BODY, hashlib.sha256).hexdigest()


def rcs_signature(word):
    """Sign as Google does."""
    return base64.b64encode(hmac.new(word.encode(), BODY, hashlib.sha512).digest()).decode()


def callback(body=BODY, **fields) -> Callback:
    return Callback(body=body, received_at=RECEIVED_AT, **fields)


@attrs.frozen(kw_only=True)
class Door:
    """A setting that holds secrets, what it needs beside it, and how one knocks with a word."""

    adapter: type
    settings: type
    name: str
    beside: dict = attrs.field(factory=dict)
    knock: object

    def settings_with(self, given):
        return self.settings(**{self.name: given}, **self.beside)

    def opens(self, given, word) -> bool:
        """Return whether a callback that proves itself with the word is let in."""
        try:
            self.adapter("shop", self.settings_with(given)).verify(self.knock(word))
        except NotAuthentic:
            return False
        return True


DOORS = [
    Door(
        adapter=WhatsApp,
        settings=WhatsAppSettings,
        name="app_secrets",
        knock=lambda word: callback(headers={"X-Hub-Signature-256": whatsapp_signature(word)}),
    ),
    Door(
        adapter=WhatsApp,
        settings=WhatsAppSettings,
        name="verify_tokens",
        beside={"insecure": True},
        knock=lambda word: callback(
            method="GET",
            query={"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": word},
        ),
    ),
    Door(
        adapter=Rcs,
        settings=RcsSettings,
        name="client_tokens",
        knock=lambda word: callback(ENVELOPE, headers={"X-Goog-Signature": rcs_signature(word)}),
    ),
    Door(
        adapter=Rcs,
        settings=RcsSettings,
        name="tokens",
        beside={"bare": True},
        knock=lambda word: callback(tail=word),
    ),
    Door(
        adapter=Incs,
        settings=IncsSettings,
        name="tokens",
        knock=lambda word: callback(tail=word),
    ),
]


@pytest.fixture(params=DOORS, ids=lambda door: f"{door.settings.__name__}.{door.name}")
def door(request) -> Door:
    return request.param


KEYS = [
    (WhatsAppSettings, "access_token", {"insecure": True}),
    (RcsSettings, "service_account", {"insecure": True}),
    (Channel, "certification_code", {"id": 1, "kind": "viber"}),
]
"""The settings that hold the one secret that sending takes, and what they need beside it."""


def test_every_secret_is_tried_here():
    """No setting of the three adapters that holds secrets is left out of this file."""
    keys = {(settings, name) for settings, name, _ in KEYS}
    assert {(door.settings, door.name) for door in DOORS} | keys == {
        (settings, field.name)
        for settings in (WhatsAppSettings, RcsSettings, IncsSettings, Channel)
        for field in attrs.fields(settings)
        if "Secret" in str(field.type)
    }


@pytest.mark.parametrize(("settings", "name", "beside"), KEYS)
@pytest.mark.parametrize("given", [WORD, Secret(WORD)])
def test_what_sending_takes_is_hidden(settings, name, beside, given):
    """The secrets of the sending side may be written as strings as well, and are not shown."""
    made = settings(**{name: given}, **beside)
    assert getattr(made, name) == Secret(WORD)
    assert WORD not in repr(made)
    with pytest.raises(ConfigurationError) as caught:
        settings(**{name: WORD.encode()}, **beside)
    assert WORD not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        (Secret(WORD),),
        (WORD,),
        ("another", Secret(WORD)),
        [Secret("another"), WORD],
        Secret(WORD),
        WORD,
    ],
)
def test_secrets_and_plain_strings_open_the_same_door(door, given):
    """Who makes settings in a program may write strings, one of them also without a tuple."""
    assert door.opens(given, WORD)
    assert not door.opens(given, WORD[0])
    assert not door.opens(given, WORD + "s")


def test_plain_strings_become_secrets(door):
    """Settings hold secrets however they were given, so that no `repr` shows one."""
    settings = door.settings_with((WORD,))
    assert getattr(settings, door.name) == (Secret(WORD),)
    assert WORD not in repr(settings)


@pytest.mark.parametrize("given", [(WORD.encode(),), WORD.encode(), (WORD, None), None])
def test_what_is_no_string_is_a_configuration_error(door, given):
    """Anything else is refused as the settings are made, and nothing of it is shown."""
    with pytest.raises(ConfigurationError) as caught:
        door.settings_with(given)
    assert WORD not in str(caught.value)
