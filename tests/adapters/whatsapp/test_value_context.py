"""Whose callback one is, by the metadata of its value."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.adapter.body import read_object
from bridge.adapter.payload import identifier, phone
from bridge.adapters.whatsapp.envelope import translate_body
from bridge.adapters.whatsapp.value_context import remembered_account
from bridge.model import Party, Role
from tests.adapters.laws import json_values

RECEIVED_AT = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
ENTRY_ID = "102290129340398"

names = json_values | st.sampled_from(
    [None, "", 0, 1, "1", True, 1.0, 15550783881, "15550783881", 15550783881.0, "9" * 99]
)


def body(number_id, displayed):
    value = {
        "metadata": {"phone_number_id": number_id, "display_phone_number": displayed},
        "messages": [
            {
                "from": "16505551234",
                "id": "wamid.PLACE",
                "timestamp": "1749416383",
                "type": "text",
                "text": {"body": "Hi"},
            }
        ],
    }
    entry = {"id": ENTRY_ID, "changes": [{"field": "messages", "value": value}]}
    return read_object(json.dumps({"entry": [entry]}).encode())


def test_metadata_names_the_account():
    """The number's id is the account, and the number is told in E.164."""
    assert remembered_account("106540352242922", "+1 555-078-3881") == (
        "106540352242922",
        Party(phone="+15550783881", role=Role.BUSINESS),
    )


@settings(deadline=None)
@given(names, names)
@example("1", "15550783881")
@example(1, "15550783881")
@example(True, "15550783881")
@example(1.0, "15550783881")
@example("106540352242922", "9" * 99)
def test_what_is_remembered_is_what_the_metadata_says(number_id, displayed):
    """Account and phone are those of this callback, whichever others came before it."""
    told = body(number_id, displayed)
    for _ in range(2):
        events = translate_body(told, source="whatsapp", received_at=RECEIVED_AT)
        message, *_ = events  # odd metadata is told too
        metadata = told["entry"][0]["changes"][0]["value"]["metadata"]
        assert message.account == (identifier(metadata["phone_number_id"]) or ENTRY_ID)
        assert message.recipient.phone == phone(metadata["display_phone_number"])


def test_what_is_remembered_is_bounded():
    """However many names come from outside, and however long, few and short ones are kept."""
    for number in range(1000):
        remembered_account(str(number), "15550783881")
    kept = remembered_account.cache_info()
    assert kept.currsize == kept.maxsize < 1000
    for names in (("1" * 100_000, "15550783881"), ("106540352242922", "1" * 100_000)):
        with pytest.raises(ValueError, match="not a name to remember"):
            remembered_account(*names)
    remembered_account("999", "15550783881")
    assert remembered_account.cache_info() == kept._replace(
        hits=kept.hits + 1, misses=kept.misses + 2
    )
