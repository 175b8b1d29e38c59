"""What the memory journal does beyond the contract: it is bounded."""

from __future__ import annotations

import pytest

from bridge.errors import JournalError
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Appended, Settlement, Start
from tests.bridge.events import created, message


async def test_old_events_go() -> None:
    """Beyond its number the journal lets the oldest events go."""
    async with MemoryJournal(max_events=2) as journal:
        for name in "abc":
            await journal.append([message(name)])
        cursor = await journal.follow(start=Start.BEGINNING)
        assert [entry.event for entry in await cursor.read(10)] == [message("b"), message("c")]
        assert await journal.find(message("a").key) is None


async def test_subscriber_holds_back() -> None:
    """What a subscriber has yet to see is not dropped; an append is refused instead."""
    async with MemoryJournal(max_events=2) as journal:
        cursor = await journal.subscribe("slow")
        await journal.append([message("a"), message("b")])
        with pytest.raises(JournalError, match="2 events wait for their subscribers"):
            await journal.append([message("c")])
        health = await journal.health()
        assert (health.ready, health.reason) == (False, "2 events wait for their subscribers")
        entries = await cursor.read(10)
        await cursor.settle(Settlement(position=entries[-1].position))
        assert (await journal.health()).ready
        assert await journal.append([message("c")]) == Appended(published=1, duplicates=0)


async def test_memory_is_bounded() -> None:
    """Keys and tracks are forgotten too, the oldest first."""
    async with MemoryJournal(max_events=1) as journal:
        for number in range(10):
            await journal.append([created(f"90{number}", f"wamid.{number}")])
        last, first = created("909", "wamid.9"), created("900", "wamid.0")
        assert await journal.append([last]) == Appended(published=0, duplicates=1)
        assert await journal.append([first]) == Appended(published=1, duplicates=0)


async def test_purge_skips_nothing() -> None:
    """A purge in the middle does not disturb what drops the oldest events later."""
    async with MemoryJournal(max_events=2) as journal:
        await journal.append([message("a", user="+16505550000"), message("b")])
        assert await journal.purge("+16505550000") == 1
        await journal.append([message("c"), message("d")])
        cursor = await journal.follow(start=Start.BEGINNING)
        assert [entry.event for entry in await cursor.read(10)] == [message("c"), message("d")]
