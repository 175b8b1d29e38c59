"""Where two responders share a number, only the one who owns the conversation answers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from bridge.adapter import Callback
from bridge.errors import NotOwner
from bridge.model import Message
from tests.bridge.outbox.trips import USER, planned, under_way

METADATA = {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"}
WROTE = int(datetime.now(UTC).timestamp()) - 60  # a minute ago, so it may be answered freely


def text(message_id: str, at: int = WROTE) -> dict[str, Any]:
    sent = {"from": USER[1:], "id": message_id, "timestamp": str(at)}
    return {**sent, "type": "text", "text": {"body": "hello"}}


def handover(word: str, at: int) -> dict[str, Any]:
    """Return a handover of the conversation, as the documentation has it.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messaging-handovers/
    """
    who = {"recipient": METADATA, "sender": {"phone_number": USER[1:]}}
    return {**who, "timestamp": str(at), "type": word, word: {"metadata": "please"}}


class Told:
    """A bridge that is told what Meta tells, and its witness."""

    def __init__(self, trip) -> None:
        self.trip = trip

    async def tell(self, field: str, value: dict[str, Any]) -> None:
        value = {"messaging_product": "whatsapp", "metadata": METADATA, **value}
        entry = {"id": "1", "changes": [{"field": field, "value": value}]}
        body = orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})
        signed = self.trip.adapter.authenticate(body)
        before = len(self.trip.events)
        now = datetime.now(UTC)
        callback = Callback(body=signed.body, headers=signed.headers, received_at=now)
        await self.trip.bridge.receive("whatsapp", callback)
        await self.trip.until(lambda: len(self.trip.events) > before)

    async def copy(self) -> Message:
        """Return the copy of a message that another responder answers."""
        await self.tell("standby", {"standby": {"messages": [text("wamid.copy")]}})
        return self.trip.events[-1]


@asynccontextmanager
async def told():
    async with planned("whatsapp") as trip, under_way(trip):
        yield Told(trip)


async def test_a_copy_is_not_answered():
    """`reply` to what another responder answers raises, and nothing is sent."""
    async with told() as bridge:
        copy = await bridge.copy()
        assert not copy.owned
        with pytest.raises(NotOwner, match="another responder"):
            await bridge.trip.bridge.reply(copy, "hello")
        assert bridge.trip.provider.requests == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messaging_handovers", handover("control_passed", WROTE + 5)),
        ("messages", {"messages": [text("wamid.next", WROTE + 5)]}),
    ],
)
async def test_what_has_become_ours_is_answered(field, value):
    """After a handover to us, or a message that came to us, the copy is answered too."""
    async with told() as bridge:
        copy = await bridge.copy()
        await bridge.tell(field, value)
        sending = await bridge.trip.bridge.reply(copy, "hello")
        assert sending.is_new


async def test_what_was_ours_before_is_not():
    """The provider's times say which word is the last, not the order in which they came."""
    async with told() as bridge:
        copy = await bridge.copy()
        await bridge.tell("messaging_handovers", handover("control_taken", WROTE + 9))
        await bridge.tell("messaging_handovers", handover("control_passed", WROTE + 5))
        with pytest.raises(NotOwner, match="another responder"):
            await bridge.trip.bridge.reply(copy, "hello")


async def test_what_was_sent_is_known_all_the_same():
    """Whoever is given the copy again, once the conversation is gone, sends nothing twice."""
    async with told() as bridge:
        copy = await bridge.copy()
        await bridge.tell("messaging_handovers", handover("control_passed", WROTE + 5))
        await bridge.trip.bridge.reply(copy, "hello", key="once")
        await bridge.tell("messaging_handovers", handover("control_taken", WROTE + 9))
        again = await bridge.trip.bridge.reply(copy, "hello", key="once")
        assert not again.is_new
