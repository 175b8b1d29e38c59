"""What functions note before they begin with what cannot be undone, many at once."""

from __future__ import annotations

import asyncio

import pytest

from bridge.errors import JournalError
from bridge.journal.lanes import lane_of
from bridge.journal.sqlite.journal import SqliteJournal
from tests.bridge.delivery.test_delivery import delivering, end_of
from tests.bridge.events import message
from tests.bridge.journal.disks import Disk

USERS = tuple(f"+1650555000{number}" for number in range(4))


class Noting:
    """Functions of several conversations that note at once, while the disk is held."""

    def __init__(self, disk: Disk, journal: SqliteJournal) -> None:
        self.disk = disk
        self.journal = journal
        self.go, self.end = asyncio.Event(), asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.told: list[BaseException | None] = []

    async def hold(self) -> None:
        """Return when all of them wait for a disk that takes its time."""
        while len(self.tasks) < len(USERS):
            await asyncio.sleep(0.001)
        self.disk.open_gate.clear()
        self.disk.syncing.clear()
        self.go.set()
        await asyncio.to_thread(self.disk.syncing.wait)

    async def function(self, event) -> None:
        if self.go.is_set():  # again
            return
        self.tasks.append(asyncio.create_task(self.note(event)))
        (outcome,) = await asyncio.gather(self.tasks[-1], return_exceptions=True)
        self.told.append(outcome)
        await self.end.wait()

    async def note(self, event) -> None:
        await self.go.wait()
        await self.delivery.note_begun(event)


@pytest.fixture
async def noting(tmp_path):
    disk = Disk()
    async with SqliteJournal(tmp_path / "bridge.db", vfs=disk.name) as journal:
        await journal.append([message(user, user=user) for user in USERS])
        noting = Noting(disk, journal)
        async with delivering(journal, noting.function) as noting.delivery:
            await noting.hold()
            yield noting
            disk.failing = False
            noting.end.set()
            disk.open_gate.set()
            await noting.delivery.drain(up_to=await end_of(journal))


async def test_a_note_that_cannot_be_kept_is_refused_to_all_who_wait_for_it(noting):
    """None of them begins: each gets the journal's error."""
    noting.disk.failing = True
    noting.disk.open_gate.set()
    while len(noting.told) < len(USERS):
        await asyncio.sleep(0.001)
    assert [type(each) for each in noting.told] == [JournalError] * len(USERS)


async def test_a_note_does_not_depend_on_others_that_are_given_up(noting):
    """Whoever was to tell the journal for all may be cancelled: the last one is noted."""
    for task in noting.tasks[:-1]:
        task.cancel()
    await asyncio.gather(*noting.tasks[:-1], return_exceptions=True)
    noting.disk.open_gate.set()
    while len(noting.told) < len(USERS):
        await asyncio.sleep(0.001)
    cancelled = [isinstance(each, asyncio.CancelledError) for each in noting.told]
    assert sorted(cancelled) == [False, True, True, True]
    assert None in noting.told
    (held,) = await noting.journal.held("crm", lane_of(message("1", user=USERS[-1])), 1)
    assert held.retry.begun
