"""INCS tells one thing twice, in the channel's form and in its own: it must come out once."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from bridge.adapter import Verified
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.model import Choice, ChoiceSource, Status
from tests.adapters.cases import RECEIVED_AT

WAMID = "wamid.HBgNNjI4MTUxOTE0MDMyNxUCABIYIEFDQTgwMEZCMUFERjZDQzhDNUVDQzM0Qzg2Qjg0QkI0AA=="
UUID = "da220bf7-e15b-4b2b-90af-1860eb335872"
AGENT = "shop_agent@rbm.goog"
CHANNELS = (
    Channel(id=30058, kind="whatsapp", business_phone="6281519236680"),
    Channel(id=30060, kind="rcs", agent_id=AGENT),
)

WHATSAPP_NEW = {
    "event": "new_message",
    "business_phone": "6281519236680",
    "message": {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": "6281519236680",
            "phone_number_id": "302702419599374",
        },
        "contacts": [{"profile": {"name": "Ann"}, "wa_id": "6281519140327"}],
        "messages": [
            {
                "from": "6281519140327",
                "id": WAMID,
                "timestamp": "1775563375",
                "type": "text",
                "text": {"body": "Hi"},
            }
        ],
    },
}
CREATED: dict[str, Any] = {
    "id": 260400000076,
    "auth_id": 30058,
    "conversation_id": 979,
    "session_type": 1,
    "sender": "6281519140327",
    "receiver": "incs_1",
    "type": 101,
    "custom_type": 0,
    "custom_id": 0,
    "channel_msg_id": WAMID,
    "channel_status": 0,
    "content": {"content": "Hi"},
    "error": "",
    "source": 0,
    "created_at": "2026-04-07T12:02:55.000000Z",
    "updated_at": "2026-04-07T12:02:55.000000Z",
}
RCS_ITEM = {
    "senderPhoneNumber": "+6281519140327",
    "messageId": UUID,
    "sendTime": "2026-04-07T12:02:55Z",
    "agentId": AGENT,
    "text": "Hi",
}


def parse(body, *, channels=CHANNELS):
    incs = Incs("incs", IncsSettings(insecure=True, channels=channels))
    return incs.parse(Verified(payload=orjson.dumps(body), received_at=RECEIVED_AT)).events


def created(**fields):
    return {"event": "message_created", "message": {**CREATED, **fields}}


def test_a_whatsapp_message_has_one_key():
    """Both callbacks of one WhatsApp message give one key, with channels configured or not."""
    for channels in ((), CHANNELS):
        (new,) = parse(WHATSAPP_NEW, channels=channels)
        (stored,) = parse(created(), channels=channels)
        assert new.key == stored.key == f"message/whatsapp/{WAMID}"


def test_a_configured_channel_has_one_account_and_conversation():
    """With the channel configured, both callbacks name one account and one conversation."""
    (new,) = parse(WHATSAPP_NEW)
    (stored,) = parse(created())

    assert new.account == stored.account == "30058"
    assert new.conversation.id == stored.conversation.id == "whatsapp:30058:+6281519140327"
    assert new.message_id == stored.message_id
    assert stored.aliases == ("260400000076",)


@pytest.mark.parametrize("sender", ["6281519140327", "+6281519140327", "30060_6281519140327"])
def test_an_rcs_message_is_the_same_in_every_form(sender):
    """Enveloped, bare, as INCS stored it, and from Google itself: one key, one conversation."""
    enveloped = {
        "event": "new_message",
        "channel_id": 30060,
        "business_phone": "",
        "message": RCS_ITEM,
    }
    stored = created(auth_id=30060, channel_msg_id=UUID, sender=sender)
    events = [parse(body)[0] for body in (enveloped, RCS_ITEM, stored)]

    assert {event.key for event in events} == {f"message/rcs/+6281519140327/{UUID}"}
    assert {event.account for event in events} == {"30060"}
    assert {event.conversation.id for event in events} == {"rcs:30060:+6281519140327"}
    rcs = Rcs("rcs", RcsSettings(insecure=True))
    (direct,) = rcs.parse(Verified(payload=orjson.dumps(RCS_ITEM), received_at=RECEIVED_AT)).events
    assert direct.key == events[0].key


@pytest.mark.parametrize(
    ("number", "word"), [(1, "sent"), (2, "failed"), (3, "delivered"), (4, "read")]
)
def test_a_status_has_one_key(number, word):
    """The status that a stored message implies is the one that its own callback tells."""
    update = {
        "event": "message_status_update",
        "channel_id": 30058,
        "business_phone": "6281519236680",
        "message_id": WAMID,
        "message_status": word,
        "error": None,
        "received_at": 1775563376,
    }
    outbound = created(sender="incs_1", receiver="6281519140327", channel_status=number)

    (told,) = parse(update)
    message, implied = parse(outbound)

    assert told.key == implied.key == f"status/whatsapp/{WAMID}/{word}"
    assert told.account == implied.account == message.account
    assert told.status == implied.status


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", Status.ACCEPTED),
        ("accepted", Status.ACCEPTED),
        ("expired", Status.EXPIRED),
        ("ttl_expiration_revoked", Status.EXPIRED),
        ("ttl_expiration_revoke_failed", Status.UNKNOWN),
    ],
)
def test_a_channel_s_own_word_means_the_same_through_incs(word, status):
    """INCS hands on what Meta and Google say of a message, in lower case.

    https://developers.google.com/business-communications/rcs-business-messaging/guides/build/events
    """
    update = {"event": "message_status_update", "channel_id": 30060, "message_id": UUID}
    (told,) = parse({**update, "message_status": word, "received_at": 1775563376})
    assert (told.status, told.provider_status) == (status, word)


@pytest.mark.parametrize("user_id", ["US.13491208655302741918", "US.ENT.11815799212886844830"])
def test_a_user_without_a_phone_is_the_same_in_both_forms(user_id):
    """Meta's id of a user, or that of a parent, stands where WhatsApp's own form has it.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
    """
    message = WHATSAPP_NEW["message"]
    texts = [{**message["messages"][0], "from": user_id}]
    (new,) = parse({**WHATSAPP_NEW, "message": {**message, "contacts": [], "messages": texts}})
    (stored,) = parse(created(sender=user_id))
    assert stored.sender.user_id == new.sender.user_id
    assert stored.sender.parent_user_id == new.sender.parent_user_id
    assert stored.conversation.id == new.conversation.id


def test_a_status_by_incs_number_has_one_key():
    """Before the channel answers, a status is named by INCS's number in both callbacks."""
    outbound = created(
        sender="incs_1", receiver="6281519140327", channel_msg_id="", channel_status=2
    )
    updated = {"event": "message_status_updated", "message_id": 260400000076, "message_status": 2}

    _, implied = parse(outbound)
    (told,) = parse(updated)

    assert implied.key == told.key == "status/incs/260400000076/failed"
    assert not implied.resolved
    assert not told.resolved


def test_a_button_is_a_choice_in_both_forms():
    """The tap of a quick reply is one event, whether WhatsApp's form comes or INCS's own.

    INCS does not tell the button's payload, only its label.
    """
    message = WHATSAPP_NEW["message"]
    tap = {
        **message["messages"][0],
        "type": "button",
        "button": {"payload": "1111", "text": "1111"},
    }
    del tap["text"]
    (new,) = parse({**WHATSAPP_NEW, "message": {**message, "messages": [tap]}})
    (stored,) = parse(
        created(
            type=110,
            custom_type=11006,
            custom_id=260400000084,
            content={"data": {"custom_type": 11006, "replying_to": "?", "text": "1111"}},
        )
    )

    assert new.key == stored.key
    assert new.content == Choice(source=ChoiceSource.BUTTON, id="1111", title="1111")
    assert stored.content == Choice(source=ChoiceSource.BUTTON, title="1111")


def test_a_wrong_kind_in_the_settings_does_not_split_a_message():
    """What a callback's own shape proves goes before the settings."""
    wrong = (Channel(id=30058, kind="rcs", business_phone="6281519236680"),)

    (new,) = parse({**WHATSAPP_NEW, "channel_id": 30058}, channels=wrong)
    (stored,) = parse(created(), channels=wrong)

    assert new.channel == stored.channel == "whatsapp"
    assert new.key == stored.key
    assert new.conversation.id == stored.conversation.id
