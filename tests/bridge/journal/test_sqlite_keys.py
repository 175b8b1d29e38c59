"""What the SQLite journal knows of keys, while they go from memory into the file's index."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import JournalError
from bridge.journal.protocol import Appended
from bridge.journal.sqlite import SqliteJournal
from tests.bridge.events import message
from tests.bridge.journal.disks import Disk, restore
from tests.bridge.journal.files import DAY, Clock, at, everything, run

FEW = 5  # keys in memory, so that they are merged all the time


def journal_of(path: Path, disk: Disk | None = None, clock: Clock | None = None) -> SqliteJournal:
    vfs = None if disk is None else disk.name
    return SqliteJournal(path, vfs=vfs, keep=8 * DAY, keys_in_memory=FEW, **at(clock or Clock()))


# --- the law -----------------------------------------------------------------------------------


@attrs.frozen
class Append:
    numbers: list[int]


@attrs.frozen
class FailingAppend:
    numbers: list[int]


@attrs.frozen
class Restart:
    pass


@attrs.frozen
class Age:
    days: int


NUMBERS = st.lists(st.integers(min_value=0, max_value=60), min_size=1, max_size=8)
STEPS = st.lists(
    st.one_of(
        st.builds(Append, NUMBERS),
        st.builds(FailingAppend, NUMBERS),
        st.builds(Restart),
        st.builds(Age, st.integers(min_value=1, max_value=5)),
    ),
    min_size=10,
    max_size=60,
)


@settings(deadline=None, max_examples=60)  # how long an example takes depends on the disk
@given(STEPS)
def test_exactly_what_is_kept_is_known(steps: list[Append | FailingAppend | Restart | Age]) -> None:
    """Whatever happens between, an event is new if and only if its entry is not kept."""
    with TemporaryDirectory() as place:
        asyncio.run(go_through(steps, Path(place) / "journal.db"))


async def go_through(steps: list[Append | FailingAppend | Restart | Age], path: Path) -> None:
    disk, clock = Disk(), Clock()
    kept: dict[int, float] = {}  # when each number was appended, oldest first
    journal = journal_of(path, disk, clock)
    await journal.__aenter__()
    try:
        for step in steps:
            match step:
                case Append(numbers):
                    new = {number for number in numbers if number not in kept}
                    appended = await journal.append([message(f"m{n}") for n in numbers])
                    assert appended.published == len(new)
                    kept.update((n, clock.now) for n in dict.fromkeys(numbers) if n in new)
                case FailingAppend(numbers):
                    disk.failing = True
                    with pytest.raises(JournalError):
                        # One that is new for sure, so that there is something to be synced.
                        await journal.append(
                            [message("lost"), *(message(f"m{n}") for n in numbers)]
                        )
                    disk.failing = False
                case Restart():
                    await journal.__aexit__(None, None, None)
                    journal = journal_of(path, disk, clock)
                    await journal.__aenter__()
                    kept = await retained(journal, kept, clock)
                case Age(days):
                    clock.now += days * DAY
                    kept = await retained(journal, kept, clock)
        assert await numbers_found(journal) == set(kept)
    finally:
        await journal.__aexit__(None, None, None)
        disk.unregister()


async def retained(
    journal: SqliteJournal, kept: dict[int, float], clock: Clock
) -> dict[int, float]:
    """Let go of what is too old, in the journal and of what is expected; the newest stays."""
    await journal.retain()
    newest = list(kept)[-1:]
    return {n: at for n, at in kept.items() if at >= clock.now - 8 * DAY or n in newest}


async def numbers_found(journal: SqliteJournal) -> set[int]:
    found = set()
    for number in range(61):
        entry = await journal.find(message(f"m{number}").key)
        if entry is not None:
            assert entry.event.key == message(f"m{number}").key
            found.add(number)
    return found


# --- merging ------------------------------------------------------------------------------------


async def test_keys_are_merged(path: Path) -> None:
    """Keys that wait in memory go into the file's index, and are found there."""
    everybody = [message(f"m{number}") for number in range(200)]
    async with journal_of(path) as journal:
        for event in everybody:
            await journal.append([event])
        merged = await run(journal, "SELECT count(*) FROM keys")
        assert isinstance(merged, int)
        assert merged > 200 - 4 * FEW
        assert await journal.append(everybody) == Appended(published=0, duplicates=200)


async def test_a_merge_that_power_loss_cut_short(path: Path, disk: Disk) -> None:
    """Wherever the power goes in the midst of merging, what was acknowledged stays known."""
    moments = []
    async with journal_of(path, disk) as journal:
        for number in range(60):
            await journal.append([message(f"m{number}")])
            moments.append((number + 1, disk.after_power_loss()))
    halfway = 0
    for count, files in moments:
        place = path.parent / f"restart-{count}"
        restore(files, place)
        promised = [message(f"m{number}") for number in range(count)]
        async with journal_of(place / path.name) as survivor:
            # Some of a merge is there, and the mark that ends it is not.
            beyond = "SELECT count(*) FROM keys, merged WHERE keys.position > merged.position"
            halfway += await run(survivor, beyond) != 0
            assert await survivor.append(promised) == Appended(published=0, duplicates=count)
            assert len(await everything(survivor)) == count
    assert halfway > 0


async def test_merging_goes_on_after_a_restart(path: Path) -> None:
    """However short each life of the process is, keys do not pile up in memory."""
    for life in range(60):
        async with journal_of(path) as journal:
            for number in (2 * life, 2 * life + 1):
                await journal.append([message(f"m{number}")])
            waiting = await run(
                journal, "SELECT count(*) FROM entries WHERE key NOT IN (SELECT key FROM keys)"
            )
            assert isinstance(waiting, int)
            assert waiting <= 4 * FEW


async def test_what_is_known_needs_no_disk(path: Path, disk: Disk) -> None:
    """A callback that comes again is acknowledged while nothing can be written, merge or not."""
    async with journal_of(path, disk) as journal:
        for number in range(FEW):
            await journal.append([message(f"m{number}")])
        disk.failing = True
        again = await journal.append([message(f"m{number}") for number in range(FEW)])
        disk.failing = False
        assert again == Appended(published=0, duplicates=FEW)


async def test_retention_that_fails_forgets_nothing(path: Path, disk: Disk) -> None:
    """What could not be deleted stays known, and is forgotten once it can be."""
    clock = Clock()
    events = [message(f"m{number}") for number in range(3 * FEW)]
    async with journal_of(path, disk, clock) as journal:
        for event in (*events, message("newest")):
            await journal.append([event])
        clock.now += 9 * DAY
        disk.failing = True
        with pytest.raises(JournalError):
            await journal.retain()
        disk.failing = False
        assert await journal.append(events) == Appended(published=0, duplicates=len(events))
        await journal.retain()
        assert await journal.append(events) == Appended(published=len(events), duplicates=0)
