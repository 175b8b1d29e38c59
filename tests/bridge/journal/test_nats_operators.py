"""What operators ask of the journal on NATS: right over all partitions, and not at any price."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.journal.lanes import lane_of
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.messages import Draft
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.protocol import (
    Cursor,
    DeadLetter,
    Held,
    Retry,
    Settlement,
    Start,
)
from bridge.model import Message
from bridge.ops.operators import StillRunning, UnknownSubscriber
from bridge.ops.results import lag_seconds
from bridge.runtime import Bridge
from bridge.testing.sample_events import read
from tests.bridge.events import message
from tests.bridge.journal.nats_servers import NatsServer

PHONES = [f"+1650555{number:04}" for number in range(20)]


def settings(nats: NatsServer, place: Path) -> NatsSettings:
    return NatsSettings(servers=(nats.url,), stream=place.name, partitions=2)


@pytest.fixture
async def journal(nats: NatsServer, tmp_path: Path) -> AsyncIterator[NatsJournal]:
    async with NatsJournal(settings(nats, tmp_path)) as journal:
        yield journal


def in_partition(number: int, name: str, received_at: datetime) -> Message:
    """Return a message whose conversation belongs to one of two partitions."""
    made = (message(name, user=phone, received_at=received_at) for phone in PHONES)
    return next(each for each in made if zlib.crc32(lane_of(each).encode()) % 2 == number)


async def test_a_call_for_a_partition_is_nothing_that_a_subscriber_lags(nats, tmp_path):
    """What processes write to be given a partition counts as no event, while nobody reads it."""
    async with NatsJournal(settings(nats, tmp_path)) as journal:
        await journal.subscribe("crm")
    async with NatsJournal(settings(nats, tmp_path)) as journal:
        await journal._broker.write(Draft(journal._streams.names.call(0, "crm"), b""))
        (state,) = await journal.subscribers()
        assert (state.lag, state.lagging_since) == (0, None)
        await journal.append([message("a")])
        (state,) = await journal.subscribers()
        assert state.lagging_since is not None


async def test_the_lag_is_that_of_the_partition_that_lags_most(journal):
    """A partition that is ahead does not hide for how long another has had something to do."""
    now = datetime.now(UTC)
    await journal.append([in_partition(1, "old", now - timedelta(hours=2))])
    await journal.append([in_partition(0, "older", now - timedelta(hours=3))])
    await journal.append([in_partition(0, "new", now)])
    cursor = await journal.subscribe("crm", start=Start.BEGINNING)
    (state,) = await journal.subscribers()
    assert state.lagging_since == pytest.approx((now - timedelta(hours=3)).timestamp())
    first, _, third = await read(cursor, 3)
    # Read partition by partition; in whichever order, one of them is left with something old.
    await cursor.settle(Settlement(position=first.position))
    (state,) = await journal.subscribers()
    assert state.lag == 2
    assert await lag_seconds(journal, state) >= 2 * 3600
    await cursor.settle(Settlement(position=third.position))
    (state,) = await journal.subscribers()
    assert (state.lag, state.lagging_since) == (0, None)
    assert await lag_seconds(journal, state) == 0


async def test_a_subscriber_of_another_process_is_not_forgotten(nats, tmp_path):
    """Who is served by some process cannot be dropped through one that does not know it."""

    def make() -> NatsJournal:
        return NatsJournal(settings(nats, tmp_path))

    async with Bridge(journal=make()) as operator:
        async with Bridge(journal=make()) as bridge:
            await bridge.journal.subscribe("crm")
            async with asyncio.timeout(30):
                while not await operator.journal.is_served("crm"):
                    await asyncio.sleep(0.01)
            with pytest.raises(StillRunning, match="is running in another process"):
                await operator.operators.forget("crm")
        async with asyncio.timeout(30):
            while await operator.journal.is_served("crm"):
                await asyncio.sleep(0.01)
        await operator.operators.forget("crm")
        with pytest.raises(UnknownSubscriber):
            await operator.operators.forget("crm")


async def die(journal: NatsJournal, cursor: Cursor, names: Sequence[str]) -> Sequence[DeadLetter]:
    """Let messages become dead letters."""
    await journal.append([message(name, user=PHONES[0]) for name in names])
    entries = await read(cursor, len(names))
    now = time.time()
    retry = Retry(tries=1, first_failed_at=now, failed_at=now, error="OSError")
    dead = [Held(entry=entry, retry=retry) for entry in entries]
    await cursor.settle(Settlement(position=entries[-1].position, dead=dead))
    return await journal.dead_letters(limit=1000)


async def test_a_retry_costs_the_same_however_much_is_held(journal):
    """Dead letters are retried without all that is held already being read for each."""
    cursor = await journal.subscribe("crm")
    letters = await die(journal, cursor, [f"{number:03}" for number in range(120)])
    sent = journal._broker._client.stats
    for letter in letters[:100]:
        await journal.retry(letter.id)
    before = sent["out_msgs"]
    for letter in letters[100:]:
        await journal.retry(letter.id)
    # Each writes, reads and tells a few times; reading what is held would be 100 times more.
    assert sent["out_msgs"] - before < 20 * 20
    assert len(await cursor.held(lane_of(letters[0].entry.event), 1000)) == 120
