"""What peers drop and we keep: batches, mixtures, and bodies that lack what is usually there."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapter import Verified
from bridge.adapters.incs import Incs, IncsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.model import Form, Message, Status, StatusChange, Unrecognized
from tests.adapters.cases import RECEIVED_AT

WHATSAPP = WhatsApp("whatsapp", WhatsAppSettings(insecure=True))
INCS = Incs("incs", IncsSettings(insecure=True))
METADATA = {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"}


def parse(adapter, body):
    payload = orjson.dumps(body)
    return adapter.parse(Verified(payload=payload, received_at=RECEIVED_AT))


def direct(*values) -> dict:
    """Put values into a callback of Meta's, each in an entry of its own."""
    return {
        "object": "whatsapp_business_account",
        "entry": [
            {"id": "102290129340398", "changes": [{"field": "messages", "value": value}]}
            for value in values
        ],
    }


def through_incs(value) -> dict:
    return {"event": "new_message", "business_phone": "15550783881", "message": value}


def value(**arrays) -> dict:
    return {"messaging_product": "whatsapp", "metadata": METADATA, **arrays}


def text(identity: str, words: str = "Hi") -> dict:
    return {
        "from": "16505551234",
        "id": f"wamid.{identity}",
        "timestamp": "1749416383",
        "type": "text",
        "text": {"body": words},
    }


def status(identity: str, word: str = "sent", **more) -> dict:
    return {"id": f"wamid.{identity}", "status": word, "timestamp": "1749416383", **more}


WAYS = pytest.mark.parametrize(
    ("adapter", "wrap"), [(WHATSAPP, direct), (INCS, through_incs)], ids=["direct", "incs"]
)


@WAYS
def test_three_messages_are_three_events(adapter, wrap):
    """Every message of a batch arrives, and in its order."""
    body = wrap(value(messages=[text("1"), text("2"), text("3")]))
    ids = [event.message_id for event in parse(adapter, body).events]
    assert ids == ["wamid.1", "wamid.2", "wamid.3"]


@WAYS
def test_messages_and_statuses_come_together(adapter, wrap):
    """Neither hides the other where one value holds both."""
    body = wrap(
        value(messages=[text("1")], statuses=[status("2", "read", recipient_id="16505551234")])
    )
    message, change = parse(adapter, body).events
    assert isinstance(message, Message)
    assert isinstance(change, StatusChange)
    assert (message.message_id, change.message_id) == ("wamid.1", "wamid.2")
    assert change.status is Status.READ


@WAYS
def test_a_failed_status_needs_no_contacts(adapter, wrap):
    """A failure arrives with its error where no card stands beside it."""
    errors = [{"code": 131026, "title": "Message undeliverable"}]
    failed = status("1", "failed", recipient_id="16505551234", errors=errors)
    (change,) = parse(adapter, wrap(value(statuses=[failed]))).events
    assert change.status is Status.FAILED
    assert change.recipient.phone == "+16505551234"
    assert (change.error.code, change.error.title) == ("131026", "Message undeliverable")


@WAYS
def test_a_message_needs_no_user_id(adapter, wrap):
    """A sender with a phone only is a sender, with a card beside the message and without."""
    cards = [{"profile": {"name": "Ann"}, "wa_id": "16505551234"}]
    for arrays in ({}, {"contacts": cards}):
        (message,) = parse(adapter, wrap(value(messages=[text("1")], **arrays))).events
        assert message.sender.phone == "+16505551234"
        assert message.sender.user_id is None


@WAYS
def test_a_flow_of_any_name_is_a_form(adapter, wrap):
    """An `nfm_reply` whose name nobody knows keeps its name and its answers."""
    reply = {"name": "flow_of_tomorrow", "body": "Sent", "response_json": '{"size": 43}'}
    answer = {"type": "nfm_reply", "nfm_reply": reply}
    message = {**text("1"), "type": "interactive", "interactive": answer}
    (event,) = parse(adapter, wrap(value(messages=[message]))).events
    assert event.content == Form(name="flow_of_tomorrow", body="Sent", data={"size": 43})


def test_a_callback_without_entries_is_acknowledged():
    """`entry: []` tells nothing, and is no error."""
    parsed = parse(WHATSAPP, direct())
    assert (parsed.events, parsed.malformed, parsed.response.status) == ((), None, 200)


# --- counted in and out ------------------------------------------------------------------

BROKEN_MESSAGES = [
    None,
    [],
    "text",
    7,
    {},
    {"from": "16505551234", "type": "text", "text": {"body": "no id"}},
]
PARTLY_BROKEN = [
    {"id": "wamid.NO_TYPE", "from": "16505551234"},
    {"id": "wamid.NO_SENDER", "type": "text", "text": {"body": "x"}},
    {**text("NO_BODY"), "text": {}},
    {**text("NO_PLACE"), "type": "location", "location": {"latitude": "north"}},
]
BROKEN_STATUSES = [None, [], "read", {}, {"status": "read"}, {"id": "wamid.NO_STATUS"}]

untimed = settings(deadline=None)
counts = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4)
places = st.lists(st.sampled_from(BROKEN_MESSAGES + PARTLY_BROKEN), max_size=3)
standings = st.lists(st.sampled_from(BROKEN_STATUSES), max_size=3)


@untimed
@given(entries=st.lists(st.lists(st.tuples(counts, places, standings), max_size=3), max_size=3))
def test_a_mixture_comes_out_as_it_went_in(entries):
    """Entries, changes, messages and statuses, some broken: every sound one, every broken one.

    What has an id is a message, whatever else of it is broken.
    """
    numbers = itertools.count()
    sound, broken, body = [], 0, direct()
    for changes in entries:
        written = []
        for batches, bad_messages, bad_statuses in changes:
            messages, statuses = list(bad_messages), list(bad_statuses)
            partly = [item["id"] for item in messages if item in PARTLY_BROKEN]
            sound += partly
            broken += len(messages) - len(partly) + len(statuses)
            for message_count, status_count in batches:
                new = [text(str(next(numbers))) for _ in range(message_count)]
                moved = [status(str(next(numbers))) for _ in range(status_count)]
                sound += [item["id"] for item in (*new, *moved)]
                messages, statuses = [*new, *messages], [*statuses, *moved]
            mixed = value(messages=messages, statuses=statuses)
            written.append({"field": "messages", "value": mixed})
        body["entry"].append({"id": "102290129340398", "changes": written})
    events = parse(WHATSAPP, body).events
    read = [event.message_id for event in events if not isinstance(event, Unrecognized)]
    assert sorted(read) == sorted(sound)
    assert len(events) == len(sound) + broken


@WAYS
def test_a_thousand_items_in_three_megabytes(adapter, wrap):
    """The largest body that Meta sends comes out whole: each item once, with all its words."""
    words = "x" * 6_000
    messages = [text(f"M{number}", words) for number in range(500)]
    statuses = [status(f"S{number}", recipient_id="16505551234") for number in range(500)]
    body = wrap(value(messages=messages, statuses=statuses))
    assert len(orjson.dumps(body)) > 3_000_000
    events = parse(adapter, body).events
    assert [event.message_id for event in events] == [
        *(f"wamid.M{number}" for number in range(500)),
        *(f"wamid.S{number}" for number in range(500)),
    ]
    assert {event.content.text for event in events[:500]} == {words}


@pytest.mark.parametrize("adapter", [WHATSAPP, INCS])
@pytest.mark.parametrize("behind", [b',"":[{}]', b',"more":{}', b"]", b",[]"])
def test_an_array_with_more_behind_it_is_no_json(adapter, behind):
    """A body of several callbacks is read where all of it is JSON, so that nothing is left out."""
    payload = orjson.dumps([through_incs(value(messages=[text("a")]))]) + behind

    parsed = adapter.parse(Verified(payload=payload, received_at=RECEIVED_AT))

    assert parsed.events == ()
    assert parsed.malformed is not None
    assert "Extra data" in str(parsed.malformed)
