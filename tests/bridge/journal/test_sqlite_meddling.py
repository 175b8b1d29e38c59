"""Other programs that write into the file of a journal."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import apsw
import pytest

from bridge.errors import JournalError
from bridge.journal.protocol import Settlement
from bridge.journal.sqlite import SqliteJournal
from tests.bridge.events import message

PATIENCE = 60.0


def meddle(path: Path, statement: str) -> None:
    """Change the file as a shell of SQLite does, beside the journal or without it."""
    other = apsw.Connection(str(path))
    other.set_busy_timeout(10_000)
    other.execute(statement)
    other.close()


async def given(journal: SqliteJournal, *names: str) -> list[str]:
    """Return what a subscriber is given next, once these have been appended."""
    cursor = await journal.subscribe("crm")
    for name in names:
        await journal.append([message(name)])
    got: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while len(got) < len(names):
            entries = await cursor.read(10)
            got += [entry.event.message_id for entry in entries]
            await cursor.settle(Settlement(position=entries[-1].position))
    return got


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries",
        "UPDATE subscribers SET position = 1000",
        "DELETE FROM entries; UPDATE subscribers SET position = 1000",
    ],
)
async def test_a_subscriber_that_is_ahead_is_given_what_comes(path: Path, statement: str) -> None:
    """No event is appended behind what a subscriber has settled, where it would never get it."""
    async with SqliteJournal(path) as journal:
        assert await given(journal, "a", "b", "c") == ["a", "b", "c"]
    meddle(path, statement)
    async with SqliteJournal(path) as journal:
        assert await given(journal, "d", "e") == ["d", "e"]
    async with SqliteJournal(path) as journal:
        assert await given(journal, "f") == ["f"]


async def test_a_position_that_another_program_has_taken(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One append fails, that is told, and the journal goes on behind what it finds."""
    async with SqliteJournal(path) as journal:
        assert await given(journal, "a") == ["a"]
        meddle(
            path,
            "INSERT INTO entries (position, key, at) SELECT position + 1, x'00', at FROM entries",
        )
        with pytest.raises(JournalError):
            await journal.append([message("b")])
        async with asyncio.timeout(PATIENCE):
            while not (await journal.health()).ready:
                await asyncio.sleep(0.01)
        assert (await journal.health()).losses == 1
        assert await given(journal, "b", "c") == ["b", "c"]
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL]
    assert told == ["the journal takes nothing more: another program has written into the journal"]
