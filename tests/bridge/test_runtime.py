"""The bridge: verify, parse, make durable, reply, and only then tell the subscribers."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from bridge import installed
from bridge.adapter import Callback, Parsed, Verified
from bridge.errors import (
    CodecError,
    ConfigurationError,
    JournalError,
    MalformedBody,
    MethodRefused,
    NotAuthentic,
    NotRunning,
    UnknownAdapter,
)
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Appended
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Event, Message, StatusChange, Text, Unrecognized
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings, ServerSettings, loads
from tests.bridge.fakes import TOKEN, Plain, PlainSettings

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


def callback(*ids: str, tail: str = TOKEN, **changes) -> Callback:
    body = {"messages": [{"id": each, "text": f"words of {each}"} for each in ids]}
    values = {"body": orjson.dumps(body), "received_at": NOW, "tail": tail}
    return Callback(**{**values, **changes})


class Slow(MemoryJournal):
    """A journal that lets others run before it has subscribed somebody."""

    async def subscribe(self, name, **options):
        for _ in range(100):
            await asyncio.sleep(0)
        return await super().subscribe(name, **options)


def a_bridge(**options) -> Bridge:
    bridge = Bridge(journal=MemoryJournal(), **options)
    bridge.add_adapter("plain", Plain())
    return bridge


class TestReceive:
    async def test_a_callback_becomes_events_for_its_subscribers(self):
        """Both messages of a body reach a subscriber, and the adapter's reply goes back."""
        got = []
        bridge = a_bridge()
        bridge.on(Message, content=Text)(got.append)
        async with bridge:
            reply = await bridge.receive("plain", callback("1", "2"))
        assert (reply.status, reply.body) == (200, b"ok")
        assert [event.message_id for event in got] == ["1", "2"]

    async def test_the_reply_does_not_wait_for_subscribers(self):
        """A subscriber that hangs does not keep the reply from the provider."""
        entered, release = asyncio.Event(), asyncio.Event()
        bridge = a_bridge()

        @bridge.on(Message)
        async def hang(event: Message) -> None:
            entered.set()
            await release.wait()

        async with bridge:
            assert (await bridge.receive("plain", callback("1"))).status == 200
            await entered.wait()
            assert (await bridge.receive("plain", callback("2"))).status == 200
            release.set()

    async def test_a_repeated_callback_is_acknowledged_and_published_once(self):
        """The provider's second delivery of a body gets its 200, subscribers get nothing new."""
        got = []
        bridge = a_bridge()
        bridge.on(Message)(got.append)
        async with bridge:
            for _ in range(10):
                assert (await bridge.receive("plain", callback("1"))).status == 200
        assert len(got) == 1

    async def test_events_are_kept_before_the_reply(self):
        """Where the journal cannot keep the events there is no reply but an error."""

        class Full(MemoryJournal):
            async def append(self, events):
                raise JournalError("disk full")

        bridge = Bridge(journal=Full())
        bridge.add_adapter("plain", Plain())
        async with bridge:
            with pytest.raises(JournalError):
                await bridge.receive("plain", callback("1"))

    @pytest.mark.parametrize("tail", ["", "wrong", TOKEN[:-1], TOKEN + "x"])
    async def test_a_forged_callback_keeps_nothing(self, tail):
        """Without the right token nothing is published."""
        got = []
        bridge = a_bridge()
        bridge.on(Event)(got.append)
        async with bridge:
            with pytest.raises(NotAuthentic):
                await bridge.receive("plain", callback("1", tail=tail))
        assert got == []

    async def test_callbacks_come_only_from_allowed_networks(self):
        """With allowed networks, another address and an unknown one are not authentic."""
        bridge = Bridge(journal=MemoryJournal())
        bridge.add_adapter("plain", Plain(), allow_networks=[ip_network("192.0.2.0/24")])
        async with bridge:
            await bridge.receive("plain", callback("1", client=ip_address("192.0.2.7")))
            for client in (ip_address("198.51.100.7"), ip_address("2001:db8::1"), None):
                with pytest.raises(NotAuthentic):
                    await bridge.receive("plain", callback("2", client=client))

    async def test_a_method_that_the_provider_never_uses_is_refused(self):
        """The error names the methods that would do."""
        async with a_bridge() as bridge:
            with pytest.raises(MethodRefused, match="only POST"):
                await bridge.receive("plain", callback("1", method="PUT"))

    async def test_a_body_that_is_no_json_publishes_nothing(self):
        """The adapter says where the body breaks, and nothing is kept."""
        async with a_bridge() as bridge:
            with pytest.raises(MalformedBody, match="line 1, column 2"):
                await bridge.receive("plain", callback(body=b"{"))

    async def test_an_unknown_adapter_is_an_error(self):
        """A name that is not configured is told so."""
        async with a_bridge() as bridge:
            with pytest.raises(UnknownAdapter, match="'nobody'"):
                await bridge.receive("nobody", callback("1"))

    async def test_before_and_after_its_life_it_receives_nothing(self):
        """A bridge that does not run cannot keep anything, so it does not acknowledge."""
        bridge = a_bridge()
        with pytest.raises(NotRunning):
            await bridge.receive("plain", callback("1"))
        assert not (await bridge.health()).ready
        async with bridge:
            assert (await bridge.health()).ready
            with pytest.raises(ConfigurationError, match="already"):
                await bridge.__aenter__()
        with pytest.raises(NotRunning):
            await bridge.receive("plain", callback("1"))


class TestBrokenAdapters:
    async def test_an_adapter_that_crashes_loses_nothing(self, caplog):
        """The whole body is published as Unrecognized, and no word of it is in the log."""
        got = []
        bridge = a_bridge()
        bridge.on(Unrecognized)(got.append)
        body = {"messages": [{"id": "1", "text": "fine"}, {"id": "2", "words": "a secret"}]}
        with caplog.at_level(logging.ERROR):
            async with bridge:
                reply = await bridge.receive("plain", callback(body=orjson.dumps(body)))
        assert reply.status == 200
        assert [event.raw for event in got] == [body]
        assert got[0].reason == "the adapter failed with KeyError"
        assert "fakes.py" in caplog.records[0].where
        assert "a secret" not in caplog.text

    async def test_an_adapter_that_crashes_over_no_json_keeps_the_text(self):
        """A body that is not JSON is kept as the text that it is."""

        class Crashing(Plain):
            def parse(self, verified: Verified, /) -> Parsed:
                raise RuntimeError

        got = []
        bridge = Bridge(journal=MemoryJournal())
        bridge.add_adapter("plain", Crashing())
        bridge.on(Unrecognized)(got.append)
        async with bridge:
            await bridge.receive("plain", callback(body=b"\xff no json"))
        assert got[0].raw == "\ufffd no json"

    async def test_an_adapter_that_cannot_verify_lets_nobody_in(self):
        """An exception while verifying is no proof of authenticity."""

        class Crashing(Plain):
            def verify(self, callback: Callback, /) -> Verified:
                raise RuntimeError

        bridge = Bridge(journal=MemoryJournal())
        bridge.add_adapter("plain", Crashing())
        async with bridge:
            with pytest.raises(NotAuthentic):
                await bridge.receive("plain", callback("1"))

    async def test_an_event_that_is_no_json_becomes_unrecognized(self):
        """A journal that cannot write an adapter's event keeps the body instead."""

        class Strict(MemoryJournal):
            async def append(self, events) -> Appended:
                if any(isinstance(event, Message) for event in events):
                    raise CodecError("event does not fit into JSON")
                return await super().append(events)

        got = []
        bridge = Bridge(journal=Strict())
        bridge.add_adapter("plain", Plain())
        bridge.on(Event)(got.append)
        async with bridge:
            assert (await bridge.receive("plain", callback("1"))).status == 200
        assert [event.kind for event in got] == ["unrecognized"]


class TestSubscribing:
    async def test_one_function_for_several_classes(self):
        """A subscriber to two classes gets both, in the order of their conversation."""
        got = []
        bridge = a_bridge()

        @bridge.on(Message, StatusChange, name="crm")
        async def take(event: Message | StatusChange) -> None:
            got.append(event)

        async with bridge:
            await bridge.receive("plain", callback("1"))
        assert [event.kind for event in got] == ["message"]

    def test_adapters_and_subscribers_have_names_of_their_own(self):
        """A second adapter or subscriber of one name is refused."""
        bridge = a_bridge()
        with pytest.raises(ConfigurationError, match="'plain'"):
            bridge.add_adapter("plain", Plain())
        bridge.on(Message, name="crm")(print)
        with pytest.raises(ConfigurationError, match="'crm'"):
            bridge.on(Message, name="crm")(print)

    def test_nobody_takes_the_place_of_what_sends(self):
        """A subscriber that is called as the bridge's own is refused, or nothing would be sent."""
        bridge = a_bridge()
        bridge.on(Message, name="outbox")(print)
        with pytest.raises(ConfigurationError, match="two subscribers are called 'outbox'"):
            bridge.send_through("plain", SimpleNamespace(channels={}))

    async def test_nobody_subscribes_to_a_bridge_that_runs(self):
        """A late subscriber is told to come before the start."""
        async with a_bridge() as bridge:
            with pytest.raises(ConfigurationError, match="before the bridge starts"):
                bridge.on(Message)(print)

    async def test_plain_blinker_receivers_get_events_too(self):
        """A receiver connected to a signal gets the event with the channel as sender."""
        got = []

        def receive(channel, *, event):
            got.append((channel, event.message_id))

        bridge = a_bridge()
        bridge.bus.signal(Message).connect(receive, sender="plain")
        async with bridge:
            await bridge.receive("plain", callback("1"))
        assert got == [("plain", "1")]

    async def test_a_receiver_that_connects_to_a_running_bridge_gets_the_next_callback(self):
        """It gets the callback that arrives right after it connected, and none from before."""
        got = []

        async def receive(channel, *, event):
            got.append(event.message_id)

        bridge = a_bridge()
        async with bridge:
            await bridge.receive("plain", callback("1"))
            bridge.bus.signal(Message).connect(receive)
            await bridge.receive("plain", callback("2"))
        assert got == ["2"]

    async def test_a_subscriber_called_signals_is_one_like_any_other(self):
        """It is drained, listed and woken under its name."""
        got, broken = [], True
        bridge = a_bridge(policy=DeliverySettings(tries=1))

        @bridge.on(Message, name="signals")
        async def take(event: Message) -> None:
            if broken:
                raise ValueError
            got.append(event.message_id)

        async with bridge:
            await bridge.receive("plain", callback("1"))
            await bridge.deliveries["signals"].drain(up_to=1)
            while not (letters := await bridge.journal.dead_letters()):
                await asyncio.sleep(0)
            broken = False
            await bridge.operators.retry([letters[0].id])
            while not got:
                await asyncio.sleep(0)
        assert got == ["1"]

    async def test_a_subscriber_that_never_ends_is_left_behind_at_the_end(self, caplog):
        """The end waits no longer than the drain limit, and says for whom."""
        entered = asyncio.Event()
        bridge = a_bridge(server=ServerSettings(drain_timeout=0.0))

        @bridge.on(Message, name="hanging")
        async def hang(event: Message) -> None:
            entered.set()
            await asyncio.Event().wait()

        async with bridge:
            await bridge.receive("plain", callback("1"))
            await entered.wait()
        assert [record.subscribers for record in caplog.records] == [["hanging"]]

    async def test_a_function_may_use_the_bridge_from_its_first_event_on(self, caplog):
        """What waited is given once the bridge runs, however long other subscribers take."""
        bridge = Bridge(journal=Slow())
        bridge.add_adapter("plain", Plain())
        kept = []

        @bridge.on(Message, name="bot", start="beginning")
        async def remember(event: Message) -> None:
            async with bridge.state(event) as state:
                state["seen"] = event.key
            kept.append(event.key)

        bridge.on(Message, name="other")(lambda _: None)
        async with bridge:
            await bridge.receive("plain", callback("1"))
        del kept[:]
        await bridge.journal.forget("bot")
        async with bridge:
            await bridge.caught_up()
        assert len(kept) == 1
        assert caplog.text == ""

    async def test_a_function_may_use_the_bridge_until_its_end(self, caplog):
        """What is finished while the bridge is left may still answer."""
        bridge, entered, going = a_bridge(), asyncio.Event(), asyncio.Event()
        kept = []

        @bridge.on(Message, name="bot")
        async def remember(event: Message) -> None:
            entered.set()
            await going.wait()
            async with bridge.state(event) as state:
                state["seen"] = event.key
            kept.append(event.key)

        async def leave_slowly() -> None:
            async with bridge:
                await bridge.receive("plain", callback("1"))
                await entered.wait()

        leaving = asyncio.create_task(leave_slowly())
        await entered.wait()
        while (await bridge.health()).ready:
            await asyncio.sleep(0)
        going.set()
        await leaving
        assert len(kept) == 1
        assert caplog.text == ""

    async def test_leaving_twice_is_harmless(self):
        """A bridge that has ended stays ended."""
        async with a_bridge() as bridge:
            pass
        await bridge.__aexit__(None, None, None)


def settings_for(text: str):
    return loads(text, {"plain": lambda: PlainSettings}, {}, engines=installed.engines())


class TestFromSettings:
    @pytest.fixture(autouse=True)
    def plain_is_installed(self, monkeypatch):
        """The adapter comes through the registry, as anyone's does."""
        monkeypatch.setattr("bridge.installed.load", {"plain": Plain}.__getitem__)

    async def test_everything_named_is_loaded(self):
        """Adapter, subscriber and journal are those that the settings name."""
        settings = settings_for(
            """
            [journal]
            engine = "memory"
            [adapters.main]
            type = "plain"
            [subscribers.crm]
            use = "tests.bridge.test_runtime:Collected.take"
            events = ["message"]
            channel = "plain"
            content = "text"
            """
        )
        bridge = Bridge.from_settings(settings)
        Collected.events.clear()
        async with bridge:
            await bridge.receive("main", callback("1"))
        assert [(event.source, event.message_id) for event in Collected.events] == [("main", "1")]

    @pytest.mark.parametrize(
        ("use", "message"),
        [
            ("no_such_module:f", "cannot import 'no_such_module': ModuleNotFoundError"),
            ("tests.bridge.test_runtime:nothing", "has no function 'nothing'"),
            ("tests.bridge.test_runtime:NOW", "has no function 'NOW'"),
        ],
    )
    def test_a_function_that_is_not_there_is_a_mistake_of_the_settings(self, use, message):
        """The problem names the key, the module and what went wrong with it."""
        settings = settings_for(f'[subscribers.crm]\nuse = "{use}"')
        with pytest.raises(ConfigurationError, match=r"subscribers\.crm\.use") as caught:
            Bridge.from_settings(settings)
        assert message in str(caught.value)


class Collected:
    events: list[Event] = []  # noqa: RUF012 - what the settings' subscriber collects into

    @staticmethod
    def take(event: Event) -> None:
        Collected.events.append(event)


def test_a_subscriber_may_have_a_policy_of_its_own():
    """The policy given to `on` is used instead of the bridge's."""
    bridge = a_bridge(policy=DeliverySettings(tries=3))
    bridge.on(Message, name="own", policy=DeliverySettings(tries=5))(print)
    bridge.on(Message, name="common")(repr)
    assert [bridge._policies[name][0].tries for name in ("own", "common")] == [5, 3]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys\n\nsys.exit(0)\n", "SystemExit: 0; put what runs as a program under"),
        ("import argparse\nargparse.ArgumentParser().parse_args(['--no'])\n", "SystemExit: 2"),
        ("import json\n\nimport no_such_module\n", "ModuleNotFoundError"),
        ("def f(event):\n    return event\n\nf(1 / 0)\n", "ZeroDivisionError"),
        ("def f(event):\n    return (\n", "SyntaxError"),
        ("from bridge import Mesage\n", "did you mean 'Message'?"),
        ("from bridge import Message\n\nMesage\n", "did you mean 'Message'?"),
        ("import bridge\n\nbridge.Text('a').contnet\n", "no attribute 'contnet'"),
        ("import bridge\n\nbridge.Text('a').txt\n", "did you mean 'text'?"),
        ("import subprocesses\n", "No module named 'subprocesses' ("),
        ("class A:\n    __dir__ = None\n\nA().b\n", "no attribute 'b' ("),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_line(tmp_path, monkeypatch, code, told):
    """What a subscriber's module does as it is imported is said as what it is, and where."""
    name = f"shop_{tmp_path.name}".replace("-", "_")
    path = tmp_path / f"{name}.py"
    path.write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    settings = settings_for(f'[subscribers.crm]\nuse = "{name}:f"')
    with pytest.raises(ConfigurationError, match=r"subscribers\.crm\.use") as caught:
        Bridge.from_settings(settings)
    assert told in str(caught.value)
    assert f"{path}:" in str(caught.value)


@pytest.mark.parametrize(
    ("made_of", "told"),
    [
        (
            {"journal": "x.db"},
            r'^journal: expected a journal such as SqliteJournal\("x.db"\), found ',
        ),
        ({"journal": Path("a/x.db")}, r'SqliteJournal\("a/x.db"\)'),
        ({"journal": SqliteJournal}, "found SqliteJournal$"),
        ({"policy": {"tries": 3}}, r"^policy: expected DeliverySettings\(...\), found a dict$"),
        ({"server": DeliverySettings()}, "^server: expected ServerSettings"),
        ({"outbox": 3, "journal": 4}, "^journal: .*, found 4\noutbox: .*, found 3$"),
    ],
)
def test_what_no_bridge_can_be_made_of_is_told_at_once(made_of, told):
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=told):
        Bridge(**made_of)
