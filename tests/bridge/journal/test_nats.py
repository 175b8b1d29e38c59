"""The journal on NATS keeps the same promises; against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.testing import JournalContract
from tests.bridge.journal.nats_servers import NatsServer


class TestNats(JournalContract):
    """One partition, so that different conversations too come in the stream's order."""

    @pytest.fixture(autouse=True)
    def _server(self, nats: NatsServer) -> None:
        self._url = nats.url

    def make_journal(self, place: Path) -> NatsJournal:
        return NatsJournal(NatsSettings(servers=(self._url,), stream=place.name, partitions=1))
