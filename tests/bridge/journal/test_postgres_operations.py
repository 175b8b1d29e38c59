"""What whoever runs a PostgreSQL server does to its databases, roles and machines in daily work."""

from __future__ import annotations

import asyncio
import random
import socket
import string
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from bridge.adapter.signing import Secret
from bridge.errors import JournalError
from bridge.journal.postgres import PostgresJournal, members
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Appended, Cursor, Entry, Held, Retry, Settlement, Start
from bridge.journal.query import Query
from bridge.model import Message
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings
from bridge.testing.sample_events import ids, poorly, read
from tests.bridge.events import message
from tests.bridge.journal.postgres_servers import PostgresServer
from tests.waiting import until

# What database administrators set for a role, or for all, with other programs in mind.
SET = (
    "statement_timeout = '100ms'",
    "lock_timeout = '100ms'",
    "idle_session_timeout = '100ms'",
    "idle_in_transaction_session_timeout = '100ms'",
    "default_transaction_isolation = 'serializable'",
    "search_path = 'pg_temp, public'",
    "standard_conforming_strings = off",
    "bytea_output = 'escape'",
    "DateStyle = 'SQL, DMY'",
    "TimeZone = 'Asia/Kathmandu'",
    "plan_cache_mode = 'force_generic_plan'",
    "transform_null_equals = on",
)


def journal_on(dsn: str, schema: str, **settings: float) -> PostgresJournal:
    own = {"poll": 0.05, "patience": 5.0, **settings}
    return PostgresJournal(PostgresSettings(dsn=Secret(dsn), schema=schema, **own))


def database(server: PostgresServer, name: str, options: str = "") -> str:
    """Make a database, and return the way to it."""
    server.sql(f"CREATE DATABASE {name} {options}")
    return server.dsn.replace("dbname=postgres", f"dbname={name}")


async def settled(journal: PostgresJournal) -> None:
    """Wait until the only subscriber is done with all entries."""
    async with asyncio.timeout(30):
        while any(each.lag or each.held for each in await journal.subscribers()):
            await asyncio.sleep(0.01)


async def test_what_is_set_for_a_role(postgres: PostgresServer) -> None:
    """Timeouts, isolation and formats that are set for the role change nothing for the journal."""
    postgres.sql("CREATE ROLE minded LOGIN SUPERUSER")
    for each in SET:
        postgres.sql(f"ALTER ROLE minded SET {each}")
    dsn = postgres.dsn.replace("user=postgres", "user=minded")
    async with journal_on(dsn, "minded") as one, journal_on(dsn, "minded") as two:
        cursor = await one.subscribe("crm", start=Start.BEGINNING)
        with psycopg.connect(postgres.dsn) as slow:
            slow.execute("SELECT FROM minded.head FOR UPDATE")
            appending = [
                asyncio.create_task(each.append([message(f"{n}")]))
                for each in (one, two)
                for n in range(20)
            ]
            while int(postgres.sql(waiting_for("200ms"))) < 2:
                await asyncio.sleep(0.01)
        appended = await asyncio.gather(*appending)
        assert sum(each.published for each in appended) == 20
        assert len(await read(cursor, 20)) == 20
        assert await one.append([message("0")]) == Appended(published=0, duplicates=1)
        assert len(await two.search(Query())) == 20
        assert (await two.health()).ready


def waiting_for(at_least: str) -> str:
    """Return what counts the statements that have waited so long for a lock."""
    return (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        f"AND clock_timestamp() - query_start > '{at_least}'"
    )


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JIS_2004"])
async def test_a_database_of_another_encoding(postgres: PostgresServer, encoding: str) -> None:
    """Events and errors in any script are kept, whatever the encoding of the database."""
    options = f"ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    dsn = database(postgres, f"d_{encoding.lower()}", options)
    retry = Retry(tries=1, error="ошибка 订单")
    async with journal_on(dsn, "bridge") as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a", text="आदेश 订单")])
        (a,) = await read(cursor, 1)
        await cursor.settle(Settlement(position=a.position, held=(Held(entry=a, retry=retry),)))
    async with journal_on(dsn, "bridge") as journal:
        cursor = await journal.subscribe("crm")
        assert await cursor.held(a.lane, 1) == (Held(entry=a, retry=retry),)
        assert a.event == message("a", text="आदेश 订单")


async def test_all_tables_are_published(postgres: PostgresServer) -> None:
    """A publication for all tables, as change capture makes it, does not stop appends."""
    dsn = database(postgres, "published")
    async with journal_on(dsn, "bridge") as journal:
        postgres.run("psql", "-X", "-d", dsn, "-c", "CREATE PUBLICATION everything FOR ALL TABLES")
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        assert (await journal.append([message("a")])).published == 1
        (a,) = await read(cursor, 1)
        await cursor.settle(Settlement(position=a.position, dead=(Held(entry=a),)))
        assert await journal.purge(message("a").sender.phone) == 1
        await journal.retain()


async def test_a_database_that_may_only_be_read(postgres: PostgresServer) -> None:
    """A start in a database that is set to be read-only says so."""
    dsn = database(postgres, "readable")
    async with journal_on(dsn, "bridge"):
        pass
    postgres.sql("ALTER DATABASE readable SET default_transaction_read_only = on")
    with pytest.raises(JournalError, match="read-only"):
        async with journal_on(dsn, "bridge"):
            pass


async def test_a_primary_that_is_fenced_off() -> None:
    """A primary made read-only, with its connections alive, is left for the promoted standby."""
    with PostgresServer(synced=True) as primary, PostgresServer.standby(primary) as standby:
        both = (
            f"host=127.0.0.1,127.0.0.1 port={primary.port},{standby.port} user=postgres "
            "dbname=postgres target_session_attrs=read-write"
        )
        async with journal_on(both, "bridge", patience=20.0) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([message("a")])
            (a,) = await read(cursor, 1)
            async with cursor.transaction(a):
                pass
            primary.sql("ALTER SYSTEM SET default_transaction_read_only = on")
            primary.sql("SELECT pg_reload_conf()")
            standby.promote()
            assert (await journal.append([message("b")])).published == 1
            (b,) = await read(cursor, 1)
            assert ids((a, b)) == ["a", "b"]
            async with cursor.transaction(b) as connection:
                assert connection.info.port == standby.port
            assert standby.sql("SELECT count(*) FROM bridge.entries") == "2"
            assert standby.sql("SELECT count(*) FROM bridge.done") == "2"


async def test_a_name_that_leads_to_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name is given to the promoted standby, new connections go there by themselves."""
    resolve, address = socket.getaddrinfo, "127.0.0.1"

    def lead(host: str, *args: Any, **options: Any) -> Any:
        return resolve(address if host == "db.example.com" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lead)
    with (
        PostgresServer(synced=True) as primary,
        PostgresServer.standby(primary, address="127.0.0.2") as standby,
    ):
        dsn = primary.dsn.replace("127.0.0.1", "db.example.com")
        async with journal_on(dsn, "bridge", patience=20.0) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([message("a")])
            primary.stop("immediate")
            standby.promote()
            address = "127.0.0.2"
            assert (await journal.append([message("b")])).published == 1
            assert ids(await read(cursor, 2)) == ["a", "b"]
        assert standby.sql("SELECT count(*) FROM bridge.entries") == "2"


async def test_names_are_looked_up_without_the_executor_of_the_loop(
    postgres: PostgresServer,
) -> None:
    """Connections by name are made again, also where a subscriber has shut down that executor."""
    async with journal_on(postgres.dsn.replace("127.0.0.1", "localhost"), "named") as journal:
        await asyncio.get_running_loop().shutdown_default_executor()
        postgres.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name LIKE 'incs-bridge%'"
        )
        assert (await journal.append([message("a")])).published == 1
        assert (await journal.health()).ready


async def test_nobody_is_taken_for_dead_while_nobody_can_look(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock that keeps all processes from showing that they live is not their end."""
    monkeypatch.setattr(members, "_SILENT", 3.0)
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(journal_on(postgres.dsn, "locked")) for _ in range(2)
        ]
        cursors = [await each.subscribe("crm") for each in both]
        await until(lambda: all(len(each.partitions) == 4 for each in cursors))
        with psycopg.connect(postgres.dsn) as slow:  # as VACUUM FULL and pg_repack do
            slow.execute("LOCK TABLE locked.members IN ACCESS EXCLUSIVE MODE")
            while int(postgres.sql(waiting_for("3.5s"))) < 2:
                await asyncio.sleep(0.05)
        await both[0].append([message("a")])
        await until(lambda: all(each.tail.reach == 2 for each in both))
        assert all(len(each.partitions) == 4 for each in cursors)
    assert "others go on with its work" not in caplog.text


async def test_nobody_is_taken_for_dead_where_the_servers_clock_is_set(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the server's clock goes forward by an hour, all go on with what they serve."""
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(journal_on(postgres.dsn, "clock")) for _ in range(2)
        ]
        cursors = [await each.subscribe("crm") for each in both]
        await until(lambda: all(len(each.partitions) == 4 for each in cursors))
        postgres.sql("UPDATE clock.members SET seen = seen - 3600, since = since - 3600")
        for each in both:
            await each.subscribe("more")  # which looks around
        assert postgres.sql("SELECT count(*) FROM clock.members") == "2"
        assert all(len(each.partitions) == 4 for each in cursors)
    assert "others go on with its work" not in caplog.text


async def test_a_dead_process_is_replaced_where_the_servers_clock_is_set_back(
    postgres: PostgresServer,
) -> None:
    """What a process served that looked an hour ahead of the clock, another one serves."""
    async with journal_on(postgres.dsn, "ahead") as journal:
        cursor = await journal.subscribe("crm")
        await until(lambda: len(cursor.partitions) == 8)
    postgres.sql(
        "INSERT INTO ahead.members SELECT 'gone', true, '{crm}', at, at "
        "FROM (SELECT extract(epoch FROM now()) + 3600) AS later (at); "
        "UPDATE ahead.cursors SET owner = 'gone'"
    )
    async with journal_on(postgres.dsn, "ahead") as journal:
        cursor = await journal.subscribe("crm")
        assert not cursor.partitions
        await until(lambda: len(cursor.partitions) == 8)


async def test_subscribers_that_wait_for_their_share_keep_no_append_waiting(
    postgres: PostgresServer,
) -> None:
    """While nobody can look who serves what, those who subscribe take no connections."""
    async with journal_on(postgres.dsn, "many") as journal:
        with psycopg.connect(postgres.dsn) as slow:
            slow.execute("LOCK TABLE many.members IN ACCESS EXCLUSIVE MODE")
            subscribing = [asyncio.create_task(journal.subscribe(f"s{n}")) for n in range(8)]
            while len(journal.cursors) < 8:
                await asyncio.sleep(0.01)
            assert (await journal.append([message("a")])).published == 1
            assert not any(each.done() for each in subscribing)
        await asyncio.gather(*subscribing)


async def test_a_lane_that_is_longer_than_an_index_takes(postgres: PostgresServer) -> None:
    """An event of a lane of 10,000 bytes waits for a fuller one, and is held for another try."""
    name = "".join(random.Random(1).choices(string.ascii_letters, k=10_000))
    async with journal_on(postgres.dsn, "long") as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([poorly(message("a", user=name), "9001", settle=0.2)])
        (a,) = await read(cursor, 1)
        held = Held(entry=a, retry=Retry(tries=1))
        await cursor.settle(Settlement(position=a.position, held=(held,)))
        assert await cursor.waiting() == {a.lane: 0.0}
        assert await cursor.held(a.lane, 5) == (held,)
    assert len(a.lane) > 10_000


# --- subscribers with transactions ---------------------------------------------------------------


async def test_what_a_function_sets_is_gone_with_it(postgres: PostgresServer) -> None:
    """Whatever a function sets, on the server or on the connection, the next event has as ever."""
    postgres.sql("CREATE ROLE weak")
    found: list[tuple[object, ...]] = []
    bridge = Bridge(journal=journal_on(postgres.dsn, "setting", connections=1))

    @bridge.on(Message, transaction=True, name="crm")
    async def take(event: Message, connection: psycopg.AsyncConnection) -> None:
        asked = (
            "SELECT pg_backend_pid(), current_user, 1.5, current_setting('search_path'),"
            " current_setting('transaction_isolation')"
        )
        found.append(await (await connection.execute(asked)).fetchone())
        await connection.execute("SET search_path = nowhere")
        await connection.execute("SET default_transaction_isolation = 'serializable'")
        await connection.execute("SET default_transaction_read_only = on")
        await connection.execute("SET ROLE weak")
        connection.row_factory = psycopg.rows.dict_row
        connection.cursor_factory = psycopg.AsyncRawCursor
        connection.adapters.register_loader("numeric", psycopg.types.numeric.FloatLoader)

    async with bridge:
        for number in range(2):  # of two at once, one may begin as the other commits
            users = ("+16505550001", "+16505550002")
            await bridge.journal.append([message(f"{number}/{user}", user=user) for user in users])
            await settled(bridge.journal)
        assert await bridge.journal.dead_letters() == ()
    as_ever = ("postgres", Decimal("1.5"), '"$user", public', "read committed")
    assert found == [(found[0][0], *as_ever)] * 4


async def test_temporary_tables_of_a_function_hide_none(postgres: PostgresServer) -> None:
    """Whatever a function calls its temporary tables, what it takes is noted in the journal's."""
    taken: list[str] = []
    bridge = Bridge(journal=journal_on(postgres.dsn, "hidden", connections=1))

    @bridge.on(Message, transaction=True, name="crm")
    async def take(event: Message, connection: psycopg.AsyncConnection) -> None:
        taken.append(event.message_id)
        for table in ("done", "cursors", "entries"):
            await connection.execute(
                f"CREATE TEMPORARY TABLE IF NOT EXISTS {table} AS TABLE hidden.{table}"
            )

    async with bridge:
        for name in ("a", "b"):
            await bridge.journal.append([message(name)])
            await settled(bridge.journal)
        assert await bridge.journal.dead_letters() == ()
    assert taken == ["a", "b"]
    assert postgres.sql("SELECT count(*) FROM hidden.done") == "2"


async def test_a_restart_of_the_server_costs_no_try() -> None:
    """A subscriber's connections that a restart has closed are made anew before the function."""
    with PostgresServer() as server:
        taken: list[str] = []
        policy = DeliverySettings(first_delay=0, max_delay=0, tries=1)
        bridge = Bridge(journal=journal_on(server.dsn, "bridge", patience=20.0), policy=policy)

        @bridge.on(Message, transaction=True, name="crm")
        async def take(event: Message, connection: psycopg.AsyncConnection) -> None:
            taken.append(event.message_id)

        async with bridge:
            for name in ("a", "b"):
                await bridge.journal.append([message(name)])
                await settled(bridge.journal)
                server.stop()
                server.start()
            assert await bridge.journal.dead_letters() == ()
    assert taken == ["a", "b"]


async def test_a_restart_while_conversations_are_handed_over() -> None:
    """What a process has begun with it ends, and the other goes on in order, over a restart."""
    got: list[Entry] = []
    with PostgresServer(synced=True) as server:
        one, two = (journal_on(server.dsn, "bridge", patience=20.0) for _ in range(2))
        async with one:
            cursor = await one.subscribe("crm")
            users = [f"+1650555{number:04}" for number in range(12)]
            await one.append([message(f"{user}/1", user=user) for user in users])
            begun = await read(cursor, 12)
            async with two, asyncio.TaskGroup() as reading:
                other = await two.subscribe("crm")
                await until(lambda: any(each.leaving for each in cursor.partitions.values()))
                await two.append([message(f"{user}/2", user=user) for user in users])
                server.stop("immediate")
                server.start()
                await cursor.settle(Settlement(position=begun[-1].position))
                tasks = [reading.create_task(collect(each, got)) for each in (cursor, other)]
                await until(lambda: other.partitions and len({*ids(got)}) == 12)
                for task in tasks:
                    task.cancel()
    assert sorted({*ids(got)}) == [f"{user}/2" for user in users]


async def collect(cursor: Cursor, got: list[Entry]) -> None:
    while True:
        entries = await cursor.read(50)
        got += entries
        await cursor.settle(Settlement(position=entries[-1].position))
