"""What no server takes, and servers that close the connection over it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from bridge.errors import JournalError
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.protocol import Health, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Message
from bridge.model.codec import encode
from tests.bridge.events import message
from tests.bridge.journal.nats_servers import Fuse, NatsServer

PAYLOAD = 8 << 20  # of the servers in these tests
LAST_WORDS = b"-ERR 'Unknown Protocol Operation'\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def make(server: NatsServer | Fuse, spool: Path | None, **settings) -> NatsJournal:
    settings = {"partitions": 2, "timeout": 1.0, "patience": 0.0, **settings}
    return NatsJournal(
        NatsSettings(servers=tuple(server.urls), **settings),
        spool=None if spool is None else SqliteJournal(spool, keep=0),
    )


async def taken(journal: NatsJournal, count: int) -> list[str]:
    """Return the ids of the first entries of the journal."""
    cursor = await journal.follow(start=Start.BEGINNING)
    found: list[str] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            found += [entry.event.message_id for entry in await cursor.read(100)]
    return found


async def until_healthy(journal: NatsJournal) -> Health:
    async with asyncio.timeout(60):
        while not (health := await journal.health()).ready or health.spooled is not None:
            await asyncio.sleep(0.01)
    return health


LONG = "é" * 3000  # 18 kB as a header writes it


def of_size(size: int) -> Message:
    """Return an event whose JSON has so many bytes."""
    empty = message("bad", text="", raw=None)
    return message("bad", text="x" * (size - len(encode(empty))), raw=None)


@pytest.mark.parametrize("is_spooled", [True, False])
@pytest.mark.parametrize(
    "event",
    [
        attrs.evolve(message("bad"), key=f"message/{LONG}"),
        attrs.evolve(message("bad"), channel="c" * 4096),
        attrs.evolve(message("bad"), channel="c" * 3000),
        attrs.evolve(message("bad"), source="s" * PAYLOAD, raw=None),
        *(of_size(PAYLOAD - less) for less in (0, 10, 300, 500, 700, 900, 2000)),
    ],
    ids=lambda event: f"{len(event.key)} {len(event.channel)} {len(encode(event))}",
)
async def test_sizes_are_those_that_are_sent(server, tmp_path, caplog, event, is_spooled):
    """An event is taken or refused; no server ever cuts the connection off over it."""
    caplog.set_level(logging.WARNING)
    async with make(server, tmp_path / "spool.db" if is_spooled else None) as journal:
        try:
            await journal.append([event])
            first = ["bad"]
        except JournalError:
            first = []
        await journal.append([message("good")])
        assert await taken(journal, len(first) + 1) == [*first, "good"]
        assert (await journal.health()).ready
    assert "closed the connection" not in caplog.text


async def test_a_connection_that_a_server_closed_is_replaced(server, tmp_path, caplog):
    """After an error of the protocol the journal connects anew, twice, and all of it goes on."""
    async with Fuse(server) as fuse, make(fuse, tmp_path / "spool.db") as journal:
        cursor = await journal.subscribe("crm")
        for number in range(2):
            fuse.blow(f"wamid.{number}".encode(), last_words=LAST_WORDS)
            await journal.append([message(f"wamid.{number}")])
            entries = []
            async with asyncio.timeout(60):
                while not entries:
                    entries = list(await cursor.read(10))
            assert [entry.event.message_id for entry in entries] == [f"wamid.{number}"]
            await until_healthy(journal)
        assert fuse.blown == 2
    assert caplog.text.count("the connection for good: unknown protocol operation") == 2


async def test_an_event_over_which_servers_cut_off_is_set_aside(server, tmp_path, caplog):
    """It leaves the spool's way after the third time, is reported, and the others arrive."""
    spool = tmp_path / "spool.db"
    async with Fuse(server) as fuse, make(fuse, spool) as journal:
        fuse.blow(b"poison", times=1000, last_words=LAST_WORDS)
        await journal.append([message("a", user="+16505550001")])
        for name in ("poison", "b", "c"):
            await journal.append([message(name, user=f"+1650555000{len(name)}")])
        health = await until_healthy(journal)
        assert health.reason == "the spool: events in it that no server takes: 1"
        assert sorted(await taken(journal, 3)) == ["a", "b", "c"]
        blown = fuse.blown
    async with Fuse(server) as fuse, make(fuse, spool) as journal:
        fuse.blow(b"poison", times=1000, last_words=LAST_WORDS)
        assert (await until_healthy(journal)).reason == health.reason
        assert fuse.blown == 0, "it is repeated after a restart"
    assert blown < 10
    assert "an event stays in the spool" in caplog.text


async def test_servers_that_are_away_for_long_make_it_unready(server, tmp_path):
    """Beyond `max_away` the journal is not ready, takes events all the same, and recovers."""
    async with make(server, tmp_path / "spool.db", max_away=0.0) as journal:
        assert (await journal.health()).ready
        server.end()
        async with asyncio.timeout(60):
            while (await journal.health()).ready:
                await asyncio.sleep(0.01)
        await journal.append([message("a")])
        health = await journal.health()
        assert not health.ready
        assert health.reason is not None
        assert health.reason.startswith("for more than 0 s NATS is away: ")
        server.start()
        await until_healthy(journal)
        assert await taken(journal, 1) == ["a"]
    async with make(server, tmp_path / "spool.db") as journal:
        server.end()
        async with asyncio.timeout(60):
            while (await journal.health()).reason is None:
                await asyncio.sleep(0.01)
        assert (await journal.health()).ready, "within five minutes it still is"
