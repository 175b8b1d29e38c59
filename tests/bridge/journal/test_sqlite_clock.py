"""A wall clock that is wrong for a while: nothing that is young is deleted because of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import JournalError
from bridge.journal.protocol import Held, Settlement
from bridge.journal.sqlite import SqliteJournal
from bridge.journal.sqlite.retention import SteadyClock
from bridge.testing.sample_events import read
from tests.bridge.events import message
from tests.bridge.journal.files import DAY, ids

MONTH = 30 * DAY
MINUTE = 60.0


@attrs.define
class Clocks:
    """A wall clock that may be set, and time that only passes."""

    passed: float = 5000.0
    set_to: float = 1_800_000_000.0 - 5000.0

    def wall(self) -> float:
        return self.passed + self.set_to

    def steady(self) -> float:
        return self.passed


def journal_at(path: Path, clocks: Clocks) -> SqliteJournal:
    return SqliteJournal(
        path,
        keep=8 * DAY,
        absolute_limit=30 * DAY,
        clock=clocks.wall,
        monotonic=clocks.steady,
    )


async def test_a_clock_that_is_ahead_for_a_minute(path: Path) -> None:
    """Neither what is young nor what a subscriber has yet to take is deleted meanwhile."""
    clocks = Clocks()
    async with journal_at(path, clocks) as journal:
        await journal.append([message("a"), message("b")])
        cursor = await journal.subscribe("crm")
        await journal.append([message("c"), message("d")])
        (c, _) = await read(cursor, 2)
        await cursor.settle(Settlement(position=c.position, held=(Held(entry=c),)))
        clocks.set_to += 2 * MONTH
        await journal.retain()
        await journal.append([message("e")])
        clocks.passed += MINUTE
        await journal.retain()
        clocks.set_to -= 2 * MONTH
        await journal.retain()
        assert await ids(journal) == ["a", "b", "c", "d", "e"]


async def test_a_machine_that_starts_with_a_clock_that_is_ahead(path: Path) -> None:
    """A start long after the newest entry is no proof that so much time has passed."""
    clocks = Clocks()
    async with journal_at(path, clocks) as journal:
        await journal.subscribe("crm")
        await journal.append([message("a"), message("b")])
    clocks.set_to += 2 * MONTH
    async with journal_at(path, clocks) as journal:
        await journal.retain()
        clocks.passed += MINUTE
        clocks.set_to -= 2 * MONTH
        await journal.retain()
        assert await ids(journal) == ["a", "b"]


async def test_what_was_appended_meanwhile_keeps_nothing_alive(path: Path) -> None:
    """What a wrong clock dated in the future goes with its neighbours, when these are old."""
    clocks = Clocks()
    async with journal_at(path, clocks) as journal:
        await journal.append([message(f"a{n}") for n in range(3)])
        clocks.set_to += 10 * MONTH
        await journal.append([message(f"b{n}") for n in range(500)])
        clocks.passed += MINUTE
        clocks.set_to -= 10 * MONTH
        await journal.append([message("c")])
        clocks.passed += 9 * DAY
        await journal.append([message("d")])
        await journal.retain()
        assert await ids(journal) == ["d"]


async def test_a_clock_that_was_set_for_good(path: Path) -> None:
    """A clock that stays where it was set is believed after a while, and old entries go."""
    clocks = Clocks()
    async with journal_at(path, clocks) as journal:
        await journal.append([message("a")])
    clocks.passed += 9 * DAY  # the bridge was off
    async with journal_at(path, clocks) as journal:
        await journal.append([message("b")])
        await journal.retain()
        assert await ids(journal) == ["a", "b"]
        clocks.passed += 20 * MINUTE
        await journal.retain()
        assert await ids(journal) == ["b"]


async def test_a_clock_that_is_behind(path: Path) -> None:
    """What is appended while the clock is years behind is not old when it is set right."""
    clocks = Clocks()
    async with journal_at(path, clocks) as journal:
        await journal.append([message("a")])
        clocks.set_to -= 400 * DAY
        await journal.append([message("b")])
        clocks.passed += 5 * MINUTE
        await journal.retain()
        clocks.set_to += 400 * DAY
        clocks.passed += 20 * MINUTE
        await journal.append([message("c")])
        await journal.retain()
        assert await ids(journal) == ["a", "b", "c"]


STEPS = st.lists(
    st.tuples(st.floats(0, 3 * DAY), st.sampled_from([0.0, MONTH, -MONTH, 2 * MINUTE])),
    max_size=20,
)


@given(STEPS)
def test_ages_are_never_more_than_what_passed_and_what_was_believed(steps) -> None:
    """However a clock is set, for less than a quarter of an hour each time, ages are right."""
    clocks = Clocks()
    clock = SteadyClock(clocks.wall, clocks.steady, newest=None)
    began, appended = clocks.passed, clock.latest()
    for passes, wrong in steps:
        clocks.passed += passes
        clock.earliest()
        clocks.set_to += wrong
        clock.earliest()
        clocks.passed += 5 * MINUTE
        clock.earliest()
        clocks.set_to -= wrong
        assert clock.earliest() - appended <= clocks.passed - began + 3 * MINUTE


@pytest.mark.parametrize("read_it", [SteadyClock.earliest, SteadyClock.latest])
def test_a_clock_that_drifts_is_followed(read_it: Callable[[SteadyClock], float]) -> None:
    """A clock that is slewed, or loses seconds a day, is no clock that was set."""
    clocks = Clocks()
    clock = SteadyClock(clocks.wall, clocks.steady, newest=None)
    for _ in range(100):
        clocks.passed += 3600.0
        clocks.set_to += 5.0
        assert read_it(clock) == clocks.wall()


async def test_a_writer_that_fails_is_replaced(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever ends the writing thread: callers are told, it is counted, and others write on."""
    clocks = Clocks()
    is_broken = False

    def wall() -> float:
        if is_broken:
            raise SystemExit("not now")
        return clocks.wall()

    async with SqliteJournal(path, clock=wall, monotonic=clocks.steady) as journal:
        await journal.append([message("a")])
        is_broken = True
        clocks.passed += 1  # when the clock is asked again
        with pytest.raises(JournalError, match="the journal's writer failed: SystemExit"):
            await journal.append([message("b")])
        is_broken = False
        async with asyncio.timeout(20):
            while not (health := await journal.health()).ready:
                await asyncio.sleep(0)
        again = await journal.append([message("a"), message("b")])
        assert await ids(journal) == ["a", "b"]
    assert (again.published, again.duplicates) == (1, 1)
    assert (health.deaths, health.losses) == (1, 0)
    assert any(
        record.levelname == "CRITICAL"
        and "the task 'writer' ended with SystemExit" in record.message
        for record in caplog.records
    )
