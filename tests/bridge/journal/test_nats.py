"""The journal on NATS keeps the same promises; against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.testing import JournalContract
from tests.bridge.journal.nats_servers import NatsServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


class TestNats(JournalContract):
    """One partition, so that different conversations too come in the stream's order."""

    @pytest.fixture(autouse=True)
    def _server(self, server: NatsServer) -> None:
        self._url = server.url

    def make_journal(self, place: Path) -> NatsJournal:
        return NatsJournal(NatsSettings(servers=(self._url,), stream=place.name, partitions=1))
