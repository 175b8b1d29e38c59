"""All engines make the same of the same events, however they are put together.

That each does so over restarts is a law of `JournalContract`; it is measured by the journal in
memory, which is measured here by correlation itself.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.adapter.signing import Secret
from bridge.errors import CodecError
from bridge.journal.identity import name_of
from bridge.journal.ledger import encode_record
from bridge.journal.memory import MemoryJournal
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Journal, Start
from bridge.journal.query import MOST, Query
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Event, System, SystemKind
from bridge.testing.correlation import RUNS, Run, in_order, made_of
from bridge.testing.sample_events import (
    ANNE,
    ANNES_ID,
    BERT,
    NOON,
    message,
    read,
    unshown,
    unwritable,
)
from tests.bridge.journal.nats_servers import NatsServer
from tests.bridge.journal.postgres_servers import PostgresServer
from tests.bridge.journal.shelf import Shelf

_places = itertools.count()
_numbers = itertools.count()

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


def saying(phone: str, user_id: str | None, what: str) -> list[Event]:
    """Return what a user says, under these names, and what is appended with it."""
    number = next(_numbers)
    at = NOON + timedelta(hours=number)
    said = message(str(number), phone=phone, user_id=user_id, received_at=at)
    if what == "not ours":
        return [attrs.evolve(said, owned=False)]
    if what == "not shown":
        return [unshown(said)]
    if what == "moves":
        change = System(change=SystemKind.NUMBER, previous=phone, current=BERT)
        return [attrs.evolve(said, content=change)]
    if what == "fails":
        return [attrs.evolve(said, reply_until=at + timedelta(days=30)), unwritable(str(number))]
    return [attrs.evolve(said, reply_until=at + timedelta(days=1)) if what == "opens" else said]


_names = st.sampled_from(
    [(ANNE, None), (ANNE, ANNES_ID), ("", ANNES_ID), (BERT, None), (BERT, ANNES_ID), (BERT, "DE.1")]
)
_seldom = st.sampled_from(["opens", "fails", "not ours", "not shown", "moves", "ends", "dies"])
_what = st.one_of(st.just("says"), st.just("says"), _seldom)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(told=st.lists(st.tuples(_names, _what, st.integers(1, 3)), min_size=3, max_size=10))
@example(  # two users turn out to be one
    told=[
        ((BERT, None), "says", 2),
        ((ANNE, ANNES_ID), "says", 1),
        ((BERT, ANNES_ID), "says", 1),
        ((BERT, None), "says", 1),
    ]
)
@example(told=[((ANNE, None), what, 2) for what in ("says", "fails", "opens")])
@example(told=[((ANNE, None), what, 2) for what in ("says", "opens", "dies", "ends")])
def test_sqlite_over_time(tmp_path: Path, told: list[tuple[tuple[str, Any], str, int]]) -> None:
    """Whoever has a phone or an id by then, a user is the one whom the journal in memory knows.

    So it is after the journal was closed, and on the files as a kill leaves them.
    """
    appends = [(what, saying(*names, what)) for names, what, times in told for _ in range(times)]

    async def outcome(make: Callable[[], Journal], copy: Callable[[], object]) -> list[object]:
        async with AsyncExitStack() as stack:
            journal = await stack.enter_async_context(make())
            for what, events in appends:
                with suppress(CodecError):
                    await journal.append(events)
                if what == "dies":
                    copy()
                if what in {"dies", "ends"} and journal.durable:
                    await stack.aclose()
                    journal = await stack.enter_async_context(make())
            found = await journal.search(Query(limit=MOST))
            names = {name_of(entry.lane)[0] for entry in found}
            users = {name: await journal.record(name) for name in names}
            written = {name: user and encode_record(user) for name, user in users.items()}
            return [written, *((entry.lane, entry.event) for entry in found)]

    places = [tmp_path / f"{next(_places)}.db"]

    def copy() -> None:
        """Go on with a copy of the files as they are now."""
        copied = tmp_path / f"{next(_places)}.db"
        for suffix in ("", "-wal"):
            shutil.copy(f"{places[-1]}{suffix}", f"{copied}{suffix}")
        places.append(copied)

    expected = asyncio.run(outcome(MemoryJournal, lambda: None))
    told_of = asyncio.run(outcome(lambda: SqliteJournal(places[-1], windows_over=3), copy))
    assert told_of == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    told=st.lists(
        st.tuples(_names, st.sampled_from(["says", "says", "not ours", "not shown", "moves"])),
        min_size=3,
        max_size=12,
    )
)
@example(  # two users, both of them new, turn out to be one
    told=[
        ((ANNE, None), "says"),
        (("", ANNES_ID), "says"),
        (("", ANNES_ID), "says"),
        ((ANNE, ANNES_ID), "says"),
        (("", ANNES_ID), "says"),
    ]
)
def test_sqlite_at_once(tmp_path: Path, told: list[tuple[tuple[str, Any], str]]) -> None:
    """So it is where all of it shares a commit."""
    events = [event for names, what in told for event in saying(*names, what)]
    journal, one_by_one = SqliteJournal(tmp_path / f"{next(_places)}.db"), [(False, events)]

    async def append(journal: Journal) -> None:
        await asyncio.gather(*(journal.append([event]) for event in events))

    assert asyncio.run(published(one_by_one, (journal,), append)) == expected(one_by_one)


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
