"""What opens the customer-service window, as Meta's documentation has it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.errors import WindowClosed
from tests.bridge.outbox.trips import USER, Told, told

NUMBER = USER.removeprefix("+")
OURS = "15550783881"
DAY = timedelta(hours=24)
CONVERSATION = f"whatsapp/whatsapp:106540352242922:{USER}"


def called(**item: str) -> dict[str, object]:
    return {"calls": [{"id": "wacid.CALL", "event": "connect", **item}]}


def by_user(at: str) -> dict[str, object]:
    return called(direction="USER_INITIATED", to=OURS, timestamp=at, **{"from": NUMBER})


def by_us(at: str) -> dict[str, object]:
    return called(direction="BUSINESS_INITIATED", to=NUMBER, timestamp=at, **{"from": OURS})


def status(word: str, at: str) -> dict[str, object]:
    told = {"id": "wacid.CALL", "type": "call", "status": word, "timestamp": at}
    return {"statuses": [{**told, "recipient_id": NUMBER}]}


async def written(one: Told, at: datetime, **more: object) -> None:
    message = {"from": NUMBER, "id": "wamid.A", "timestamp": seconds(at), "type": "text"}
    await one.tell("messages", {"messages": [{**message, "text": {"body": "hi"}, **more}]})


def seconds(at: datetime) -> str:
    return str(int(at.timestamp()))


@pytest.mark.parametrize(
    ("make", "opens"),
    [
        (by_user, True),  # "regardless of if you accept the call or not"
        (lambda at: status("ACCEPTED", at), True),  # "when a WhatsApp user accepts your call"
        (lambda at: status("RINGING", at), False),
        (lambda at: status("REJECTED", at), False),
        (by_us, False),
    ],
    ids=["called", "accepted", "ringing", "rejected", "called by us"],
)
async def test_a_call_opens_the_window(make, opens):
    """A user's call does so from the time of the call, whoever answers it, for 24 hours."""
    now = datetime.now(UTC).replace(microsecond=0)
    async with told() as one:
        await written(one, now - timedelta(hours=25))
        with pytest.raises(WindowClosed):
            await one.trip.bridge.send(USER, "hello?", via="whatsapp")
        await one.tell("calls", make(seconds(now)))
        until = await one.trip.bridge.window(CONVERSATION)
        assert until == (now + DAY if opens else now - timedelta(hours=1))
        if opens:
            sending = await one.trip.bridge.send(USER, "hello!", via="whatsapp")
            assert await sending.outcome(10)


async def test_calls_of_several_users_stand_alone():
    """Each call of a callback opens its own user's window."""
    now = datetime.now(UTC).replace(microsecond=0)
    first, second = by_user(seconds(now)), by_user(seconds(now))
    second["calls"][0].update({"from": "4915112345678", "id": "wacid.OTHER"})
    async with told() as one:
        await one.tell("calls", {"calls": [*first["calls"], *second["calls"]]})
        await one.trip.until(lambda: len(one.trip.events) == 2)
        for number in (USER, "+4915112345678"):
            conversation = f"whatsapp/whatsapp:106540352242922:{number}"
            assert await one.trip.bridge.window(conversation) == now + DAY


async def test_a_new_owner_of_a_number_opens_only_a_window_of_their_own():
    """The conversation with the user who had the number stays closed to free-form messages."""
    now = datetime.now(UTC).replace(microsecond=0)
    changed = now - timedelta(hours=30)
    change = {"type": "user_changed_number", "body": "changed", "wa_id": "4915112345678"}
    async with told() as one:
        await written(one, now - timedelta(hours=31))
        item = {"from": NUMBER, "id": "wamid.S", "timestamp": seconds(changed), "type": "system"}
        await one.tell("messages", {"messages": [{**item, "system": change}]})
        await written(one, now, id="wamid.B")
        theirs = one.trip.events[-1]
        assert theirs.conversation.id == f"{CONVERSATION}~{seconds(changed)}"
        assert await one.trip.bridge.window(theirs.conversation.id) == now + DAY
        assert await one.trip.bridge.window(CONVERSATION) == now - timedelta(hours=31) + DAY


async def test_an_advertisement_opens_it_for_no_longer():
    """The 72 hours after an advertisement are those of a price: then only templates may go."""
    now = datetime.now(UTC).replace(microsecond=0)
    async with told() as one:
        referral = {"source_type": "ad", "source_id": "1", "ctwa_clid": "A"}
        await written(one, now - timedelta(hours=25), referral=referral)
        assert one.trip.events[0].reply_until == now - timedelta(hours=1)
        with pytest.raises(WindowClosed):
            await one.trip.bridge.send(USER, "hello?", via="whatsapp")
