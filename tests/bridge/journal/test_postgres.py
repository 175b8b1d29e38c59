"""The journal in PostgreSQL keeps the same promises; against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.adapter.signing import Secret
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.testing import JournalContract
from tests.bridge.journal.postgres_servers import PostgresServer, schema_of


class TestPostgres(JournalContract):
    """One process, which serves all partitions."""

    @pytest.fixture(autouse=True)
    def _server(self, postgres: PostgresServer) -> None:
        self._dsn = postgres.dsn

    def make_journal(self, place: Path) -> PostgresJournal:
        return PostgresJournal(PostgresSettings(dsn=Secret(self._dsn), schema=schema_of(place)))
