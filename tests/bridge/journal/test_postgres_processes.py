"""Several processes on one PostgreSQL journal, a server that goes away, and its housekeeping.

A process is stood in for by a journal of its own, with connections of its own; what is left to
the end of a process is left to `tests/promises`.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing, suppress
from datetime import UTC, datetime

import attrs
import psycopg
import pytest

from bridge.adapter.signing import Secret
from bridge.delivery import Delivery, current
from bridge.errors import ConfigurationError, JournalError
from bridge.journal.overlay import digest
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.schema import check
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Appended, Cursor, Entry, Held, Retry, Settlement, Start
from bridge.journal.query import Query
from bridge.journal.states import State
from bridge.model import Event, Message, Status, StatusChange
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings
from bridge.testing.sample_events import ids, poorly, read
from tests.bridge.events import created, message, numbered_status, status
from tests.bridge.journal.postgres_servers import PostgresServer
from tests.waiting import until

PHONES = [f"+1650555{number:04}" for number in range(12)]
DAY = 86400.0

Make = Callable[..., PostgresJournal]
_schemas = itertools.count()


@pytest.fixture
def schema() -> str:
    return f"p{next(_schemas)}"


@pytest.fixture
def make(postgres: PostgresServer, schema: str) -> Make:
    def make(server: PostgresServer = postgres, **options) -> PostgresJournal:
        own = {
            k: options.pop(k) for k in ("partitions", "pooler", "patience", "poll") if k in options
        }
        own = {"partitions": 4, "poll": 0.05, **own}
        dsn = Secret(options.pop("dsn", server.dsn))
        return PostgresJournal(PostgresSettings(dsn=dsn, schema=schema, **own), **options)

    return make


async def crash(journal: PostgresJournal) -> None:
    """End a journal as the end of its process would: without a word to the server."""
    await journal._tasks.close()
    await journal.database.aclose()


# --- appending -------------------------------------------------------------------------------


async def test_two_processes_one_event_each(make: Make) -> None:
    """Two processes fed the same events in opposite orders publish each of them once."""
    events = [message(f"m{n}", user=PHONES[n % 12]) for n in range(60)]
    async with make() as one, make() as two:
        done = await asyncio.gather(
            *(one.append([event]) for event in events),
            *(two.append([event]) for event in reversed(events)),
        )
        seen = [await read(await each.follow(start=Start.BEGINNING), 60) for each in (one, two)]
    assert sum(each.published for each in done) == 60
    assert sum(each.duplicates for each in done) == 60
    assert Counter(ids(seen[0])) == Counter(event.message_id for event in events)
    assert seen[0] == seen[1]


async def test_two_processes_one_advance(make: Make) -> None:
    """Of two processes that are told the same statuses, only one says each step's `advanced`."""
    told: list[Event] = []
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


async def test_a_late_commit_is_not_skipped(make: Make, postgres: PostgresServer) -> None:
    """While an append is open, none after it gets a position: no reader can pass it by."""
    async with make() as one, make() as two:
        cursor = await two.follow()
        with psycopg.connect(postgres.dsn) as slow:
            head = two.database.qualified("SELECT last FROM $.head FOR UPDATE").encode()
            slow.execute(head)
            appending = [
                asyncio.create_task(each.append([message(n)]))
                for each, n in ((one, "a"), (two, "b"))
            ]
            reading = asyncio.create_task(read(cursor, 2))
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            await until(lambda: int(postgres.sql(waiting)) >= 2)
            assert not any(each.done() for each in (*appending, reading))
        await asyncio.gather(*appending)
        entries = await reading
    assert sorted(ids(entries)) == ["a", "b"]


async def test_what_is_decided_at_once_is_decided_anew(
    make: Make, postgres: PostgresServer
) -> None:
    """Of two processes that find the same events new at once, the later one finds them known."""
    events = [message("a"), message("b", user=PHONES[1])]
    async with make() as one, make() as two:
        with psycopg.connect(postgres.dsn) as slow:
            slow.execute(one.database.qualified("SELECT last FROM $.head FOR UPDATE").encode())
            appending = [asyncio.create_task(each.append(events)) for each in (one, two)]
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            await until(lambda: int(postgres.sql(waiting)) >= 2)
        appended = await asyncio.gather(*appending)
        assert ids(await read(await one.follow(start=Start.BEGINNING), 2)) == ["a", "b"]
    assert sorted(each.published for each in appended) == [0, 2]


async def test_many_change_what_waits(make: Make) -> None:
    """However many processes change what waits, each is served, and each event comes out once."""
    async with AsyncExitStack() as stack:
        journals = [await stack.enter_async_context(make()) for _ in range(5)]
        events = [message(f"{n}", user=PHONES[n]) for n in range(10)]

        async def tell(journal: PostgresJournal) -> None:
            for number, event in enumerate(events):
                await journal.append([poorly(event, f"90{number}", settle=0.2)])

        await asyncio.gather(*map(tell, journals))
        entries = await read(await journals[0].follow(start=Start.BEGINNING), len(events))
        assert len(await journals[0].search(Query())) == len(events)
    assert sorted(ids(entries)) == sorted(each.message_id for each in events)


async def test_a_key_is_learned_while_its_event_waits(make: Make) -> None:
    """A key that another journal knew too is known once, and its event still comes out."""
    poor = message("a", settle=60.0, received_at=datetime(2099, 1, 1, tzinfo=UTC))
    async with make() as journal:
        await journal.append([poor])
        await journal.learn([digest(poor.key), digest(message("b").key)])
        assert await journal.search(Query()) == []
        assert await journal.append([message("a")]) == Appended(published=0, duplicates=1)
        assert await journal.append([message("b")]) == Appended(published=0, duplicates=1)
        assert ids(await journal.search(Query())) == ["a"]


async def test_what_waits_is_released_by_another(make: Make) -> None:
    """What a process let wait, and did not live to publish, another one publishes."""
    async with make() as two:
        one = await make().__aenter__()
        first = message("a")
        await one.append([poorly(first, settle=0.3)])
        await crash(one)
        entries = await read(await two.follow(start=Start.BEGINNING), 1)
    assert [entry.event.key for entry in entries] == [first.key]


# --- serving subscribers -----------------------------------------------------------------------


async def collect(cursor: Cursor, got: list[Entry], settle: bool = True) -> None:
    while True:
        entries = await cursor.read(50)
        got += entries
        if settle:
            await cursor.settle(Settlement(position=entries[-1].position))


async def test_partitions_are_shared_and_in_order(make: Make) -> None:
    """Each entry goes to one of two readers, in order within its conversation."""
    got: list[list[Entry]] = [[], []]
    async with make() as one, make() as two:
        journals = (one, two)
        cursors = [await journal.subscribe("crm") for journal in journals]
        await until(lambda: all(len(c.partitions) == 2 for c in cursors))
        tasks = [asyncio.create_task(collect(*pair)) for pair in zip(cursors, got, strict=True)]
        for n in range(240):
            await journals[n % 2].append([message(f"{n:03}", user=PHONES[n % 12])])
        await until(lambda: len(got[0]) + len(got[1]) >= 240)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await two.is_served("crm")
    assert in_disorder(got[0]) == in_disorder(got[1]) == []
    assert sorted(ids(got[0] + got[1])) == [f"{n:03}" for n in range(240)]
    assert {e.lane for e in got[0]}.isdisjoint({e.lane for e in got[1]})


def in_disorder(entries: Sequence[Entry]) -> list[str]:
    """Return the lanes in which something came before what precedes it."""
    lanes: dict[str, list[int]] = {}
    for entry in entries:
        lanes.setdefault(entry.lane, []).append(entry.position)
    return [lane for lane, positions in lanes.items() if positions != sorted(positions)]


async def test_a_process_that_died_is_replaced(make: Make) -> None:
    """What a process had read and not settled, and what it held, its successor gets, in order."""
    async with make() as two:
        one = await make().__aenter__()
        served = await one.subscribe("crm")
        events = [message(f"{n}", user=PHONES[n % 3]) for n in range(9)]
        await one.append(events)
        first = await read(served, 9)
        await served.settle(
            Settlement(
                position=first[2].position, held=(Held(entry=first[1], retry=Retry(tries=1)),)
            )
        )
        await crash(one)
        told: list[str] = []

        async def changed(name: str) -> None:
            told.append(name)
            await cursor.waiting()

        two.watch(changed)
        cursor = await two.subscribe("crm")
        entries = await read(cursor, 6)
        assert await cursor.waiting() == {first[1].lane: 0.0}
        (held,) = await cursor.held(first[1].lane, 5)
    assert (held.entry, held.retry.tries) == (first[1], 1)
    assert sorted(ids(entries)) == ["3", "4", "5", "6", "7", "8"]
    assert not in_disorder(entries)
    assert set(told) == {"crm"}


async def test_a_partition_is_handed_over_at_rest(make: Make) -> None:
    """What a reader has begun with, it ends, before another process gets the conversation."""
    async with make() as one:
        cursor = await one.subscribe("crm")
        await one.append([message(f"a{n}", user=PHONES[n]) for n in range(12)])
        begun = await read(cursor, 12)
        async with make() as two:
            other = await two.subscribe("crm")
            await until(lambda: sum(each.leaving for each in cursor.partitions.values()) == 2)
            await one.append([message(f"b{n}", user=PHONES[n]) for n in range(12)])
            assert not other.partitions
            await cursor.settle(Settlement(position=begun[-1].position))
            await until(lambda: len(other.partitions) == 2)
            mine, others = [], []
            tasks = [
                asyncio.create_task(collect(cursor, mine)),
                asyncio.create_task(collect(other, others)),
            ]
            await until(lambda: len(mine) + len(others) == 12)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(ids(mine + others)) == sorted(f"b{n}" for n in range(12))


async def test_what_is_just_read_of_a_partition_to_be_handed_over_is_left_to_others(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it could overtake what is held, about which this process asks no more."""
    async with make() as one:
        cursor = await one.subscribe("crm")
        await one.append([message(f"{n}", user=PHONES[n]) for n in range(12)])
        look_after = one.tail.look_after

        async def meanwhile_leaving(position: int, limit: int) -> Sequence[Entry]:
            entries = await look_after(position, limit)
            cursor.leave(beyond=2)
            return entries

        with monkeypatch.context() as patch:
            patch.setattr(one.tail, "look_after", meanwhile_leaving)
            mine = await cursor.read(12)
        others = await read(cursor, 12 - len(mine))  # once it has taken them again
    assert 0 < len(mine) < 12
    assert sorted(ids([*mine, *others])) == sorted(f"{n}" for n in range(12))


async def test_what_is_held_goes_first_also_where_it_is_handed_over(make: Make) -> None:
    """What has been read behind something held does not overtake it while the partition leaves."""
    async with make() as one:
        cursor = await one.subscribe("crm")
        await one.append([message(f"a{n}", user=PHONES[n]) for n in range(12)])
        await one.append([message(f"b{n}", user=PHONES[n]) for n in range(12)])
        begun = await read(cursor, 24)
        held = tuple(Held(entry=each) for each in begun[:12])
        await cursor.settle(Settlement(position=begun[11].position, held=held))
        async with make() as two:
            await two.subscribe("crm")
            await until(lambda: sum(each.leaving for each in cursor.partitions.values()) == 2)
            for each in held:
                assert [h.entry for h in await cursor.held(each.entry.lane, 8)] == [each.entry]
            await cursor.settle(Settlement(position=begun[-1].position))
            left = [each for each in held if not await cursor.held(each.entry.lane, 8)]
    assert 0 < len(left) < 12


@pytest.mark.parametrize("behind", [0, 70])
async def test_nobody_is_given_what_another_process_is_at_work_on(make: Make, behind: int) -> None:
    """Nor where it is held: it is tried again, or more waits behind it than is kept in memory."""
    one, two = Bridge(journal=make()), Bridge(journal=make())
    taken: list[str] = []
    go_on, policy = asyncio.Event(), DeliverySettings(first_delay=0.0, max_delay=0.0)

    @one.on(Message, name="crm", policy=policy)
    async def wait(event: Message) -> None:
        taken.append(event.message_id)
        if event.message_id in PHONES:
            if not (behind or current().tries):
                raise RuntimeError
            await go_on.wait()

    @two.on(Message, name="crm", policy=policy)
    async def take(event: Message) -> None:
        taken.append(event.message_id)

    async with one:
        events = [message(each, user=each) for each in PHONES]
        events += [message(f"{each} {n}", user=each) for n in range(behind) for each in PHONES]
        await one.journal.append(events)
        mine = one.journal.cursors["crm"]
        await until(lambda: len(mine.at_work) == len(PHONES))
        await until_async(lambda: settled(one.journal))
        async with two:
            theirs = two.journal.cursors["crm"]
            await until(lambda: sum(each.leaving for each in mine.partitions.values()) == 2)
            for _ in range(3):
                await one.journal.members.serve()
            assert not theirs.partitions
            go_on.set()
            await until(lambda: len(theirs.partitions) == 2)
            await until(lambda: len(set(taken)) == len(events))
            await until_async(lambda: settled(one.journal))
    assert Counter(taken) == Counter(
        [*(each.message_id for each in events), *([] if behind else PHONES)]
    )


async def test_nobody_is_given_what_another_process_has_noted_that_it_begins_with(
    make: Make,
) -> None:
    """What a function has begun with durably is held, and stays with it until it has ended."""
    noted: list[Event] = []
    go_on = asyncio.Event()

    async def begin(event: Event) -> None:
        await asyncio.sleep(0)
        await delivery.note_begun(event)
        noted.append(event)
        await go_on.wait()

    async with make() as one, make() as two:
        cursor = await one.subscribe("crm")
        policy = DeliverySettings(concurrency=len(PHONES))
        delivery = Delivery("crm", begin, cursor, wants=lambda _: True, policy=policy)
        async with delivery:
            await one.append([message(each, user=each) for each in PHONES])
            await until(lambda: len(noted) == len(PHONES))
            theirs = await two.subscribe("crm")
            await until(lambda: sum(each.leaving for each in cursor.partitions.values()) == 2)
            for _ in range(3):
                await one.members.serve()
                await two.members.serve()
            assert not theirs.partitions
            go_on.set()
            await until(lambda: len(theirs.partitions) == 2)
        assert not await theirs.waiting()


async def test_what_a_bridge_takes_up_while_it_starts_is_in_order(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held of a partition goes first also where it comes before all subscribers began."""
    bridge, taken = Bridge(journal=make()), []
    first_began, go_on, enter = asyncio.Event(), asyncio.Event(), Delivery.__aenter__

    @bridge.on(Message, name="first")
    async def take(event: Message) -> None:
        taken.append(event.message_id)

    @bridge.on(Message, name="second")
    async def pass_over(event: Message) -> None:
        pass

    async def enter_one_by_one(delivery: Delivery) -> Delivery:
        if delivery.name == "second":
            first_began.set()
            await go_on.wait()
        return await enter(delivery)

    monkeypatch.setattr(Delivery, "__aenter__", enter_one_by_one)
    async with make() as one:
        cursor = await one.subscribe("first")
        await one.append([message("a")])
        (a,) = await read(cursor, 1)
        starting = asyncio.create_task(bridge.__aenter__())
        await first_began.wait()
        await cursor.settle(Settlement(position=a.position, held=(Held(entry=a),)))
    await until(lambda: len(bridge.journal.cursors["first"].partitions) == 4)
    await bridge.journal.append([message("b")])
    await until(lambda: "b" in taken)
    go_on.set()
    await starting
    await bridge.__aexit__()
    assert taken == ["a", "b"]


async def test_a_process_taken_for_dead_settles_nothing(make: Make) -> None:
    """What one says that was taken for dead does not undo what its successor does."""
    async with make() as one:
        cursor = await one.subscribe("crm")
        await one.append([message("a"), message("b")])
        a, b = await read(cursor, 2)
        async with make() as two:
            await take_for_dead(one, successor=two)
            await cursor.settle(
                Settlement(position=b.position, held=(Held(entry=a),), dead=(Held(entry=b),))
            )
            assert await two.dead_letters() == ()
            (state,) = await two.subscribers()
            assert (state.lag, state.held) == (2, 0)
        again = await read(cursor, 2)  # its successor has ended: it begins anew
    assert ids(again) == ["a", "b"]


async def test_what_a_successor_left_held_goes_first(make: Make) -> None:
    """One that was taken for dead ends what it has begun before it serves a partition again."""
    async with make(partitions=1) as one:
        cursor = await one.subscribe("crm")
        await one.append([message("a"), message("b")])
        a, b = await read(cursor, 2)
        async with make() as two:
            await take_for_dead(one, successor=two)
            await until(lambda: not cursor.partitions)
            other = await two.subscribe("crm")
            held = tuple(Held(entry=each) for each in await read(other, 2))
            await other.settle(Settlement(position=b.position, held=held))
            with pytest.raises(JournalError, match="another process"):
                await cursor.held(a.lane, 8)
        await one.subscribe("more")  # which claims whatever is free
        assert not cursor.partitions
        await cursor.settle(Settlement(position=b.position))
        await until(lambda: cursor.partitions)
        assert await cursor.held(a.lane, 8) == held


async def test_what_was_not_kept_is_done_and_settled_again(make: Make) -> None:
    """What a process did after it was taken for dead comes again, and counts as done from then."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    bridge = Bridge(journal=make())
    taken: list[str] = []

    @bridge.on(Message, name="crm")
    async def take(event: Message) -> None:
        taken.append(event.message_id)
        begun.set()
        await go_on.wait()

    async with bridge:
        await bridge.journal.append([message("a")])
        await begun.wait()
        cursor = bridge.journal.cursors["crm"]
        await until(lambda: any(each.settled for each in cursor.partitions.values()))
        async with make() as two:
            await take_for_dead(bridge.journal, successor=two)
        await until(lambda: len(cursor.partitions) == 3)  # all but the one of what is begun
        go_on.set()
        await until(lambda: len(taken) == 2)
        await until_async(lambda: settled(bridge.journal))
    assert taken == ["a", "a"]


async def test_a_claim_whose_answer_was_lost(make: Make) -> None:
    """A partition that a process has claimed and does not know of is served all the same."""
    async with make() as one:
        await one.subscribe("crm")
        await one.append([message("a")])
    async with make() as one:
        await one.database.ask("UPDATE $.cursors SET owner = %s", (one.owner,))
        assert ids(await read(await one.subscribe("crm"), 1)) == ["a"]


async def take_for_dead(one: PostgresJournal, *, successor: PostgresJournal) -> None:
    """Do at once what a successor does that has seen nothing of a process for a while."""
    await successor.database.ask(
        "WITH gone AS (DELETE FROM $.members WHERE owner = %s RETURNING owner) "
        "UPDATE $.cursors SET owner = %s FROM gone WHERE cursors.owner = gone.owner",
        (one.owner, successor.owner),
    )


async def test_operators_reach_every_process(make: Make) -> None:
    """A replay and a purge through one process reach the subscriber's delivery in another."""
    taken: list[str] = []
    bridge = Bridge(journal=make())

    @bridge.on(Message, name="crm")
    async def take(event: Message) -> None:
        taken.append(event.message_id)

    async with bridge, make() as two:
        await two.append([message("a"), message("b", user=PHONES[1])])
        await until(lambda: len(taken) == 2)
        (a, _) = await two.search(Query())
        await until_async(lambda: settled(two))
        assert await two.replay([a.position], "crm") == 1
        await until(lambda: taken.count("a") == 2)
        assert await two.purge(PHONES[1]) == 1
        await until(lambda: not tail_has(bridge.journal, "b"))
    assert sorted(taken) == ["a", "a", "b"]


def tail_has(journal: PostgresJournal, name: str) -> bool:
    return name in ids(journal.tail.after(journal.tail.since, 100))


async def settled(journal: PostgresJournal) -> bool:
    (state,) = await journal.subscribers()
    return state.lag == 0


async def until_async(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


# --- effects of the subscriber's own -----------------------------------------------------------


async def test_effect_and_progress_are_one(make: Make) -> None:
    """A subscriber's statements are committed once, and those of a failed try not at all."""
    tries: Counter[str] = Counter()
    async with make() as journal:
        await journal.database.ask("CREATE TABLE $.effects (name text)")
    policy = DeliverySettings(first_delay=0, max_delay=0, tries=3)
    bridge = Bridge(journal=make(), policy=policy)

    @bridge.on(Message, transaction=True, name="crm")
    async def take(event: Message, connection: psycopg.AsyncConnection) -> None:
        insert = bridge.journal.database.qualified("INSERT INTO $.effects VALUES (%s)")
        await connection.execute(insert, (event.message_id,))
        tries[event.message_id] += 1
        if event.message_id == "b" and tries["b"] < 3:
            raise ConnectionError("the shop is away")
        if event.message_id == "c":
            await connection.commit()

    async with bridge:
        await bridge.journal.append([message(n, user=PHONES[i]) for i, n in enumerate("abc")])
        await until_async(lambda: are_dead(bridge.journal, 1))
        found = await bridge.journal.database.rows("SELECT name FROM $.effects ORDER BY name")
        (letter,) = await bridge.journal.dead_letters()
    assert [name for (name,) in found] == ["a", "b"]
    assert tries == {"a": 1, "b": 3, "c": 3}
    assert "commit" in letter.retry.error


async def are_dead(journal: PostgresJournal, count: int) -> bool:
    dead = len(await journal.dead_letters()) == count
    (state,) = await journal.subscribers()
    return dead and state.lag == 0 and state.held == 0


@pytest.mark.parametrize("statement", ["SELECT 1 / 0", "ROLLBACK"])
async def test_a_transaction_that_was_ended_inside(make: Make, statement: str) -> None:
    """A subscriber that swallows an error of its statements is told of it, and tried again."""
    tries = 0
    bridge = Bridge(journal=make(), policy=DeliverySettings(first_delay=0, max_delay=0, tries=3))

    @bridge.on(Message, transaction=True, name="crm")
    async def take(event: Message, connection: psycopg.AsyncConnection) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            with suppress(psycopg.Error):
                await connection.execute(statement)
            return
        async with connection.transaction():  # a savepoint
            await connection.execute("SELECT 1")

    async with bridge:
        await bridge.journal.append([message("a")])
        await until_async(lambda: are_dead(bridge.journal, 0))
        await bridge.journal.retain()
        assert await bridge.journal.database.rows("SELECT count(*) FROM $.done") == [(0,)]
    assert tries == 2


async def test_an_effect_is_not_repeated(make: Make) -> None:
    """An event that was taken in a transaction, and never settled, is not taken once more."""
    async with make() as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        (a,) = await read(cursor, 1)
        async with cursor.transaction(a) as connection:
            assert connection is not None
        await crash(journal)
    async with make() as journal:
        cursor = await journal.subscribe("crm")
        (again,) = await read(cursor, 1)
        async with cursor.transaction(again) as connection:
            assert connection is None
        await journal.retain()
        assert await journal.database.rows("SELECT count(*) FROM $.done") == [(1,)]
        await cursor.settle(Settlement(position=again.position))
        await journal.retain()
        assert await journal.database.rows("SELECT count(*) FROM $.done") == [(0,)]
        assert await journal.replay([a.position], "crm") == 1  # an operator may have it again
        async with cursor.transaction(a) as connection:
            assert connection is not None


async def test_no_transactions_elsewhere() -> None:
    """A journal that is no database says so at the start, and a plain function before."""
    from bridge.journal.memory import MemoryJournal  # noqa: PLC0415

    bridge = Bridge(journal=MemoryJournal())
    with pytest.raises(ConfigurationError, match="has to be async"):
        bridge.on(Message, transaction=True)(lambda event, connection: None)
    with pytest.raises(ConfigurationError, match="an event and a connection"):

        @bridge.on(Message, transaction=True)
        async def one(event: Message) -> None: ...

    @bridge.on(Message, transaction=True)
    async def two(event: Message, connection: object) -> None: ...

    with pytest.raises(ConfigurationError, match='engine = "postgres"'):
        async with bridge:
            pass


# --- a server that fails ---------------------------------------------------------------------


async def test_backends_are_killed(make: Make, postgres: PostgresServer, schema: str) -> None:
    """Whatever connection is cut, and whenever: appends succeed, and subscribers get all, once."""
    got: list[Entry] = []
    async with make() as journal:
        cursor = await journal.subscribe("crm")
        collecting = asyncio.create_task(collect(cursor, got))
        for n in range(60):
            appending = asyncio.create_task(journal.append([message(f"{n:02}")]))
            if n % 6 == 0:
                postgres.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name LIKE 'incs-bridge%' AND pid <> pg_backend_pid()"
                )
            await appending
        await until(lambda: len(got) >= 60)
        collecting.cancel()
        with suppress(asyncio.CancelledError):
            await collecting
    assert ids(got) == [f"{n:02}" for n in range(60)]


async def test_the_server_is_killed(make: Make) -> None:
    """A crash of the server loses nothing, and what was appended meanwhile waits for it."""
    got: list[Entry] = []
    with PostgresServer(synced=True) as server:
        async with make(server) as journal:
            cursor = await journal.subscribe("crm")
            collecting = asyncio.create_task(collect(cursor, got))
            await journal.append([message("a")])
            server.stop("immediate")
            health = await journal.health()
            appending = asyncio.create_task(journal.append([message("b")]))
            await asyncio.sleep(0)
            server.start()
            assert await appending == Appended(published=1, duplicates=0)
            await until(lambda: "b" in ids(got))
            assert (await journal.health()).ready
            collecting.cancel()
            with suppress(asyncio.CancelledError):
                await collecting
    assert not health.ready
    assert list(dict.fromkeys(ids(got))) == ["a", "b"]


async def test_a_standby_takes_over(make: Make) -> None:
    """A standby is refused by itself; once it is promoted, bridges that know both go on with it."""
    got: list[Entry] = []
    with PostgresServer(synced=True) as primary, PostgresServer.standby(primary) as standby:
        with pytest.raises(JournalError, match="this server is a standby"):
            async with make(standby):
                pass
        both = (
            f"host=127.0.0.1,127.0.0.1 port={primary.port},{standby.port} user=postgres "
            "dbname=postgres target_session_attrs=read-write"
        )
        async with make(dsn=both) as journal:
            cursor = await journal.subscribe("crm")
            collecting = asyncio.create_task(collect(cursor, got))
            await journal.append([message("a")])
            primary.stop("immediate")
            appending = asyncio.create_task(journal.append([message("b")]))
            await asyncio.sleep(0)
            standby.promote()
            await appending
            await until(lambda: "b" in ids(got))
            collecting.cancel()
            with suppress(asyncio.CancelledError):
                await collecting
            assert ids(await journal.search(Query())) == ["a", "b"]
    assert list(dict.fromkeys(ids(got))) == ["a", "b"]


async def test_the_server_stays_away(make: Make) -> None:
    """A server that does not come back costs an append its patience, and is said in words."""
    with PostgresServer() as server, closing(socket.socket()) as place:
        async with make(server, patience=0.5) as journal:
            server.stop("immediate")
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.bind(("127.0.0.1", server.port))  # so that no other server listens there
            with pytest.raises(JournalError, match="PostgreSQL"):
                await journal.append([message("a")])
            with pytest.raises(JournalError, match="PostgreSQL"):
                await journal.subscribers()
        with pytest.raises(JournalError, match="refused"):
            async with make(server):
                pass


async def test_bounded(make: Make, postgres: PostgresServer) -> None:
    """While the server takes nothing, only so many events wait, and the others are refused."""
    async with make(max_waiting=3) as journal:
        with psycopg.connect(postgres.dsn) as slow:
            slow.execute(journal.database.qualified("SELECT last FROM $.head FOR UPDATE").encode())
            appending = [asyncio.create_task(journal.append([message(f"{n}")])) for n in range(4)]
            await asyncio.sleep(0)
            done = [each for each in appending if each.done()]
            more = (
                await asyncio.gather(
                    *(journal.append([message(f"m{n}")]) for n in range(4)), return_exceptions=True
                )
                if not done
                else []
            )
            assert done or any(isinstance(each, JournalError) for each in more)
        await asyncio.gather(*appending, return_exceptions=True)


# --- keeping house -----------------------------------------------------------------------------


async def test_retention(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Old entries go with their keys once everybody is done with them, at last in any case."""
    async with make(keep=DAY, absolute_limit=9 * DAY) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message(f"{n}", user=PHONES[n]) for n in range(4)])
        entries = await read(cursor, 4)
        await journal.database.ask("UPDATE $.entries SET at = at - %s", (2 * DAY,))
        await journal.retain()
        assert len(await journal.search(Query())) == 4  # nobody has had them
        held = (Held(entry=entries[0], retry=Retry(due_at=1.0)),)
        dead = (Held(entry=entries[1], retry=Retry(tries=1)),)
        await cursor.settle(Settlement(position=entries[3].position, held=held, dead=dead))
        await journal.retain()
        assert ids(await journal.search(Query())) == ["0", "1"]
        assert await journal.append([message("3", user=PHONES[3])]) == Appended(
            published=1, duplicates=0
        )
        await journal.database.ask("UPDATE $.entries SET at = at - %s", (9 * DAY,))
        await journal.retain()
        assert await journal.search(Query()) == []
        assert await cursor.waiting() == {}
        assert await journal.dead_letters() == ()
    assert "3 entries that somebody had yet to take" in caplog.text


async def test_check(make: Make, postgres: PostgresServer, schema: str) -> None:
    """What keeps the journal from opening, or makes it unsafe, is told before."""
    told = [problem.message for problem in check(make().settings)]
    assert any("fsync = off" in each for each in told)
    async with make():
        pass
    assert any("keeps them" in problem.message for problem in check(make(partitions=9).settings))
    postgres.sql("CREATE ROLE nobody LOGIN")
    settings = PostgresSettings(
        dsn=Secret(postgres.dsn.replace("user=postgres", "user=nobody")), schema="elsewhere"
    )
    with pytest.raises(ConfigurationError, match="may not make the schema"):
        check(settings)
    postgres.sql(f"GRANT USAGE ON SCHEMA {schema} TO nobody")
    postgres.sql(f"GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {schema} TO nobody")
    settings = attrs.evolve(settings, schema=schema)
    with pytest.raises(ConfigurationError, match=r"entries\.event, .*nobody may not"):
        check(settings)
    postgres.sql(f"ALTER TABLE {schema}.entries DROP COLUMN reparsed")
    with pytest.raises(ConfigurationError, match=r"lacks entries\.reparsed, or"):
        check(make().settings)
    with pytest.raises(JournalError, match=r"lacks entries\.reparsed, or"):
        async with make():
            pass
    postgres.sql(f"UPDATE {schema}.meta SET format = 99")
    with pytest.raises(ConfigurationError, match="format 99"):
        check(make().settings)
    with pytest.raises(JournalError, match="format 99"):
        async with make():
            pass


async def test_a_schema_that_is_there(make: Make, postgres: PostgresServer, schema: str) -> None:
    """A role that may make no schema uses the one that was made for it."""
    postgres.sql("CREATE ROLE tenant LOGIN")
    postgres.sql(f"CREATE SCHEMA {schema} AUTHORIZATION tenant")
    dsn = postgres.dsn.replace("user=postgres", "user=tenant")
    check(make(dsn=dsn).settings)
    async with make(dsn=dsn) as journal:
        assert (await journal.append([message("a")])).published == 1


async def test_expired_states(make: Make) -> None:
    """A state goes with the next pass once it has expired by the server's clock."""
    old, young = (
        State(conversation="whatsapp:1:2", name=name, value=b"{}", expires_at=expires_at)
        for name, expires_at in (("old", 1.0), ("young", 4_000_000_000.0))
    )
    async with make() as journal:
        for each in (old, young):
            await journal.write_state(each)
        await journal.retain()
        assert [each async for page in journal.states() for each in page] == [young]


async def test_a_pooler(make: Make, postgres: PostgresServer) -> None:
    """Behind pgbouncer in transaction mode all works that does elsewhere, once it is said."""
    with postgres.pooled() as dsn:
        with pytest.raises(JournalError, match="pooler = true"):
            async with make(dsn=dsn):
                pass
        async with make(dsn=dsn, pooler=True) as one, make(dsn=dsn, pooler=True) as two:
            cursor = await two.subscribe("crm")
            for n in range(20):  # so often that statements would be prepared
                await one.append([message(f"{n:02}")])
            entries = await read(cursor, 20)
            async with cursor.transaction(entries[0]) as connection:
                assert connection is not None
            await cursor.settle(Settlement(position=entries[-1].position))
            (state,) = await one.subscribers()
    assert ids(entries) == [f"{n:02}" for n in range(20)]
    assert state.lag == 0


async def test_far_behind(make: Make) -> None:
    """A reader that lags behind what is in memory reads from the server, and misses nothing."""
    names = [f"{n:04}" for n in range(5000)]
    events = [message(name, user=PHONES[n % 12]) for n, name in enumerate(names)]
    large = message("large", user=PHONES[0], raw={"padding": "x" * (9 << 20)})
    async with make() as journal:
        cursor, follower = await journal.subscribe("crm"), await journal.follow()
        await journal.append([large])
        for start in range(0, 5000, 500):
            await journal.append(events[start : start + 500])
        assert ids(await read(cursor, 5001)) == ["large", *names]
        assert ids(await read(follower, 5001)) == ["large", *names]


async def test_others_events_are_read_when_somebody_wants_them(make: Make) -> None:
    """A process in which nobody reads begins anew with the newest, and a reader misses nothing."""
    async with make() as one, make() as other:
        for start in range(0, 5200, 400):  # more than are caught up with
            await one.append([message(f"{start + n:04}") for n in range(400)])
        await until(lambda: other.tail.reach > 10_000)
        beginning = await other.follow(start=Start.BEGINNING)
        await other.append([message("5200")])
        assert ids(await read(beginning, 5201)) == [f"{n:04}" for n in range(5201)]
