"""What the SQLite journal knows of keys and names, while they go from memory into its indexes."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import JournalError
from bridge.journal.identity import name_of, names_of
from bridge.journal.ledger import User
from bridge.journal.overlay import Ids, digest, digest_of_name
from bridge.journal.protocol import Appended
from bridge.journal.sqlite import SqliteJournal
from bridge.journal.sqlite.schema import connect
from bridge.model import Message, Party, Status, StatusChange
from tests.bridge.events import NOON, message, status
from tests.bridge.journal.disks import Disk, restore
from tests.bridge.journal.files import DAY, Clock, at, everything, run

THREADS = 4
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


@settings(deadline=None, max_examples=30)  # how long an example takes depends on the disk
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


@settings(deadline=None, max_examples=20)  # as above
@given(STEPS)
def test_exactly_what_is_kept_is_remembered(
    steps: list[Append | FailingAppend | Restart | Age],
) -> None:
    """Whatever happens between, a message's status is remembered until it is too old."""
    with TemporaryDirectory() as place:
        asyncio.run(tell_statuses(steps, Path(place) / "journal.db"))


async def tell_statuses(steps: list[Append | FailingAppend | Restart | Age], path: Path) -> None:
    disk, clock = Disk(), Clock()
    kept: dict[int, float] = {}  # when each message was told of last
    journal = journal_of(path, disk, clock)
    await journal.__aenter__()
    try:
        for turn, step in enumerate(steps):
            match step:
                case Append(numbers):
                    asked = dict.fromkeys(numbers)
                    expected = {n: Status.READ if n in kept else None for n in asked}
                    assert await standing(journal, asked, f"asked {turn}") == expected
                    await journal.append([status(Status.READ, f"m{n}") for n in asked])
                    found = await standing(journal, asked, f"told {turn}")
                    assert set(found.values()) == {Status.READ}
                    kept |= dict.fromkeys(asked, clock.now)
                case FailingAppend(numbers):
                    disk.failing = True
                    with pytest.raises(JournalError):
                        await journal.append([unknown(n, f"lost {turn}") for n in numbers])
                    disk.failing = False
                case Restart():
                    journal = await reopened(journal, path, disk, clock)
                case Age(days):
                    clock.now += days * DAY
                    await journal.retain()
                    kept = {n: at for n, at in kept.items() if at >= clock.now - 8 * DAY}
                    # What was used last is in memory for longer than the file keeps it.
                    journal = await reopened(journal, path, disk, clock)
        remembered = await standing(journal, range(61), "at the end")
        assert {n for n, current in remembered.items() if current is not None} == set(kept)
    finally:
        await journal.__aexit__(None, None, None)
        disk.unregister()


async def reopened(journal: SqliteJournal, path: Path, disk: Disk, clock: Clock) -> SqliteJournal:
    """Open a journal again, and let it look at the clock, which may have moved meanwhile."""
    await journal.__aexit__(None, None, None)
    again = await journal_of(path, disk, clock).__aenter__()
    await again.retain()
    return again


def unknown(number: int, word: str) -> StatusChange:
    """Return a status that moves nothing, since nobody knows the provider's word."""
    return status(Status.UNKNOWN, f"m{number}", word=word)


async def standing(
    journal: SqliteJournal, numbers: Iterable[int], word: str
) -> dict[int, Status | None]:
    """Return where messages stand, as their statuses say."""
    asked = [unknown(number, word) for number in numbers]
    before = len(await everything(journal))
    await journal.append(asked)
    told = [entry.event for entry in (await everything(journal))[before:]]
    assert [event.key for event in told] == [event.key for event in asked]
    return {int(e.message_id[1:]): e.current for e in told if isinstance(e, StatusChange)}


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
            beyond = (
                "SELECT count(*) FROM keys JOIN merged ON merged.name = 'keys' "
                "WHERE keys.position > merged.position"
            )
            halfway += await run(survivor, beyond) != 0
            assert await survivor.append(promised) == Appended(published=0, duplicates=count)
            assert len(await everything(survivor)) == count
    assert halfway > 0


async def test_a_merge_of_names_that_power_loss_cut_short(path: Path, disk: Disk) -> None:
    """Wherever the power goes in the midst of merging, where messages stand is remembered."""
    moments = []
    async with journal_of(path, disk) as journal:
        for number in range(60):
            told = status(Status.READ, f"m{number}")
            await journal.append([told, unknown(number // 2, f"word {number}")])
            moments.append((number + 1, disk.after_power_loss()))
    halfway = 0
    for count, files in moments:
        place = path.parent / f"restart-{count}"
        restore(files, place)
        async with journal_of(place / path.name) as survivor:
            beyond = (
                "SELECT count(*) FROM names JOIN merged ON merged.name = 'names' "
                "WHERE names.position > merged.position"
            )
            halfway += await run(survivor, beyond) != 0
            remembered = await standing(survivor, range(count), "asked")
            assert set(remembered.values()) == {Status.READ}
            assert await run(survivor, "SELECT count(DISTINCT key) - count(*) FROM tracks") == 0
    assert halfway > 0


async def test_names_are_forgotten(path: Path) -> None:
    """What is too old or purged leaves nothing in the index of names."""
    clock = Clock()
    async with journal_of(path, clock=clock) as journal:
        for number in range(60):
            await journal.append([message(f"m{number}", user=f"+1650555{number:04}")])
        names = "SELECT count(*) FROM names"
        before = await run(journal, names)
        await journal.purge("+16505550000")
        assert isinstance(before, int)
        assert await run(journal, names) == before - 1
        clock.now += 9 * DAY
        await journal.retain()
        assert await run(journal, names) == 0


async def test_what_is_told_after_all_was_forgotten(path: Path) -> None:
    """Once all that was merged has been forgotten, what is told next survives a restart."""
    clock = Clock()
    async with journal_of(path, clock=clock) as journal:
        for number in range(4 * FEW):
            await journal.append([status(Status.READ, f"m{number}")])
        clock.now += 9 * DAY
        await journal.retain()
        assert await run(journal, "SELECT count(*) FROM tracks") == 0
        await journal.append([status(Status.READ, "new")])
    async with journal_of(path, clock=clock) as journal:
        await journal.append([status(Status.SENT, "new")])
        change = (await everything(journal))[-1].event
    assert isinstance(change, StatusChange)
    assert change.current == Status.READ


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


def test_statements_stay_compiled_while_rows_are_inserted(path: Path) -> None:
    """A hundred rows that are inserted do not make a look-up be compiled anew."""
    connection = connect(path, vfs=None, busy_timeout=1)
    try:
        connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
        compiled = []
        for group in range(3):
            start = group * 100
            rows = [(number,) for number in range(start, start + 100)]
            connection.execute("SELECT number FROM numbers WHERE number = ?", (start,)).fetchall()
            compiled.append(connection.cache_stats()["misses"])
            connection.executemany("INSERT INTO numbers VALUES (?)", rows)
        assert compiled[2] - compiled[1] == 0
    finally:
        connection.close()


# --- reading beside the writer ------------------------------------------------------------------


@attrs.frozen
class Gate:
    """Holds a writer once a transaction is on disk, before anything else notes that it is."""

    closed: threading.Event = attrs.field(factory=threading.Event)
    reached: threading.Event = attrs.field(factory=threading.Event)
    opened: threading.Event = attrs.field(factory=threading.Event)

    def watch(self, connection: apsw.Connection) -> None:
        """Watch the statements of a connection."""
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._stop, id=self)

    def _stop(self, told: dict[str, object]) -> None:
        if self.closed.is_set() and told["sql"] == "COMMIT":
            self.reached.set()
            self.opened.wait()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    apsw.connection_hooks.append(gate.watch)
    yield gate
    apsw.connection_hooks.remove(gate.watch)


async def test_who_is_written_anew_is_known_at_every_moment(path: Path, gate: Gate) -> None:
    """A user is found when what is remembered of them has moved, and only the disk knows of it."""
    said = message("a", reply_until=NOON + timedelta(hours=24))
    name, _ = name_of(said.conversation.id)
    async with journal_of(path) as journal:
        await journal.append([said])
        gate.closed.set()
        later = message("b", received_at=NOON + timedelta(days=2))
        writing = asyncio.create_task(journal.append([later]))
        try:
            await asyncio.to_thread(gate.reached.wait)
            found = await journal.record(name)
        finally:
            gate.opened.set()
        await writing
    assert isinstance(found, User)


async def test_a_group_of_new_users_is_known_by_all_names(path: Path) -> None:
    """Users who come together for the first time have one conversation each, also after a restart.

    Some of them are known by a phone alone, and others by a user id as well.
    """
    phones = [f"+62815000{number:05}" for number in range(150)]
    ids = [f"ID.{number}" if number % 3 else None for number in range(150)]
    firsts = [
        message(f"first.{number}", user=phone, sender=Party(phone=phone, user_id=ids[number]))
        for number, phone in enumerate(phones)
    ]
    async with journal_of(path) as journal:
        await journal.append(firsts)
        for first in firsts:
            assert await journal.record(names_of(first)[0]) is not None
    async with journal_of(path) as journal:
        await journal.append(
            [
                message(f"again.{number}", user=user_id, sender=Party(user_id=user_id))
                for number, user_id in enumerate(ids)
                if user_id is not None
            ]
        )
        where = {
            entry.event.message_id: entry.event.conversation.id
            for entry in await everything(journal)
            if isinstance(entry.event, Message)
        }
    for number, phone in enumerate(phones):
        assert where[f"first.{number}"] == f"whatsapp:30058:{phone}"
        assert where.get(f"again.{number}", "nobody") == (
            f"whatsapp:30058:{phone}" if number % 3 else "nobody"
        )


async def test_more_users_than_are_kept_in_memory(path: Path) -> None:
    """Each of 9,000 users is known by the user id alone later, in order, out of it and again."""
    users = range(9_000)  # of whom memory holds some 5,000 with their names
    others = [number * 7 % len(users) for number in users[::3]]

    def said(number: int, count: int) -> Message:
        phone = f"+62815{number:08}" if not count else None
        sender = Party(phone=phone, user_id=f"ID.{number}")
        return message(f"{number}.{count}", user=phone or f"ID.{number}", sender=sender)

    async with SqliteJournal(path, **at(Clock())) as journal:
        for count, numbers in enumerate([users, users, others, others]):
            for start in range(0, len(numbers), 1000):
                some = numbers[start : start + 1000]
                await journal.append([said(number, count) for number in some])
        told = [each.event for each in await everything(journal)]
    found = {each.message_id: each.conversation.id for each in told if isinstance(each, Message)}
    assert len(found) == 24_000
    assert found == {name: f"whatsapp:30058:+62815{int(name[:-2]):08}" for name in found}


def test_a_digest_stays_the_same_once_it_is_forgotten() -> None:
    """A name stands for the same record, however many other names came between."""
    name = "shop/user/whatsapp/+6281500000000"
    before = digest_of_name(name)
    for number in range(10_000):
        digest_of_name(f"shop/user/whatsapp/+62816{number:08}")
    assert digest_of_name(name) == before


def test_digests_are_made_in_several_threads_at_once() -> None:
    """Each thread gets the digests that it asks for, while the others make room for theirs."""
    kept = Ids(digest, most=64)
    expected = {f"shop/{number}": digest(f"shop/{number}") for number in range(500)}

    def ask(names: Sequence[str]) -> bool:
        return all(kept[name] == expected[name] for name in names)

    names = list(expected)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(ask, [names[start:] * 300 for start in range(THREADS)]))
    finally:
        sys.setswitchinterval(before)
    assert found == [True] * THREADS
    assert len(kept) < 64 + THREADS
