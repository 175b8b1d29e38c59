"""The journal in PostgreSQL keeps the same promises; against a real server."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from bridge.adapter.signing import Secret
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.testing import JournalContract
from tests.bridge.events import message
from tests.bridge.journal.files import read
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
            assert len(ours) == 5
            for task in ours:
                task.cancel()
            await asyncio.wait(ours)
            async with asyncio.timeout(30):
                await journal.append([message("b")])
                entries = await read(cursor, 2)
        assert [entry.event.message_id for entry in entries] == ["a", "b"]
        critical = [each for each in caplog.records if each.levelno == logging.CRITICAL]
        assert len(critical) == len(ours)
