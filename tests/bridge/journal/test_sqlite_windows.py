"""Until when users may be written to, which the SQLite journal writes once for many messages."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import attrs
import pytest

from bridge.errors import CodecError, JournalError
from bridge.journal.identity import name_of
from bridge.journal.ledger import User
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Message, Status
from tests.bridge.events import ACCOUNT, NOON, created, message, numbered_status
from tests.bridge.journal.disks import Disk, restore
from tests.bridge.journal.files import Clock, at, everything, run

USERS = 4
DAY = timedelta(days=1)


def journal_of(path: Path, disk: Disk | None = None, *, over: int) -> SqliteJournal:
    vfs, clock = None if disk is None else disk.name, Clock(NOON.timestamp())
    return SqliteJournal(path, vfs=vfs, windows_over=over, **at(clock))


def said(number: int) -> Message:
    """Return what one of some users says at its time, each in turn; every ninth comes late."""
    when = NOON + timedelta(minutes=number if number % 9 else number - 8)
    user = f"+1650555{number % USERS:04}"
    return message(f"m{number}", user=user, received_at=when, reply_until=when + DAY)


def latest(count: int) -> dict[str, datetime]:
    """Return until when each user may be answered, after so many messages."""
    found: dict[str, datetime] = {}
    for each in map(said, range(count)):
        assert each.reply_until is not None
        before = found.get(each.conversation.id, each.reply_until)
        found[each.conversation.id] = max(before, each.reply_until)
    return found


async def windows_of(journal: SqliteJournal, count: int) -> dict[str, datetime]:
    found = {}
    for conversation in latest(count):
        user = await journal.record(name_of(conversation)[0])
        assert isinstance(user, User)
        found[conversation] = datetime.fromtimestamp(user.reply_until[ACCOUNT], NOON.tzinfo)
    return found


@pytest.mark.parametrize("over", [1, 7, 1000])
async def test_windows_survive_power_loss(path: Path, disk: Disk, over: int) -> None:
    """Wherever the power goes, each user may be answered as long as what is acknowledged says."""
    moments = []
    async with journal_of(path, disk, over=over) as journal:
        for number in range(40):
            await journal.append([said(number)])
            moments.append((number + 1, disk.after_power_loss()))
    for count, files in moments:
        place = path.parent / f"restart-{count}"
        restore(files, place)
        async with journal_of(place / path.name, over=over) as survivor:
            assert await windows_of(survivor, count) == latest(count)


async def test_many_windows_survive_power_loss(path: Path, disk: Disk) -> None:
    """So it is where more windows have moved than are written in one go, after each part."""
    everybody = [f"+1650{number:07}" for number in range(2500)]
    latest = (NOON + timedelta(hours=1) + DAY).timestamp()
    moments = []
    async with journal_of(path, disk, over=1) as journal:
        for day in range(2):
            until = NOON + timedelta(hours=day) + DAY
            await journal.append(
                [message(f"{day}{each}", user=each, reply_until=until) for each in everybody]
            )
            for number in range(6):
                await journal.append([message(f"{day}-{number}")])
                moments.append(disk.after_power_loss())
    for number, files in enumerate(moments[6:]):
        place = path.parent / f"restart-{number}"
        restore(files, place)
        async with journal_of(place / path.name, over=1) as survivor:
            users = [
                await survivor.record(name_of(message(user=each).conversation.id)[0])
                for each in everybody
            ]
            assert {user.reply_until[ACCOUNT] for user in users if isinstance(user, User)} == {
                latest
            }


async def test_the_window_of_a_message_that_waits_survives_power_loss(
    path: Path, disk: Disk
) -> None:
    """A user who wrote may be answered, also while the message waits for another one's turn."""
    first, poor = message("a", reply_until=NOON), message("b", settle=3600.0)
    further = message("c", reply_until=NOON + DAY)
    async with journal_of(path, disk, over=1000) as journal:
        await journal.append([first])
        await journal.append([poor])
        await journal.append([further])
        restore(disk.after_power_loss(), path.parent / "restart")
    async with journal_of(path.parent / "restart" / path.name, over=1000) as survivor:
        user = await survivor.record(name_of(first.conversation.id)[0])
        assert isinstance(user, User)
        assert user.reply_until == {ACCOUNT: (NOON + DAY).timestamp()}


async def test_a_status_that_names_no_account_opens_no_window(path: Path) -> None:
    """Of one conversation, an account that a message names has its window, and no other."""
    sent = created("9001", "wamid.1")
    told = attrs.evolve(numbered_status(Status.SENT, "9001"), account=None)
    async with journal_of(path, over=1000) as journal:
        await journal.append([sent, message("a", reply_until=NOON + DAY), told])
        for _ in range(2):
            user = await journal.record(name_of(sent.conversation.id)[0])
            assert isinstance(user, User)
            assert user.conversations.keys() == {ACCOUNT, ""}
            assert user.reply_until == {ACCOUNT: (NOON + DAY).timestamp()}
            await journal.retain()


async def test_what_is_not_taken_opens_no_window(path: Path) -> None:
    """A message that is refused with its neighbour changes no window, and no other goes back."""
    broken = message("broken", raw={"of no type": object()})
    further = message("further", reply_until=NOON + 2 * DAY)
    async with journal_of(path, over=1000) as journal:
        await journal.append([message("a", reply_until=NOON)])
        await journal.append([message("b", reply_until=NOON + DAY)])
        late = [journal.append([message(f"late-{n}", reply_until=NOON)]) for n in range(8)]
        refused = journal.append([further, broken])
        *_, error = await asyncio.gather(*late, refused, return_exceptions=True)
        assert isinstance(error, CodecError)
        user = await journal.record(name_of(further.conversation.id)[0])
        assert isinstance(user, User)
        assert user.reply_until == {ACCOUNT: (NOON + DAY).timestamp()}


async def test_windows_outlive_the_messages(path: Path, disk: Disk) -> None:
    """Retention takes no message whose window is not written."""
    async with journal_of(path, disk, over=1000) as journal:
        for number in range(40):
            await journal.append([said(number)])
        await journal.retain()
        await journal.writing(lambda db: db.execute("UPDATE entries SET event = NULL"))
        restore(disk.after_power_loss(), path.parent / "restart")
    async with journal_of(path.parent / "restart" / path.name, over=1000) as survivor:
        assert await windows_of(survivor, 40) == latest(40)


async def test_windows_never_go_back(path: Path) -> None:
    """Whoever asks while windows are written finds none that is older than the one found before."""
    last = dict.fromkeys(latest(USERS), NOON)
    async with journal_of(path, over=1) as journal:
        await journal.append([said(number) for number in range(USERS)])

        async def go_on() -> None:
            for number in range(USERS, 400):
                await journal.append([said(number)])

        going_on = asyncio.create_task(go_on())
        while not going_on.done():
            now = await windows_of(journal, USERS)
            assert all(now[each] >= last[each] for each in now)
            last = now
        await going_on
        assert await windows_of(journal, USERS) == latest(400)


async def test_a_window_that_cannot_be_written_is_not_lost(path: Path, disk: Disk) -> None:
    """Where the disk refuses, what was acknowledged is known, and written once it can be."""
    async with journal_of(path, disk, over=1000) as journal:
        for number in range(8):
            await journal.append([said(number)])
        disk.failing = True
        with pytest.raises(Exception, match="cannot be written"):
            await journal.retain()
        assert await windows_of(journal, 8) == latest(8)
        disk.failing = False
        await journal.retain()
        assert await windows_of(journal, 8) == latest(8)
    async with journal_of(path, over=1000) as journal:
        assert await windows_of(journal, 8) == latest(8)


async def test_a_start_reads_no_message_again_that_opened_no_window(path: Path) -> None:
    """What is behind is not read at each start, also where no message opens a window."""
    mark = "SELECT position FROM merged WHERE name = 'windows'"
    async with journal_of(path, over=10) as journal:
        for number in range(30):
            await journal.append([message(f"m{number}")])
        behind = await run(journal, mark)
        assert isinstance(behind, int)
        assert behind > 10
    async with journal_of(path, over=10) as journal:
        assert await run(journal, mark) == 30


@pytest.mark.parametrize("how", ["closes", "retains"])
async def test_a_log_that_was_cut_short_is_not_written_over(path: Path, how: str) -> None:
    """What writes windows looks first, so that what was acknowledged is saved."""
    journal = journal_of(path, over=1000)
    await journal.__aenter__()
    for number in range(20):
        await journal.append([said(number)])
    os.truncate(f"{path}-wal", 0)
    if how == "retains":
        with pytest.raises(JournalError, match="cut short"):
            await journal.retain()
    await journal.__aexit__(None, None, None)
    async with journal_of(path, over=1000) as journal:
        assert journal.set_aside is None
        assert len(await everything(journal)) == 20


async def test_the_file_of_another_is_not_written_into(path: Path) -> None:
    """Where other code has closed the log's descriptors, no window goes where they lead by now."""
    journal, log, other = journal_of(path, over=1000), f"{path}-wal", path.with_name("other")
    await journal.__aenter__()
    await journal.append([said(0)])
    await journal.append([said(USERS)])
    taken = os.open(other, os.O_RDWR | os.O_CREAT)
    of_log = os.stat(log).st_ino  # noqa: PTH116
    for descriptor in range(3, 1000):
        with suppress(OSError):
            if os.fstat(descriptor).st_ino == of_log:
                os.dup2(taken, descriptor)
    await journal.__aexit__(None, None, None)
    assert other.stat().st_size == 0


async def test_one_user_who_cannot_be_read_stops_nobody(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that another program has damaged begins anew; the log says so."""
    async with journal_of(path, over=1000) as journal:
        await journal.append([said(number) for number in range(USERS)])
    async with journal_of(path, over=1000) as journal:
        await run(journal, "UPDATE tracks SET track = x'7b' WHERE position = 1")
        await journal.append([said(number) for number in range(USERS, 2 * USERS)])
        await journal.retain()
        others = list(latest(USERS))[1:]
        assert "what is remembered of somebody cannot be read" in caplog.text
        for conversation in others:
            user = await journal.record(name_of(conversation)[0])
            assert isinstance(user, User)
