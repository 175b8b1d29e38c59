"""Ids that are too long, over the real server: nothing is named by them, and nothing is lost."""

from __future__ import annotations

import json

import orjson
import pytest
from aiohttp import ClientSession

from bridge.model import Message, Notice, StatusChange, Unrecognized
from tests.bridge.providers import INNER, authentic, real_bridge
from tests.bridge.serving import serving

TEXT = {"type": "text", "text": {"body": "x"}}
LONGEST = "i" * 512
TOO_LONG = "i" * 513
WIDE = "é" * 257  # 514 bytes


def whatsapp(*messages: dict, **more) -> dict:
    value = {"messaging_product": "whatsapp", "messages": list(messages), **more}
    change = {"field": "messages", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}


def rcs(**fields) -> dict:
    return {**orjson.loads(INNER), **fields}


def text(**fields) -> dict:
    return {"id": "m", "from": "16505550123", **TEXT, **fields}


def incs(**fields) -> dict:
    return {"event": "new_message", "channel_id": 7, "message": whatsapp_value(), **fields}


def whatsapp_value() -> dict:
    return {"messaging_product": "whatsapp", "messages": [text()]}


def event_id(name: str) -> dict:
    event = {"eventType": "NEW", "senderPhoneNumber": "+16505550123", "eventId": name}
    return {**event, "agentId": "a"}


async def kept(adapter: str, body: dict) -> list:
    made = real_bridge()
    path, headers, sent = authentic(adapter, json.dumps(body).encode())
    async with (
        serving(made) as url,
        ClientSession(url) as client,
        client.post(path, headers=headers, data=sent) as response,
    ):
        assert response.status == 200
    return made.journal.kept


LONG = {
    "a message's id": ("whatsapp", lambda name: whatsapp(text(id=name)), Message),
    "an account": (
        "whatsapp",
        lambda name: whatsapp(text(), metadata={"phone_number_id": name}),
        Message,
    ),
    "a group": ("whatsapp", lambda name: whatsapp(text(group_id=name)), Message),
    "what is answered": ("whatsapp", lambda name: whatsapp(text(context={"id": name})), Message),
    "a user": ("whatsapp", lambda name: whatsapp(text(**{"from": name})), Message),
    "an RCS message's id": ("rcs", lambda name: rcs(messageId=name), Message),
    "an agent": ("rcs", lambda name: rcs(agentId=name), Message),
    "a masked sender": ("rcs", lambda name: rcs(senderPhoneNumber=name), Message),
    "an event's id": ("rcs", event_id, Notice),
    "a status's id": (
        "rcs",
        lambda name: {"eventType": "READ", "messageId": name, "agentId": "a"},
        StatusChange,
    ),
    "a channel": ("incs", lambda name: incs(channel_id=name), Message),
}


@pytest.mark.parametrize("what", LONG)
async def test_an_id_has_at_most_512_bytes(what):
    """An id of 512 bytes is taken; beyond, the body is kept, and nothing is named by the id."""
    adapter, body, kind = LONG[what]
    assert [type(event) for event in await kept(adapter, body(LONGEST))] == [kind]
    for name in (TOO_LONG, WIDE, "x" * 100_000):
        (event,) = await kept(adapter, body(name))
        assert isinstance(event, Unrecognized)
        assert event.reason.startswith("longer than 512 bytes: ")
        assert event.raw == body(name)
        assert name not in (event.key, event.account or "", event.reason)


async def test_its_neighbours_arrive():
    """Only what has the long id is unrecognized."""
    body = whatsapp(text(id="a"), text(id=TOO_LONG), text(id="b"))
    assert [event.kind for event in await kept("whatsapp", body)] == [
        "message",
        "message",
        "unrecognized",
    ]
