"""Where two responders share a number, only the one who owns the conversation answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bridge.errors import NotOwner
from bridge.model import Message
from tests.bridge.outbox.trips import METADATA, USER, Told, told

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


async def copy_in(bridge: Told) -> Message:
    """Return the copy of a message that another responder answers."""
    await bridge.tell("standby", {"standby": {"messages": [text("wamid.copy")]}})
    return bridge.trip.events[-1]


async def test_a_copy_is_not_answered():
    """`reply` to what another responder answers raises, and nothing is sent."""
    async with told() as bridge:
        copy = await copy_in(bridge)
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
        copy = await copy_in(bridge)
        await bridge.tell(field, value)
        sending = await bridge.trip.bridge.reply(copy, "hello")
        assert sending.is_new


async def test_what_was_ours_before_is_not():
    """The provider's times say which word is the last, not the order in which they came."""
    async with told() as bridge:
        copy = await copy_in(bridge)
        await bridge.tell("messaging_handovers", handover("control_taken", WROTE + 9))
        await bridge.tell("messaging_handovers", handover("control_passed", WROTE + 5))
        with pytest.raises(NotOwner, match="another responder"):
            await bridge.trip.bridge.reply(copy, "hello")


async def test_what_was_sent_is_known_all_the_same():
    """Whoever is given the copy again, once the conversation is gone, sends nothing twice."""
    async with told() as bridge:
        copy = await copy_in(bridge)
        await bridge.tell("messaging_handovers", handover("control_passed", WROTE + 5))
        await bridge.trip.bridge.reply(copy, "hello", key="once")
        await bridge.tell("messaging_handovers", handover("control_taken", WROTE + 9))
        again = await bridge.trip.bridge.reply(copy, "hello", key="once")
        assert not again.is_new
