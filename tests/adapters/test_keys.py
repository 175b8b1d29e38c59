"""Keys tell apart what differs, and name one event the same however it comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from bridge.adapter import Verified
from bridge.adapters.incs import Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings

WHATSAPP = WhatsApp("whatsapp", WhatsAppSettings(insecure=True))
INCS = Incs("incs", IncsSettings(insecure=True))
RCS = Rcs("rcs", RcsSettings(insecure=True))
MONDAY = datetime(2026, 11, 2, 9, 0, 0, tzinfo=UTC)


def keys(adapter, body, received_at=MONDAY) -> list[str]:
    """Return the keys of all that a body tells."""
    payload = orjson.dumps(body)
    events = adapter.parse(Verified(payload=payload, received_at=received_at)).events
    return [event.key for event in events]


def change(value, field="messages", number="106540352242922", **entry) -> dict:
    """Put a value into a callback of Meta's, for one of the business's numbers."""
    metadata = {"display_phone_number": "15550783881", "phone_number_id": number}
    told = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    changes = [{"field": field, "value": told}]
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "102290129340398", "changes": changes, **entry}],
    }


def template(word, **entry) -> dict:
    value = {"event": word, "message_template_id": 7, "message_template_name": "n"}
    return change(value, "message_template_status_update", **entry)


ERROR = change({"errors": [{"code": 130429, "title": "Rate limit hit"}]})
STOP = {"wa_id": "16505551234", "category": "marketing_messages", "value": "stop"}
TEXT = {"from": "16505551234", "id": "wamid.A", "type": "text", "text": {"body": "Hi"}}
UNSHOWN = {**TEXT, "type": "unsupported"}
STATUS = {"id": "wamid.A", "recipient_id": "16505551234", "timestamp": "1749416383"}
GROUP = {"recipient_id": "Y2FwaV9ncm91cDox", "status": "read"}
TYPING = {"senderPhoneNumber": "+14155550123", "eventType": "IS_TYPING", "agentId": "a"}


@pytest.mark.parametrize(
    ("adapter", "one", "other"),
    [
        (
            WHATSAPP,
            change({"user_preferences": [STOP]}, "user_preferences"),
            change({"user_preferences": [STOP]}, "user_preferences", number="2"),
        ),
        (WHATSAPP, template("PAUSED"), template("APPROVED")),
        (WHATSAPP, template("PAUSED", time=1_749_416_383), template("PAUSED", time=1_749_416_384)),
        (
            WHATSAPP,
            change({"statuses": [{**STATUS, "status": "teleported"}]}),
            change({"statuses": [{**STATUS, "status": "Teleported"}]}),
        ),
        (WHATSAPP, change({"messages": [UNSHOWN]}), change({"messages": [TEXT]})),
        (
            WHATSAPP,
            change({"messages": [{**TEXT, "type": "media_placeholder"}]}),
            change({"messages": [TEXT]}),
        ),
        (
            WHATSAPP,
            change({"statuses": [{**STATUS, **GROUP, "recipient_participant_id": "16505551234"}]}),
            change({"statuses": [{**STATUS, **GROUP, "recipient_participant_id": "16505557777"}]}),
        ),
        (
            WHATSAPP,
            change({"messages": [TEXT]}),
            change({"statuses": [{**STATUS, "status": "deleted"}]}),
        ),
        (RCS, TYPING, {**TYPING, "senderPhoneNumber": "+14155550124"}),
    ],
)
def test_what_differs_has_two_keys(adapter, one, other):
    """Another number, word, time, participant or content is another event."""
    assert set(keys(adapter, one)).isdisjoint(keys(adapter, other))


@pytest.mark.parametrize(
    ("adapter", "body"),
    [
        (WHATSAPP, ERROR),
        (WHATSAPP, template("PAUSED")),
        (WHATSAPP, change({"user_preferences": [STOP]}, "user_preferences")),
        (WHATSAPP, change({"messages": "none"})),
        (WHATSAPP, {"object": "page"}),
        (INCS, {"event": "event_of_tomorrow"}),
        (INCS, {"event": "template_status_update", "template_id": "7", "new_value": "PAUSED"}),
        (RCS, TYPING),
        (RCS, {}),
    ],
)
def test_what_has_no_time_is_new_on_another_day(adapter, body):
    """The same again is a repetition within the hour, and happened once more on Tuesday."""
    first = keys(adapter, body)
    assert first
    assert keys(adapter, body, MONDAY + timedelta(minutes=40)) == first
    assert set(keys(adapter, body, MONDAY + timedelta(days=1))).isdisjoint(first)


@pytest.mark.parametrize(
    "body",
    [
        change({"messages": [TEXT]}),
        change({"messages": [UNSHOWN]}),
        change({"statuses": [{**STATUS, "status": "deleted"}]}),
        change({"user_preferences": [{**STOP, "timestamp": "1749416383"}]}, "user_preferences"),
        template("PAUSED", time=1_749_416_383),
    ],
)
def test_what_has_an_id_or_a_time_stays_one_event(body):
    """However much later it is repeated, it has the same key."""
    assert keys(WHATSAPP, body, MONDAY + timedelta(days=7)) == keys(WHATSAPP, body)


def test_a_deletion_is_one_event_in_every_spelling():
    """Meta's `statuses`, directly and inside INCS's callback, and INCS's own word for it."""
    value = {"statuses": [{**STATUS, "status": "deleted"}]}
    wrapped = {"event": "new_message", "message": change(value)["entry"][0]["changes"][0]["value"]}
    word = {"event": "message_status_update", "message_id": "wamid.A", "message_status": "deleted"}
    assert keys(WHATSAPP, change(value)) == keys(INCS, wrapped) == keys(INCS, word)


def test_a_copy_is_the_message_itself():
    """What comes in `standby` has the key that it has in `messages`."""
    status = {**STATUS, "status": "read"}
    directly = keys(WHATSAPP, change({"messages": [TEXT], "statuses": [status]}))
    copied = change({"standby": {"messages": [TEXT], "statuses": [status]}}, "standby")
    assert keys(WHATSAPP, copied) == directly
