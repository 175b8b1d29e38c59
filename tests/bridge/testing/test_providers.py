"""Simulated providers over real sockets: what they take, report, and get wrong on purpose."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import attrs
import pytest

from bridge.adapter import Accepted, Refused, Remedy
from bridge.adapters.incs import Channel
from bridge.journal.memory import MemoryJournal
from bridge.model import (
    Choice,
    ChoiceSource,
    Event,
    Menu,
    Message,
    Option,
    Party,
    Receipt,
    Status,
    StatusChange,
    Template,
    Text,
)
from bridge.outbox.client import Client
from bridge.runtime import Bridge
from bridge.testing.providers import SimulatedProvider, Trouble
from tests.adapters.sending import outbound
from tests.bridge.outbox.providers import ADAPTERS
from tests.bridge.serving import serving

USER = "+16505551234"


def fresh(content, channel: str, **fields) -> Message:
    """Return a message with an id of its own."""
    message = outbound(content, channel=channel, **fields)
    return attrs.evolve(message, message_id=str(uuid4()))


class Playing:
    """A provider, an adapter that sends to it, and optionally a bridge that hears of it."""

    def __init__(self, name: str, provider: SimulatedProvider, client: Client) -> None:
        self.provider = provider
        self.client = client
        self.adapter = ADAPTERS[name](provider.url)
        self.sender = self.adapter.sender()
        self.channel = next(iter(self.sender.channels))
        provider.play(self.adapter)
        provider.rules.window = None

    async def send(self, content=None, **fields):
        content = Text(text="Hi") if content is None else content
        return await self.client.send(self.sender, fresh(content, self.channel, **fields))


@pytest.fixture(params=ADAPTERS)
async def playing(request):
    async with SimulatedProvider() as provider, Client() as client:
        yield Playing(request.param, provider, client)


class Hearing:
    """A bridge on a socket that keeps what it publishes."""

    def __init__(self, name: str, adapter) -> None:
        self.bridge = Bridge(journal=MemoryJournal())
        self.bridge.add_adapter(name, adapter)
        self.heard: list[Event] = []
        self.bridge.on(Event, name="heard")(self._hear)
        self._changed = asyncio.Event()

    async def _hear(self, event: Event) -> None:
        self.heard.append(event)
        self._changed.set()

    def of(self, kind: type) -> list:
        return [event for event in self.heard if isinstance(event, kind)]

    async def until(self, done) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(30):
            while not done():
                self._changed.clear()
                await self._changed.wait()


async def test_a_message_arrives_once(playing):
    """What the provider accepts reaches the user, with the provider's id for it."""
    outcome = await playing.send()
    assert isinstance(outcome, Accepted)
    (arrived,) = playing.provider.arrived
    assert (arrived.message_id, arrived.user) == (outcome.message_id, USER[1:])
    requests = [r for r in playing.provider.requests if not r.url.endswith("/token")]
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("whatsapp", {"access_token": "stolen"}),
        ("incs", {"channels": [Channel(id=1, kind="whatsapp", certification_code="stolen")]}),
    ],
)
async def test_the_credentials_are_checked(name, settings):
    """Anybody else's credentials are refused, and the account is stopped."""
    async with SimulatedProvider() as provider, Client() as client:
        playing = Playing(name, provider, client)
        strange = attrs.evolve(playing.adapter._settings, **settings)
        playing.sender = type(playing.adapter)(name, strange).sender()
        outcome = await playing.send()
        assert isinstance(outcome, Refused)
        assert outcome.remedy is Remedy.STOP_ACCOUNT
        assert provider.arrived == []


def _name(playing: Playing) -> str:
    return type(playing.adapter).__name__.lower()


async def test_the_rate_of_an_account_is_limited(playing):
    """Beyond its rate an account is told to slow down, by the provider's own clock."""
    now = datetime(2026, 11, 1, tzinfo=UTC)
    playing.provider.clock = lambda: now
    playing.provider.rules.rate = 2.0
    playing.provider.rules.pair_every = None
    outcomes = [await playing.send() for _ in range(3)]
    assert [isinstance(one, Accepted) for one in outcomes] == [True, True, False]
    assert outcomes[2].remedy is Remedy.SLOW_ACCOUNT
    now += timedelta(seconds=0.5)
    assert isinstance(await playing.send(), Accepted)
    assert isinstance(await playing.send(), Refused)


async def test_an_error_of_the_provider_s_can_be_ordered(playing):
    """The next requests are answered with the codes that a test wants."""
    code, remedy = {
        "whatsapp": ("131016", Remedy.AGAIN),
        "rcs": ("UNAVAILABLE", Remedy.AGAIN),
        "incs": ("422", Remedy.MEND_MESSAGE),
    }[_name(playing)]
    playing.provider.rules.errors.append(code)
    outcome = await playing.send()
    assert (outcome.error.code, outcome.remedy) == (code, remedy)
    assert isinstance(await playing.send(), Accepted)


@pytest.mark.parametrize(
    ("trouble", "arrives", "in_doubt"),
    [
        (Trouble.DOWN, False, True),  # nobody can tell it from the next one
        (Trouble.LOST, True, True),
        (Trouble.HALF, True, True),
        (Trouble.EMPTY, True, True),
        (Trouble.HTML, False, True),
        (Trouble.REDIRECT, False, False),
    ],
)
async def test_trouble_has_its_outcome(playing, trouble, arrives, in_doubt):
    """Each trouble leaves something to do, and a doubt wherever the message may have arrived."""
    assert isinstance(await playing.send(), Accepted)  # a token is there, a connection is open
    playing.provider.troubles.append(trouble)
    outcome = await playing.send()
    assert isinstance(outcome, Refused)
    assert (outcome.remedy, outcome.in_doubt) == (Remedy.AGAIN, in_doubt)
    assert len(playing.provider.arrived) == (2 if arrives else 1)
    assert isinstance(await playing.send(), Accepted)


async def test_an_error_inside_of_a_success_is_refused(playing):
    """HTTP 200 is no success where the body holds an error."""
    assert isinstance(await playing.send(), Accepted)
    playing.provider.trouble = Trouble.ERROR_INSIDE
    outcome = await playing.send()
    assert isinstance(outcome, Refused)
    assert outcome.remedy is Remedy.AGAIN
    assert len(playing.provider.arrived) == 1


async def test_a_slow_provider_leaves_a_doubt(playing):
    """A response that does not come in time leaves it open whether the message was taken."""
    assert isinstance(await playing.send(), Accepted)
    playing.provider.trouble = Trouble.SLOW
    async with Client(timeout=1.0) as hasty:
        playing.client = hasty
        if _name(playing) == "rcs":
            playing.provider.trouble = None
            assert isinstance(await playing.send(), Accepted)  # its token
            playing.provider.trouble = Trouble.SLOW
        outcome = await playing.send()
    assert outcome.in_doubt
    assert outcome.error.title == "no response in time"


async def test_a_provider_that_is_away_leaves_no_doubt():
    """Where no connection is made, nothing was sent, and it is sent again."""
    async with SimulatedProvider() as provider:
        url = provider.url
    sender = ADAPTERS["whatsapp"](url).sender()
    async with Client() as client:
        outcome = await client.send(sender, fresh(Text(text="Hi"), "whatsapp"))
    assert (outcome.remedy, outcome.in_doubt) == (Remedy.AGAIN, False)
    assert outcome.error.title.startswith("no connection to 127.0.0.1:")


async def test_google_takes_a_message_once():
    """A message of RCS that is sent again under its id arrives once, however it is answered."""
    async with SimulatedProvider() as provider, Client() as client:
        playing = Playing("rcs", provider, client)
        message = fresh(Text(text="Hi"), "rcs")
        provider.troubles += [None, None, Trouble.LOST]
        outcomes = [await client.send(playing.sender, message) for _ in range(2)]
        provider.simulation.conflicts = True
        outcomes += [await client.send(playing.sender, message) for _ in range(2)]
    assert [isinstance(one, Accepted) for one in outcomes] == [True, False, True, True]
    assert len(provider.arrived) == 1


async def test_meta_and_incs_take_a_message_as_often_as_it_is_sent():
    """Neither knows a message again: a request that is repeated is a message repeated."""
    for name in ("whatsapp", "incs"):
        async with SimulatedProvider() as provider, Client() as client:
            playing = Playing(name, provider, client)
            message = fresh(Text(text="Hi"), playing.channel)
            for _ in range(2):
                await client.send(playing.sender, message)
            assert len(provider.arrived) == 2


async def test_an_unreachable_user_is_told(playing):
    """Google refuses at once, INCS with the channel's words, and Meta by a status."""
    playing.provider.rules.unreachable.add(USER)
    outcome = await playing.send()
    if _name(playing) == "whatsapp":
        assert isinstance(outcome, Accepted)
    else:
        assert outcome.remedy is Remedy.UNREACHABLE
    assert playing.provider.arrived == []


# --- what is reported ----------------------------------------------------------------------------


async def test_statuses_are_reported_as_the_provider_signs_them(playing):
    """Every status reaches the bridge, authentic, and tied to what was sent."""
    hearing = Hearing(_name(playing), playing.adapter)

    def told() -> set[Status]:
        return {change.status for change in hearing.of(StatusChange) if change.resolved}

    async with serving(hearing.bridge) as url:
        playing.provider.play(playing.adapter, f"{url}/callbacks/{_name(playing)}")
        playing.provider.rules.window = None
        outcome = await playing.send()
        await playing.provider.callbacks.settle()
        await hearing.until(lambda: Status.READ in told())
    changes = hearing.of(StatusChange)
    assert {Status.DELIVERED, Status.READ} <= told()
    assert {change.message_id for change in changes if change.resolved} == {outcome.message_id}
    if _name(playing) == "whatsapp":
        assert {change.correlation for change in changes} == {
            json.loads(playing.provider.requests[-1].body)["biz_opaque_callback_data"]
        }
    if _name(playing) == "incs":
        (message,) = hearing.of(Message)
        assert message.content == Text(text="Hi")
        assert message.message_id == outcome.message_id


async def test_a_user_can_write_and_pick(playing):
    """What a user says or picks comes in as the provider tells it."""
    hearing = Hearing(_name(playing), playing.adapter)
    async with serving(hearing.bridge) as url:
        playing.provider.play(playing.adapter, f"{url}/callbacks/{_name(playing)}")
        assert await playing.provider.say(USER, Text(text="hello"))
        picked = Choice(source=ChoiceSource.BUTTON, id="track", title="Track my order")
        assert await playing.provider.say(USER, picked)
        await hearing.until(lambda: len(hearing.of(Message)) >= 2)
    text, choice = hearing.of(Message)
    assert text.content == Text(text="hello")
    assert text.sender.phone == USER
    assert (choice.content.id, choice.content.title) == ("track", "Track my order")


async def test_viber_s_users_write_in_incs_s_own_form():
    """A user of Viber is told by `message_created`, the only form there is."""
    async with SimulatedProvider() as provider:
        adapter = ADAPTERS["incs"](provider.url)
        hearing = Hearing("incs", adapter)
        async with serving(hearing.bridge) as url:
            simulation = provider.play(adapter, f"{url}/callbacks/incs")
            for channel in (30059, 30060):
                simulation.channel = channel
                assert await provider.say(USER, Text(text="hello"))
            await hearing.until(lambda: len(hearing.of(Message)) >= 2)
    assert [message.channel for message in hearing.of(Message)] == ["rcs", "viber"]


async def test_what_a_window_refuses_is_told_by_a_status():
    """Meta accepts a free-form message and then says that the window is closed."""
    async with SimulatedProvider() as provider, Client() as client:
        playing = Playing("whatsapp", provider, client)
        hearing = Hearing("whatsapp", playing.adapter)
        async with serving(hearing.bridge) as url:
            provider.play(playing.adapter, f"{url}/callbacks/whatsapp")
            provider.rules.templates = {"hello_world"}
            assert isinstance(await playing.send(), Accepted)
            await hearing.until(lambda: hearing.of(StatusChange))
            (change,) = hearing.of(StatusChange)
            assert (change.status, change.error.code) == (Status.FAILED, "131047")
            assert playing.sender.remedy(change.error) is Remedy.USE_TEMPLATE
            assert provider.arrived == []
            assert isinstance(
                await playing.send(Template(name="hello_world", language="en_US")), Accepted
            )
            refused = await playing.send(Template(name="unknown", language="en_US"))
            assert refused.remedy is Remedy.MEND_TEMPLATE
            await provider.say(USER, Text(text="hello"))
            assert isinstance(await playing.send(), Accepted)
            assert [one.body["type"] for one in provider.arrived] == ["template", "text"]


async def test_only_what_was_received_can_be_marked_as_read():
    """A receipt is for a message of the user's; nothing arrives by it."""
    async with SimulatedProvider() as provider, Client() as client:
        playing = Playing("whatsapp", provider, client)
        refused = await playing.send(Receipt(message_id="wamid.unknown"))
        assert refused.remedy is Remedy.MEND_MESSAGE
        body = provider.simulation.say(USER, Text(text="hello"), datetime.now(UTC))
        wamid = body["entry"][0]["changes"][0]["value"]["messages"][0]["id"]
        assert await playing.send(Receipt(message_id=wamid, typing=True)) == Accepted()
        assert provider.arrived == []


async def test_one_user_is_not_flooded():
    """Beyond the burst, one pair of numbers is held back while others go on."""
    now = datetime(2026, 11, 1, tzinfo=UTC)
    async with SimulatedProvider(clock=lambda: now) as provider, Client() as client:
        playing = Playing("whatsapp", provider, client)
        provider.rules.pair_burst = 2
        outcomes = [await playing.send() for _ in range(3)]
        assert [isinstance(one, Accepted) for one in outcomes] == [True, True, False]
        assert outcomes[2].remedy is Remedy.HOLD_CONVERSATION
        other = await playing.send(recipient=Party(phone="+16505559876"))
        assert isinstance(other, Accepted)


async def test_a_phone_that_is_offline_lets_the_message_expire():
    """Google holds a message until its time is over, and then tells that it was revoked."""
    async with SimulatedProvider() as provider, Client() as client:
        playing = Playing("rcs", provider, client)
        hearing = Hearing("rcs", playing.adapter)
        async with serving(hearing.bridge) as url:
            simulation = provider.play(playing.adapter, f"{url}/callbacks/rcs")
            simulation.offline.add(USER)
            message = fresh(Text(text="Hi"), "rcs")
            assert isinstance(await client.send(playing.sender, message, ttl=0.1), Accepted)
            await hearing.until(lambda: hearing.of(StatusChange))
    (change,) = hearing.of(StatusChange)
    assert (change.message_id, change.status) == (message.message_id, Status.EXPIRED)
    assert provider.arrived == []


async def test_callbacks_repeat_until_they_are_acknowledged(playing):
    """A bridge that comes late, or back, still hears of everything."""
    reported = {"whatsapp": 3, "rcs": 2, "incs": 7}[_name(playing)]
    async with SimulatedProvider() as elsewhere:
        away = elsewhere.url
    playing.provider.callbacks.pause = 0.01
    playing.provider.play(playing.adapter, f"{away}/callbacks")
    playing.provider.rules.window = None
    await playing.send()
    hearing = Hearing(_name(playing), playing.adapter)
    async with serving(hearing.bridge) as url:
        playing.provider.callbacks.direct(playing.adapter, f"{url}/callbacks/{_name(playing)}")
        await playing.send()
        await playing.provider.callbacks.settle()
    assert playing.provider.callbacks.given_up == []
    assert len(playing.provider.callbacks.acknowledged) == 2 * reported


async def test_callbacks_are_lost_repeated_and_shuffled_as_told():
    """Losses, repetitions and disorder are the same ones in every run of one seed."""

    async def run() -> tuple[list[str], int]:
        async with SimulatedProvider(seed=7) as provider, Client() as client:
            playing = Playing("whatsapp", provider, client)
            hearing = Hearing("whatsapp", playing.adapter)
            async with serving(hearing.bridge) as url:
                provider.play(playing.adapter, f"{url}/callbacks/whatsapp")
                provider.rules.window = None
                provider.rules.status_every = 0.03
                provider.callbacks.shuffled = True
                provider.callbacks.repeats = 1
                provider.callbacks.loss = 0.3
                for _ in range(5):
                    await playing.send()
                    await provider.callbacks.settle()
        statuses = [
            body["entry"][0]["changes"][0]["value"]["statuses"][0]["status"]
            for body in provider.callbacks.acknowledged
        ]
        return statuses, len(provider.arrived)

    statuses, arrived = await run()
    assert arrived == 5
    assert len(statuses) < 5 * 3 * 2
    assert all(statuses.count(word) % 2 == 0 for word in ("sent", "delivered", "read"))
    assert sorted((await run())[0]) == sorted(statuses)


async def test_a_status_may_come_before_the_answer():
    """`early` lets the first status be acknowledged before the request is answered."""
    async with SimulatedProvider() as provider, Client() as client:
        playing = Playing("whatsapp", provider, client)
        hearing = Hearing("whatsapp", playing.adapter)
        async with serving(hearing.bridge) as url:
            provider.play(playing.adapter, f"{url}/callbacks/whatsapp")
            provider.rules.window = None
            provider.rules.statuses = ("sent",)
            provider.early = True
            outcome = await playing.send()
            (body,) = provider.callbacks.acknowledged
            await hearing.until(lambda: hearing.of(StatusChange))
    status = body["entry"][0]["changes"][0]["value"]["statuses"][0]
    assert status["id"] == outcome.message_id


async def test_a_menu_arrives_as_the_provider_shows_it(playing):
    """What a bot offers reaches the user in the provider's own form."""
    menu = Menu("What next?", options=[Option("track", "Track my order"), Option("x", "Talk")])
    assert isinstance(await playing.send(menu), Accepted)
    (arrived,) = playing.provider.arrived
    assert "Track my order" in json.dumps(arrived.body)


async def test_a_provider_plays_nobody_until_it_is_told():
    """Asking for what is played before `play` is a mistake that says so."""
    async with SimulatedProvider() as provider:
        with pytest.raises(RuntimeError, match="play"):
            _ = provider.rules


def test_nothing_of_pytest_is_needed():
    """The simulated providers come without pytest and hypothesis."""
    code = (
        "import sys, bridge.testing.providers;"
        "sys.exit([m for m in sys.modules if m.split('.')[0] in ('pytest', 'hypothesis')] != [])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
