"""All engines make the same of the same events, however they are put together and interrupted."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.adapter.signing import Secret
from bridge.journal.memory import MemoryJournal
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Journal, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.model import (
    Deletion,
    Direction,
    Event,
    Message,
    Origin,
    Party,
    Pricing,
    Status,
    System,
    SystemKind,
    Unsupported,
)
from bridge.model.keys import event_key, in_domain, unshown_key
from bridge.testing.sample_events import read
from tests.bridge.events import created, notice, numbered_status, status
from tests.bridge.journal.accounts import poorly, told
from tests.bridge.journal.nats_servers import NatsServer
from tests.bridge.journal.postgres_servers import PostgresServer
from tests.bridge.journal.shelf import Shelf

ANNE, BERT = "+5511987654321", "+4917012345678"
PARTIES = [
    Party(phone=ANNE),
    Party(phone="+551187654321", name="Ana"),
    Party(phone=ANNE, user_id="BR.1"),
    Party(user_id="BR.1"),
    Party(phone=BERT),
    Party(phone=BERT, user_id="DE.1"),
    Party(phone=BERT, user_id="DE.2"),
    Party(),
]
NEVER = 60.0
"""Seconds to settle: longer than any test takes."""

_places = itertools.count()


@st.composite
def anything(draw: st.DrawFn) -> Event:
    """Return an event with one of few ids, so that accounts, ties and users meet."""
    number = str(draw(st.integers(1, 3)))
    kind = draw(
        st.sampled_from(
            ["full", "poor", "out", "status", "numbered", "changed", "notice", "deleted", "unshown"]
        )
    )
    party = draw(st.sampled_from(PARTIES))
    if kind == "notice":
        return notice(number)
    if kind in ("status", "numbered"):
        what = draw(st.sampled_from([Status.SENT, Status.READ, Status.FAILED]))
        if kind == "numbered":
            return numbered_status(what, number)
        fields = draw(
            st.sampled_from([{}, {"pricing": Pricing(model="PMP")}, {"correlation": "x"}])
        )
        return status(what, f"wamid.{number}", **fields)
    full = told(f"wamid.{number}", party=party)
    if kind == "out":
        return created(number, draw(st.sampled_from([None, f"wamid.{number}"])))
    if kind == "unshown":
        where = draw(st.sampled_from([full, sent_to(party, full)]))
        key, content = unshown_key(full.key), Unsupported(provider_type="106")
        hidden = attrs.evolve(where, key=key, content=content)
        return draw(st.sampled_from([hidden, where, poorly(hidden, number, settle=NEVER)]))
    if kind == "deleted":
        key = event_key("deletion", "whatsapp", full.message_id)
        return attrs.evolve(full, key=key, content=Deletion(message_id=full.message_id))
    if kind == "changed":
        change = System(change=SystemKind.USER_ID, previous="DE.1", current="DE.2")
        return attrs.evolve(full, content=change)
    return full if kind == "full" else poorly(full, number, settle=NEVER)


def sent_to(party: Party, message: Message) -> Message:
    """Return a message of the business's to somebody."""
    return attrs.evolve(
        message,
        direction=Direction.OUTBOUND,
        origin=Origin.APP,
        sender=message.recipient,
        recipient=party,
    )


Run = tuple[bool, list[Event]]
"""Whether the journal is opened again first, and what is appended together."""


def runs(most: int) -> st.SearchStrategy[list[Run]]:
    events = st.lists(
        st.tuples(st.sampled_from(["a", "b"]), anything()).map(lambda d: in_domain(d[1], d[0])),
        min_size=1,
        max_size=4,
    )
    return st.lists(st.tuples(st.booleans(), events), min_size=1, max_size=most)


def in_order(told: list[Run]) -> list[Run]:
    """Return the same with times of receipt that grow, as they do, so that nothing is due yet."""
    number, now = itertools.count(), datetime.now(UTC)

    def later(event: Event) -> Event:
        return attrs.evolve(event, received_at=now + timedelta(microseconds=next(number)))

    return [(again, [later(event) for event in events]) for again, events in told]


def expected(told: list[Run]) -> list[Event]:
    shelf = Shelf()
    for _, events in told:
        for event in events:
            shelf.append(event)
    return shelf.published


async def published(make: Callable[[], Journal], told: list[Run]) -> Sequence[Event]:
    """Append to an engine, opening it again where it is to be, each event at once."""
    count = len(expected(told))
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(make())
        for again, events in told:
            if again and journal.durable:
                await stack.aclose()
                journal = await stack.enter_async_context(make())
            await journal.append(events)
        cursor = await journal.follow(start=Start.BEGINNING)
        return [entry.event for entry in await read(cursor, count)] if count else []


@given(runs(12))
def test_memory(told: list[Run]) -> None:
    """The journal in memory decides as correlation does."""
    told = in_order(told)
    assert asyncio.run(published(MemoryJournal, told)) == expected(told)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(told=runs(6), tail=st.sampled_from([0, 100]))
def test_sqlite(tmp_path: Path, told: list[Run], tail: int) -> None:
    """So does SQLite, from memory and from its file, and after restarts."""
    told, place = in_order(told), tmp_path / f"{next(_places)}.db"
    keys = tail or 1

    def make() -> SqliteJournal:
        return SqliteJournal(place, tail=tail, keys_in_memory=keys)

    assert asyncio.run(published(make, told)) == expected(told)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(told=runs(6))
def test_sqlite_in_groups(tmp_path: Path, told: list[Run]) -> None:
    """Appends that share a commit are decided as if each had its own."""
    told, place = in_order(told), tmp_path / f"{next(_places)}.db"

    async def append() -> Sequence[Event]:
        async with SqliteJournal(place) as journal:
            await asyncio.gather(*(journal.append([event]) for _, some in told for event in some))
            cursor = await journal.follow(start=Start.BEGINNING)
            count = len(expected(told))
            return [entry.event for entry in await read(cursor, count)] if count else []

    assert asyncio.run(append()) == expected(told)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


def joins(server: NatsServer, stream: str) -> NatsJournal:
    return NatsJournal(NatsSettings(servers=(server.url,), stream=stream, partitions=1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(told=runs(5))
def test_nats(server: NatsServer, told: list[Run]) -> None:
    """So does a process on NATS, also one that is started anew."""
    told, stream = in_order(told), f"one-{next(_places)}"
    assert asyncio.run(published(lambda: joins(server, stream), told)) == expected(told)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(told=runs(5))
def test_nats_in_two_processes(server: NatsServer, told: list[Run]) -> None:
    """Two processes that take turns decide as one: each knows what the other has decided."""
    told, stream = in_order(told), f"two-{next(_places)}"

    async def append() -> Sequence[Event]:
        async with joins(server, stream) as one, joins(server, stream) as other:
            for is_other, events in told:
                await (other if is_other else one).append(events)
            cursor = await one.follow(start=Start.BEGINNING)
            count = len(expected(told))
            return [entry.event for entry in await read(cursor, count)] if count else []

    assert asyncio.run(append()) == expected(told)


def in_postgres(server: PostgresServer, schema: str) -> PostgresJournal:
    return PostgresJournal(PostgresSettings(dsn=Secret(server.dsn), schema=schema))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(told=runs(5))
def test_postgres(postgres: PostgresServer, told: list[Run]) -> None:
    """So does a process on PostgreSQL, also one that is started anew."""
    told, schema = in_order(told), f"one_{next(_places)}"
    assert asyncio.run(published(lambda: in_postgres(postgres, schema), told)) == expected(told)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(told=runs(5))
def test_postgres_in_two_processes(postgres: PostgresServer, told: list[Run]) -> None:
    """Two processes that take turns decide as one: each knows what the other has decided."""
    told, schema = in_order(told), f"two_{next(_places)}"

    async def append() -> Sequence[Event]:
        async with in_postgres(postgres, schema) as one, in_postgres(postgres, schema) as other:
            for is_other, events in told:
                await (other if is_other else one).append(events)
            cursor = await one.follow(start=Start.BEGINNING)
            count = len(expected(told))
            return [entry.event for entry in await read(cursor, count)] if count else []

    assert asyncio.run(append()) == expected(told)
