"""Entries in memory for who keeps up, and read for who does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bridge.errors import JournalError
from bridge.journal.newest import Newest
from bridge.journal.protocol import Entry
from tests.bridge.events import message


def entries(first: int, last: int) -> list[Entry]:
    return [Entry(position=n, lane="a", event=message(f"{n}"), size=1) for n in range(first, last)]


class Stored:
    """What is stored, and how often it has been read."""

    def __init__(self, kept: Sequence[Entry] = ()) -> None:
        self.kept = list(kept)
        self.reads = 0
        self.fault: JournalError | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def read(self, position: int, limit: int) -> Sequence[Entry]:
        self.reads += 1
        await self.may_answer.wait()
        if self.fault is not None:
            raise self.fault
        return [entry for entry in self.kept if entry.position > position][:limit]


async def test_what_others_have_appended_is_read_once() -> None:
    """What somebody else has appended is read for all who ask, and is in memory then."""
    stored = Stored(entries(1, 5))
    newest = Newest(100, stored.read)
    newest.open(0)
    reading = [asyncio.create_task(newest.next_after(0, 10)) for _ in range(3)]
    await asyncio.sleep(0)
    newest.hear_of(4)
    assert await asyncio.gather(*reading) == [stored.kept] * 3
    assert await newest.next_after(2, 10) == stored.kept[2:]
    assert stored.reads == 1


async def test_who_joins_others_in_reading_misses_nothing_new() -> None:
    """What came after others had begun to read is given to whoever asks then, too."""
    kept: list[Entry] = []
    reads, may_answer = [], asyncio.Event()

    async def read(position: int, limit: int) -> Sequence[Entry]:
        found = [entry for entry in kept if entry.position > position]
        reads.append(position)
        await may_answer.wait()
        return found

    newest = Newest(100, read)
    newest.open(3)
    first = asyncio.create_task(newest.next_after(2, 10))
    while not reads:
        await asyncio.sleep(0)
    kept += entries(4, 5)
    newest.add(3, kept, 4)
    second = asyncio.create_task(newest.next_after(2, 10))
    await asyncio.sleep(0)
    may_answer.set()
    async with asyncio.timeout(60):
        assert await asyncio.gather(first, second) == [kept, kept]


async def test_what_comes_behind_others_is_not_passed_to_anybody_first() -> None:
    """What this process appends behind others' entries comes out after those."""
    stored = Stored(entries(1, 7))
    newest = Newest(100, stored.read)
    newest.open(0)
    newest.add(4, stored.kept[4:], 6)
    assert await newest.next_after(0, 10) == stored.kept


async def test_a_reader_further_than_anybody_here() -> None:
    """One who begins beyond what is in memory is given what comes, and so are the others."""
    stored = Stored(entries(1, 10))
    newest = Newest(100, stored.read)
    newest.open(0)
    newest.hear_of(9)
    assert await newest.next_after(5, 2) == stored.kept[5:7]
    stored.kept += entries(10, 11)
    newest.add(9, stored.kept[9:], 10)
    assert await newest.next_after(7, 10) == stored.kept[7:]
    assert await newest.next_after(6, 10) == stored.kept[6:]  # out of memory by now
    assert stored.reads == 2
    assert await newest.next_after(0, 10) == stored.kept


async def test_who_has_gone_away_leaves_no_error_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Reading that fails when nobody waits for it any more is not reported by the event loop."""
    stored = Stored()
    stored.may_answer.clear()
    newest = Newest(100, stored.read)
    newest.open(0)
    newest.hear_of(2)
    reading = asyncio.create_task(newest.next_after(0, 10))
    while not stored.reads:
        await asyncio.sleep(0)
    reading.cancel()
    stored.fault = JournalError("the server is away")
    stored.may_answer.set()
    await asyncio.wait([reading])
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)
    assert reading.cancelled()
    assert caplog.records == []


async def test_nobody_waits_for_a_journal_that_ends() -> None:
    """Whoever waits is told why nothing comes any more."""
    newest = Newest(100, Stored().read)
    newest.open(0)
    reading = asyncio.create_task(newest.next_after(0, 10))
    await asyncio.sleep(0)
    newest.end("the journal was closed")
    with pytest.raises(JournalError, match="was closed"):
        await reading
