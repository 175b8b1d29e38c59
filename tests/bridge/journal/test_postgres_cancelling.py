"""A cancellation strikes the journal at each of its waits, and leaves no connection open."""

from __future__ import annotations

import asyncio
import gc
import itertools
import warnings
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import pytest

from bridge.adapter.signing import Secret
from bridge.errors import JournalError
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Settlement, Start
from bridge.testing.sample_events import read
from tests.bridge.events import message
from tests.bridge.journal.postgres_servers import PostgresServer

TASKS = ("Members.run", "Appender.run", "Members.run_announcing", "PostgresJournal._sweep")


@attrs.define
class Struck:
    """Awaits a coroutine, and cancels it at some of its waits, the first of which is `at`.

    It is cancelled before what it waits for has come, or just when it has.
    """

    coroutine: Coroutine[Any, Any, object]
    at: int
    times: int
    has_come: bool
    waits: int = 0

    def __await__(self) -> Generator[Any, None, object]:
        own = self.coroutine.__await__()
        is_struck = False
        while True:
            try:
                future = own.throw(asyncio.CancelledError()) if is_struck else next(own)
            except StopIteration as end:
                return end.value
            self.waits += 1
            is_struck = self.at <= self.waits < self.at + self.times
            if not is_struck or self.has_come or future is None:
                try:
                    yield future
                except asyncio.CancelledError:  # from elsewhere
                    is_struck = True
            else:
                future._asyncio_future_blocking = False  # as a task does with what it waits for
                future.cancel()


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """Fail where a connection is given up that is open."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(each.message) for each in told] == []


async def run(struck: Struck) -> None:
    await struck


@contextmanager
def striking(which: str, at: int) -> Iterator[list[Struck]]:
    """Strike the first task of a name twice; give it once it has begun."""
    struck: list[Struck] = []

    def make(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        if coroutine.__qualname__ == which and not struck:
            struck.append(Struck(coroutine, at, times=2, has_come=False))
            coroutine = run(struck[0])
        return asyncio.Task(coroutine, loop=loop, **options)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(make)
    try:
        yield struck
    finally:
        loop.set_task_factory(None)


async def use(journal: PostgresJournal, name: str) -> None:
    async with journal:
        cursor = await journal.subscribe(name, start=Start.BEGINNING)
        while True:
            with suppress(JournalError):  # the write was cut off
                await journal.append([message(name)])
                break
        (entry,) = await read(cursor, 1)
        async with cursor.transaction(entry) as connection:
            await connection.execute("SELECT 1")
        await cursor.settle(Settlement(position=entry.position))


@pytest.mark.parametrize(("times", "has_come"), [(1, False), (1, True), (2, False)])
async def test_whoever_uses_it_is_cancelled(
    postgres: PostgresServer, times: int, has_come: bool
) -> None:
    """Opened, used and left: at each wait it is cancelled, and at the next one again."""
    schema = f"struck_{times}_{has_come}".lower()
    settings = PostgresSettings(dsn=Secret(postgres.dsn), schema=schema, partitions=1)
    with nothing_left_open():
        for at in itertools.count(1):
            struck = Struck(use(PostgresJournal(settings), f"{at}"), at, times, has_come)
            with suppress(asyncio.CancelledError):
                await asyncio.create_task(run(struck))
            if struck.waits < at:
                break
    assert at > 20


@pytest.mark.parametrize("which", TASKS)
async def test_a_task_of_its_own_is_cancelled(postgres: PostgresServer, which: str) -> None:
    """At each wait a task is cancelled, and at the next one again: the journal goes on."""
    schema = f"struck_{TASKS.index(which)}"
    settings = PostgresSettings(dsn=Secret(postgres.dsn), schema=schema, partitions=1)
    with nothing_left_open():
        for at in range(1, 20):
            with striking(which, at) as struck:
                await use(PostgresJournal(settings), f"{at}")
            if struck[0].waits < at:
                break
