"""What holds for any body, however it is made."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapter import Verified
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.model import Message, Unrecognized, Unsupported
from tests.adapters import cases
from tests.adapters.laws import disturbed, json_values, payload

ADAPTER = WhatsApp("whatsapp", WhatsAppSettings(insecure=True))
SEEDS = [json.loads(case.request) for case in cases.load("whatsapp")]
MESSAGE = {
    "from": "16505551234",
    "id": "wamid.SOUND",
    "timestamp": "1749416383",
    "type": "text",
    "text": {"body": "Hi"},
}
STATUS = {
    "id": "wamid.OURS",
    "status": "sent",
    "timestamp": "1749416383",
    "recipient_id": "16505551234",
}

# How long an example takes says nothing here: the machine may be busy with something else.
untimed = settings(deadline=None)

bodies = st.dictionaries(st.sampled_from(["object", "entry", "x"]), json_values) | disturbed(SEEDS)


def parse(body):
    return ADAPTER.parse(Verified(payload=payload(body), received_at=cases.RECEIVED_AT))


def batch(*messages, **arrays):
    value = {"metadata": {}, "messages": list(messages), **arrays}
    return {"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}


@untimed
@given(bodies)
def test_one_entry_alone_is_read_as_one_of_several(body):
    """What stands alone in a body becomes what it would become as the first of two."""
    body = {name: body[name] for name in ("object", "entry") if name in body}
    entries = body.get("entry")
    ours = body.get("object") in (None, "whatsapp_business_account")
    if ours and type(entries) is list and len(entries) == 1:
        alone, together = parse(body).events, parse({**body, "entry": entries * 2}).events
        assert together[: len(alone)] == alone
        assert [event.key for event in together] == [event.key for event in alone] * 2


@untimed
@given(bodies)
def test_what_could_not_be_read_can_be_parsed_again(body):
    """The `raw` of an `Unrecognized` is a body that holds that one item and no other.

    What stands beside the items is told again, under the same key.
    """
    events = parse(body).events
    for event in events:
        if isinstance(event, Unrecognized):
            told = parse(event.raw).events
            (again,) = (one for one in told if isinstance(one, Unrecognized))
            assert (again.key, again.reason, again.raw) == (event.key, event.reason, event.raw)
            assert {one.key for one in told} <= {one.key for one in events}


@untimed
@given(
    messages=st.lists(json_values | disturbed([MESSAGE]), max_size=4),
    statuses=st.lists(json_values | disturbed([STATUS]), max_size=4),
)
def test_every_item_is_accounted_for(messages, statuses):
    """Each item of a batch gives an event, whatever it is."""
    body = batch(*messages, statuses=statuses)
    assert len(parse(body).events) == len(messages) + len(statuses)


@untimed
@given(disturbed([{**MESSAGE, "id": "wamid.OTHER"}]))
def test_a_broken_item_leaves_its_neighbours_alone(broken):
    """A message arrives just the same beside one in which anything else stands anywhere."""
    (alone,) = parse(batch(MESSAGE)).events
    assert alone in parse(batch(broken, MESSAGE)).events


def told(message):
    """Return what one message holds, without the provider's own words for it."""
    (event,) = parse(batch(message)).events
    assert isinstance(event, Message)
    return None if isinstance(event.content, Unsupported) else event.content


ITEMS = [
    message
    for seed in SEEDS
    for entry in seed.get("entry") or ()
    if isinstance(entry, dict)
    for change in entry.get("changes") or ()
    if isinstance(change, dict) and isinstance(change.get("value"), dict)
    for message in change["value"].get("messages") or ()
    if isinstance(message, dict) and isinstance(message.get("type"), str) and message.get("id")
]


@pytest.mark.parametrize("message", ITEMS, ids=lambda message: message["id"])
def test_the_case_of_a_type_says_nothing(message):
    """A message of a type in capitals holds what it holds in small letters."""
    assert told({**message, "type": message["type"].upper()}) == told(message)


@pytest.mark.parametrize("message", ITEMS, ids=lambda message: message["id"])
def test_a_part_alone_in_an_array_is_that_part(message):
    """A message whose content stands alone in an array holds what it holds without."""
    kind = message["type"]
    if kind != "text" and isinstance(message.get(kind), dict):
        assert told({**message, kind: [message[kind]]}) == told(message)
