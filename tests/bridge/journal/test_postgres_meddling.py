"""What somebody does to the tables, to the server or to the way to it while a bridge runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress

import psycopg
import pytest

from bridge.adapter.signing import Secret
from bridge.errors import JournalError
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Appended, Entry, Settlement, Start
from bridge.testing.sample_events import read
from tests.bridge.events import message
from tests.bridge.journal.postgres_servers import PostgresServer


@pytest.fixture
def schema(request: pytest.FixtureRequest) -> str:
    return f"m{abs(hash(request.node.nodeid))}"


@pytest.fixture
def journal(postgres: PostgresServer, schema: str) -> PostgresJournal:
    return journal_on(postgres, schema)


def journal_on(server: PostgresServer, schema: str, *, port: int | None = None) -> PostgresJournal:
    dsn = server.dsn if port is None else server.dsn.replace(str(server.port), str(port))
    own = PostgresSettings(dsn=Secret(dsn), schema=schema, patience=1.5, poll=0.02, partitions=2)
    return PostgresJournal(own)


def ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.event.message_id for entry in entries]


async def until(journal: PostgresJournal, *, ready: bool) -> str | None:
    """Wait until the journal is ready, or is not; return what it says of that."""
    async with asyncio.timeout(30):
        while (health := await journal.health()).ready is not ready:
            await asyncio.sleep(0.01)
    return health.reason


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("ALTER TABLE {}.entries RENAME TO x", "ALTER TABLE {}.x RENAME TO entries"), "entries"),
        (("ALTER TABLE {}.held RENAME TO x", "ALTER TABLE {}.x RENAME TO held"), "held.lane"),
        (("ALTER FUNCTION {}.keep RENAME TO x", "ALTER FUNCTION {}.x RENAME TO keep"), "keep"),
        (("ALTER FUNCTION {}.look RENAME TO x", "ALTER FUNCTION {}.x RENAME TO look"), "look"),
        (("DELETE FROM {}.head", "INSERT INTO {}.head VALUES (9)"), "head has lost its only row"),
    ],
)
async def test_what_is_gone_is_missed(
    journal: PostgresJournal,
    postgres: PostgresServer,
    schema: str,
    change: tuple[str, str],
    reason: str,
) -> None:
    """Whatever an append or a subscriber needs: without it nothing is ready, and says why."""
    async with journal:
        do, undo = (each.format(schema) for each in change)
        postgres.sql(do)
        assert reason in str(await until(journal, ready=False))
        postgres.sql(undo)
        await until(journal, ready=True)
        assert await journal.append([message("a")]) == Appended(published=1, duplicates=0)


async def test_a_process_that_cannot_take_part_says_so(
    journal: PostgresJournal,
    postgres: PostgresServer,
    schema: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where others cannot be heard of, that is said once, and nothing is ready until they can."""
    async with journal:
        postgres.sql(f"ALTER TABLE {schema}.members RENAME COLUMN seen TO gone")
        await until(journal, ready=False)
        while not critical(caplog):
            await asyncio.sleep(0.01)
        postgres.sql(f"ALTER TABLE {schema}.members RENAME COLUMN gone TO seen")
        await until(journal, ready=True)
    (line,) = critical(caplog)
    assert "subscribers are not served" in line
    assert "seen" in line


async def test_a_process_that_cannot_take_part_does_not_start(
    journal: PostgresJournal, postgres: PostgresServer, schema: str
) -> None:
    """A start says what keeps it from serving anybody."""
    async with journal:
        pass
    postgres.sql(f"ALTER FUNCTION {schema}.look RENAME TO x")
    with pytest.raises(JournalError, match=r"PostgreSQL: function .*look"):
        async with journal:
            pytest.fail("it starts")


async def test_a_process_that_cannot_take_part_leaves_what_it_served(
    journal: PostgresJournal,
    postgres: PostgresServer,
    schema: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It ends what it has begun, and begins with nothing that others may serve by now."""
    async with journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        (a,) = await read(cursor, 1)
        postgres.sql(f"ALTER FUNCTION {schema}.look RENAME TO x")
        while not critical(caplog):
            await asyncio.sleep(0.01)
        await journal.append([message("b")])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await read(cursor, 1)
        await cursor.settle(Settlement(position=a.position))
        postgres.sql(f"ALTER FUNCTION {schema}.x RENAME TO look")
        assert ids(await read(cursor, 1)) == ["b"]


async def test_progress_that_was_deleted_is_put_back(
    journal: PostgresJournal,
    postgres: PostgresServer,
    schema: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next process goes on where this one was, and passes over nothing."""
    async with journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        (entry,) = await read(cursor, 1)
        await cursor.settle(Settlement(position=entry.position))
        await journal.subscribe("more")  # whatever looked around before the settlement has done so
        postgres.sql(f"DELETE FROM {schema}.cursors WHERE subscriber = 'crm'")
        while not critical(caplog):
            await asyncio.sleep(0.01)
        await journal.append([message("b")])
    async with journal_on(postgres, schema) as after:
        entries = await read(await after.subscribe("crm"), 1)
    assert ids(entries) == ["b"]
    assert "how far crm is" in critical(caplog)[0]


async def looked(server: PostgresServer, schema: str, times: int) -> None:
    """Wait until the only process has looked around so many times."""
    seen: set[str] = set()
    async with asyncio.timeout(30):
        while len(seen) <= times:
            seen.add(server.sql(f"SELECT seen FROM {schema}.members ORDER BY seen DESC LIMIT 1"))
            await asyncio.sleep(0.01)


async def test_subscribers_are_served_while_nothing_says_how_many_partitions_there_are(
    journal: PostgresJournal, postgres: PostgresServer, schema: str
) -> None:
    """A process that runs goes on with what it serves where somebody empties `meta`."""
    async with journal:
        cursor = await journal.subscribe("crm")
        postgres.sql(f"DELETE FROM {schema}.meta")
        await looked(postgres, schema, 3)
        await journal.append([message("a")])
        async with asyncio.timeout(30):
            assert ids(await read(cursor, 1)) == ["a"]


async def test_what_is_under_way_when_a_partition_is_lost_is_not_announced(
    journal: PostgresJournal, postgres: PostgresServer, schema: str
) -> None:
    """Nobody is told to look again and again while a function is at work on what others serve."""
    async with journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a")])
        await read(cursor, 1)
        postgres.sql(
            f"INSERT INTO {schema}.members "
            "VALUES ('other', false, '{}', extract(epoch FROM now()) + 50, 0); "
            f"UPDATE {schema}.cursors SET owner = 'other'"
        )
        while cursor.partitions:
            await asyncio.sleep(0.01)
        connection = await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True)
        async with connection:
            await connection.execute(f'LISTEN "bridge_{schema}"')
            seen = set()
            while len(seen) < 10:
                row = f"SELECT seen FROM {schema}.members WHERE owner <> 'other'"
                seen.add(await (await connection.execute(row)).fetchone())
            told = [each async for each in connection.notifies(timeout=0)]
        assert len(told) <= 1  # of what was subscribed to


@pytest.mark.parametrize("is_told_at_the_append", [True, False])
async def test_a_server_that_was_restored_from_a_backup(
    journal: PostgresJournal,
    postgres: PostgresServer,
    schema: str,
    caplog: pytest.LogCaptureFixture,
    is_told_at_the_append: bool,
) -> None:
    """Where it has lost what was read already, subscribers are given what comes afterwards."""
    async with journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        await journal.append([message("a")])
        last = postgres.sql(f"SELECT last FROM {schema}.head")
        await journal.append([message("lost1"), message("lost2")])
        assert ids(await read(cursor, 3)) == ["a", "lost1", "lost2"]
        lost = (
            f"DELETE FROM {schema}.entries WHERE position > {last}; "
            f"UPDATE {schema}.head SET last = {last}"
        )
        postgres.sql(lost)
        while not (is_told_at_the_append or (await journal.health()).losses):
            await asyncio.sleep(0.01)
        for name in ("b", "c"):
            assert (await journal.append([message(name)])).published == 1
        assert ids(await read(cursor, 2)) == ["b", "c"]
        assert (await journal.health()).losses >= 1
    assert "has lost the last of what it had committed" in critical(caplog)[0]


async def test_a_server_that_has_lost_what_another_process_appended(
    journal: PostgresJournal, postgres: PostgresServer, schema: str
) -> None:
    """Where this process alone has heard of it, subscribers are given what comes afterwards."""
    async with journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        reading = asyncio.create_task(read(cursor, 1))
        # As the other process has told, of which there is no trace.
        postgres.sql(f"SELECT pg_notify('bridge_{schema}', E'\\n2')")
        async with asyncio.timeout(30):
            while journal.tail.last < 2:
                await asyncio.sleep(0.01)
            while not (await journal.health()).losses:
                await asyncio.sleep(0.01)
            await journal.append([message("a")])
            assert ids(await reading) == ["a"]


async def test_idle_connections_that_are_closed(
    journal: PostgresJournal, postgres: PostgresServer
) -> None:
    """A connection that was closed while nobody used it does not make a journal unready."""
    async with journal:
        for _ in range(3):
            assert (await journal.health()).ready
            postgres.sql(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name = 'incs-bridge' AND state = 'idle'"
            )
        assert (await journal.health()).ready


class Silence:
    """A way to a server: from `begin` on, the connections that there are lead nowhere.

    From a `last` statement on they do so one by one; from an empty one on, at once.
    """

    def __init__(self, server: PostgresServer, last: bytes | None = None) -> None:
        self._server = server
        self._last = last
        self._open: dict[asyncio.Task[None], bool] = {}  # and which of them are silent

    def begin(self) -> None:
        """Swallow whatever is sent from now on, and close nothing."""
        self._open = dict.fromkeys(self._open, True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = False

        async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                if self._last is not None and self._last in data:
                    self._open[task] = True
                if not self._open[task]:
                    to.write(data)

        with closing(writer), suppress(ConnectionError, asyncio.CancelledError):
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._server.port)
            with closing(ours):
                both = [
                    asyncio.create_task(copy(*each)) for each in ((reader, ours), (theirs, writer))
                ]
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in both:
                        each.cancel()
                    await asyncio.gather(*both, return_exceptions=True)

    @asynccontextmanager
    async def port(self) -> AsyncIterator[int]:
        """Listen; give the port."""
        async with await asyncio.start_server(self._pass, "127.0.0.1", 0) as listening:
            yield listening.sockets[0].getsockname()[1]
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open)


async def test_connections_that_lead_nowhere(postgres: PostgresServer, schema: str) -> None:
    """Connections on which no answer comes any more are given up, and new ones are made."""
    way = Silence(postgres)
    async with way.port() as port, journal_on(postgres, schema, port=port) as journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        await journal.append([message("a")])
        way.begin()
        with pytest.raises(JournalError, match="PostgreSQL"):
            await journal.append([message("b")])
        async with asyncio.timeout(30):
            while True:
                with suppress(JournalError):
                    await journal.append([message("b")])
                    break
            assert set(ids(await read(cursor, 2))) == {"a", "b"}
        await until(journal, ready=True)


async def test_a_start_that_gets_no_answer(postgres: PostgresServer, schema: str) -> None:
    """A start on connections on which no answer comes any more fails, and says why.

    Wherever in it that begins; all at once, since each waits for seconds.
    """

    async def start(number: int, last: bytes) -> None:
        async with Silence(postgres, last).port() as port:
            with pytest.raises(JournalError, match=r"PostgreSQL: .*(timeout|does not answer)"):
                async with journal_on(postgres, f"{schema}_{number}", port=port):
                    pytest.fail(f"it starts though {last!r} is not answered")

    lasts = (b"", b"pg_backend_pid", b"pg_try_advisory", b"search_path", b"COMMIT", b"LISTEN")
    async with asyncio.timeout(60), asyncio.TaskGroup() as starting:
        for number, last in enumerate(lasts):
            starting.create_task(start(number, last))
