"""A burst of messages for one call: which belong together, and that none is lost or doubled."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import Bridge, Event, MemoryJournal, Message, SqliteJournal, StatusChange, Text
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.assembly import subscriber_of
from bridge.errors import ConfigurationError
from bridge.settings import DeliverySettings, SubscriberEntry
from bridge.testing import TestBridge, sample

PATIENCE = 30
ANNE, BERT = "+16505551234", "+16505559876"


def a_bridge(journal) -> Bridge:
    bridge = Bridge(journal=journal)
    bridge.add_adapter("whatsapp", WhatsApp("whatsapp", WhatsAppSettings(app_secrets=("s",))))
    return bridge


def words(burst: list[Message]) -> list[str]:
    return [message.content.text for message in burst]


@pytest.fixture
def bridge() -> Bridge:
    return a_bridge(MemoryJournal())


@pytest.fixture
def got(bridge) -> list[list[str]]:
    bursts: list[list[str]] = []

    @bridge.on(Message, content=Text, gather="3s", name="bot")
    async def hear(burst: list[Message[Text]]) -> None:
        bursts.append(words(burst))

    return bursts


class TestWhichBelongTogether:
    async def test_a_burst_is_one_list(self, bridge, got):
        """Nothing comes while somebody goes on writing, and then all of it at once, in order."""
        async with TestBridge(bridge) as test:
            for text in ("hi", "quick question", "how do I"):
                await test.say(text)
                await test.sleep("2s")
            assert got == []
            await test.sleep("1s")
            assert got == [["hi", "quick question", "how do I"]]

    async def test_after_a_silence_it_is_another(self, bridge, got):
        """What follows later than that is a burst of its own."""
        async with TestBridge(bridge) as test:
            await test.say("hi")
            await test.sleep("3s")
            await test.say("hello?")
            await test.sleep("3s")
        assert got == [["hi"], ["hello?"]]

    async def test_more_than_one_call_takes(self, bridge, got):
        """Of a flood each call gets a hundred, and all of it comes."""
        texts = [str(number) for number in range(250)]
        async with TestBridge(bridge) as test:
            for text in texts:
                await test.say(text)
            for _ in range(3):
                await test.sleep("3s")
        assert [len(burst) for burst in got] == [100, 100, 50]
        assert [text for burst in got for text in burst] == texts

    async def test_conversations_have_nothing_in_common(self, bridge, got):
        """Two users who write at the same time get an answer each, in their own time."""
        async with TestBridge(bridge) as test:
            await test.say("a", user=ANNE)
            await test.sleep("2s")
            await test.say("b", user=BERT)
            await test.sleep("1s")
            assert got == [["a"]]
            await test.sleep("2s")
            assert got == [["a"], ["b"]]

    async def test_somebody_who_never_stops(self, bridge, got):
        """After ten times the silence there is an answer whatever comes."""
        async with TestBridge(bridge) as test:
            for number in range(18):
                await test.say(str(number))
                await test.sleep("2s")
            assert got[0] == [str(number) for number in range(15)]

    async def test_what_comes_while_it_is_at_work(self, bridge):
        """Messages that come during a call are the next burst."""
        bursts = []
        entered, release = asyncio.Event(), asyncio.Event()

        @bridge.on(Message, gather=0.01, name="slow")
        async def hear(burst: list[Message]) -> None:
            bursts.append(words(burst))
            entered.set()
            await release.wait()

        async with bridge:
            await bridge.journal.append([sample("whatsapp/text", text="one")])
            async with asyncio.timeout(PATIENCE):
                await entered.wait()
            await bridge.journal.append([sample("whatsapp/text", text="two")])
            await bridge.journal.append([sample("whatsapp/text", text="three")])
            release.set()
            async with asyncio.timeout(PATIENCE):
                while sum(map(len, bursts)) < 3:
                    await asyncio.sleep(0.001)
        assert bursts[0] == ["one"]
        assert [text for burst in bursts for text in burst] == ["one", "two", "three"]

    async def test_a_journal_in_memory_that_ends(self):
        """What would be lost with the process is handed over before it ends."""
        bursts = []
        bridge = Bridge(journal=MemoryJournal())
        bridge.on(Message, gather="1m", name="bot")(lambda burst: bursts.append(words(burst)))
        async with bridge:
            await bridge.journal.append([sample("whatsapp/text", text=text) for text in "ab"])
        assert bursts == [["a", "b"]]

    async def test_a_plain_function(self, bridge):
        """A function that is not async gets lists too."""
        bursts = []
        bridge.on(Message, gather=3, name="plain")(lambda burst: bursts.append(words(burst)))
        async with TestBridge(bridge) as test:
            await test.say("a")
            await test.say("b")
            await test.sleep(3)
        assert bursts == [["a", "b"]]


class TestFailures:
    async def test_a_burst_fails_and_comes_again_whole(self, bridge):
        """What failed together comes again together, and what came since comes after it."""
        bursts = []

        @bridge.on(Message, gather="3s", name="fails", policy=DeliverySettings(jitter=0))
        async def hear(burst: list[Message]) -> None:
            bursts.append(words(burst))
            if len(bursts) == 1:
                raise KeyError

        async with TestBridge(bridge) as test:
            await test.say("a")
            await test.say("b")
            with pytest.raises(KeyError):
                await test.sleep("3s")
            await test.say("c")
            await test.sleep("10s")
        assert bursts == [["a", "b"], ["a", "b"], ["c"]]

    async def test_the_last_try(self, bridge):
        """All of a burst are dead letters after its last try, and one that is retried comes."""
        bursts = []

        @bridge.on(Message, gather="3s", name="fails", policy=DeliverySettings(tries=1))
        async def hear(burst: list[Message]) -> None:
            bursts.append(words(burst))
            if len(bursts) == 1:
                raise KeyError

        async with TestBridge(bridge) as test:
            await test.say("a")
            await test.say("b")
            with pytest.raises(KeyError):
                await test.sleep("3s")
            letters = await bridge.operators.dead_letters()
            assert [letter.entry.event.content.text for letter in letters] == ["a", "b"]
            await bridge.operators.retry([letters[1].id])
            await test.sleep("3s")
        assert bursts == [["a", "b"], ["b"]]

    async def test_it_survives_a_restart(self, tmp_path):
        """What was gathered when the bridge ended is handed over by the next one, once."""
        events = [sample("whatsapp/text", text=text) for text in "abc"]
        journal = SqliteJournal(tmp_path / "bridge.db")
        for gather in ("1m", 0.01):
            bursts = []
            bridge = Bridge(journal=journal)
            bridge.on(Message, gather=gather, name="bot")(
                lambda got, b=bursts: b.append(words(got))
            )
            async with bridge:
                await bridge.journal.append(events)  # the second time they are known
                async with asyncio.timeout(PATIENCE):
                    while gather != "1m" and not bursts:
                        await bridge.deliveries["bot"].wake(at_once=True)
                        await asyncio.sleep(0.001)
        assert bursts == [["a", "b", "c"]]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([ANNE, BERT]), st.floats(0, 7), st.booleans()), max_size=12)
)
def test_nothing_is_lost_and_order_is_kept(steps):
    """Whoever writes when, and whatever fails: all of it comes in order, and once if it worked."""

    async def run() -> None:
        bridge = a_bridge(MemoryJournal())
        taken: dict[str, list[str]] = {ANNE: [], BERT: []}
        failing = {str(number) for number, (*_, fails) in enumerate(steps) if fails}

        @bridge.on(Message, gather="3s", name="bot", policy=DeliverySettings(jitter=0))
        async def hear(burst: list[Message]) -> None:
            if failing & set(words(burst)):
                failing.difference_update(words(burst))
                raise KeyError
            taken[burst[0].sender.phone] += words(burst)

        async with TestBridge(bridge) as test:
            for number, (user, pause, _) in enumerate(steps):
                for call in (test.say(str(number), user=user), test.sleep(pause)):
                    with suppress(KeyError, ExceptionGroup):
                        await call
            with suppress(KeyError, ExceptionGroup):
                await test.sleep("1h")
        for user, texts in taken.items():
            assert texts == [str(n) for n, (whose, *_) in enumerate(steps) if whose == user]

    asyncio.run(run())


class TestMistakes:
    @pytest.mark.parametrize("gather", ["soon", 0, -1, "2m", True, float("nan")])
    def test_no_duration(self, bridge, gather):
        """What is no duration up to a minute is told when it is written."""
        with pytest.raises(ConfigurationError, match=r'gather: expected a duration up to "1m"'):
            bridge.on(Message, gather=gather)

    @pytest.mark.parametrize("events", [(Event,), (StatusChange,), (Message, StatusChange)])
    def test_only_messages_are_gathered(self, bridge, events):
        """Nothing else comes in bursts that somebody would answer."""
        with pytest.raises(ConfigurationError, match="gathers messages"):
            bridge.on(*events, gather="3s")

    def test_in_a_configuration(self, bridge):
        """TOML has the same setting."""
        entry = SubscriberEntry(name="bot", use="builtins:print", events=("message",), gather=3.0)
        assert subscriber_of(entry, bridge.media_keeper).gather == 3.0
