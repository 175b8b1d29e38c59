"""What goes out after a message has failed or expired, and what a status of a failure changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import attrs
import orjson
import pytest

from bridge.adapter.simulation import SimulatedAnswer, SimulatedCallback
from bridge.errors import ConfigurationError, Unsendable
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Entry, Journal
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Status, Template
from bridge.outbox.following import following
from bridge.settings import OutboxSettings
from bridge.testing.providers import SimulatedProvider
from bridge.testing.providers.server import Trouble
from tests.bridge.outbox.providers import ADAPTERS
from tests.bridge.outbox.trips import USER, Trip, planned, under_way


@asynccontextmanager
async def two_ways(
    first: str,
    second: str,
    outbox: OutboxSettings | None = None,
    journal: Journal | None = None,
) -> AsyncIterator[tuple[Trip, SimulatedProvider]]:
    """Run a bridge with two ways out; the second one's provider reports too."""
    async with planned(first, outbox=outbox, journal=journal) as trip, SimulatedProvider() as other:
        adapter = ADAPTERS[second](other.url)
        trip.bridge.add_adapter(second, adapter)
        async with under_way(trip):
            other.play(adapter, f"{trip.url}/callbacks/{second}")
            trip.provider.rules.window = other.rules.window = None
            yield trip, other
            other.callbacks.direct(adapter, None)


def failing(trip: Trip, code: str, *, before: tuple[str, ...] = ()) -> None:
    """Let Meta accept the next message, and tell these statuses of it and then a failure."""
    simulation = trip.provider.simulation
    usual = simulation._accept

    def accept(body, user, now) -> SimulatedAnswer:
        simulation._accept = usual
        answer = usual(body, user, now)
        wamid = orjson.loads(answer.response.body)["messages"][0]["id"]
        echo = body["biz_opaque_callback_data"]
        told = [(word, None) for word in before] + [("failed", code)]
        callbacks = [
            SimulatedCallback(
                body=simulation._status(wamid, user, word, code=code, echo=echo, now=now)
            )
            for word, code in told
        ]
        return attrs.evolve(answer, callbacks=tuple(callbacks))

    simulation._accept = accept


async def test_the_next_way_has_as_long_as_the_first_one_had():
    """What has expired on the one way arrives on the other, which `expires` is for."""
    async with two_ways("incs", "rcs") as (trip, other):
        trip.provider.trouble = Trouble.HTML
        sending = await trip.bridge.send(USER, "hello", via="30058", fallback=["rcs"], expires=0.3)
        change = await sending.outcome(10, until="read")
        assert (change.source, change.current) == ("rcs", Status.READ)
        assert len(other.arrived) == 1
        first, second = (each for each in trip.events if each.kind == "message")
        assert second.intent.expires_at - second.occurred_at == (
            first.intent.expires_at - first.occurred_at
        )
        assert second.occurred_at >= first.intent.expires_at


async def test_a_phone_that_is_off_is_reached_elsewhere():
    """Google takes back what it could not deliver in time, and WhatsApp has it from then on."""
    async with two_ways("rcs", "whatsapp") as (trip, other):
        trip.provider.simulation.offline.add(USER)
        sending = await trip.bridge.send(
            USER, "hello", via="rcs", fallback=["whatsapp"], expires=1.0
        )
        change = await sending.outcome(10, until="read")
        assert (change.channel, change.current) == ("whatsapp", Status.READ)
        assert (trip.said, len(other.arrived)) == ([], 1)


async def test_a_failure_after_a_restart_is_followed_at_once(tmp_path):
    """What the next way has was begun with by no earlier run, and so is not in doubt."""
    path, number, settings = tmp_path / "bridge.db", "106540352242922", OutboxSettings(doubt=60)
    async with two_ways("whatsapp", "incs", settings, SqliteJournal(path)) as (trip, _):
        trip.provider.rules.statuses = ()
        sending = await trip.bridge.send(
            USER, "hello", via=f"whatsapp:{number}", fallback=["30058"]
        )
        accepted = await sending.outcome(10)
    async with two_ways("whatsapp", "incs", settings, SqliteJournal(path)) as (trip, other):
        failed = trip.provider.simulation._status(
            accepted.message_id,
            USER.removeprefix("+"),
            "failed",
            code="131026",
            echo=sending.message_id,
            now=datetime.now(UTC),
        )
        assert await trip.provider.callbacks.post(failed)
        await trip.until(lambda: other.arrived)


async def test_a_template_for_the_way_that_has_templates():
    """Where RCS cannot reach a user, WhatsApp has the text, and the template in its place."""
    template = Template(name="hello_again", language="en")
    async with two_ways("rcs", "whatsapp") as (trip, other):
        trip.provider.rules.unreachable.add(USER)
        other.rules.window = 24 * 3600.0
        sending = await trip.bridge.send(
            USER, "hello", via="rcs", fallback=["whatsapp"], otherwise=template
        )
        change = await sending.outcome(10, until="read")
        assert (change.channel, change.current) == ("whatsapp", Status.READ)
        assert [each.body["type"] for each in other.arrived] == ["template"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"fallback": ["vibre"]}, ConfigurationError, "vibre"),
        ({"otherwise": Template(name="t", language="en")}, Unsendable, "there are no templates"),
        (
            {"otherwise": Template(name="t"), "fallback": ["whatsapp"]},
            Unsendable,
            "without its language",
        ),
    ],
)
async def test_what_goes_in_its_place_is_checked_at_once(options, error, said):
    """For an answer as for what is sent first, also where nothing would be sent."""
    async with two_ways("rcs", "whatsapp") as (trip, _):
        await trip.say()
        await trip.until(lambda: trip.events)
        with pytest.raises(error, match=said):
            await trip.bridge.reply(trip.events[0], "hello", **options)
        with pytest.raises(error, match=said):
            await trip.bridge.send(USER, "hello", via="rcs", **options)
        with pytest.raises(error, match=said):
            trip.bridge._outbox.compose(USER, "hello", via="rcs", **options)
        assert trip.provider.requests == []


class Slow(MemoryJournal):
    """Takes so long to say that a message is not there that its status has come meanwhile."""

    awaited: Trip | None = None

    async def find(self, key: str) -> Entry | None:
        trip, self.awaited = self.awaited, None
        if trip is None:
            return await super().find(key)
        await trip.until(lambda: any(each.source == "whatsapp" for each in trip.statuses()))
        return None


async def test_an_outcome_that_comes_while_it_is_looked_for():
    """The next way may be done before anybody has looked for its message."""
    journal = Slow()
    async with two_ways("rcs", "whatsapp", journal=journal) as (trip, other):
        other.rules.statuses = ()
        trip.provider.rules.unreachable.add(USER)
        sending = await trip.bridge.send(USER, "hello", via="rcs", fallback=["whatsapp"])
        await trip.until(lambda: any(each.status is Status.FAILED for each in trip.statuses()))
        (failed,) = trip.statuses(sending.message_id)
        (after,) = following(trip.bridge._outbox.ways, sending.messages[0], failed)
        journal.awaited = trip
        late = attrs.evolve(sending, messages=[after])
        assert (await late.outcome(10)).channel == "whatsapp"


async def test_what_may_have_arrived_goes_no_other_way():
    """A message in doubt that is not sent again does not go out elsewhere either."""
    settings = OutboxSettings(doubt=0.1, in_doubt="fail")
    async with two_ways("incs", "rcs", settings) as (trip, other):
        trip.provider.callbacks.direct(trip.adapter, None)
        trip.provider.troubles.append(Trouble.LOST)
        sending = await trip.bridge.send(USER, "hello", via="30058", fallback=["rcs"])
        change = await sending.outcome(10)
        assert (change.source, change.error.code) == ("incs", "in_doubt")
        assert (len(trip.provider.arrived), other.requests) == (1, [])


async def test_what_expires_in_doubt_goes_no_other_way():
    """Nor does it where the time is over before the doubt is settled."""
    settings = OutboxSettings(doubt=30, in_doubt="fail")
    async with two_ways("incs", "rcs", settings) as (trip, other):
        trip.provider.callbacks.direct(trip.adapter, None)
        trip.provider.troubles.append(Trouble.LOST)
        sending = await trip.bridge.send(USER, "hello", via="30058", fallback=["rcs"], expires=1.0)
        change = await sending.outcome(10)
        assert (change.status, change.error.code) == (Status.FAILED, "in_doubt")
        assert (len(trip.provider.arrived), other.requests) == (1, [])


async def test_a_late_failure_of_what_has_arrived_is_none():
    """A message that was delivered goes no other way, whatever is told of it afterwards."""
    async with two_ways("whatsapp", "rcs") as (trip, other):
        failing(trip, "131026", before=("delivered",))
        sending = await trip.bridge.send(
            USER, "hello", via="whatsapp:106540352242922", fallback=["rcs"]
        )
        await trip.until(
            lambda: any(each.status is Status.FAILED for each in trip.statuses(sending.message_id))
        )
        assert trip.statuses()[-1].current is Status.DELIVERED
        await caught_up(trip)
        assert other.requests == []


async def caught_up(trip: Trip) -> None:
    """Wait until the follower has seen everything: it is asked for another failure's next way."""
    trip.provider.rules.errors.append("131026")
    sending = await trip.bridge.send(
        USER, "unreachable", via="whatsapp:106540352242922", fallback=["whatsapp:106540352242922"]
    )
    await sending.outcome(10, until="read")


async def test_a_status_stops_an_account_as_a_refusal_does(caplog):
    """Meta tells of billing in statuses: it is in the log, and what comes next has to wait."""
    async with planned("whatsapp") as trip, under_way(trip):
        trip.provider.rules.window = None
        failing(trip, "131042")
        first = await trip.bridge.send(USER, "first", via="whatsapp")
        assert (await first.outcome(10, until="read")).error.code == "131042"
        await trip.until(lambda: "nothing goes out from 106540352242922" in caplog.text)
        second = await trip.bridge.send(USER, "second", via="whatsapp", expires=0.2)
        assert (await second.outcome(10)).status is Status.EXPIRED
        assert trip.said == ["first"]


async def test_a_failure_that_a_status_tells_ends_its_message():
    """Nothing is sent again by itself, also where the trouble would pass."""
    async with planned("whatsapp") as trip, under_way(trip):
        trip.provider.rules.window = None
        failing(trip, "131000")
        sending = await trip.bridge.send(USER, "hello", via="whatsapp")
        change = await sending.outcome(10, until="read")
        assert (change.status, change.error.code) == (Status.FAILED, "131000")
        await caught_up(trip)
        assert trip.said == ["hello", "unreachable"]
