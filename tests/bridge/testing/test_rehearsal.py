"""A bridge on trial: what `TestBridge` promises to those who test their subscribers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from textwrap import dedent

import attrs
import pytest

from bridge import (
    Bridge,
    Choice,
    Drop,
    Event,
    Location,
    Media,
    MediaKind,
    Menu,
    Message,
    Option,
    RetryIn,
    StatusChange,
    Text,
)
from bridge.adapters.incs import Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.assembly import subscriber_of
from bridge.errors import ConfigurationError
from bridge.journal.sqlite import SqliteJournal
from bridge.settings import DeliverySettings, SubscriberEntry
from bridge.testing import TestBridge, sample
from tests.bridge.fakes import Plain
from tests.bridge.outbox.providers import ADAPTERS

MENU = Menu(
    "What next?", options=(Option("track", "Track my order"), Option("agent", "Talk to us"))
)


@pytest.fixture
def bridge(tmp_path) -> Bridge:
    bridge = Bridge(journal=SqliteJournal(tmp_path / "bridge.db"))
    bridge.add_adapter("incs", Incs("incs", IncsSettings(tokens=("a token",))))
    bridge.add_adapter(
        "whatsapp", WhatsApp("whatsapp", WhatsAppSettings(app_secrets=("a secret",)))
    )
    return bridge


@pytest.fixture
def got(bridge) -> list[Event]:
    events: list[Event] = []
    bridge.on(Event, name="all")(events.append)
    return events


class TestWhatArrives:
    @pytest.mark.parametrize("adapter", ["incs", "whatsapp"])
    async def test_say(self, bridge, got, adapter):
        """What a user says has been delivered when the call returns, whoever brings it."""
        async with TestBridge(bridge) as test:
            await test.say("hello", name="Joe", user="+6281234567890", adapter=adapter)
            (message,) = got
        assert message.content == Text(text="hello")
        assert (message.sender.name, message.sender.phone) == ("Joe", "+6281234567890")
        assert (message.source, message.direction) == (adapter, "inbound")

    @pytest.mark.parametrize("sends", [True, False])
    @pytest.mark.parametrize(
        ("adapter", "named"), [("incs", "Maya"), ("whatsapp", "Maya"), ("rcs", None)]
    )
    async def test_a_user_with_a_name(self, adapter, named, sends):
        """One test does for every provider: a user's name comes where its callbacks tell names."""
        bridge = Bridge()
        own = {
            "incs": lambda: Incs("incs", IncsSettings(tokens=("a token",))),
            "whatsapp": lambda: WhatsApp("whatsapp", WhatsAppSettings(app_secrets=("a secret",))),
            "rcs": lambda: Rcs("rcs", RcsSettings(client_tokens=("a token",))),
        }
        sending = ADAPTERS[adapter]("http://127.0.0.1:9")
        bridge.add_adapter(adapter, sending if sends else own[adapter]())
        got = []
        bridge.on(Message, direction="inbound", name="all")(got.append)
        async with TestBridge(bridge) as test:
            await test.say("hello", name="Maya")
            await test.press("track", title="Track my order", name="Maya")
            await test.say(Location(latitude=-6.25, longitude=106.5), name="Maya")
        assert [message.sender.name for message in got] == [named] * 3
        assert got[2].content.name is None

    async def test_say_twice(self, bridge, got):
        """The same words twice are two messages of one conversation, in order."""
        async with TestBridge(bridge) as test:
            await test.say("hello")
            await test.say("hello")
        assert len({event.key for event in got}) == 2
        assert len({event.conversation.id for event in got}) == 1

    @pytest.mark.parametrize("adapter", ["incs", "whatsapp"])
    async def test_press(self, bridge, got, adapter):
        """An option that a user picks comes with its id and title."""
        async with TestBridge(bridge) as test:
            await test.press("track", title="Track my order", adapter=adapter)
        (message,) = got
        assert isinstance(message.content, Choice)
        assert (message.content.id, message.content.title) == ("track", "Track my order")

    @pytest.mark.parametrize("sends", [True, False])
    @pytest.mark.parametrize("adapter", ["incs", "whatsapp", "rcs"])
    @pytest.mark.parametrize(
        "content",
        [
            Location(latitude=-6.25, longitude=106.5),
            Media(media=MediaKind.IMAGE, mime_type="image/png"),
        ],
    )
    async def test_say_more_than_words(self, bridge, got, adapter, sends, content):
        """A place or a file comes alike whoever brings it, with credentials or without."""
        if adapter == "rcs":
            bridge.add_adapter("rcs", Rcs("rcs", RcsSettings(client_tokens=("a token",))))
        if sends:
            bridge = Bridge()
            bridge.add_adapter(adapter, ADAPTERS[adapter]("http://127.0.0.1:9"))
            bridge.on(Event, name="all")(got.append)
        async with TestBridge(bridge) as test:
            await test.say(content, user="+6281234567890", adapter=adapter)
        (message,) = got
        fields = ("latitude", "longitude", "media", "mime_type")
        told = {name: getattr(message.content, name, None) for name in fields}
        assert told == {name: getattr(content, name, None) for name in fields}
        assert (message.sender.phone, message.source) == ("+6281234567890", adapter)

    async def test_through_rcs(self):
        """RCS for Business brings words and choices of its own kind."""
        bridge = Bridge()
        bridge.add_adapter("rcs", Rcs("rcs", RcsSettings(client_tokens=("a token",))))
        got = []
        bridge.on(Message)(got.append)
        async with TestBridge(bridge) as test:
            await test.say("hello")
            await test.press("track", title="Track my order")
        assert [message.channel for message in got] == ["rcs", "rcs"]
        assert [type(message.content) for message in got] == [Text, Choice]

    async def test_trigger(self, bridge, got):
        """A sample comes as its provider would send it, by its name alone where that is clear."""
        async with TestBridge(bridge) as test:
            await test.trigger("incs/whatsapp-location", "whatsapp-order", "status-read")
        location, order, status = got
        assert isinstance(location.content, Location)
        assert order.content.kind == "order"
        assert isinstance(status, StatusChange)

    async def test_a_sample_comes_as_often_as_it_is_triggered(self, bridge, got):
        """Each time it is a new message."""
        async with TestBridge(bridge) as test:
            for _ in range(3):
                await test.trigger("incs/whatsapp-text", text="hi")
        assert len({event.key for event in got}) == 3
        assert {event.content.text for event in got} == {"hi"}

    async def test_what_waits_for_a_fuller_account_is_delivered(self, bridge, got):
        """A message that INCS tells twice is published though its second account never comes."""
        async with TestBridge(bridge) as test:
            await test.trigger("incs/incs-text")
            assert len(got) == 1

    async def test_publish(self, bridge, got):
        """An event that was made by hand is delivered as it is."""
        event = attrs.evolve(sample("incs/whatsapp-text", text="hi"), account="4711")
        async with TestBridge(bridge) as test:
            await test.publish(event)
        assert got == [event]

    async def test_a_blinker_receiver_gets_it_too(self, bridge):
        """Plain receivers are served, and what they raise is raised."""
        got = []

        def receive(channel, event):
            got.append(channel)
            raise KeyError("x")

        bridge.bus.signal(Message).connect(receive)
        async with TestBridge(bridge) as test:
            with pytest.raises(KeyError):
                await test.say("hello")
        assert got == ["whatsapp"]

    async def test_what_a_subscriber_sets_off_is_delivered(self, bridge):
        """A call returns after all of it: a slow function, and what it appended on its way."""
        got = []

        @bridge.on(Message, content=Text, name="first")
        async def first(message: Message[Text]) -> None:
            await asyncio.sleep(0.01)
            await bridge.journal.append([sample("incs/whatsapp-location")])

        bridge.on(Message, content=Location, name="second")(got.append)
        async with TestBridge(bridge) as test:
            await test.say("hello")
            assert len(got) == 1


@pytest.fixture(params=["whatsapp", "incs", "rcs"])
def sending(request) -> Bridge:
    """A bridge with one adapter that can send, and a bot that offers two options."""
    bridge = Bridge()
    bridge.add_adapter(request.param, ADAPTERS[request.param]("https://provider.example"))

    @bridge.on(Message, content=Text, direction="inbound", name="bot")
    async def greet(message: Message[Text]) -> None:
        await bridge.reply(message, MENU)

    @bridge.on(Message, content=Choice, direction="inbound", name="picked")
    async def tell(message: Message[Choice]) -> None:
        await bridge.reply(message, f"You picked {message.content.title}")

    return bridge


class TestWhatGoesOut:
    async def test_an_answer(self, sending):
        """What a bot answers has been taken by its provider when the call returns."""
        async with TestBridge(sending) as test:
            await test.say("hello", user="+6281234567890")
            assert test.sent == [MENU]
            await test.press("track", user="+6281234567890")
            assert test.sent == [MENU, Text(text="You picked Track my order")]
            assert {each.recipient.phone for each in test.messages} == {"+6281234567890"}

    async def test_its_statuses(self, sending):
        """What the provider reports of it comes back: accepted, sent, delivered, read."""
        statuses = []

        @sending.on(StatusChange, name="statuses")
        async def note(change: StatusChange) -> None:
            if change.advanced:
                statuses.append(change.current)

        async with TestBridge(sending) as test:
            await test.say("hello")
        assert (statuses[0], statuses[-1]) == ("accepted", "read")

    async def test_an_answer_to_a_sample(self, sending):
        """An answer to a message that was triggered is delivered, as one to what a user says."""
        statuses = []

        @sending.on(StatusChange, name="statuses")
        async def note(change: StatusChange) -> None:
            statuses.append(change.status)

        (name,) = sending.adapters
        async with TestBridge(sending) as test:
            await test.trigger({"incs": "whatsapp-text"}.get(name, "text"))
        assert "read" in statuses
        assert "failed" not in statuses

    async def test_an_option_that_nobody_offered(self, sending):
        """Only what was sent can be pressed, unless its title is given."""
        async with TestBridge(sending) as test:
            await test.say("hello")
            with pytest.raises(LookupError, match=r"option 'trakc', but \['agent', 'track'\]"):
                await test.press("trakc")
            assert test.sent == [MENU]

    async def test_a_later_answer(self, sending):
        """What is to go out in an hour goes out once the time has been moved by an hour."""

        @sending.on(Message, content=Location, direction="inbound", name="later")
        async def later(message: Message) -> None:
            await sending.reply(message, "Still there?", not_before="1h")

        (name,) = sending.adapters
        location = {"incs": "whatsapp-location"}.get(name, "location")
        async with TestBridge(sending) as test:
            await test.say("hello")
            await test.trigger(location, phone=test.messages[0].recipient.phone)
            await test.sleep("59m")
            assert test.sent == [MENU]
            await test.sleep("1m")
            assert test.sent == [MENU, Text(text="Still there?")]

    async def test_nothing_is_left_of_the_last_test(self, sending):
        """Limits that were used up in one test do not hold up the next one."""
        for _ in range(2):
            async with TestBridge(sending) as test:
                for _ in range(20):
                    await test.say("hello")
                    await test.sleep("10s")
                assert len(test.sent) == 20

    @pytest.mark.parametrize("adapter", ["incs", "whatsapp"])
    async def test_without_credentials(self, bridge, adapter):
        """A bot whose adapters lack credentials is tested all the same, and has none afterwards."""

        @bridge.on(Message, content=(Text, Choice), direction="inbound", name="bot")
        async def greet(message: Message) -> None:
            await bridge.reply(message, MENU)

        for _ in range(2):
            async with TestBridge(bridge) as test:
                await test.say("hello", adapter=adapter)
                await test.press("track", adapter=adapter)
                assert test.sent == [MENU, MENU]
        async with bridge:
            with pytest.raises(ConfigurationError, match=adapter):
                await bridge.send("+6281234567890", MENU, via=adapter)

    async def test_a_bridge_that_cannot_send(self, bridge):
        """An answer through an adapter that cannot send raises in the test."""
        bridge.add_adapter("plain", Plain())

        @bridge.on(Message, name="bot")
        async def greet(message: Message) -> None:
            await bridge.reply(message, "Hi!")

        async with TestBridge(bridge) as test:
            with pytest.raises(ConfigurationError, match="this adapter cannot send"):
                await test.publish(attrs.evolve(sample("whatsapp/text"), source="plain"))

    async def test_a_webhook(self, bridge):
        """What a webhook would get is seen in the test, and nothing goes over the network."""
        secret = "example+secret+replace+me+please"
        entry = SubscriberEntry(
            name="shop", use="webhook", url="http://127.0.0.1:9/", secret=secret
        )
        bridge.subscribe(subscriber_of(entry, bridge.media_keeper))
        async with TestBridge(bridge) as test:
            await test.say("hello")
            (posted,) = test.posted
        assert posted["type"] == "bridge.message"
        assert posted["data"]["content"] == {"kind": "text", "text": "hello"}


class TestFailures:
    async def test_what_is_raised_is_raised(self, bridge):
        """The call raises the very exception of the subscriber, and the next call does not."""
        error = ValueError("boom")

        @bridge.on(Message, name="fails")
        async def fail(message: Message) -> None:
            if message.content == Text(text="boom"):
                raise error

        async with TestBridge(bridge) as test:
            with pytest.raises(ValueError, match="boom") as caught:
                await test.say("boom")
            assert caught.value is error
            await test.say("hello", user="+4915212345678")

    async def test_several_that_fail(self, bridge):
        """Several exceptions come as a group."""
        for name in ("one", "two"):

            @bridge.on(Message, name=name)
            def fail(message: Message) -> None:
                raise ValueError

        async with TestBridge(bridge) as test:
            with pytest.raises(ExceptionGroup) as caught:
                await test.say("boom")
        assert len(caught.value.exceptions) == 2

    async def test_a_retry_waits_for_its_time(self, bridge):
        """What failed is tried again once the time has been moved so far, and not earlier."""
        tries = []

        @bridge.on(Message, name="fails")
        async def fail(message: Message) -> None:
            tries.append(message.key)
            if len(tries) == 1:
                raise RetryIn(60)

        async with TestBridge(bridge) as test:
            with pytest.raises(RetryIn):
                await test.say("boom")
            await test.sleep("59s")
            assert len(tries) == 1
            await test.sleep(1)
            assert len(tries) == 2
            await test.sleep("1d")
            assert len(tries) == 2

    async def test_every_try_has_its_turn(self, bridge):
        """Within an hour there are as many tries as the policy gives, and then a dead letter."""
        policy = DeliverySettings(tries=4, first_delay=600, jitter=0)
        tries = []

        @bridge.on(Message, name="fails", policy=policy)
        async def fail(message: Message) -> None:
            tries.append(test.clock.time())
            raise ValueError("no")

        async with TestBridge(bridge) as test:
            began = test.clock.time()
            with pytest.raises(ValueError, match=r"^no$"):
                await test.say("boom")
            with pytest.raises(ExceptionGroup):
                await test.sleep("1h")
            assert [round(each - began) for each in tries] == [0, 600, 1200, 1800]
            (letter,) = await bridge.operators.dead_letters()
        assert letter.subscriber == "fails"

    async def test_what_nobody_asked_for_is_raised_at_the_end(self, bridge):
        """A failure that no call has raised leaves the block."""

        @bridge.on(Message, name="fails")
        async def fail(message: Message) -> None:
            raise Drop("no")

        async def run() -> None:
            async with TestBridge(bridge):
                await bridge.journal.append([sample("incs/whatsapp-text")])

        with pytest.raises(Drop):
            await run()


class TestAround:
    async def test_nothing_of_the_world_is_touched(self, bridge, got, tmp_path):
        """The bridge's own journal is neither opened nor filled, and is its own again."""
        own = bridge.journal
        async with TestBridge(bridge) as test:
            await test.say("hello")
            assert bridge.journal is not own
        assert bridge.journal is own
        assert list(tmp_path.iterdir()) == []

    async def test_what_a_failed_comparison_shows(self, bridge, got):
        """Within a test reprs are whole, since its data is nobody's; and after it they mask."""
        async with TestBridge(bridge) as test:
            await test.say("hello", name="Maya")
            assert repr(got[0].content) == "Text(text='hello')"
            assert "name='Maya'" in repr(got[0])
        assert repr(got[0].content) == "Text(text='(5 characters)')"
        assert "Maya" not in repr(got[0])

    async def test_each_test_begins_with_nothing(self, bridge, got):
        """The same bridge is tried as often as one likes, and nothing is left of the last time."""
        for _ in range(3):
            async with TestBridge(bridge) as test:
                await test.say("hello")
                assert len(got) == 1
            got.clear()

    async def test_a_bridge_that_runs(self, bridge):
        """A bridge that runs cannot be tried, and goes on as it was."""
        async with TestBridge(bridge):
            with pytest.raises(ConfigurationError, match="runs already"):
                await TestBridge(bridge).__aenter__()
            assert (await bridge.health()).ready

    async def test_the_time_stands_still(self, bridge, got):
        """Events are of the time of the test, which only the test moves."""
        async with TestBridge(bridge) as test:
            await test.say("hello")
            began = test.clock.now()
            await test.sleep("1h")
            await test.say("hello")
        assert got[0].received_at == began
        assert (got[1].received_at - began).total_seconds() == 3600

    async def test_a_duration_that_is_none(self, bridge):
        """A word that is no duration is told as such."""
        async with TestBridge(bridge) as test:
            with pytest.raises(ConfigurationError, match="'soon'"):
                await test.sleep("soon")

    async def test_nobody_to_bring_it(self):
        """Without an adapter that brings samples it is said what to do."""
        bridge = Bridge()
        bridge.add_adapter("plain", Plain())
        async with TestBridge(bridge) as test:
            with pytest.raises(LookupError, match=r"use publish\(\)"):
                await test.say("hello")
            with pytest.raises(LookupError, match="no adapter 'sms'"):
                await test.say("hello", adapter="sms")


class TestSamples:
    @pytest.mark.parametrize(
        ("name", "fields"),
        [
            ("incs/whatsapp-text", {"text": "hi", "name": "Maya", "phone": "+6281234567890"}),
            ("incs/whatsapp-button", {"id": "track", "title": "Track it"}),
            ("incs/whatsapp-location", {"latitude": -6.2, "longitude": 106.8}),
            ("incs/rcs-text", {"text": "hi"}),
            ("whatsapp/text", {"text": "hi"}),
        ],
    )
    def test_fields(self, name, fields):
        """The event of a sample holds the fields that are asked for."""
        event = sample(name, **fields)
        told = {field: getattr(event.content, field, None) for field in fields}
        sender = {field: getattr(event.sender, field, None) for field in fields}
        assert {key: told[key] or sender[key] for key in fields} == fields

    def test_each_has_an_id_of_its_own(self):
        """Two samples of one name are two events."""
        assert sample("incs/whatsapp-text").key != sample("incs/whatsapp-text").key

    @pytest.mark.parametrize(
        ("name", "fields", "told"),
        [
            ("incs/whatsapp-txt", {}, "near it: incs/whatsapp-text"),
            ("incs/whatsapp-text", {"txt": "x"}, "did you mean 'text'"),
            ("incs/whatsapp-text", {"username": "x"}, "the sample tells none"),
            ("incs/status-read", {"status": "sunk"}, "attrs.evolve"),
        ],
    )
    def test_mistakes(self, name, fields, told):
        """A name or field that does not exist is told with what is near it."""
        with pytest.raises((LookupError, ValueError), match=told):
            sample(name, **fields)


def test_neither_pytest_nor_hypothesis_is_needed():
    """What tests of subscribers need is imported without either of them."""
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None\n"
        "import bridge.testing; from bridge.testing import TestBridge, sample\n"
        "sample('incs/whatsapp-text')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_fixture(pytester_like):
    """A conftest that asks for the plugin has the fixture, around its own fixture `bridge`."""
    pytester_like(
        conftest="""
            import pytest
            pytest_plugins = ["bridge.testing.fixtures"]

            @pytest.fixture
            def bridge():
                from bot import bridge
                return bridge
        """,
        bot="""
            from bridge import Bridge, Message
            from bridge.adapters.incs import Incs, IncsSettings

            bridge = Bridge()
            bridge.add_adapter("incs", Incs("incs", IncsSettings(tokens=("t",))))
            got = []

            @bridge.on(Message, name="bot")
            async def receive(message):
                got.append(message.content.text)
        """,
        test_bot="""
            import pytest
            import bot

            @pytest.mark.asyncio
            async def test_hello(test_bridge):
                await test_bridge.say("hello")
                assert bot.got == ["hello"]
        """,
    )


@pytest.fixture
def pytester_like(tmp_path):
    """Write files, run pytest on them in a process of its own, and expect it to pass."""

    def run(**files: str) -> None:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(dedent(text))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run
