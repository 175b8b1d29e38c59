# ruff: noqa: ASYNC240 - small files on a local disk
"""What the SQLite journal lets go of, and when."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import apsw
import pytest

from bridge.errors import JournalError
from bridge.journal.protocol import Appended, Held, Retry, Settlement
from bridge.journal.sqlite import SqliteJournal
from bridge.journal.states import State
from bridge.testing.sample_events import failed, read
from tests.bridge.events import created, message, notice, unrecognized
from tests.bridge.journal.disks import Disk
from tests.bridge.journal.files import DAY, FOREVER, Clock, at, everything, ids, run

# --- retention -------------------------------------------------------------------------------


async def test_keep(path: Path) -> None:
    """What is older than the journal keeps goes with its key and its tracks; the newest stays."""
    clock = Clock()
    async with SqliteJournal(path, keep=8 * DAY, **at(clock)) as journal:
        old = [message(f"m{n}") for n in range(500)]
        await journal.append([*old, created("9001", "wamid.1")])
        clock.now += 7.9 * DAY
        await journal.append([message("young")])
        await journal.retain()
        assert len(await everything(journal)) == 502
        assert await journal.append(old) == Appended(published=0, duplicates=500)
        clock.now += 0.2 * DAY
        await journal.retain()
        assert await ids(journal) == ["young"]
        assert await run(journal, "SELECT count(*) FROM tracks") == 0
        clock.now += 9 * DAY
        await journal.retain()
        assert await ids(journal) == ["young"]
        assert await journal.append(old) == Appended(published=500, duplicates=0)


async def test_expired_states(path: Path) -> None:
    """A state goes once it has expired, whoever has yet to see its conversation's events."""
    clock = Clock()

    def state(number: int, expires_at: float) -> State:
        return State(
            conversation=f"whatsapp:1:{number}", name="bot", value=b"{}", expires_at=expires_at
        )

    async with SqliteJournal(path, **at(clock)) as journal:
        await journal.subscribe("crm")
        await journal.append([message("a")])
        for number in range(100):
            await journal.write_state(state(number, clock.now + 60))
        young = state(100, clock.now + 3600)
        await journal.write_state(young)
        clock.now += 600
        await journal.retain()
        assert [each async for page in journal.states() for each in page] == [young]
        assert await ids(journal) == ["a"]


async def test_full_takes_no_states(path: Path) -> None:
    """A journal over its `max_size` refuses states, as it does events, and forgets them still."""
    async with SqliteJournal(path, max_size=300_000) as journal:
        states = [
            State(
                conversation="whatsapp:1:2",
                name=f"bot-{number}",
                value=b'{"x":"%s"}' % (b"x" * 60_000),
                expires_at=4_000_000_000.0,
            )
            for number in range(10)
        ]
        with pytest.raises(JournalError, match="limit of 300000 bytes"):
            for each in states:
                await journal.write_state(each)
        await journal.erase_state("whatsapp:1:2", "bot-0")
        await journal.erase_state("whatsapp:1:2", "bot-1")
        await journal.write_state(states[0])


async def test_keep_waits_for_subscribers(path: Path) -> None:
    """What a subscriber has not seen, holds or has as a dead letter stays."""
    clock = Clock()
    async with SqliteJournal(path, keep=DAY, **at(clock)) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message(f"m{n}") for n in range(6)])
        entries = await read(cursor, 6)
        clock.now += 2 * DAY
        await journal.retain()
        assert len(await everything(journal)) == 6
        await cursor.settle(
            Settlement(
                position=entries[3].position,
                held=(Held(entry=entries[0], retry=Retry(due_at=1.0)),),
                dead=(failed(entries[1]),),
            )
        )
        await journal.retain()
        assert await ids(journal) == ["m0", "m1", "m4", "m5"]
        (letter,) = await journal.dead_letters()
        assert letter.entry == entries[1]
        await cursor.settle(
            Settlement(position=entries[5].position, released=(entries[0].position,))
        )
        await journal.drop(letter.id)
        await journal.retain()
        assert await ids(journal) == ["m5"]


async def test_absolute_limit(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Past the absolute limit an entry goes whoever waits for it, and that is said."""
    clock = Clock()
    async with SqliteJournal(path, absolute_limit=30 * DAY, **at(clock)) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message(f"m{n}") for n in range(5)])
        entries = await read(cursor, 5)
        await cursor.settle(
            Settlement(
                position=entries[1].position,
                held=(Held(entry=entries[0], retry=Retry(due_at=1.0)),),
                dead=(failed(entries[1]),),
            )
        )
        clock.now += 31 * DAY
        await journal.append([message("young")])
        await journal.retain()
        assert await ids(journal) == ["young"]
        assert await cursor.waiting() == {}
        assert await journal.dead_letters() == ()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "past the absolute limit of 2592000 s and deleted: "
        "3 entries unseen by a subscriber, 1 held, 1 dead letters"
    )


async def test_max_size(path: Path) -> None:
    """Over its size a journal lets the oldest events go and still knows their keys."""
    limit = 1_000_000
    async with SqliteJournal(path, max_size=limit) as journal:
        for n in range(1000):
            try:
                await journal.append([message(f"m{n}", text="x" * 1000)])
            except JournalError:
                await journal.retain()
                await journal.append([message(f"m{n}", text="x" * 1000)])
        await journal.retain()
        kept = await ids(journal)
        assert 100 < len(kept) < 500
        assert kept == [f"m{n}" for n in range(1000 - len(kept), 1000)]
        assert await journal.append([message("m0")]) == Appended(published=0, duplicates=1)
        assert (await journal.health()).ready
    assert path.stat().st_size < 1.5 * limit


async def fill(journal: SqliteJournal) -> int:
    """Append until the journal refuses; return how many events it took."""
    count = 0
    with pytest.raises(JournalError, match="holds its limit of 300000 bytes"):
        for count in range(FOREVER):
            await journal.append([message(f"m{count}", text="x" * 1000)])
    return count


async def test_full_of_what_is_waited_for(path: Path) -> None:
    """A journal full of what a subscriber waits for refuses more, until that is done with."""
    async with SqliteJournal(path, max_size=300_000) as journal:
        cursor = await journal.subscribe("slow")
        count = await fill(journal)
        await journal.retain()
        health = await journal.health()
        assert (health.ready, health.reason) == (
            False,
            "the journal holds its limit of 300000 bytes",
        )
        assert len(await ids(journal)) == count
        entries = await read(cursor, count)
        await cursor.settle(
            Settlement(position=entries[-1].position, held=(Held(entry=entries[-1]),))
        )
        await journal.retain()
        assert (await journal.health()).ready
        assert await journal.append([message("more")]) == Appended(published=1, duplicates=0)


async def test_room_is_made_for_who_asks(path: Path) -> None:
    """A full journal whose subscriber has caught up is ready again by being asked alone."""
    async with SqliteJournal(path, max_size=300_000, retention_every=DAY) as journal:
        cursor = await journal.subscribe("slow")
        count = await fill(journal)
        await journal.retain()
        entries = await read(cursor, count)
        held = Held(entry=entries[-1])  # so that it is settled at once
        await cursor.settle(Settlement(position=entries[-1].position, held=(held,)))
        async with asyncio.timeout(30):
            while not (await journal.health()).ready:
                await asyncio.sleep(0.01)


async def test_retention_meets_a_failing_disk(path: Path, disk: Disk) -> None:
    """A pass of retention that fails says so and is made again later."""
    clock = Clock()
    async with SqliteJournal(path, keep=DAY, **at(clock), vfs=disk.name) as journal:
        await journal.append([message("a"), message("b")])
        clock.now += 2 * DAY
        disk.failing = True
        with pytest.raises(JournalError):
            await journal.retain()
        disk.failing = False
        await journal.retain()
        assert await ids(journal) == ["b"]


async def test_retention_comes_by_itself(path: Path) -> None:
    """Nobody has to ask for retention."""
    clock = Clock()
    async with SqliteJournal(path, keep=DAY, **at(clock), retention_every=0.0) as journal:
        await journal.append([message("a")])
        clock.now += 2 * DAY
        await journal.append([message("b")])
        async with asyncio.timeout(30):
            while await ids(journal) != ["b"]:
                await journal.append([message("b")])


async def test_log_starts_over(path: Path) -> None:
    """The write-ahead log does not grow with what is written."""
    async with SqliteJournal(path) as journal:
        for n in range(60):
            await journal.append([message(f"m{n}-{m}", text="x" * 8000) for m in range(100)])
        wal = path.with_name("journal.db-wal").stat().st_size
    written = path.stat().st_size
    assert wal < written / 2


# --- privacy ---------------------------------------------------------------------------------


async def test_purge_leaves_no_bytes(path: Path) -> None:
    """What is purged is in none of the journal's files any more."""
    secret = "+16505550000"
    async with SqliteJournal(path) as journal:
        for n in range(50):
            await journal.append([message(f"a{n}", user=secret, text=f"between us {n}")])
            await journal.append([message(f"b{n}")])
        await journal.append([created("9001", "wamid.9", user=secret, text="between us")])
        await journal.append([unrecognized("1", raw={"entry": [{"from": 16505550000}]})])
        await journal.append([unrecognized("2", raw={"entry": ["between others"]})])
        await journal.append([notice("1", raw={"wa_id": "16505550000"})])
        assert await journal.purge(secret) == 53
        files = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert b"6505550000" not in files
        assert b"between us" not in files
        assert b"between others" in files
        assert len(await everything(journal)) == 51


async def test_purge_and_health(path: Path) -> None:
    """A purge empties the log, which is not taken for one that somebody else has cut short."""
    async with SqliteJournal(path) as journal:
        for number in range(3):
            await journal.append([message(f"m{number}")])
            await journal.purge("+16505550000")
            assert (await journal.health()).ready
        assert journal.losses == 0


async def test_purge_and_others_who_read(path: Path) -> None:
    """A purge waits for whoever reads the file, as a backup does, and nothing waits for it."""
    secret = "+16505550000"
    async with SqliteJournal(path, busy_timeout=60) as journal:
        await journal.append([message("a", user=secret)])
        reader = apsw.Connection(str(path))
        reader.execute("BEGIN; SELECT count(*) FROM entries").fetchall()
        purging = asyncio.create_task(journal.purge(secret))
        async with asyncio.timeout(30):
            while await ids(journal):
                await asyncio.sleep(0.01)
            for number in range(3):
                await journal.append([message(f"m{number}")])
                assert (await journal.health()).ready
        assert not purging.done()
        reader.close()
        assert await purging == 1
        assert secret.encode() not in path.with_name(path.name + "-wal").read_bytes()


async def test_purge_and_the_tail(path: Path) -> None:
    """Who keeps up does not get from memory what has been purged."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a", user="+16505550000"), message("b")])
        await journal.purge("+16505550000")
        assert [e.event for e in await cursor.read(10)] == [message("b")]


async def test_settling_what_was_purged(path: Path) -> None:
    """What was purged while a subscriber had it is neither held nor buried."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a"), message("b")])
        a, b = await read(cursor, 2)
        await journal.purge("+16505551234")
        await cursor.settle(
            Settlement(position=b.position, held=(Held(entry=a),), dead=(failed(b),))
        )
        assert await cursor.waiting() == {}
        assert await journal.dead_letters() == ()


async def test_forgotten_cursor(path: Path) -> None:
    """The cursor of a forgotten subscriber keeps nothing."""
    async with SqliteJournal(path) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        (a,) = await read(cursor, 1)
        await journal.forget("crm")
        await cursor.settle(Settlement(position=a.position, held=(Held(entry=a),)))
        assert await cursor.waiting() == {}
        assert await journal.subscribers() == ()


async def test_logs_name_nobody(path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged of failures holds neither a phone number nor a text."""
    async with SqliteJournal(path, vfs=disk.name) as journal:
        disk.failing = True
        with pytest.raises(JournalError) as caught:
            await journal.append([message(text="between us")])
        disk.failing = False
    said = caplog.text + str(caught.value)
    assert "6505551234" not in said
    assert "between us" not in said
