"""The suite that adapter authors get, held by the three built-in ones, and by nothing broken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import secrets
import socket
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from bridge.adapter import Callback, Parsed, Response, Scope, Verified
from bridge.adapter.body import read_object
from bridge.adapter.signing import Secret
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.errors import CodecError, Unreadable
from bridge.testing import AdapterContract
from bridge.testing.adapter import RECEIVED_AT
from tests.adapters import cases
from tests.bridge.fakes import TOKEN, Plain

SECRET = "a-secret-of-the-contract"
OTHER = "another-secret"


def callback(body: bytes, *headers: tuple[str, str], tail: str = "") -> Callback:
    return Callback(body=body, received_at=RECEIVED_AT, headers=headers, tail=tail)


REAL = {
    adapter: [json.loads(case.request) for case in cases.load(adapter)]
    for adapter in ("whatsapp", "rcs", "incs")
}


def rows(parent, *names: str) -> int:
    """Count the items of those of an object's arrays that are arrays."""
    return sum(len(parent[name]) for name in names if isinstance(parent.get(name), list))


class TestWhatsApp(AdapterContract):
    # Which account it was, and the number as Meta displays it.
    envelope = frozenset(
        {
            "entry.id",
            "entry.time",
            "entry.changes.value.messaging_product",
            "entry.changes.value.metadata.display_phone_number",
        }
    )

    def make_adapter(self, name):
        return WhatsApp(name, WhatsAppSettings(app_secrets=(Secret(SECRET),)))

    def bodies(self):
        return REAL["whatsapp"]

    def authentic(self, payload):
        return callback(payload, self._signed(payload))

    def forged(self, payload):
        name, right = self._signed(payload)
        wrong = (right[:-2], right[7:], right + "00", "sha256=", "", right.replace("256", "1"))
        return [
            callback(payload),
            callback(payload, (name, right), (name, right)),
            callback(payload, self._signed(payload, OTHER)),
            callback(payload + b" ", (name, right)),
            *(callback(payload, (name, value)) for value in wrong),
        ]

    def items(self, body):
        if body.get("object") not in (None, "whatsapp_business_account"):
            return 1
        entries = body.get("entry")
        if not isinstance(entries, list):
            return 1
        return sum(self._entry(entry) for entry in entries)

    def _entry(self, entry):
        if not isinstance(entry, dict) or not isinstance(entry.get("changes"), list):
            return 1
        return sum(self._change(change) for change in entry["changes"])

    def _change(self, change):
        if not isinstance(change, dict):
            return 1
        value = change.get("value")
        if isinstance(value, dict):
            match change.get("field"):
                case "messages":
                    return rows(value, "messages", "statuses")
                case "smb_message_echoes":
                    return rows(value, "message_echoes")
                case "user_preferences":
                    return rows(value, "user_preferences")
                case "history":
                    return rows(value, "history")
        return 1

    def _signed(self, payload, secret=SECRET):
        digest = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
        return ("X-Hub-Signature-256", f"sha256={digest}")


class TestRcs(AdapterContract):
    def make_adapter(self, name):
        return Rcs(name, RcsSettings(client_tokens=(Secret(SECRET),)))

    def bodies(self):
        return REAL["rcs"]

    def authentic(self, payload):
        return callback(self._envelope(payload), self._signed(payload))

    def forged(self, payload):
        name, right = self._signed(payload)
        envelope = self._envelope(payload)
        return [
            callback(envelope),
            callback(payload, (name, right)),
            callback(envelope, (name, right), (name, right)),
            callback(envelope, self._signed(payload, OTHER)),
            callback(envelope, self._signed(envelope)),
            callback(self._envelope(payload + b" "), (name, right)),
            *(callback(envelope, (name, value)) for value in ("", "=", "é", right[:-4])),
        ]

    def items(self, body):
        return 1

    def _envelope(self, payload):
        return json.dumps({"message": {"data": base64.b64encode(payload).decode()}}).encode()

    def _signed(self, payload, secret=SECRET):
        digest = hmac.new(secret.encode(), payload, hashlib.sha512).digest()
        return ("X-Goog-Signature", base64.b64encode(digest).decode())


class TestIncs(AdapterContract):
    envelope = frozenset(
        {
            "business_phone",
            "channel_id",
            "received_at",
            "message.messaging_product",
            "message.metadata.display_phone_number",
            "message.metadata.phone_number_id",
        }
    )

    def make_adapter(self, name):
        channel = Channel(id=30058, kind="whatsapp", business_phone="6281519236680")
        return Incs(name, IncsSettings(tokens=(Secret(SECRET),), channels=(channel,)))

    def bodies(self):
        return REAL["incs"]

    def authentic(self, payload):
        return callback(payload, tail=SECRET)

    def forged(self, payload):
        header = ("X-Incs-Token", SECRET)
        return [
            callback(payload),
            callback(payload, tail=SECRET[:-1]),
            callback(payload, tail=f"{SECRET}/x"),
            callback(payload, header, header),
            callback(payload, ("X-Incs-Token", "")),
        ]

    def items(self, body):
        message = body.get("message")
        if body.get("event") != "new_message" or not isinstance(message, dict):
            return 1
        if {"messaging_product", "messages", "statuses", "metadata"}.isdisjoint(message):
            return 1
        return max(1, rows(message, "messages", "statuses"))


# --- what the suite finds ----------------------------------------------------------------


class Broken(AdapterContract):
    """The contract of a small adapter, which is broken in one place at a time."""

    adapter: type[Plain]

    def make_adapter(self, name):
        return self.adapter(name)

    def bodies(self):
        return [{"messages": [{"id": "1", "text": "one"}, {"id": "2", "text": "two"}]}]

    def authentic(self, payload):
        return callback(payload, tail=TOKEN)

    def forged(self, payload):
        return [callback(payload), callback(payload, tail="wrong")]

    def items(self, body):
        return rows(body, "messages")


class Sound(Plain):
    """The small adapter of the other tests, made total."""

    def parse(self, verified, /):
        parsed = super().parse(verified)
        if parsed.malformed:
            return parsed
        return Parsed(events=(*parsed.events, *self._notices(verified)))

    def _notices(self, verified):
        """Tell what stands beside the messages."""
        body = read_object(verified.payload)
        scope = Scope(source=self._name, channel="plain", received_at=RECEIVED_AT, body=body)
        told = {
            name: value
            for name, value in body.items()
            if name != "messages" or not isinstance(value, list)
        }
        return [scope.notice("other", told, scope.identity(told))] if told else []

    def _message(self, scope, item):
        if isinstance(item, dict) and all(isinstance(item.get(key), str) for key in ("id", "text")):
            return super()._message(scope, item)
        alone = attrs.evolve(scope, body={"messages": [item]})
        return alone.unrecognized(Unreadable("", "neither id nor text"))


class Trusting(Sound):
    def verify(self, callback, /):
        return Verified(payload=callback.body, received_at=callback.received_at)


class Raising(Sound):
    def verify(self, callback, /):
        raise ValueError("no token")


class Losing(Sound):
    def parse(self, verified, /):
        return Parsed(events=super().parse(verified).events[:1])


class Forgetful(Sound):
    def _notices(self, verified):
        return []


class Shallow(Sound):
    def parse(self, verified, /):
        parsed = super().parse(verified)
        return parsed if b"[[" not in verified.payload else Parsed()


class Random(Sound):
    def parse(self, verified, /):
        events = super().parse(verified).events
        nonce = secrets.token_hex()
        return Parsed(events=tuple(attrs.evolve(event, key=nonce) for event in events))


class Timed(Sound):
    def parse(self, verified, /):
        events = super().parse(verified).events
        now = datetime.now(UTC)
        return Parsed(events=tuple(attrs.evolve(event, occurred_at=now) for event in events))


class Dated(Sound):
    def parse(self, verified, /):
        events = super().parse(verified).events
        key = verified.received_at.isoformat()
        return Parsed(events=tuple(attrs.evolve(event, key=key) for event in events))


class Reading(Sound):
    def parse(self, verified, /):
        Path(__file__).read_bytes()
        return super().parse(verified)


class Sending(Sound):
    def verify(self, callback, /):
        socket.socket().close()
        return super().verify(callback)


class Logging(Sound):
    def parse(self, verified, /):
        logging.getLogger("somebody").warning("parsing")
        return super().parse(verified)


class Anonymous(Sound):
    def __init__(self, name):
        super().__init__("always-this")


class Unwritable(Sound):
    def parse(self, verified, /):
        events = super().parse(verified).events
        return Parsed(events=tuple(attrs.evolve(event, raw=b"") for event in events))


class Refusing(Sound):
    def parse(self, verified, /):
        return attrs.evolve(super().parse(verified), response=Response(status=500))


class TestSound(Broken):
    """Without a fault, the small adapter keeps every promise."""

    adapter = Sound


FAULTS = [
    (Trusting, "test_a_forged_callback_is_refused"),
    (Raising, "test_verify_refuses_and_does_nothing_else"),
    (Plain, "test_parse_returns_for_any_object"),  # its messages need an id and a text
    (Losing, "test_every_item_of_a_real_body_is_an_event"),
    (Forgetful, "test_every_leaf_is_told"),
    (Shallow, "test_a_body_that_nests_too_deep_is_not_lost"),
    (Random, "test_the_same_bytes_give_the_same_events"),
    (Timed, "test_the_same_bytes_give_the_same_events"),
    (Dated, "test_a_retry_has_the_same_keys"),
    (Dated, "test_two_items_of_a_real_body_have_two_keys"),
    (Reading, "test_nothing_is_read_or_sent"),
    (Sending, "test_nothing_is_read_or_sent"),
    (Logging, "test_nothing_is_read_or_sent"),
    (Anonymous, "test_events_say_where_they_come_from"),
    (Unwritable, "test_every_event_survives_our_own_json"),
    (Refusing, "test_parse_returns_for_any_bytes"),
]

RED = (AssertionError, KeyError, ValueError, ExceptionGroup, CodecError, pytest.fail.Exception)


@pytest.mark.parametrize(
    ("adapter", "test"), FAULTS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_fault_is_found(adapter, test, capfd, caplog):
    """Each promise that an adapter breaks turns one of the suite's tests red."""
    broken = Broken()
    broken.adapter = adapter
    check = getattr(broken, test)
    arguments = (capfd, caplog) if test == "test_nothing_is_read_or_sent" else ()
    with pytest.raises(RED):
        check(*arguments)
