"""A whole run says nothing of what people wrote, who they are, or what opens the door."""

import base64
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import attrs
import orjson
import pytest

from bridge.adapter import Verified
from bridge.installed import without_secrets
from bridge.model import Event, Location, Message, Party, ReplyTo, Role, Template
from bridge.model.masking import mask_phones_in

INCS = "incs-token-2f9a4c6e8b1d"
META = "meta-secret-7c5e3a1f9b2d"
VERIFY = "verify-token-4d8f2b6a0c1e"
GOOGLE = "google-token-1a3c5e7f9b2d"

CONFIG = f"""\
[server]
trusted_proxies = ["127.0.0.1/32"]

[admin]
port = 0

[journal]
engine = "memory"

[log]
format = "%s"
level = "debug"

[delivery]
tries = 2
first_delay = 0

[adapters.incs]
tokens = ["{INCS}"]

[adapters.whatsapp]
app_secrets = ["{META}"]
verify_tokens = ["{VERIFY}"]

[adapters.rcs]
client_tokens = ["{GOOGLE}"]

[subscribers.console]
use = "console"

[subscribers.careless]
use = "careless:note"

[subscribers.broken]
use = "careless:fail"
"""
CARELESS = """
import logging

log = logging.getLogger("careless")


def note(event):
    log.info("took %s", event.kind, extra={"it": event, "raw": event.raw, "text": str(event.raw)})
    log.debug("from %s", getattr(getattr(event, "sender", None), "phone", None))


async def fail(event):
    raise ValueError(f"cannot take {event.raw}")
"""
# The participant of sample "group-statuses".
PARTICIPANT = "16505557777"
# What names a thing and not a person; keys, which are logged, are made of such.
IMPERSONAL = {
    *("id", "message_id", "media_id", "catalog_id", "product_id", "template_id", "template"),
    *("media", "source", "mime_type", "sha256", "kind", "type", "sub_type", "component", "role"),
    *("language", "category", "currency", "price", "change", "provider_type", "error", "index"),
    *("media_type", "source_type", "user_id"),
}


def personal(value: Any) -> Iterator[str]:
    """Every string and number of a value that tells something of a person."""
    if isinstance(value, str | float):
        yield str(value)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from personal(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from personal(item)
    elif attrs.has(type(value)):
        skipped = IMPERSONAL | ({"name"} if isinstance(value, Template) else set())
        for field in attrs.fields(type(value)):
            if field.name not in skipped:
                yield from personal(getattr(value, field.name))


def told(event: Event) -> Iterator[str]:
    """What an event tells of people: who they are, and what they wrote."""
    for field in attrs.fields(type(event)):
        value = getattr(event, field.name)
        if isinstance(value, Party) and value.role is Role.BUSINESS:
            continue
        if isinstance(value, Party | ReplyTo) or field.name == "content":
            yield from personal(value)


def samples() -> Iterator[Event]:
    for name in ("incs", "rcs", "whatsapp"):
        adapter = without_secrets(name)
        for sample in adapter.samples():
            payload = orjson.dumps(sample.body)
            yield from adapter.parse(
                Verified(payload=payload, received_at=datetime.now(UTC))
            ).events


def needles() -> set[str]:
    found = {text for event in samples() for text in told(event)}
    found |= {text.removeprefix("+") for text in found}
    # What is shorter stands in every other word. A business-scoped id, which only Meta can
    # resolve, is part of keys.
    return {text for text in found if len(text) > 4 and text[:3] != "US."} - {PARTICIPANT}


def encoded_in(text: str) -> str:
    """Return what can be read in all base64 of a text, at whatever letter one begins."""
    found = []
    for run in re.findall(r"[0-9A-Za-z+/_-]{12,}", text):
        for start in range(4):
            part = run[start:].replace("-", "+").replace("_", "/")
            data = base64.b64decode(part[: len(part) // 4 * 4])
            found.append("".join(chr(c) if 48 <= c <= 57 else " " for c in data))
    return "\n".join(found)


def test_the_search_reads_what_is_encoded():
    """WhatsApp's ids of the samples hold the phones of their users in base64, and it finds them."""
    keys = " ".join(event.key for event in samples())
    assert {"16505551234", "85268415026"} <= set(encoded_in(keys).split())


def test_the_search_knows_what_it_looks_for():
    """Phones, names, texts, places and one-time passwords of the samples are among the needles."""
    looked_for = needles()
    assert {"85268415026", "+85268415026", "Sheena Nelson", "123456"} <= looked_for
    assert any(isinstance(e, Message) and isinstance(e.content, Location) for e in samples())
    assert len(looked_for) > 80


def _trigger_all(command, url):
    run = ("trigger", "--all", "--url", url, "--quiet")
    assert command(*run).code == 0
    assert command(*run, "--keep-ids").code == 0  # real ones hold their users' phones
    assert command(*run, "--bad-signature").code == 0


@pytest.mark.parametrize("form", ["json", "console"])
def test_nothing_personal_is_in_the_log(server, command, config, workplace, form):
    """With every sample, at DEBUG, failing subscribers and forged callbacks: none of it shows."""
    config.write_text(CONFIG % form)
    (workplace / "careless.py").write_text(CARELESS)
    process, url, said = server()
    with ThreadPoolExecutor(2) as readers:  # a full pipe would hold the server up
        shown, log = (readers.submit(stream.read) for stream in (process.stdout, process.stderr))
        _trigger_all(command, url)
        process.send_signal(signal.SIGTERM)
        shown, log = shown.result().decode(), "".join(said) + log.result().decode()
    assert process.wait() == 0
    for words in ("callback accepted", "callback refused", "a dead letter", "took message"):
        assert words in log
    assert "ValueError" in log
    people = needles()
    for text in (log, shown):
        assert {
            needle for needle in people | {INCS, META, VERIFY, GOOGLE} if needle in text
        } == set()
        encoded = encoded_in(text)
        assert {needle for needle in people if needle.isdigit() and needle in encoded} == set()


def test_a_participant_of_a_group_is_masked():
    """The number of somebody in a group, whose status is in a key, is recognised as a phone."""
    keys = [event.key for event in samples() if PARTICIPANT in event.key]
    assert keys
    assert not any(PARTICIPANT in mask_phones_in(key) for key in keys)
