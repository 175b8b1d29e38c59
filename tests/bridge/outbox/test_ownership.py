"""Where two responders share a number, only the one who owns the conversation answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from bridge.errors import NotOwner, Unanswered, Unsendable
from bridge.model import Message
from bridge.testing.providers import Trouble
from tests.bridge.outbox.trips import METADATA, USER, Told, planned, told, under_way

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


async def test_an_import_tells_no_turn():
    """What another responder answers is not ours to answer because a history holds it too."""
    async with told() as bridge:
        copy = await copy_in(bridge)
        thread = {"id": USER[1:], "messages": [text("wamid.copy"), text("wamid.old", WROTE + 5)]}
        await bridge.tell("history", {"history": [{"threads": [thread]}]})
        with pytest.raises(NotOwner, match="another responder"):
            await bridge.trip.bridge.reply(copy, "hello")


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


class TestHandingOver:
    """Who shares a number takes conversations, and hands them on.

    https://developers.facebook.com/documentation/meta-business-agent/reference/operate/thread-control-cloud-api
    """

    async def test_what_was_taken_is_ours_to_answer(self):
        """Meta is asked, a `Handover` tells, and `reply` answers the copy."""
        async with told() as bridge:
            copy = await copy_in(bridge)
            await bridge.trip.bridge.take(copy)
            (request,) = bridge.trip.provider.requests
            assert request.url.endswith("/v26.0/106540352242922/thread_control")
            assert orjson.loads(request.body) == {
                "messaging_product": "whatsapp",
                "to": USER,
                "action": "take",
            }
            await bridge.trip.until(lambda: len(bridge.trip.events) == 2)
            change = bridge.trip.events[-1]
            assert (change.owned, change.reason, change.party.phone) == (True, "take", USER)
            assert (await bridge.trip.bridge.reply(copy, "hello")).is_new

    async def test_what_was_passed_on_is_another_s(self):
        """The new owner is told `metadata`; a copy is answered no more."""
        async with told() as bridge:
            copy = await copy_in(bridge)
            await bridge.trip.bridge.take(copy)
            await bridge.trip.bridge.pass_to(copy.conversation, "ai_agent", metadata="parcel 17")
            assert orjson.loads(bridge.trip.provider.requests[-1].body) == {
                "messaging_product": "whatsapp",
                "to": USER,
                "action": "pass",
                "metadata": "parcel 17",
                "control_pass": {"target_role": "ai_agent"},
            }
            with pytest.raises(NotOwner):
                await bridge.trip.bridge.reply(copy, "hello")

    async def test_what_was_released_is_another_s(self):
        """Who answers next is for Meta to decide."""
        async with told() as bridge:
            copy = await copy_in(bridge)
            await bridge.trip.bridge.take(copy.conversation.id)
            await bridge.trip.bridge.release(copy)
            assert orjson.loads(bridge.trip.provider.requests[-1].body)["action"] == "release"
            with pytest.raises(NotOwner):
                await bridge.trip.bridge.reply(copy, "hello")

    async def test_what_meta_refuses_changes_nothing(self):
        """The error has Meta's words, and the conversation stays another's."""
        async with told() as bridge:
            copy = await copy_in(bridge)
            bridge.trip.provider.rules.errors.append("100")
            with pytest.raises(Unsendable, match="100"):
                await bridge.trip.bridge.take(copy)
            with pytest.raises(NotOwner):
                await bridge.trip.bridge.reply(copy, "hello")

    async def test_a_provider_that_is_down(self):
        """Whoever asked may ask again."""
        async with told() as bridge:
            copy = await copy_in(bridge)
            bridge.trip.provider.trouble = Trouble.DOWN
            with pytest.raises(Unanswered):
                await bridge.trip.bridge.take(copy)

    async def test_what_meta_would_refuse_is_not_asked(self):
        """Another responder than there are, too much metadata, a conversation nobody knows."""
        async with told() as bridge:
            copy = await copy_in(bridge)
            with pytest.raises(Unsendable, match="ai_agent"):
                await bridge.trip.bridge.pass_to(copy, "somebody")
            with pytest.raises(Unsendable, match="2000 are possible"):
                await bridge.trip.bridge.pass_to(copy, metadata="x" * 2001)
            with pytest.raises(Unsendable, match="no message of this conversation"):
                await bridge.trip.bridge.take("whatsapp/whatsapp:1:+1")
            assert bridge.trip.provider.requests == []

    async def test_other_channels_have_no_such_thing(self):
        """INCS documents no way to hand a conversation over."""
        async with planned("incs") as trip, under_way(trip):
            await trip.say()
            await trip.until(lambda: trip.events)
            with pytest.raises(Unsendable, match="cannot take a conversation"):
                await trip.bridge.take(trip.events[0])
