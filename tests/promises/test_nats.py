"""Several bridges on NATS: nothing acknowledged is lost, whoever is killed."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.bridge.journal.nats_servers import NatsServer, cluster, running
from tests.promises.servers import TOKEN, Bridges, Server, shared
from tests.promises.test_kill_loop import body

CLIENTS = 8
KILLS_IN_SHORT = 2
TAKES_OVER_WITHIN = 10.0  # seconds; what is promised
PATIENCE = 90.0  # seconds; only a test that fails ever takes that long


def config(
    servers: Sequence[NatsServer],
    *,
    replicas: int = 1,
    timeout: str = "3s",
    patience: str = "10s",
) -> str:
    urls = ", ".join(f'"{server.url}"' for server in servers)
    return shared(
        "nats",
        f"servers = [{urls}]\nreplicas = {replicas}\n"
        f'timeout = "{timeout}"\npatience = "{patience}"',
    )


class Client:
    """Posts one conversation's messages one after another, each until it has its 200.

    It takes turns with the bridges, as a load balancer makes it, and goes to the other where
    one does not answer.
    """

    def __init__(self, servers: Sequence[Server], conversation: int) -> None:
        self._servers = servers
        self._conversation = conversation
        self.acknowledged: list[str] = []
        self.at_once: dict[str, Server] = {}  # by whom, where nobody else was asked before

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=15)
        turns = itertools.cycle(self._servers)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for number in itertools.count():
                message_id = f"wamid.{self._conversation}.{number}"
                server = next(turns)
                if await self._post(session, server, message_id):
                    self.at_once[message_id] = server
                else:
                    await asyncio.sleep(0.02)  # as a provider would: it comes again
                    while not await self._post(session, next(turns), message_id):
                        await asyncio.sleep(0.02)
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


class Load:
    """Clients at work."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients

    @property
    def acknowledged(self) -> set[str]:
        return {each for client in self._clients for each in client.acknowledged}

    def acknowledged_by(self, server: Server) -> set[str]:
        """Return what this bridge, and no other, was asked to take and took."""
        at_once = (pair for client in self._clients for pair in client.at_once.items())
        return {message_id for message_id, by in at_once if by is server}

    async def more(self, count: int) -> None:
        """Wait until this many more messages have been acknowledged."""
        want = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.acknowledged) < want:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def load(servers: Sequence[Server], *, sticky: bool = False) -> AsyncIterator[Load]:
    """Have clients at work; a sticky one keeps to one bridge."""
    clients = [
        Client([servers[number % len(servers)]] if sticky else servers, number)
        for number in range(CLIENTS)
    ]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    try:
        yield Load(clients)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def arrived(bridges: Bridges, wanted: set[str], *, within: float = PATIENCE) -> None:
    """Wait until subscribers have taken all of these."""
    async with asyncio.timeout(within):
        while not wanted <= set(bridges.taken()):
            await asyncio.sleep(0.05)


def in_order(taken: Sequence[str]) -> bool:
    """Whether each conversation's messages were taken in order, each the first time."""
    conversations: dict[str, list[int]] = {}
    for message_id in dict.fromkeys(taken):
        _, conversation, number = message_id.split(".")
        conversations.setdefault(conversation, []).append(int(number))
    return all(numbers == sorted(numbers) for numbers in conversations.values())


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--kills") or KILLS_IN_SHORT


async def test_bridges_are_killed(tmp_path: Path, kills: int) -> None:
    """Of two bridges one is killed again and again: the other carries on, and nothing is lost."""
    chance = random.Random(20261101)
    with NatsServer(tmp_path / "nats") as nats:
        async with Bridges(tmp_path, config([nats])) as bridges:
            async with load(bridges.servers) as clients:
                for _ in range(kills):
                    await clients.more(chance.randrange(100, 600))
                    victim = chance.choice(bridges.servers)
                    assert await victim.end(signal.SIGKILL) == -signal.SIGKILL
                    await clients.more(20)
                    await victim.start()
            await arrived(bridges, clients.acknowledged)
            await bridges.end()
        assert in_order(bridges.taken())


async def test_servers_are_killed(tmp_path: Path, kills: int) -> None:
    """Of three servers one at a time is killed: callbacks go on, and nothing is lost.

    Order holds among what one bridge acknowledged, since each may have used its spool.
    """
    async with running(cluster(tmp_path / "nats")) as three:
        async with Bridges(tmp_path, config(three, replicas=3)) as bridges:
            async with load(bridges.servers) as clients:
                for victim in itertools.islice(itertools.cycle(three), kills):
                    await clients.more(50)
                    victim.end()
                    await clients.more(50)
                    victim.start()
                    await victim.until_healthy()  # only one of three is ever missing
                await clients.more(50)
            await arrived(bridges, clients.acknowledged)
            await bridges.end()
        for bridge in bridges.servers:
            by_one = clients.acknowledged_by(bridge)
            assert by_one
            assert in_order([each for each in bridges.taken() if each in by_one])


async def test_another_bridge_takes_over(tmp_path: Path) -> None:
    """What a killed bridge was to deliver is delivered by another within ten seconds, in order."""
    with NatsServer(tmp_path / "nats") as nats:
        async with Bridges(tmp_path, config([nats])) as bridges:
            victim, survivor = bridges.servers
            assert await survivor.end(signal.SIGTERM) == 0  # so that the victim reads everything
            async with load([victim]) as clients:
                await clients.more(200)
                await survivor.start()
                await clients.more(100)
                assert await victim.end(signal.SIGKILL) == -signal.SIGKILL
            await arrived(bridges, clients.acknowledged, within=TAKES_OVER_WITHIN)
            await bridges.end()
        assert in_order(bridges.taken())
