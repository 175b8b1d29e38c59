"""Subscribers' transactions on PostgreSQL, of which one commits as the next begins."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context

import psycopg
import pytest

from bridge.journal.postgres import PostgresJournal
from bridge.journal.protocol import Cursor, Entry
from bridge.model import Message
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings
from bridge.testing.sample_events import read
from tests.bridge.events import message
from tests.bridge.journal.postgres_servers import PostgresServer
from tests.bridge.journal.test_postgres_cancelling import Struck, nothing_left_open, run
from tests.bridge.journal.test_postgres_operations import journal_on, settled
from tests.waiting import until

USERS = [f"+1650555{number:04}" for number in range(40)]


@asynccontextmanager
async def entries(
    dsn: str, schema: str, count: int
) -> AsyncIterator[tuple[PostgresJournal, Cursor, Sequence[Entry]]]:
    """Give a journal with one connection for effects, and what a cursor has read there."""
    async with journal_on(dsn, schema, connections=1) as journal:
        cursor = await journal.subscribe("crm ñ'\\")
        await journal.append([message(str(n), user=USERS[n]) for n in range(count)])
        yield journal, cursor, await read(cursor, count)


async def test_a_commit_that_fails_is_nobody_elses(postgres: PostgresServer) -> None:
    """Of events that share connections, the one whose commit fails alone has no effect."""
    postgres.sql("CREATE TABLE shared (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    postgres.sql("INSERT INTO shared VALUES ('7')")
    tries: Counter[str] = Counter()
    policy = DeliverySettings(first_delay=0, max_delay=0, tries=3)
    bridge = Bridge(journal=journal_on(postgres.dsn, "shared", connections=2), policy=policy)

    @bridge.on(Message, transaction=True, name="crm")
    async def take(event: Message, connection: psycopg.AsyncConnection) -> None:
        await connection.execute("INSERT INTO shared VALUES (%s)", (event.message_id,))
        tries[event.message_id] += 1

    async with bridge:
        events = [message(str(n), user=user) for n, user in enumerate(USERS)]
        await bridge.journal.append(events)
        await until(lambda: sum(tries.values()) == len(USERS) + 2)
        await settled(bridge.journal)
        (letter,) = await bridge.journal.dead_letters()
    assert letter.entry.event.message_id == "7"
    assert tries == {str(n): 3 if n == 7 else 1 for n in range(len(USERS))}
    assert postgres.sql("SELECT count(DISTINCT name), count(*) FROM shared") == "40|40"


async def test_who_has_committed_waits_for_nobody(postgres: PostgresServer) -> None:
    """Where the next event has to wait for another process, the one before is done with."""
    async with entries(postgres.dsn, "waits", 2) as (journal, cursor, (a, b)):
        begun, ended = asyncio.Event(), asyncio.Event()

        async def take(entry: Entry) -> bool:
            async with cursor.transaction(entry) as connection:
                begun.set()
                return connection is not None

        async def first() -> None:
            async with cursor.transaction(a):
                await ended.wait()

        with psycopg.connect(postgres.dsn) as other:
            other.execute(
                "INSERT INTO waits.done SELECT %s, partition, position "
                "FROM waits.entries WHERE position = %s",
                (cursor.name, b.position),
            )
            first_one = asyncio.create_task(first())
            await asyncio.sleep(0)
            second = asyncio.create_task(take(b))
            await asyncio.sleep(0)
            ended.set()
            await first_one
            assert not begun.is_set()
            other.rollback()
        assert await second
        assert await journal.database.rows("SELECT count(*) FROM $.done") == [(2,)]


@pytest.mark.parametrize("struck", [0, 1])
@pytest.mark.parametrize(("times", "has_come"), [(1, False), (1, True), (2, False)])
async def test_one_of_two_that_share_a_connection_is_cancelled(
    postgres: PostgresServer, struck: int, times: int, has_come: bool
) -> None:
    """At each wait: its effect is there with its progress or not at all, and the other goes on."""
    schema = f"shared_{struck}_{times}_{has_come}".lower()
    postgres.sql(f"CREATE TABLE of_{schema} (position bigint)")
    with nothing_left_open():
        async with entries(postgres.dsn, schema, len(USERS)) as (journal, cursor, given):

            async def take(entry: Entry) -> None:
                async with cursor.transaction(entry) as connection:
                    statement = f"INSERT INTO of_{schema} VALUES (%s)"
                    await connection.execute(statement, (entry.position,))

            for at, pair in enumerate(zip(given[::2], given[1::2], strict=True), 1):
                coroutines = [take(each) for each in pair]
                cancelled = Struck(coroutines[struck], at, times, has_come)
                coroutines[struck] = run(cancelled)
                both = [asyncio.create_task(each) for each in coroutines]
                with suppress(asyncio.CancelledError):
                    await both[struck]
                await both[1 - struck]
                if cancelled.waits < at:
                    break
            async with cursor.transaction(given[-1]) as connection:
                assert connection is not None
            done = await journal.database.rows("SELECT position FROM $.done")
            ends = {each.position for each in given[1 - struck : 2 * at : 2]}
    effects = {int(each) for each in postgres.sql(f"SELECT * FROM of_{schema}").split()}
    assert 3 < at < len(USERS) // 2
    assert {position for (position,) in done} == effects | {given[-1].position}
    assert effects >= ends
    assert postgres.sql(f"SELECT count(*) FROM of_{schema}") == f"{len(effects)}"


async def test_who_comes_next_is_cancelled_as_one_commits(postgres: PostgresServer) -> None:
    """Whenever that is, the one that commits is none the wiser, and the connection is there."""
    async with entries(postgres.dsn, "next", 20) as (journal, cursor, given):
        begun, ended = asyncio.Event(), asyncio.Event()

        async def take(entry: Entry) -> None:
            async with cursor.transaction(entry):
                begun.set()
                await ended.wait()

        for steps, pair in enumerate(zip(given[::2], given[1::2], strict=True)):
            begun.clear()
            ended.clear()
            one, following = (asyncio.create_task(take(each)) for each in pair)
            await begun.wait()
            ended.set()
            for _ in range(steps):
                await asyncio.sleep(0)
            following.cancel()
            await one
        done = await journal.database.rows("SELECT position FROM $.done")
    assert {position for (position,) in done} >= {each.position for each in given[::2]}


async def test_a_statement_that_is_cut_off(postgres: PostgresServer) -> None:
    """A function that is cancelled in a long statement leaves it to nobody, and its connection."""
    async with entries(postgres.dsn, "cut", 2) as (journal, cursor, (a, b)):
        pids = []

        async def take(entry: Entry, seconds: int) -> None:
            async with cursor.transaction(entry) as connection:
                pids.append(connection.info.backend_pid)
                await connection.execute("SELECT pg_sleep(%s)", (seconds,))

        long = asyncio.create_task(take(a, 60))
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while postgres.sql(sleeping) == "0":
            await asyncio.sleep(0.01)
        long.cancel()
        with suppress(asyncio.CancelledError):
            await long
        assert postgres.sql(sleeping) == "0"
        await take(b, 0)
        assert pids == [pids[0]] * 2
        assert await journal.database.rows("SELECT position FROM $.done") == [(b.position,)]


async def test_effects_behind_a_pooler(postgres: PostgresServer) -> None:
    """Behind pgbouncer each event has its effect once, where one commits as the next begins."""
    postgres.sql("CREATE TABLE pooled (name text)")
    with postgres.pooled() as dsn:
        bridge = Bridge(journal=journal_on(dsn, "pooled", connections=2, pooler=True))

        @bridge.on(Message, transaction=True, name="crm")
        async def take(event: Message, connection: psycopg.AsyncConnection) -> None:
            await connection.execute("INSERT INTO pooled VALUES (%s)", (event.message_id,))

        async with bridge:
            events = [message(str(n), user=user) for n, user in enumerate(USERS)]
            await bridge.journal.append(events)
            await settled(bridge.journal)
            assert await bridge.journal.dead_letters() == ()
    assert postgres.sql("SELECT count(DISTINCT name), count(*) FROM pooled") == "40|40"


async def test_all_that_psycopg_offers(postgres: PostgresServer) -> None:
    """Large statements, copies, pipelines, cursors and notifications work as they do elsewhere."""
    postgres.sql("CREATE TABLE offered (name text)")
    large = "x" * (16 << 20)  # more than a socket takes at once
    async with entries(postgres.dsn, "offers", 1) as (_, cursor, (a,)):
        async with cursor.transaction(a) as connection:
            await connection.execute("INSERT INTO offered VALUES (%s)", (large,))
            async with (
                connection.cursor() as own,
                own.copy("COPY offered FROM STDIN") as copy,
            ):
                for n in range(1000):
                    await copy.write_row((f"{n}" * 100,))
            async with connection.pipeline():
                for _ in range(1000):
                    await connection.execute("INSERT INTO offered VALUES ('piped')")
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with connection.transaction():
                    await connection.execute("SELECT 1 / 0")
            assert [each async for each in connection.notifies(timeout=0.3)] == []
            async with connection.cursor("named") as named:
                await named.execute("SELECT name FROM offered")
                assert len(await named.fetchall()) == 2001
        assert postgres.sql("SELECT count(*), max(length(name)) FROM offered") == f"2001|{16 << 20}"


@pytest.mark.parametrize("how", ["DEALLOCATE ALL", "DROP TABLE IF EXISTS none", "savepoint"])
async def test_what_is_prepared_is_removed(postgres: PostgresServer, how: str) -> None:
    """One that removes all prepared statements is given the next event; nothing fails for that."""
    schema = f"removed_{how[:4].strip().lower()}"
    postgres.sql(f"CREATE TABLE of_{schema} (name text)")
    tries: Counter[str] = Counter()
    log = (postgres.folder / "log").read_text()
    journal = journal_on(postgres.dsn, schema, connections=2)
    bridge = Bridge(journal=journal, policy=DeliverySettings(tries=1))

    @bridge.on(Message, transaction=True, name="crm")
    async def take(event: Message, connection: psycopg.AsyncConnection) -> None:
        tries[event.message_id] += 1
        if how == "savepoint":
            with suppress(psycopg.errors.DivisionByZero):
                async with connection.transaction():
                    await connection.execute("SELECT 1 / 0")
        elif int(event.message_id) % 4 == 0:
            await connection.execute(how)
        await connection.execute(f"INSERT INTO of_{schema} VALUES (%s)", (event.message_id,))

    async with bridge:
        await bridge.journal.append([message(str(n), user=each) for n, each in enumerate(USERS)])
        await settled(bridge.journal)
        assert await bridge.journal.dead_letters() == ()
    assert set(tries.values()) == {1}
    told = (postgres.folder / "log").read_text().removeprefix(log)
    assert how == "DEALLOCATE ALL" or "does not exist" not in told
    assert postgres.sql(f"SELECT count(DISTINCT name), count(*) FROM of_{schema}") == "40|40"


async def test_a_task_that_is_left_behind(postgres: PostgresServer) -> None:
    """What a function has left to run after its end does nothing in the next one's transaction."""
    postgres.sql("CREATE TABLE after (position bigint)")
    async with entries(postgres.dsn, "left", 2) as (_, cursor, (a, b)):
        go_on = asyncio.Event()

        async def later(connection: psycopg.AsyncConnection) -> None:
            await go_on.wait()
            await connection.execute("INSERT INTO after VALUES (0)")

        async with cursor.transaction(a) as connection:
            left = asyncio.create_task(later(connection))
        async with cursor.transaction(b) as connection:
            go_on.set()
            with pytest.raises(psycopg.ProgrammingError, match="has ended"):
                await left
            await connection.execute("INSERT INTO after VALUES (%s)", (b.position,))
    assert postgres.sql("SELECT * FROM after") == f"{b.position}"


async def rows(connection: psycopg.AsyncConnection) -> object:
    """Read one row of many."""
    many = connection.cursor().stream("SELECT generate_series(1, 100000)")
    await anext(many)
    return many


async def piped(connection: psycopg.AsyncConnection) -> None:
    """Stay in a pipeline."""
    async with connection.pipeline():
        await asyncio.Event().wait()


async def notified(connection: psycopg.AsyncConnection) -> None:
    """Wait for a notification."""
    await anext(connection.notifies())


async def asleep(connection: psycopg.AsyncConnection) -> None:
    """Wait for a statement."""
    await connection.execute("SELECT pg_sleep(60)")


@pytest.mark.parametrize("work", [rows, piped, notified, asleep])
async def test_what_is_not_brought_to_its_end(
    postgres: PostgresServer, work: Callable[[psycopg.AsyncConnection], Awaitable[object]]
) -> None:
    """A function that leaves something half done has failed, and holds nobody up."""
    async with entries(postgres.dsn, f"amid_{work.__name__}", 2) as (journal, cursor, (a, b)):
        with pytest.raises(psycopg.ProgrammingError, match="not brought to its end"):
            async with asyncio.timeout(journal.database.patience):
                async with cursor.transaction(a) as connection:
                    left = asyncio.create_task(work(connection))
                    while not (connection.lock.locked() or connection.pgconn.pipeline_status):
                        await asyncio.sleep(0)
        async with cursor.transaction(b):
            pass
        if work in (notified, asleep):  # who waits for the server is told
            with pytest.raises(psycopg.OperationalError):
                await left
        left.cancel()
        with suppress(asyncio.CancelledError, psycopg.Error):
            await left
        assert await journal.database.rows("SELECT position FROM $.done") == [(b.position,)]


@pytest.mark.parametrize("context", [None, Context()])
async def test_a_statement_behind_the_last_one(
    postgres: PostgresServer, context: Context | None
) -> None:
    """One that would run after the function's end, and fail, takes no effect away in silence."""
    schema = "behind" if context is None else "behind_unknown"
    postgres.sql(f"CREATE TABLE of_{schema} (position bigint)")
    async with entries(postgres.dsn, schema, 2) as (journal, cursor, given):
        with suppress(psycopg.errors.InFailedSqlTransaction):
            async with cursor.transaction(given[0]) as connection:
                left = asyncio.create_task(connection.execute("SELECT 1 / 0"), context=context)
                statement = f"INSERT INTO of_{schema} VALUES (%s)"
                await connection.execute(statement, (given[0].position,))
            assert postgres.sql(f"SELECT * FROM of_{schema}") == f"{given[0].position}"
        with pytest.raises(psycopg.Error):
            await left
        async with cursor.transaction(given[1]):
            pass
        done = await journal.database.rows("SELECT position FROM $.done ORDER BY position")
        effects = postgres.sql(f"SELECT * FROM of_{schema}").split()
        assert [str(each) for (each,) in done] == [*effects, f"{given[1].position}"]


async def test_a_removal_that_is_skipped(postgres: PostgresServer) -> None:
    """Where psycopg's removal of prepared statements fails, the next event is taken all the same.

    PostgreSQL skips what is sent in a pipeline after a statement that has failed:
    https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
    """
    async with entries(postgres.dsn, "skipped", 2) as (journal, cursor, (a, b)):
        with pytest.raises(psycopg.Error):
            async with cursor.transaction(a) as connection:
                await connection.execute("SELECT 1", prepare=True)
                async with connection.pipeline():
                    await connection.execute("DROP TABLE IF EXISTS none")
                    failing = await connection.execute("SELECT 1 / 0")
                    with suppress(psycopg.errors.DivisionByZero):
                        await failing.fetchone()
                    await connection.execute("SELECT 2")
        async with cursor.transaction(b) as connection:
            assert connection is not None
        assert await journal.database.rows("SELECT position FROM $.done") == [(b.position,)]


async def test_what_a_function_sets_in_psycopg(postgres: PostgresServer) -> None:
    """What listens to the server's words, and what is prepared, is not the next one's."""
    async with entries(postgres.dsn, "listens", 2) as (_, cursor, (a, b)):
        heard: list[object] = []
        async with cursor.transaction(a) as connection:
            threshold, most = connection.prepare_threshold, connection.prepared_max
            connection.prepare_threshold, connection.prepared_max = 0, 1
            connection.add_notice_handler(heard.append)
            connection.add_notify_handler(heard.append)
            await connection.execute("LISTEN words")
        async with cursor.transaction(b) as connection:
            assert (connection.prepare_threshold, connection.prepared_max) == (threshold, most)
            await connection.execute("NOTIFY words")
            await connection.execute("DO $$ BEGIN RAISE WARNING 'mine'; END $$")
        assert heard == []
