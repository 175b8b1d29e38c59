"""Servers that many tests share, one of each in a process of the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bridge.journal.nats_servers import NatsServer
from tests.bridge.journal.postgres_servers import PostgresServer


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
