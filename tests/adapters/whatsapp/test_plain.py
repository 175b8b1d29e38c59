"""The quick reader and the thorough one, beside each other."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.whatsapp.messages import translate_message
from adapters.whatsapp.plain import plain_message
from adapters.whatsapp.surroundings import surroundings_of
from bridge.adapter import Scope
from bridge.model import Conversation, Direction, Message, Origin, Party, Role, Text
from tests.adapters.laws import disturbed

RECEIVED_AT = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
SCOPE = Scope(
    source="whatsapp",
    channel="whatsapp",
    account="106540352242922",
    business_phone="+15550783881",
    received_at=RECEIVED_AT,
)
ITEM = {
    "from": "16505551234",
    "id": "wamid.PLAIN",
    "timestamp": "1749416383",
    "type": "text",
    "text": {"body": "Does it come in another color?"},
}
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
NUMERIC = {
    **VALUE,
    "contacts": [{**CARD, "wa_id": 16505551234.0}],
    "messages": [{**ITEM, "from": 16505551234}],
}
CARD_ALONE_NAMES = {**NAMED, "messages": [ITEM]}


def test_a_plain_text_is_read():
    """A text of the documentation's shape becomes the message that the documentation describes."""
    assert plain_message(VALUE, SCOPE) == Message(
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
    st.sampled_from([SCOPE, attrs.evolve(SCOPE, business_phone=None)]),
)
@example(NAMELESS, SCOPE)
@example(NUMERIC, SCOPE)
@example(VALUE, attrs.evolve(SCOPE, business_phone=None))
def test_both_readers_agree(value, scope):
    """Whatever stands in a value, a message that is read quickly is the one read thoroughly."""
    message = plain_message(value, scope) if isinstance(value, dict) else None
    if message is not None:
        (item,) = value["messages"]
        assert message == translate_message(item, surroundings_of(value, scope))
