"""The journal in PostgreSQL keeps the same promises; against a real server."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.testing import JournalContract
from bridge.testing.sample_events import read
from tests.bridge.events import message
from tests.bridge.journal.postgres_servers import PostgresServer, schema_of


class TestPostgres(JournalContract):
    """One process, which serves all partitions."""

    @pytest.fixture(autouse=True)
    def _server(self, postgres: PostgresServer) -> None:
        self._dsn = postgres.dsn

    def make_journal(self, place: Path) -> PostgresJournal:
        return PostgresJournal(PostgresSettings(dsn=Secret(self._dsn), schema=schema_of(place)))

    async def test_tasks_that_somebody_cancels(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A subscriber that cancels every task of ours is told of, and nothing stops for it."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([message("a")])
            ours = {each for each in asyncio.all_tasks() if each.get_name().startswith("journal: ")}
            assert len(ours) == 4
            for task in ours:
                task.cancel()
            await asyncio.wait(ours)
            async with asyncio.timeout(30):
                await journal.append([message("b")])
                entries = await read(cursor, 2)
            assert (await journal.health()).deaths == len(ours)
        assert [entry.event.message_id for entry in entries] == ["a", "b"]
        critical = [each for each in caplog.records if each.levelno == logging.CRITICAL]
        assert len(critical) == len(ours)


@pytest.mark.parametrize(
    ("dsn", "is_safe"),
    [
        ("host=db.example.com sslmode=verify-full", True),
        ("postgresql://bridge@127.0.0.1/bridge", True),
        ("host=/run/postgresql", True),
        ("postgresql://bridge@db.example.com/bridge?sslmode=require", False),
        ("host=127.0.0.1,db.example.com", False),
    ],
)
def test_unsafe_connections_are_told(dsn: str, is_safe: bool) -> None:
    """Whoever can listen in on the way to the server, or pretend to be it, is warned of."""
    assert (not list(PostgresSettings(dsn=Secret(dsn)).doubts())) is is_safe


def test_a_password_is_not_quoted() -> None:
    """What is no connection string is refused without being shown: it may hold a password."""
    with pytest.raises(ConfigurationError) as told:
        PostgresSettings(dsn=Secret("hostt=db.example.com password=sesame"))
    assert "sesame" not in str(told.value)
    settings = PostgresSettings(dsn=Secret("postgresql://bridge:sesame@db.example.com/events"))
    journal = PostgresJournal(settings)
    assert journal.location == "the schema bridge of events on db.example.com"
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize("schema", ["pg_mine", "Bridge", 'a"; DROP', "", "1st"])
def test_schemas_have_plain_names(schema: str) -> None:
    """A schema's name is one that needs no quotes, and none of the server's own."""
    with pytest.raises(ConfigurationError, match="small letters"):
        PostgresSettings(schema=schema)
