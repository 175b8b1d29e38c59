"""A user who has opted out of marketing is spared it, unless the sender insists."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.errors import OptedOut
from bridge.model import Template
from bridge.testing.providers import Trouble
from tests.bridge.outbox.trips import USER, Told, told

PROMOTION = Template(name="spring_sale", language="en", category="MARKETING")
AT = 1_731_705_721  # 2024-11-15 21:22:01 UTC


async def choose(bridge: Told, value: str, at: int = AT, user: str = USER) -> None:
    """Let a user stop or resume marketing messages, as the documentation has it.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/user_preferences
    """
    choice: dict[str, Any] = {"wa_id": user[1:], "category": "marketing_messages", "value": value}
    choice |= {"detail": "in the user's words", "timestamp": at}
    await bridge.tell("user_preferences", {"user_preferences": [choice]})


async def test_a_marketing_template_is_refused_at_once():
    """It raises with the time of the opt-out, and nothing is kept or sent."""
    async with told() as bridge:
        await choose(bridge, "stop")
        with pytest.raises(OptedOut, match="2024-11-15 21:22:01Z") as caught:
            await bridge.trip.bridge.send(USER, PROMOTION, via="whatsapp")
        assert int(caught.value.since.timestamp()) == AT
        assert bridge.trip.provider.requests == []
        assert len(bridge.trip.events) == 1


async def test_whoever_insists_is_obeyed():
    """With `force` the template goes."""
    async with told() as bridge:
        await choose(bridge, "stop")
        assert (await bridge.trip.bridge.send(USER, PROMOTION, via="whatsapp", force=True)).is_new


@pytest.mark.parametrize(
    "content",
    [
        Template(name="receipt", language="en", category="utility"),
        Template(name="receipt", language="en"),
    ],
)
async def test_what_is_no_marketing_goes(content):
    """Other templates go to whoever has opted out, also where nobody says what they are."""
    async with told() as bridge:
        await choose(bridge, "stop")
        assert (await bridge.trip.bridge.send(USER, content, via="whatsapp")).is_new


@pytest.mark.parametrize(
    "choices",
    [
        [("stop", AT), ("resume", AT + 1)],
        [("resume", AT + 1), ("stop", AT)],
        [("stop", AT), ("resume", AT)],
    ],
)
async def test_the_newest_choice_counts(choices):
    """By the provider's times, in whatever order they came; of one second, the later comer."""
    async with told() as bridge:
        for value, at in choices:
            await choose(bridge, value, at)
        assert (await bridge.trip.bridge.send(USER, PROMOTION, via="whatsapp")).is_new


async def test_a_choice_is_its_user_s_alone():
    """Another user gets what this one does not want."""
    async with told() as bridge:
        await choose(bridge, "stop", user="+16505550000")
        assert (await bridge.trip.bridge.send(USER, PROMOTION, via="whatsapp")).is_new


async def test_a_template_in_another_s_place_is_refused_too():
    """What goes `otherwise`, once the window has closed, is held to the same."""
    async with told() as bridge:
        await choose(bridge, "stop")
        await bridge.tell("messages", {"messages": [OLD]})
        with pytest.raises(OptedOut):
            await bridge.trip.bridge.reply(bridge.trip.events[-1], "hello", otherwise=PROMOTION)


async def test_what_waits_is_not_sent_to_whoever_has_opted_out_meanwhile():
    """It fails with `opted_out` when its turn comes and goes no other way, unless it is forced."""
    async with told() as bridge:
        trip = bridge.trip
        trip.provider.trouble = Trouble.REDIRECT
        spared, forced = [
            await trip.bridge.send(
                USER, PROMOTION, via="whatsapp", fallback=["whatsapp"], force=force
            )
            for force in (False, True)
        ]
        await trip.until(lambda: trip.provider.requests)
        await choose(bridge, "stop")
        trip.provider.trouble = None
        assert (await spared.outcome(60)).error.code == "opted_out"
        assert (await forced.outcome(60, until="sent")).current != "failed"
        assert [each.correlation for each in trip.provider.arrived] == [forced.message_id]


async def test_what_follows_is_not_sent_to_whoever_has_opted_out():
    """A template that goes `otherwise`, once the provider has refused the message itself."""
    async with told() as bridge:
        await choose(bridge, "stop")
        # The journal knows no message of the user's, so that the provider is asked: 131047.
        sending = await bridge.trip.bridge.send(USER, "hello", via="whatsapp", otherwise=PROMOTION)
        assert (await sending.outcome(30, until="sent")).error.code == "opted_out"
        assert bridge.trip.provider.arrived == []


async def test_what_was_sent_before_is_known_all_the_same():
    """Whoever sends under the same key again, after the opt-out, sends nothing and hears so."""
    async with told() as bridge:
        first = await bridge.trip.bridge.send(USER, PROMOTION, via="whatsapp", key="once")
        await choose(bridge, "stop")
        again = await bridge.trip.bridge.send(USER, PROMOTION, via="whatsapp", key="once")
        assert (again.is_new, again.message_id) == (False, first.message_id)


OLD = {"from": USER[1:], "id": "wamid.old", "timestamp": str(AT), "type": "text"}
OLD |= {"text": {"body": "hello"}}
