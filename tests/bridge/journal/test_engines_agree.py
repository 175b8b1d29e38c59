"""All engines make the same of the same events, however they are put together.

That each does so over restarts is a law of `JournalContract`; it is measured by the journal in
memory, which is measured here by correlation itself.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from bridge.adapter.signing import Secret
from bridge.journal.memory import MemoryJournal
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Journal, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Event
from bridge.testing.correlation import RUNS, Run, in_order, made_of
from bridge.testing.sample_events import read
from tests.bridge.journal.nats_servers import NatsServer
from tests.bridge.journal.postgres_servers import PostgresServer
from tests.bridge.journal.shelf import Shelf

_places = itertools.count()

Told = list[tuple[bool, list[Event]]]


def expected(told: Told) -> list[Event]:
    shelf = Shelf()
    for _, events in told:
        for event in events:
            shelf.append(event)
    return shelf.published


async def published(
    told: Told, journals: Sequence[Journal], append: Callable[..., Awaitable[object]]
) -> list[Event]:
    """Append to journals of one place, and return what one of them gives out."""
    count = len(expected(told))
    async with AsyncExitStack() as stack:
        for journal in journals:
            await stack.enter_async_context(journal)
        await append(*journals)
        cursor = await journals[0].follow(start=Start.BEGINNING)
        return [entry.event for entry in await read(cursor, count)] if count else []


@given(RUNS)
def test_memory(runs: list[Run]) -> None:
    """The journal in memory decides as correlation does."""
    told = in_order(runs)
    _, found, _ = asyncio.run(made_of(MemoryJournal, told))
    assert [event for _, event in found] == expected(told)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(runs=RUNS)
def test_sqlite_in_groups(tmp_path: Path, runs: list[Run]) -> None:
    """Appends that share a commit are decided as if each had its own."""
    told, journal = in_order(runs), SqliteJournal(tmp_path / f"{next(_places)}.db")

    async def append(journal: Journal) -> None:
        await asyncio.gather(*(journal.append([event]) for _, some in told for event in some))

    assert asyncio.run(published(told, (journal,), append)) == expected(told)


def in_turns(told: Told, one: Journal, other: Journal) -> list[Event]:
    async def append(*journals: Journal) -> None:
        for is_other, events in told:
            await journals[is_other].append(events)

    return asyncio.run(published(told, (one, other), append))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(runs=RUNS)
def test_nats_in_two_processes(nats: NatsServer, runs: list[Run]) -> None:
    """Two processes that take turns decide as one: each knows what the other has decided."""
    told, stream = in_order(runs), f"two-{next(_places)}"
    joined = NatsSettings(servers=(nats.url,), stream=stream, partitions=1)
    assert in_turns(told, NatsJournal(joined), NatsJournal(joined)) == expected(told)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(runs=RUNS)
def test_postgres_in_two_processes(postgres: PostgresServer, runs: list[Run]) -> None:
    """Two processes that take turns decide as one: each knows what the other has decided."""
    told, schema = in_order(runs), f"two_{next(_places)}"
    shared = PostgresSettings(dsn=Secret(postgres.dsn), schema=schema)
    assert in_turns(told, PostgresJournal(shared), PostgresJournal(shared)) == expected(told)
