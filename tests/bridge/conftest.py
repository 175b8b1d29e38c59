"""Servers that many tests share, one of each in a process of the run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from bridge.adapter.signing import Secret
from bridge.journal.memory import MemoryJournal
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.sqlite import SqliteJournal
from tests.bridge.journal.nats_servers import NatsServer
from tests.bridge.journal.postgres_servers import PostgresServer, schema_of


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """Start a NATS server, which every test uses with a stream of its own."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start a PostgreSQL server, which every test uses with a schema of its own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "nats", "postgres"])
def any_journal(request, tmp_path):
    """Return what makes a journal of each engine, the same one each time where it is kept."""
    match request.param:
        case "memory":
            return MemoryJournal
        case "sqlite":
            return partial(SqliteJournal, tmp_path / "journal.db")
        case "nats":
            url = request.getfixturevalue("nats").url
            settings = NatsSettings(servers=(url,), stream=tmp_path.name, partitions=4)
            return partial(NatsJournal, settings)
    dsn = Secret(request.getfixturevalue("postgres").dsn)
    return partial(
        PostgresJournal, PostgresSettings(dsn=dsn, schema=schema_of(tmp_path), partitions=4)
    )
