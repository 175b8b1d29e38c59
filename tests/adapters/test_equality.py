"""A subscriber does not notice which way a message came: from its provider, or through INCS."""

from __future__ import annotations

import json

import orjson
import pytest

from bridge.adapter import Verified
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.model import Message, Notice, Typing, Unrecognized
from tests.adapters import cases

WHATSAPP = WhatsApp("whatsapp", WhatsAppSettings(insecure=True))
RCS = Rcs("rcs", RcsSettings(insecure=True))
UNCONFIGURED = Incs("incs", IncsSettings(insecure=True))
CONFIGURED = Incs(
    "incs",
    IncsSettings(
        insecure=True,
        channels=(
            Channel(id=30058, kind="whatsapp", business_phone="15550783881"),
            Channel(id=30059, kind="whatsapp", business_phone="16505551111"),
            Channel(id=30060, kind="rcs", agent_id="shop_agent@rbm.goog"),
        ),
    ),
)
BOTH = pytest.mark.parametrize("incs", [UNCONFIGURED, CONFIGURED], ids=["unknown", "configured"])

# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
MESSAGE_TYPES = {
    *("text", "image", "audio", "video", "document", "sticker", "location", "contacts"),
    *("button", "interactive", "order", "reaction", "system", "edit", "revoke"),
    *("request_welcome", "unsupported", "unknown"),
}
ANSWERS = {"button_reply", "list_reply", "nfm_reply", "call_permission_reply"}


def values() -> dict[str, dict]:
    """Return each value of the WhatsApp cases that holds messages, by the case's name."""
    found = {}
    for case in cases.load("whatsapp"):
        for entry in objects(json.loads(case.request).get("entry")):
            for change in objects(entry.get("changes")):
                value = change.get("value")
                is_message = change.get("field") == "messages" and isinstance(value, dict)
                if is_message and value.get("messages"):
                    found[f"{case.name}-{len(found)}"] = value
    return found


def objects(value) -> list[dict]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


VALUES = values()
ITEMS = {case.name: json.loads(case.request) for case in cases.load("rcs")}
# Without either of these INCS's callback says nothing about which channel it is of.
TOLD_APART = {
    name: item for name, item in ITEMS.items() if "senderPhoneNumber" in item or "agentId" in item
}


def events(adapter, body):
    payload = orjson.dumps(body)
    return adapter.parse(Verified(payload=payload, received_at=cases.RECEIVED_AT)).events


def seen(event) -> tuple:
    """Return what a subscriber works with."""
    if isinstance(event, Message):
        parts = (event.content, event.sender, event.reply_to, event.forwarded, event.referral)
        return (event.key, event.channel, event.direction, event.occurred_at, *parts)
    if isinstance(event, Unrecognized):
        return (event.channel, event.reason)
    if isinstance(event, Notice):
        return (event.channel, event.topic, event.details)
    if isinstance(event, Typing):
        return (event.channel, event.party, event.occurred_at)
    return (event.key, event.channel, event.kind)


def around(value: dict) -> dict:
    """Wrap a value as INCS does."""
    metadata = value.get("metadata")
    number = metadata.get("display_phone_number") if isinstance(metadata, dict) else None
    return {"event": "new_message", "business_phone": number or "", "message": value}


@BOTH
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_whatsapp_message_is_the_same_both_ways(value, incs):
    """Key, content, sender and quoted message agree, for every message of every case."""
    body = {"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}
    direct = [seen(event) for event in events(WHATSAPP, body)]
    assert [seen(event) for event in events(incs, around(value))] == direct


def test_every_type_of_message_is_compared():
    """The cases hold each type of message and of answer that Meta documents."""
    items = [item for value in VALUES.values() for item in objects(value["messages"])]
    assert {item.get("type") for item in items if isinstance(item.get("type"), str)} >= (
        MESSAGE_TYPES
    )
    answers = [item["interactive"] for item in items if isinstance(item.get("interactive"), dict)]
    assert {answer.get("type") for answer in answers} >= ANSWERS


@BOTH
@pytest.mark.parametrize("item", TOLD_APART.values(), ids=TOLD_APART)
def test_an_rcs_object_is_the_same_both_ways(item, incs):
    """Key, content, sender and quoted message agree, for every object of every case."""
    body = {"event": "new_message", "channel_id": 30060, "business_phone": "", "message": item}
    direct = [seen(event) for event in events(RCS, item)]
    assert [seen(event) for event in events(incs, body)] == direct
