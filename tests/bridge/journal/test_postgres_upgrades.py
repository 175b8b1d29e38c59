"""Schemas of PostgreSQL that earlier versions made: brought up to date, or refused as they are.

Each `data/postgres-*.sql` is what `pg_dump` told of a schema that the bridge of that time had
written: two messages of one user, the first of which is held for another try, and one that waits.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from bridge.adapter.signing import Secret
from bridge.errors import JournalError
from bridge.journal.identity import name_of
from bridge.journal.ledger import User
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.schema import FORMAT, check
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Appended, Retry
from bridge.journal.query import Query
from bridge.model.keys import in_domain
from bridge.testing.sample_events import ids, poorly, read
from tests.bridge.events import message
from tests.bridge.journal.postgres_servers import PostgresServer
from tests.waiting import until

DATA = Path(__file__).parent / "data"
FORMATS = range(1, FORMAT)
UNTIL = datetime(2026, 11, 2, 12, tzinfo=UTC)
A, B = (in_domain(message(name), "test") for name in "ab")
C = in_domain(message("c", user="+16505550001"), "test")
RETRY = Retry(tries=2, due_at=50.5, first_failed_at=40.0, error="KeyError: x")


def journal_on(server: PostgresServer, schema: str) -> PostgresJournal:
    settings = PostgresSettings(dsn=Secret(server.dsn), schema=schema, partitions=4, poll=0.05)
    return PostgresJournal(settings)


def make(server: PostgresServer, schema: str, version: int) -> None:
    """Make a schema that an earlier version has written."""
    dump = (DATA / f"postgres-{version}.sql").read_text("utf-8")
    with psycopg.connect(server.dsn) as connection:
        connection.execute(dump.replace("bridge", schema).encode())


def tables(server: PostgresServer, schema: str) -> str:
    """Return the columns of tables with their types, and how indexes are defined."""
    return server.sql(
        "SELECT table_name, column_name, data_type, is_nullable, column_default IS NULL "
        f"FROM information_schema.columns WHERE table_schema = '{schema}' UNION ALL "
        f"SELECT tablename, replace(indexdef, '{schema}.', ''), '', '', true FROM pg_indexes "
        f"WHERE schemaname = '{schema}' ORDER BY 1, 2"
    )


@pytest.mark.parametrize("version", FORMATS)
async def test_an_older_schema_is_brought_up_to_date(
    postgres: PostgresServer, version: int
) -> None:
    """All that was written is there, with its tries, and known; what waited is published."""
    schema = f"old{version}"
    make(postgres, schema, version)
    check(journal_on(postgres, schema).settings)
    assert postgres.sql(f"SELECT format FROM {schema}.meta") == str(version)
    for _ in range(2):
        async with journal_on(postgres, schema) as journal:
            assert await journal.append([A, B, poorly(C)]) == Appended(published=0, duplicates=3)
            cursor = await journal.subscribe("crm")
            assert await cursor.waiting() == {A.conversation.id: 50.5}
            assert ids(await read(cursor, 2)) == ["b", "c"]
            (held,) = await cursor.held(A.conversation.id, 5)
            assert (ids([held.entry]), held.retry) == (["a"], RETRY)
            assert ids(await journal.search(Query())) == ["a", "b", "c"]


@pytest.mark.parametrize("version", FORMATS[1:])
async def test_windows_and_states_of_an_older_schema(
    postgres: PostgresServer, version: int
) -> None:
    """Until when one may write to whom is known, and so is what a subscriber remembered."""
    schema = f"terms{version}"
    make(postgres, schema, version)
    async with journal_on(postgres, schema) as journal:
        for each in (A, C):
            user = await journal.record(name_of(each.conversation.id)[0])
            assert isinstance(user, User)
            assert user.reply_until == {each.account: UNTIL.timestamp()}
        state = await journal.read_state(A.conversation.id, "bot")
    assert state is not None
    assert state.value == b'{"step":1}'


async def test_events_without_a_domain_are_not_served(postgres: PostgresServer) -> None:
    """A schema of before trust domains is refused, and the error says what to do."""
    make(postgres, "undomained", 1)
    postgres.sql(
        "UPDATE undomained.entries SET event = "
        "convert_to((convert_from(event, 'UTF8')::jsonb - 'domain')::text, 'UTF8')"
    )
    with pytest.raises(JournalError, match=r"before trust domains: .*`bridge import` into a new"):
        async with journal_on(postgres, "undomained"):
            pass


async def test_a_process_of_an_earlier_version_is_not_overtaken(postgres: PostgresServer) -> None:
    """What such a process serves while a newer one comes is not served by that before it left."""
    make(postgres, "rolling", 5)
    postgres.sql(
        "INSERT INTO rolling.members (owner, listens, serves) VALUES ('old', true, '{crm}'); "
        "UPDATE rolling.cursors SET owner = 'old'"
    )
    async with journal_on(postgres, "rolling") as journal:
        cursor = await journal.subscribe("crm")
        assert not cursor.partitions
        postgres.sql(
            "DELETE FROM rolling.members WHERE owner = 'old'; "
            "UPDATE rolling.cursors SET owner = NULL WHERE owner = 'old'"
        )
        await until(lambda: len(cursor.partitions) == 4)
        assert ids(await read(cursor, 2)) == ["b", "c"]


@pytest.mark.parametrize("version", FORMATS)
async def test_the_tables_are_what_a_new_schema_has(postgres: PostgresServer, version: int) -> None:
    """Whether a schema was made today or earlier, its tables and indexes are the same."""
    old, new = f"same{version}", f"new{version}"
    make(postgres, old, version)
    for schema in (old, new):
        async with journal_on(postgres, schema):
            pass
    assert tables(postgres, old) == tables(postgres, new)
