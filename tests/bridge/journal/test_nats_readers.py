"""Several processes on one NATS journal: one event each, and one reader for each partition.

A process is stood in for by a journal of its own, with a connection of its own; what is left to
the end of a process is left to `tests/promises`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.errors import JournalError
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.partition import consumer_info
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.nats.subjects import digest
from bridge.journal.protocol import Entry, Held, Retry, Settlement, Start
from bridge.journal.query import Query
from bridge.model import Message, Status, StatusChange
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings
from bridge.testing.sample_events import ids, read
from tests.bridge.events import created, message, numbered_status, status
from tests.bridge.journal.nats_servers import Fuse, NatsServer

PARTITIONS = 4
PHONES = [f"+1650555{number:04}" for number in range(12)]
TAKES_OVER_WITHIN = 10.0  # seconds; what is promised


@pytest.fixture
def make(nats: NatsServer, tmp_path: Path):
    def make(**settings) -> NatsJournal:
        settings = {"stream": tmp_path.name, "partitions": PARTITIONS, **settings}
        return NatsJournal(NatsSettings(servers=(nats.url,), **settings))

    return make


async def crash(journal: NatsJournal) -> None:
    """End a journal as the end of its process would: without a word to the server."""
    cursors = journal._cursors
    reading = [task for cursor in cursors._cursors.values() for task in cursor._tasks]
    for task in [*journal._tasks, *cursors._tasks, *reading]:
        task.cancel()
    await journal._broker.close()


async def test_two_processes_one_event_each(make):
    """Two processes fed the same events in opposite orders publish each of them once."""
    events = [message(f"m{n}", user=PHONES[n % 12]) for n in range(60)]
    async with make() as one, make() as two:
        done = await asyncio.gather(
            *(one.append([event]) for event in events),
            *(two.append([event]) for event in reversed(events)),
        )
        entries = await read(await one.follow(start=Start.BEGINNING), 60)
    assert sum(each.published for each in done) == 60
    assert sum(each.duplicates for each in done) == 60
    assert Counter(ids(entries)) == Counter(event.message_id for event in events)


async def test_two_processes_one_advance(make):
    """Of two processes that are told the same statuses, only one says each step's `advanced`."""
    told = []
    for each in (Status.SENT, Status.DELIVERED, Status.READ):
        told += [status(each, "a"), numbered_status(each, "9001")]
    async with make() as one, make() as two:
        await one.append([created("9001", "a")])
        await asyncio.gather(
            *(one.append([event]) for event in told),
            *(two.append([event]) for event in reversed(told)),
        )
        again = await one.append(told)
        entries = await one.search(Query(kinds=("status_change",)))
    assert again.published == 0
    changes = [entry.event for entry in entries if isinstance(entry.event, StatusChange)]
    assert sorted(change.status for change in changes) == ["delivered", "read", "sent"]
    advanced = [change.status for change in changes if change.advanced]
    assert len(advanced) == len(set(advanced))
    assert advanced[-1] is Status.READ
    assert all(change.current is Status.READ for change in changes[changes_read(changes) :])


def changes_read(changes: list[StatusChange]) -> int:
    return next(n for n, change in enumerate(changes) if change.status is Status.READ)


async def test_partitions_are_shared_and_in_order(make):
    """Each entry goes to one of two readers, in order within its conversation."""
    async with make() as one, make() as two:
        cursors = [await journal.subscribe("crm") for journal in (one, two)]
        got: list[list[Entry]] = [[], []]

        async def collect(number: int) -> None:
            while True:
                entries = await cursors[number].read(50)
                got[number] += entries
                await cursors[number].settle(Settlement(position=entries[-1].position))

        tasks = [asyncio.create_task(collect(number)) for number in (0, 1)]
        for n in range(240):
            await one.append([message(f"{n:03}", user=PHONES[n % 12])])
        async with asyncio.timeout(30):
            while len(got[0]) + len(got[1]) < 240:
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for entries in got:
        lanes: dict[str, list[str]] = {}
        for entry in entries:
            lanes.setdefault(entry.lane, []).append(entry.event.message_id)
        assert all(mine == sorted(mine) for mine in lanes.values())
    assert sorted(ids(got[0] + got[1])) == [f"{n:03}" for n in range(240)]
    assert {e.lane for e in got[0]}.isdisjoint({e.lane for e in got[1]})


async def test_takeover(make):
    """What a dead reader had not settled goes to another, first and in order, within seconds."""
    async with make() as two:
        one = make()
        await one.__aenter__()
        first = await one.subscribe("crm")
        await one.append([message(f"a{n}") for n in range(6)])
        taken = await read(first, 6)
        await first.settle(Settlement(position=taken[1].position))
        second = await two.subscribe("crm")
        await crash(one)
        await two.append([message("a6"), message("a7")])
        async with asyncio.timeout(TAKES_OVER_WITHIN):
            entries = await read(second, 6)
    assert ids(entries) == ["a2", "a3", "a4", "a5", "a6", "a7"]


async def test_held_entries_are_taken_over(make):
    """What a dead reader held is told of and served where its partition goes, with its tries."""
    async with make() as two:
        one = make()
        await one.__aenter__()
        first = await one.subscribe("crm")
        await one.append([message("a"), message("b")])
        a, b = await read(first, 2)
        held = Held(
            entry=a, retry=Retry(tries=3, due_at=5.0, first_failed_at=1.0, error="KeyError")
        )
        await first.settle(Settlement(position=b.position, held=(held, Held(entry=b))))
        second = await two.subscribe("crm")
        told = asyncio.Event()

        async def tell(name: str) -> None:
            if name == "crm" and await second.waiting():
                told.set()

        two.watch(tell)
        await crash(one)
        async with asyncio.timeout(TAKES_OVER_WITHIN):
            await told.wait()
        assert await second.waiting() == {a.lane: 5.0}
        assert list(await second.held(a.lane, 5)) == [held, Held(entry=b)]


async def test_what_is_given_anew_while_something_is_settled(make, monkeypatch):
    """What is settled of one partition says nothing of another, in whatever order it comes again.

    A partition comes again where others have read it meanwhile, as while a server was away.
    """
    async with make() as two:
        one = make()
        await one.__aenter__()
        cursor = await one.subscribe("crm")
        await one.append([message(each, user=each) for each in PHONES])
        first, *_ = await read(cursor, len(PHONES))
        names, broker = cursor._streams.names, cursor._streams.broker
        partition, write = cursor.partitions[names.partition_of(first.lane)], broker.write_as_one

        async def write_late(drafts) -> None:
            await partition.pinned(given=-1)
            await cursor.read(len(PHONES))
            await write(drafts)

        monkeypatch.setattr(broker, "write_as_one", write_late)
        dead = (Held(entry=first, retry=Retry(due_at=None)),)
        await cursor.settle(Settlement(position=first.position, dead=dead))
        second = await two.subscribe("crm")
        await crash(one)
        await two.append([message(f"{each} again", user=each) for each in PHONES])
        async with asyncio.timeout(TAKES_OVER_WITHIN):
            again = await read(second, 2 * len(PHONES))
    assert sorted(ids(again)) == sorted([*PHONES, *(f"{each} again" for each in PHONES)])


async def test_nothing_overtakes_what_a_dead_reader_held(make):
    """What follows held entries in their lane is read only by who knows that they are held."""
    async with make() as two:
        one = make()
        await one.__aenter__()
        first = await one.subscribe("crm")
        await one.append([message("a"), message("b")])
        a, b = await read(first, 2)
        await first.settle(
            Settlement(
                position=b.position, held=(Held(entry=a, retry=Retry(due_at=5.0)), Held(entry=b))
            )
        )
        second = await two.subscribe("crm")
        await crash(one)
        await two.append([message("c")])
        reading = asyncio.create_task(read(second, 1))
        partition = second.partitions[two._names.partition_of(a.lane)]
        async with asyncio.timeout(TAKES_OVER_WITHIN):
            while not partition.owned:
                await asyncio.sleep(0.01)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not reading.done()
        assert await second.waiting() == {a.lane: 5.0}
        assert ids(await reading) == ["c"]


@pytest.mark.parametrize("following", [(), ("c",)])
async def test_what_is_lost_on_its_way_comes_all_the_same(nats, make, tmp_path, following):
    """An entry that was lost with its connection comes before those after it, if there are any."""
    async with make() as writing, Fuse(nats) as fuse:
        reading = NatsJournal(
            NatsSettings(servers=tuple(fuse.urls), stream=tmp_path.name, partitions=PARTITIONS)
        )
        async with reading:
            cursor = await reading.subscribe("crm")
            await writing.append([message("a")])
            (a,) = await read(cursor, 1)
            await cursor.settle(Settlement(position=a.position))
            fuse.blow(message("b").key.encode())
            await writing.append([message("b")])
            while not fuse.blown:
                await asyncio.sleep(0)
            for each in following:
                await writing.append([message(each)])
            async with asyncio.timeout(TAKES_OVER_WITHIN):
                entries = await read(cursor, 1 + len(following))
    assert ids(entries) == ["b", *following]


async def test_followers_see_what_was_lost_on_its_way(nats, make, tmp_path):
    """An entry whose announcement was lost with its connection is read all the same."""
    async with make() as writing, Fuse(nats) as fuse:
        reading = NatsJournal(
            NatsSettings(servers=tuple(fuse.urls), stream=tmp_path.name, partitions=PARTITIONS)
        )
        async with reading:
            cursor = await reading.follow()
            await writing.append([message("a")])
            assert ids(await read(cursor, 1)) == ["a"]
            fuse.blow(message("b").key.encode())
            await writing.append([message("b")])
            entries: list[Entry] = []
            async with asyncio.timeout(TAKES_OVER_WITHIN):
                while not entries:
                    with suppress(JournalError):  # it may be reading when the connection breaks
                        entries += await cursor.read(1)
            assert ids(entries) == ["b"]


async def test_a_closed_reader_leaves_at_once(make):
    """A process that ends in good order leaves its partitions, so that nobody waits for it."""
    async with make() as two:
        async with make() as one:
            cursor = await one.subscribe("crm")
            await one.append([message("a")])
            (a,) = await read(cursor, 1)
            number = one._names.partition_of(a.lane)
            pinned = await consumer_info(one._streams, one._names.consumer("crm", number))
        left = await consumer_info(two._streams, two._names.consumer("crm", number))
    assert pinned["priority_groups"][0]["pinned_client_id"]
    assert "pinned_client_id" not in left["priority_groups"][0]


async def test_retry_elsewhere_is_told(make):
    """A dead letter that one process gives back is told to the process that serves its lane."""
    async with make() as serving, make() as operator:
        cursor = await serving.subscribe("crm")
        await serving.append([message("a")])
        (a,) = await read(cursor, 1)
        told: asyncio.Queue[str] = asyncio.Queue()
        serving.watch(told.put)
        async with asyncio.timeout(10):
            assert await told.get() == "crm"  # the partition itself
            assert await operator.replay([a.position], "crm") == 0  # it has not been settled
            await cursor.settle(Settlement(position=a.position))
            assert await operator.replay([a.position], "crm") == 1
            while not (held := await cursor.held(a.lane, 5)):
                assert await told.get() == "crm"
        assert [each.retry.replayed for each in held] == [True]


async def test_retries_go_on_in_another_process(make):
    """An event whose retries a process did not live to make is delivered by another."""
    policy = DeliverySettings(first_delay=0.05, max_delay=0.05, tries=100)
    failed, done = asyncio.Event(), asyncio.Event()

    async def fail(event: Message) -> None:
        failed.set()
        raise OSError

    async def succeed(event: Message) -> None:
        done.set()

    journals = make(), make()
    one, two = (Bridge(journal=journal, policy=policy) for journal in journals)
    one.on(Message, name="crm")(fail)
    two.on(Message, name="crm")(succeed)
    await one.__aenter__()
    await journals[0].append([message("a")])
    await failed.wait()
    async with asyncio.timeout(TAKES_OVER_WITHIN):
        while not [state for state in await journals[0].subscribers() if state.held]:
            await asyncio.sleep(0)
    async with two:
        await crash(journals[0])
        async with asyncio.timeout(TAKES_OVER_WITHIN):
            await done.wait()
    await one.__aexit__(None, None, None)


async def test_both_ways_of_reading_agree(make):
    """What any replica says of a subject and what the leader says is the same, but for lag."""
    async with make() as journal:
        await journal.append([message("a")])
        journal._publisher.forget_known()
        subjects = {journal._names.keys + digest(message(name).key) for name in "ab"}
        quick = await journal._publisher._look_up(subjects, certain=False)
        certain = await journal._publisher._look_up(subjects, certain=True)
    assert quick == certain
    assert sorted(found is None for found in quick.values()) == [False, True]


async def test_a_journal_is_opened_again(make):
    """A journal that was closed can be opened again, and its subscribers go on."""
    journal = make()
    async with journal:
        cursor, follower = await journal.subscribe("crm"), await journal.follow()
        await journal.append([message("a")])
        (a,) = await read(cursor, 1)
        await cursor.settle(Settlement(position=a.position))
        assert ids(await read(follower, 1)) == ["a"]
    async with journal:
        cursor, follower = await journal.subscribe("crm"), await journal.follow()
        await journal.append([message("b")])
        assert ids(await read(cursor, 1)) == ["b"]
        assert ids(await read(follower, 1)) == ["b"]
