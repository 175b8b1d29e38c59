"""What sending asks of the journal does not grow with what the journal holds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bridge import SqliteJournal
from bridge.errors import NotOwner
from bridge.journal.protocol import Journal
from bridge.journal.query import Query
from bridge.model import Template
from tests.bridge.outbox.trips import METADATA, USER, Told, planned, told, under_way

NOW = int(datetime.now(UTC).timestamp())
PROMOTION = Template(name="spring_sale", language="en", category="MARKETING")


def text(message_id: str, user: str = USER) -> dict[str, Any]:
    sent = {"from": user[1:], "id": message_id, "timestamp": str(NOW)}
    return {**sent, "type": "text", "text": {"body": "hello"}}


async def never(query: Query) -> None:
    raise AssertionError(f"entries were looked through: {query}")


@pytest.fixture
def unread(monkeypatch) -> Any:
    """Let nobody look through a journal from now on."""

    def refuse(journal: Journal) -> None:
        monkeypatch.setattr(journal, "scan", never)
        monkeypatch.setattr(journal, "search", never)

    return refuse


async def test_sending_looks_through_nothing(unread):
    """A message, a marketing template and a reply to another's copy take what is remembered."""
    async with told() as bridge:
        await bridge.tell("messages", {"messages": [text("wamid.1")]})
        await bridge.tell("standby", {"standby": {"messages": [text("wamid.copy")]}})
        own = bridge.trip.bridge
        unread(own.journal)
        assert (await own.send(USER, "hello", via="whatsapp")).is_new
        assert (await own.send(USER, PROMOTION, via="whatsapp")).is_new
        assert await own.window(bridge.trip.events[0]) is not None
        with pytest.raises(NotOwner):
            await own.reply(bridge.trip.events[1], "hello")


async def steps(tmp_path: Path, users: int) -> int:
    """Return how many steps SQLite takes to find a window beside so many users' messages."""
    journal = SqliteJournal(tmp_path / f"{users}.db", keys_in_memory=1)
    async with planned("whatsapp", journal=journal) as trip, under_way(trip):
        bridge = Told(trip)
        await bridge.tell("messages", {"messages": [text("wamid.1")]})
        others = [text(f"wamid.o{number}", f"+1650{number:07}") for number in range(users)]
        for start in range(0, users, 100):
            value = {"messaging_product": "whatsapp", "metadata": METADATA}
            await bridge.tell("messages", {**value, "messages": others[start : start + 100]})
        await trip.until(lambda: len(trip.events) == users + 1)
        taken = 0

        def count() -> bool:
            nonlocal taken
            taken += 1
            return False

        journal._reader.set_progress_handler(count, 1)
        assert await trip.bridge.window(trip.events[0])
        journal._reader.set_progress_handler(None)
        return taken


async def test_a_window_is_looked_up(tmp_path):
    """With twenty times as many users, SQLite takes hardly more steps to find one's window."""
    few, many = await steps(tmp_path, 100), await steps(tmp_path, 2000)
    assert 0 < many <= few + 20
