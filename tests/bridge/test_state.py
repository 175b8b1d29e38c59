"""What subscribers remember of conversations, as their authors use it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from bridge import Bridge, Message, Text
from bridge.errors import CodecError, ConfigurationError, JournalError, NotRunning
from bridge.journal.memory import MemoryJournal
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Conversation, Party
from bridge.model.keys import conversation_id
from bridge.testing import TestBridge
from tests.bridge.events import ACCOUNT, message

ANNE, BERT = (message(name, user=f"+1650555123{number}") for number, name in enumerate("ab"))


def counting() -> tuple[Bridge, list[int]]:
    """Return a bridge whose subscriber counts the messages of each conversation."""
    bridge, counts = Bridge(), []

    @bridge.on(Message, content=Text, name="counter")
    async def count(event: Message[Text]) -> None:
        async with bridge.state(event.conversation, ttl="1h") as state:
            state["count"] = state.get("count", 0) + 1
            counts.append(state["count"])

    return bridge, counts


def again(number: int, of: Message = ANNE) -> Message:
    return message(f"{of.message_id}{number}", user=of.sender.phone)


async def test_it_is_there_at_the_next_event() -> None:
    """A subscriber finds what it remembered of a conversation, and of no other."""
    bridge, counts = counting()
    async with TestBridge(bridge) as test:
        await test.publish(ANNE)
        await test.publish(BERT)
        await test.publish(again(1), again(2))
        async with bridge.state(ANNE, name="counter") as state:
            assert state == {"count": 3}
        async with bridge.state(BERT.conversation.id, name="counter") as state:
            assert state == {"count": 1}
        async with bridge.state(ANNE.conversation, name="other") as state:
            assert state == {}
    assert counts == [1, 1, 2, 3]


async def test_it_is_forgotten_after_its_time() -> None:
    """A state lives for its `ttl` from its last change on."""
    bridge, counts = counting()
    async with TestBridge(bridge) as test:
        await test.publish(ANNE)
        await test.sleep("59m")
        await test.publish(again(1))
        await test.sleep("59m")
        await test.publish(again(2))
        await test.sleep("1h")
        await test.publish(again(3))
    assert counts == [1, 2, 3, 1]


async def test_what_fails_remembers_nothing() -> None:
    """A block that raises changes nothing, so that the next try finds what the first did."""
    bridge, seen = Bridge(), list[dict[str, Any]]()

    @bridge.on(Message, name="bot")
    async def fail(event: Message) -> None:
        async with bridge.state(event.conversation) as state:
            seen.append(dict(state))
            state["tried"] = True
            if len(seen) == 1:
                raise RuntimeError("the CRM is away")

    async with TestBridge(bridge) as test:
        with pytest.raises(RuntimeError, match="CRM"):
            await test.publish(ANNE)
        await test.sleep("1h")
        async with bridge.state(ANNE, name="bot") as state:
            assert state == {"tried": True}
    assert seen == [{}, {}]


async def test_it_survives_a_restart(tmp_path: Path) -> None:
    """What a block left behind is there when the bridge starts again; left empty, it is gone."""
    bridge = Bridge(journal=SqliteJournal(tmp_path / "bridge.db"))
    async with bridge, bridge.state(ANNE, name="bot") as state:
        state["cart"] = ["apples", {"number": 2, "price": 1.5, "gift": None}]
    async with bridge:
        async with bridge.state(ANNE, name="bot") as state:
            assert state == {"cart": ["apples", {"number": 2, "price": 1.5, "gift": None}]}
            state.clear()
        assert await bridge.journal.read_state(ANNE.conversation.id, "bot") is None


async def test_blocks_of_one_state_take_turns() -> None:
    """Of several blocks for one conversation and name, each sees what the one before it left."""
    async with Bridge(journal=MemoryJournal()) as bridge:

        async def add() -> None:
            async with bridge.state(ANNE, name="bot") as state:
                count = state.get("count", 0)
                await asyncio.sleep(0)
                state["count"] = count + 1

        await asyncio.gather(*(add() for _ in range(20)))
        async with bridge.state(ANNE, name="bot") as state:
            assert state == {"count": 20}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({1}, "serializable: set"),
        (datetime(2026, 11, 1), "serializable: datetime"),  # noqa: DTZ001 - it is refused
        ({1: "one"}, "str"),
        (float("nan"), r"neither nan nor infinity: see state\['value'\]"),
        ({"of": [None, (1.5, float("-inf"))]}, r"see state\['value'\]\['of'\]\[1\]\[1\]"),
        ("x" * (64 << 10), "65559 bytes"),
    ],
)
async def test_only_json_of_some_size_is_kept(value: object, told: str) -> None:
    """What is no JSON, would be read back as something else, or is too large is refused."""
    async with Bridge(journal=MemoryJournal()) as bridge:
        async with bridge.state(ANNE, name="bot") as state:
            state["before"] = 1
        with pytest.raises(CodecError, match=told):
            async with bridge.state(ANNE, name="bot") as state:
                state["value"] = value
        async with bridge.state(ANNE, name="bot") as state:
            assert state == {"before": 1}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "outside a subscriber, a state needs a name"),
        ({"name": ""}, "1 to 100 printable characters"),
        ({"name": "a\nb"}, "1 to 100 printable characters"),
        ({"name": "x" * 101}, "1 to 100 printable characters"),
        ({"name": "bot", "ttl": "soon"}, "a duration such as '30d', found 'soon'"),
        ({"name": "bot", "ttl": 0}, "at least 1"),
        ({"name": "bot", "ttl": float("nan")}, "at least 1"),
        ({"name": "bot", "ttl": float("inf")}, "at least 1"),
    ],
)
async def test_mistakes_are_told(options: dict[str, Any], told: str) -> None:
    """A name or a time that cannot be meant is refused before anything is read."""
    async with Bridge(journal=MemoryJournal()) as bridge:
        with pytest.raises(ConfigurationError, match=told):
            async with bridge.state(ANNE, **options):
                pass


async def test_a_block_within_itself_is_refused() -> None:
    """A block for what an outer one has open is told so, and does not wait for ever."""
    async with Bridge(journal=MemoryJournal()) as bridge, bridge.state(ANNE, name="bot"):
        async with bridge.state(ANNE, name="other"), bridge.state(BERT, name="bot"):
            pass
        with pytest.raises(ConfigurationError, match="open here already"):
            async with bridge.state(ANNE, name="bot"):
                pass
    async with bridge, bridge.state(ANNE, name="bot"):
        pass


async def test_joined_conversations() -> None:
    """Where two conversations turn out to be one user's, the older one's state goes on."""
    bridge, counts = counting()
    by_id = Party(user_id="US.7")
    first = message("1", user="+16505551230")
    async with TestBridge(bridge) as test:
        await test.publish(first)
        await test.publish(again(1, first))
        other = Conversation(id=conversation_id("whatsapp", ACCOUNT, "US.7"))
        later = first.received_at + timedelta(seconds=1)
        await test.publish(message("2", sender=by_id, conversation=other, received_at=later))
        both = attrs.evolve(by_id, phone="+16505551230")
        await test.publish(message("3", sender=both, user="+16505551230"))
        await test.publish(message("4", sender=by_id, conversation=other))
    assert counts == [1, 2, 1, 3, 4]


async def test_a_bridge_that_does_not_run_remembers_nothing() -> None:
    """Outside of its life a bridge refuses, as it does to send."""
    with pytest.raises(NotRunning):
        async with Bridge(journal=MemoryJournal()).state(ANNE, name="bot"):
            pass


async def test_memory_is_bounded() -> None:
    """A journal in memory refuses a state beyond its bound."""
    journal = MemoryJournal(max_events=1)
    async with Bridge(journal=journal) as bridge:
        async with bridge.state(ANNE, name="bot") as state:
            state["a"] = 1
        with pytest.raises(JournalError, match="1 states are kept"):
            async with bridge.state(BERT, name="bot") as state:
                state["b"] = 1
        async with bridge.state(ANNE, name="bot") as state:
            state["a"] = 2
