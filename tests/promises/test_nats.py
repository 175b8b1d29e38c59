"""Several bridges on NATS: nothing acknowledged is lost, whoever is killed."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from tests.bridge.journal.nats_servers import NatsServer, cluster
from tests.promises.servers import TOKEN, Server
from tests.promises.test_kill_loop import body

CLIENTS = 8
KILLS = 4


def config(servers: Sequence[NatsServer], *, replicas: int) -> str:
    urls = ", ".join(f'"{server.url}"' for server in servers)
    return f"""
[server]
port = 0

[admin]
enabled = false

[journal]
engine = "nats"

[journal.nats]
servers = [{urls}]
replicas = {replicas}
timeout = "2s"

[log]
format = "json"

[adapters.incs]
tokens = ["{TOKEN}"]

[subscribers.collector]
use = "tests.promises.collecting:collect"
events = ["message"]
start = "beginning"
"""


class Bridges:
    """Two bridges on one journal, whose subscribers write into one file."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self.collected = folder / "collected"
        self.collected.touch()
        self.servers = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            server = Server(folder / name)
            (server.folder / "config.toml").write_text(configuration)
            (server.folder / "collected").symlink_to(self.collected)
            self.servers.append(server)

    def taken(self) -> list[str]:
        """Return the ids of the messages that subscribers took, in the order of taking."""
        lines = self.collected.read_text().splitlines()
        return [line.rpartition(" ")[2] for line in lines if line != "started"]

    async def start(self) -> None:
        await asyncio.gather(*(server.start() for server in self.servers))

    async def end(self) -> None:
        codes = await asyncio.gather(*(server.end(signal.SIGTERM) for server in self.servers))
        assert codes == [0, 0]


class Client:
    """Posts one conversation's messages to any bridge that answers, each until it has its 200."""

    def __init__(self, bridges: Bridges, conversation: int) -> None:
        self._bridges = bridges
        self._conversation = conversation
        self.acknowledged: list[str] = []

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for number in itertools.count():
                message_id = f"wamid.{self._conversation}.{number}"
                for server in itertools.cycle(self._bridges.servers):
                    if await self._post(session, server, message_id):
                        break
                    await asyncio.sleep(0.02)  # as a provider would: it comes again
                self.acknowledged.append(message_id)

    async def _post(self, session: aiohttp.ClientSession, server: Server, message_id: str) -> bool:
        try:
            async with session.post(
                f"{server.url}/callbacks/incs/{TOKEN}",
                data=body(self._conversation, message_id),
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


async def more(clients: Sequence[Client], count: int) -> None:
    """Wait until this many more messages have been acknowledged, however long it takes."""
    want = sum(len(client.acknowledged) for client in clients) + count
    async with asyncio.timeout(90):
        while sum(len(client.acknowledged) for client in clients) < want:
            await asyncio.sleep(0.01)


def acknowledged(clients: Sequence[Client]) -> set[str]:
    return {each for client in clients for each in client.acknowledged}


async def stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def arrived(bridges: Bridges, wanted: set[str]) -> None:
    async with asyncio.timeout(60):
        while not wanted <= set(bridges.taken()):
            await asyncio.sleep(0.05)


async def check(bridges: Bridges, clients: Sequence[Client], tasks: Sequence[asyncio.Task[None]]):
    """Everything acknowledged is taken, in order within each conversation."""
    await stop(tasks)
    await arrived(bridges, acknowledged(clients))
    for number in range(CLIENTS):
        first_time = dict.fromkeys(
            int(each.rpartition(".")[2])
            for each in bridges.taken()
            if each.startswith(f"wamid.{number}.")
        )
        assert list(first_time) == sorted(first_time), "out of order in a conversation"


@pytest.fixture
def single(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[NatsServer]]:
    servers = cluster(tmp_path / "nats")
    for server in servers:
        server.launch()
    for server in servers:
        server.until_open()
    yield servers
    for server in servers:
        server.end()


async def test_bridges_are_killed(tmp_path, single):
    """Of two bridges one is killed again and again: the other carries on, and nothing is lost."""
    bridges = Bridges(tmp_path, config([single], replicas=1))
    await bridges.start()
    clients = [Client(bridges, number) for number in range(CLIENTS)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    chance = random.Random(20261101)
    for _ in range(KILLS):
        await more(clients, chance.randrange(20, 120))
        victim = chance.choice(bridges.servers)
        assert await victim.end(signal.SIGKILL) == -signal.SIGKILL
        await more(clients, 20)
        await victim.start()
    await check(bridges, clients, tasks)
    await bridges.end()


async def test_servers_are_killed(tmp_path, three):
    """Of three servers one at a time is killed: callbacks go on, and nothing is lost."""
    bridges = Bridges(tmp_path, config(three, replicas=3))
    await bridges.start()
    clients = [Client(bridges, number) for number in range(CLIENTS)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    for victim in three:
        await more(clients, 50)
        victim.end()
        await more(clients, 50)
        victim.start()
    await more(clients, 50)
    await check(bridges, clients, tasks)
    await bridges.end()


async def test_storage_is_wiped(tmp_path, single):
    """A server that comes back empty gets what was acknowledged while it was away."""
    bridges = Bridges(tmp_path, config([single], replicas=1))
    await bridges.start()
    clients = [Client(bridges, number) for number in range(CLIENTS)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    await more(clients, 100)
    single.end()
    await more(clients, 2 * CLIENTS)  # what was under way at the end may be in the lost stream
    before = acknowledged(clients)
    await more(clients, 300)
    shutil.rmtree(single.store)
    single.start()
    await more(clients, 100)
    await stop(tasks)
    await arrived(bridges, acknowledged(clients) - before)
    await bridges.end()
