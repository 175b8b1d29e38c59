"""The quick readers and the thorough ones, beside each other."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.adapter import Scope
from bridge.adapters.whatsapp.envelope import translate_body
from bridge.adapters.whatsapp.messages import translate_message
from bridge.adapters.whatsapp.plain import plain_callback, plain_message
from bridge.adapters.whatsapp.value_context import context_of
from bridge.model import Conversation, Direction, Message, Origin, Party, Role, Text
from tests.adapters.laws import disturbed

RECEIVED_AT = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
SCOPE = Scope(
    source="whatsapp",
    channel="whatsapp",
    account="106540352242922",
    business=Party(phone="+15550783881", role=Role.BUSINESS),
    received_at=RECEIVED_AT,
    body={},
)
ITEM = {
    "from": "16505551234",
    "id": "wamid.PLAIN",
    "timestamp": "1749416383",
    "type": "text",
    "text": {"body": "Does it come in another color?"},
}
NOBODYS = attrs.evolve(SCOPE, business=Party(role=Role.BUSINESS))
CARD = {"profile": {"name": "Sheena Nelson"}, "wa_id": "16505551234"}
VALUE = {
    "messaging_product": "whatsapp",
    "metadata": {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"},
    "contacts": [CARD],
    "messages": [ITEM],
}
NAMED = {
    **VALUE,
    "contacts": [{**CARD, "user_id": "US.13491208655302741918"}],
    "messages": [{**ITEM, "from_user_id": "US.13491208655302741918"}],
}
NAMELESS = {**VALUE, "contacts": [{**CARD, "profile": {"name": ""}}]}
NICKNAMED = {
    **VALUE,
    "contacts": [{**CARD, "profile": {"name": "Sheena Nelson", "username": "sheena"}}],
}
NUMERIC = {
    **VALUE,
    "contacts": [{**CARD, "wa_id": 16505551234.0}],
    "messages": [{**ITEM, "from": 16505551234}],
}
CARD_ALONE_NAMES = {**NAMED, "messages": [ITEM]}
MESSAGE = Message(
    key="message/whatsapp/wamid.PLAIN",
    source="whatsapp",
    channel="whatsapp",
    account="106540352242922",
    occurred_at=datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC),
    received_at=RECEIVED_AT,
    raw=ITEM,
    message_id="wamid.PLAIN",
    direction=Direction.INBOUND,
    origin=Origin.USER,
    conversation=Conversation(id="whatsapp:106540352242922:+16505551234"),
    sender=Party(phone="+16505551234", name="Sheena Nelson"),
    recipient=Party(phone="+15550783881", role=Role.BUSINESS),
    content=Text(text="Does it come in another color?"),
)


def body_of(value, **others):
    """Make the callback that holds one value; `others` are more names of the body."""
    change = {"field": "messages", "value": value}
    entry = {"id": "102290129340398", "changes": [change]}
    return {"object": "whatsapp_business_account", "entry": [entry], **others}


def told(**metadata):
    """Make the callback with other metadata."""
    return body_of({**VALUE, "metadata": {**VALUE["metadata"], **metadata}})


BODY = body_of(VALUE)
(ENTRY,) = BODY["entry"]
(CHANGE,) = ENTRY["changes"]


def quickly(body):
    return plain_callback(body, "whatsapp", RECEIVED_AT)


# --- one value -----------------------------------------------------------------------------


def test_a_plain_text_is_read():
    """A text of the documentation's shape becomes the message that the documentation describes."""
    assert plain_message(VALUE, SCOPE) == MESSAGE


@pytest.mark.parametrize("value", [NAMED, CARD_ALONE_NAMES])
def test_a_users_id_is_kept(value):
    """The id that Meta gives a user is taken from the message, or else from the card."""
    message = plain_message(value, SCOPE)
    assert message is not None
    assert message.sender.user_id == "US.13491208655302741918"


@pytest.mark.parametrize(
    "item",
    [
        {**ITEM, "context": {"id": "wamid.OTHER"}},
        {**ITEM, "type": "image"},
        {**ITEM, "from": "US.13491208655302741918"},
        {**ITEM, "more": 1},
        {**ITEM, "timestamp": "soon"},
        {**ITEM, "text": {}},
        {name: value for name, value in ITEM.items() if name != "timestamp"},
    ],
)
def test_anything_else_is_left_to_the_thorough_reader(item):
    """A message that is not quite of the shape is not read, however little it differs."""
    assert plain_message({**VALUE, "messages": [item]}, SCOPE) is None


@settings(deadline=None)  # how long an example takes says nothing on a busy machine
@given(
    disturbed([VALUE, NAMED, CARD_ALONE_NAMES]),
    st.sampled_from([SCOPE, NOBODYS]),
)
@example(NAMELESS, SCOPE)
@example(NICKNAMED, SCOPE)
@example(NUMERIC, SCOPE)
@example(VALUE, NOBODYS)
def test_both_readers_agree(value, scope):
    """Whatever stands in a value, a message that is read quickly is the one read thoroughly."""
    message = plain_message(value, scope) if isinstance(value, dict) else None
    if message is not None:
        (item,) = value["messages"]
        assert message == translate_message(item, context_of(value, scope))


# --- a whole callback ----------------------------------------------------------------------


def test_a_callback_with_one_plain_text_is_read():
    """A callback that holds nothing but a plain text becomes its message."""
    assert quickly(BODY) == MESSAGE


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"entry": [ENTRY]},
        {**BODY, "more": 1},
        {**BODY, "entry": [{**ENTRY, "more": 1}]},
        {**BODY, "entry": [{**ENTRY, "changes": [{**CHANGE, "more": 1}]}]},
        {**BODY, "object": "page"},
        {**BODY, "entry": []},
        {**BODY, "entry": [ENTRY, ENTRY]},
        {**BODY, "entry": ENTRY},
        {**BODY, "entry": {"changes": [CHANGE]}},
        {**BODY, "entry": "x"},
        {**BODY, "entry": [{**ENTRY, "changes": [CHANGE, CHANGE]}]},
        {**BODY, "entry": [{**ENTRY, "changes": {"field": "messages"}}]},
        {**BODY, "entry": [{**ENTRY, "changes": [{**CHANGE, "field": "history"}]}]},
        body_of(None),
        body_of(["messages"]),
        body_of("messages"),
        body_of({**VALUE, "metadata": None}),
        told(phone_number_id=""),
        told(phone_number_id=None),
        told(phone_number_id=106540352242922),
        told(phone_number_id=["106540352242922"]),
        told(phone_number_id="1" * 65),
        told(display_phone_number=""),
        told(display_phone_number={}),
        told(display_phone_number="1" * 65),
    ],
)
def test_any_other_callback_is_left_to_the_thorough_reader(body):
    """A callback that is not quite of the shape gives nothing, and no error, at the quick look."""
    assert quickly(body) is None


@settings(deadline=None)
@given(disturbed([BODY, body_of(NAMED), body_of(CARD_ALONE_NAMES)]))
@example(body_of(NAMELESS))
@example(body_of(NICKNAMED))
@example(body_of(NUMERIC))
@example(told(display_phone_number="not a number"))
@example(told(phone_number_id=""))
@example(told(phone_number_id="1"))
@example(told(phone_number_id=1))
@example(told(phone_number_id=True))
@example(told(phone_number_id=1.0))
@example({**BODY, "object": "page"})
@example({**BODY, "entry": [{**ENTRY, "changes": [{**CHANGE, "field": "history"}]}]})
@example({**BODY, "entry": ENTRY})
@example({**BODY, "entry": "x"})
@example({**BODY, "entry": [ENTRY, ENTRY]})
@example({**BODY, "entry": [{**ENTRY, "changes": [CHANGE, CHANGE]}]})
@example(body_of({**VALUE, "statuses": [{}]}))
@example(body_of({**VALUE, "errors": [{}]}))
def test_a_callback_read_quickly_is_the_one_read_thoroughly(body):
    """Whatever stands in a callback, a message read quickly is all that the thorough reader finds.

    Both are asked twice: what is remembered must not differ from what was found.
    """
    for _ in range(2):
        message = quickly(body)
        if message is not None:
            assert translate_body(body, source="whatsapp", received_at=RECEIVED_AT) == [message]
