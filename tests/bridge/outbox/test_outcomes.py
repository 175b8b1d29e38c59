"""Many wait for what becomes of their messages, and each hears it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Cursor, Entry, Start
from bridge.testing.providers import Trouble
from tests.bridge.outbox.trips import Trip, planned, under_way


class Counted(MemoryJournal):
    """Counts the entries that were given to those who follow it."""

    given = 0

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        cursor = await super().follow(start=start)
        read = cursor.read

        async def counted(limit: int) -> Sequence[Entry]:
            entries = await read(limit)
            self.given += len(entries)
            return entries

        cursor.read = counted
        return cursor


@asynccontextmanager
async def waiting(journal: Any = None):
    """Give a trip in which the provider takes nothing yet, and then each message is accepted."""
    async with planned("rcs", journal=journal) as trip, under_way(trip):
        trip.provider.rules.statuses = ()
        trip.provider.trouble = Trouble.REDIRECT
        yield trip


def to(number: int) -> str:
    return f"+1650555{number:04}"


async def asked(trip: Trip, count: int) -> list[asyncio.Task[Any]]:
    """Send messages, and let a task for each wait for its outcome."""
    sendings = [await trip.bridge.send(to(n), "hello", via="rcs") for n in range(count)]
    tasks = [asyncio.create_task(each.outcome(60)) for each in sendings]
    await trip.until(lambda: trip.provider.requests)
    return tasks


async def test_each_status_is_read_once_however_many_wait():
    """A hundred who wait take no more than a few reads of each entry, and each hears its own."""
    journal = Counted()
    async with waiting(journal) as trip:
        before = journal.given
        tasks = await asked(trip, 100)
        trip.provider.trouble = None
        changes = await asyncio.gather(*tasks)
        assert len({change.aliases or change.message_id for change in changes}) == 100
        # A hundred messages and their statuses, also for the witness and whoever else follows.
        assert journal.given - before < 10 * 200


async def test_whoever_gives_up_costs_the_others_nothing():
    """One that reads for all is cancelled, and then the next one, and the others hear."""
    async with waiting() as trip:
        first, second, *others = await asked(trip, 5)
        first.cancel()
        await asyncio.wait([first])
        second.cancel()
        trip.provider.trouble = None
        changes = await asyncio.gather(*others)
        assert [change.current for change in changes] == ["accepted"] * 3
        assert (first.cancelled(), second.cancelled()) == (True, True)


async def test_what_was_told_before_somebody_asked():
    """Another waits for something else meanwhile, and has read past it."""
    async with waiting() as trip:
        (pending,) = await asked(trip, 1)
        trip.provider.trouble = None
        await pending
        trip.provider.rules.unreachable.add(to(2)[1:])
        failing = await trip.bridge.send(to(2), "hello", via="rcs")
        done = await trip.bridge.send(to(1), "hello", via="rcs")
        still = asyncio.create_task(done.outcome(60, until="read"))
        assert (await failing.outcome(60)).current == "failed"
        for _ in range(3):  # also where several have heard it already
            assert (await done.outcome(60)).current == "accepted"
        assert not still.done()
        still.cancel()


async def test_two_wait_for_one_message():
    """One until it is accepted, and one for longer than that takes."""
    async with waiting() as trip:
        sending = await trip.bridge.send(to(1), "hello", via="rcs")
        read = asyncio.create_task(sending.outcome(60, until="read"))
        accepted = asyncio.create_task(sending.outcome(60))
        await trip.until(lambda: trip.provider.requests)
        trip.provider.trouble = None
        assert (await accepted).current == "accepted"
        with pytest.raises(TimeoutError):
            await sending.outcome(0.01, until="read")
        read.cancel()


async def test_what_was_told_long_before_somebody_asked():
    """More has been read since than is remembered, while another still waits."""
    async with waiting() as trip:
        trip.provider.trouble = None
        sendings = [await trip.bridge.send(to(n), "hello", via="rcs") for n in range(2200)]
        still = asyncio.create_task(sendings[1].outcome(60, until="read"))
        await asyncio.gather(*(each.outcome(60) for each in sendings[1:]))
        assert (await sendings[0].outcome(60)).current == "accepted"
        still.cancel()
