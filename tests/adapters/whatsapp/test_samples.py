"""The samples that `bridge trigger` sends."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import orjson
import pytest

from bridge.adapter import Callback, Verified
from bridge.adapter.signing import Secret
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.model import (
    CONTENT_CLASSES,
    Carousel,
    ConsentChange,
    Handover,
    Menu,
    Message,
    Native,
    Notice,
    Receipt,
    StatusChange,
    Template,
    TemplateChange,
    Unrecognized,
)

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
ADAPTER = WhatsApp("whatsapp", WhatsAppSettings(app_secrets=(Secret("s3cret"),)))


def events(body):
    return ADAPTER.parse(Verified(payload=orjson.dumps(body), received_at=NOW)).events


@pytest.mark.parametrize("sample", ADAPTER.samples(), ids=lambda sample: sample.name)
def test_samples_are_understood(sample):
    """Each sample gives events, and none that could not be read."""
    read = events(sample.body)
    assert read
    assert not any(isinstance(event, Unrecognized) for event in read)


def test_samples_show_every_kind_of_event():
    """Somebody who tries a bridge with the samples meets each kind that Meta has."""
    kinds = {type(event) for sample in ADAPTER.samples() for event in events(sample.body)}
    assert kinds == {Message, StatusChange, TemplateChange, ConsentChange, Handover, Notice}


def test_samples_show_every_kind_of_content():
    """Each kind of content that a WhatsApp message can have is met, save those that only go out."""
    contents = {
        type(event.content)
        for sample in ADAPTER.samples()
        for event in events(sample.body)
        if isinstance(event, Message)
    }
    assert contents == {*CONTENT_CLASSES} - {Template, Menu, Carousel, Native, Receipt}


@pytest.mark.parametrize("sample", ADAPTER.samples(), ids=lambda sample: sample.name)
def test_freshening_gives_new_keys(sample):
    """A sample under another nonce is another event, under the same one it is the same."""
    later = datetime(2026, 11, 1, 12, 0, 1, tzinfo=UTC)
    once = [event.key for event in events(ADAPTER.freshen(sample.body, "a", NOW))]
    again = [event.key for event in events(ADAPTER.freshen(sample.body, "a", NOW))]
    other = [event.key for event in events(ADAPTER.freshen(sample.body, "b", later))]
    assert once == again
    assert not set(once) & set(other)


def test_freshening_keeps_what_belongs_together():
    """One id gives one new id within a run, in another field and another sample too."""
    bodies = {sample.name: sample.body for sample in ADAPTER.samples()}
    (reaction,) = events(ADAPTER.freshen(bodies["reaction"], "a", NOW))
    sent, *_ = events(ADAPTER.freshen(bodies["statuses"], "a", NOW))
    assert reaction.content.message_id == sent.message_id
    assert sent.message_id.startswith("wamid.")


def test_freshening_keeps_the_form_of_times():
    """Seconds in a string stay a string, a number stays a number, and what expires is later."""
    body = {
        "timestamp": "1749416383",
        "time": 1749416383,
        "expiration_timestamp": "1",
        "category_update_timestamp": 1,
        "message_template_id": "not a number",
    }
    assert ADAPTER.freshen(body, "a", NOW) == {
        "timestamp": "1793534400",
        "time": 1793534400,
        "expiration_timestamp": "1793620800",
        "category_update_timestamp": 1793620800,
        "message_template_id": "not a number",
    }


def test_an_authenticated_sample_is_let_in():
    """What `authenticate` makes passes `verify` under the same settings."""
    body = json.dumps({"entry": []}).encode()
    outgoing = ADAPTER.authenticate(body)
    callback = Callback(body=outgoing.body, received_at=NOW, headers=outgoing.headers)
    assert ADAPTER.verify(callback).payload == body
    assert outgoing.tail == ""


def test_without_a_secret_nothing_is_signed():
    """An insecure adapter sends its samples as it takes them: without a signature."""
    outgoing = WhatsApp("whatsapp", WhatsAppSettings(insecure=True)).authenticate(b"{}")
    assert dict(outgoing.headers) == {"Content-Type": "application/json"}
