"""What somebody does to the streams, to a server or to its storage while a bridge runs."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.errors import JournalError
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.protocol import Cursor, Held, Retry, Settlement, Start
from tests.bridge.events import message
from tests.bridge.journal.nats_servers import NatsServer
from tests.waiting import until

HELD = Retry(tries=1, first_failed_at=1.0, failed_at=1.0, due_at=1.0, error="no")
RIGHTS = """
authorization: {{ users: [{{ user: "b", password: "b", permissions: {{
    publish: {{ deny: ["{}"] }}
}} }}] }}
no_auth_user: "b"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def journal_on(server: NatsServer, **own: int) -> NatsJournal:
    partitions = own.pop("partitions", 1)
    servers = (server.url,)
    return NatsJournal(
        NatsSettings(servers=servers, partitions=partitions, timeout=1.0, synced=True, **own)
    )


async def read(cursor: Cursor, count: int) -> list[str]:
    ids: list[str] = []
    async with asyncio.timeout(60):
        while len(ids) < count:
            ids += [entry.event.message_id for entry in await cursor.read(count - len(ids))]
    return ids


async def edit(journal: NatsJournal, stream: str, **changes: object) -> None:
    broker = journal._broker
    config = (await broker.api(f"STREAM.INFO.{stream}"))["config"]
    await broker.api(f"STREAM.UPDATE.{stream}", {**config, **changes})


async def append(journal: NatsJournal, name: str) -> None:
    """Append until it is taken, as a provider that comes again does."""
    async with asyncio.timeout(60):
        while True:
            try:
                await journal.append([message(name)])
            except JournalError:
                await asyncio.sleep(0.05)
            else:
                return


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL]


async def test_a_stream_that_lost_its_end(
    server: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a loss of power that took what was acknowledged last, subscribers get what comes."""
    async with journal_on(server) as journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        follower = await journal.follow()
        await journal.append([message("a")])
        server.end(signal.SIGTERM)
        shutil.copytree(server.store, tmp_path / "earlier")
        server.start()
        for name in ("lost1", "lost2", "lost3"):
            await append(journal, name)
        for each in (cursor, follower):
            assert await read(each, 4) == ["a", "lost1", "lost2", "lost3"]
        server.end()
        shutil.rmtree(server.store)
        shutil.move(tmp_path / "earlier", server.store)
        server.start()
        for name in ("b", "c"):
            await append(journal, name)
        given = [await read(follower, 2)]
        given += [await read(cursor, 1)]
        while given[1][-1:] != ["c"]:  # what was not settled then comes again
            given[1] += await read(cursor, 1)
        assert [given[0], given[1][-2:]] == [["b", "c"], ["b", "c"]]
        assert (await journal.health()).losses == 1
    assert "has lost what it had acknowledged last" in critical(caplog)[0]


async def test_the_state_is_deleted(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    """A new stream takes what subscribers hold from then on, and knows the subscribers."""
    async with journal_on(server) as journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        await journal.append([message("a")])
        async with asyncio.timeout(60):
            (entry,) = await cursor.read(1)
        await journal._broker.api("STREAM.DELETE.bridge-state")
        settlement = Settlement(position=entry.position, held=(Held(entry=entry, retry=HELD),))
        async with asyncio.timeout(60):
            while True:
                try:
                    await cursor.settle(settlement)
                except JournalError:
                    await asyncio.sleep(0.05)
                else:
                    break
        async with asyncio.timeout(60):  # a task of the subscriber's notes it anew
            while not (states := await journal.subscribers()):
                await asyncio.sleep(0.01)
        assert [(each.name, each.held) for each in states] == [("crm", 1)]
        assert (await journal.health()).losses == 1
    assert "bridge-state has been lost" in critical(caplog)[0]


async def test_streams_that_cannot_be_made(server: NatsServer) -> None:
    """What a server has against them is said, and not that they are not there."""
    with pytest.raises(JournalError, match=r"bridge cannot be made: .*replicas"):
        async with journal_on(server, replicas=3):
            pass
    async with journal_on(server) as journal:
        other = {"name": "other", "subjects": ["mine-state.>"]}
        await journal._broker.api("STREAM.CREATE.other", other)
    settings = NatsSettings(servers=(server.url,), stream="mine")
    with pytest.raises(JournalError, match=r"mine-state cannot be made: .*overlap"):
        async with NatsJournal(settings):
            pass


async def test_a_stream_that_takes_nothing(server: NatsServer) -> None:
    """A journal whose stream refuses what is written is not ready, and says why."""
    async with journal_on(server) as journal:
        await edit(journal, "bridge", max_msgs=1, discard="new")
        with pytest.raises(JournalError):
            await journal.append([message("a")])
        async with asyncio.timeout(60):
            while "maximum messages exceeded" not in str((await journal.health()).reason):
                await asyncio.sleep(0.01)
        assert not (await journal.health()).ready
        await edit(journal, "bridge", max_msgs=-1)
        await append(journal, "a")
        assert (await journal.health()).ready


async def test_a_stream_that_is_nearly_full(server: NatsServer) -> None:
    """A journal whose stream has room for a message, and not for an append, is not ready."""
    async with journal_on(server) as journal:
        await append(journal, "a")
        info = await journal._broker.api("STREAM.INFO.bridge")
        room = info["state"]["messages"] + 1
        await edit(journal, "bridge", max_msgs=room, discard="new")
        with pytest.raises(JournalError):
            await journal.append([message("b")])
        async with asyncio.timeout(60):
            while "maximum messages exceeded" not in str((await journal.health()).reason):
                await asyncio.sleep(0.01)
        await edit(journal, "bridge", max_msgs=room + 100)
        await append(journal, "b")
        await append(journal, "c")  # what was tried takes no room
        assert (await journal.health()).ready


async def test_a_consumer_that_cannot_be_made(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A subscriber that is not given anything because a server refuses that is told of."""
    async with journal_on(server, partitions=2) as journal:
        await journal.subscribe("crm", start=Start.BEGINNING)
        for number in range(2):
            await journal._broker.api(f"CONSUMER.DELETE.bridge.crm-{number}")
        await edit(journal, "bridge", max_consumers=1)
        await until(lambda: "maximum consumers limit" in caplog.text)
    assert "cannot be read" in caplog.text


async def test_rights_that_are_taken_away(server: NatsServer) -> None:
    """What the bridge's user may not do any more is said, and not that nobody answers."""
    rules = server._config.read_text()
    server._config.write_text(rules + RIGHTS.format("elsewhere"))
    server.end()
    server.start()
    async with journal_on(server) as journal:
        await journal.append([message("a")])
        server._config.write_text(rules + RIGHTS.format("bridge.>"))
        server.hang_up()
        names = map("b{}".format, itertools.count())  # what is known needs no rights
        async with asyncio.timeout(60):
            while "may not do it" not in str((await journal.health()).reason):
                with suppress(JournalError):
                    await journal.append([message(next(names))])
                await asyncio.sleep(0.01)
        server._config.write_text(rules + RIGHTS.format("elsewhere"))
        server.hang_up()
        await append(journal, "c")
