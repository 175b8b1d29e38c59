"""The NATS server is away under load: bridges go on taking callbacks, and need no restart."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge.journal.nats_servers import NatsServer
from tests.promises.servers import Bridges, Server
from tests.promises.test_nats import CLIENTS, PATIENCE, arrived, config, in_order, load

# However long it lasts: a spool keeps its newest 8,192 events in memory as well, at most 16 MiB
# of JSON and several times that as objects, and 32 MiB of its file for each of three connections.
MAY_GROW_BY = 192 << 20
BRIEFLY = "0.5s"  # each client has one bridge, so that nothing is to be waited for


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as nats:
        yield nats


def resident(server: Server) -> int:
    """Return how many bytes of memory a bridge occupies."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.removesuffix("kB")) << 10
    raise AssertionError("no VmRSS")


async def test_the_server_is_away(
    tmp_path: Path, nats: NatsServer, request: pytest.FixtureRequest
) -> None:
    """What is acknowledged while the server is away arrives in order, and memory is bounded."""
    away: float = request.config.getoption("--away")
    async with Bridges(tmp_path, config([nats], timeout="0.5s", patience=BRIEFLY)) as bridges:
        async with load(bridges.servers, sticky=True) as clients:
            await clients.more(200)
            memory = [[resident(server)] for server in bridges.servers]
            nats.end()
            before = len(clients.acknowledged)
            await clients.more(CLIENTS + 1)  # a short absence would be waited out
            back_at = time.monotonic() + away
            while time.monotonic() < back_at:  # its length is what is asked for
                await asyncio.sleep(0.1)
                for server, samples in zip(bridges.servers, memory, strict=True):
                    samples.append(resident(server))
            spooled = len(clients.acknowledged) - before
            nats.start()
            began = time.monotonic()
            wanted = clients.acknowledged
            await arrived(bridges, wanted, within=PATIENCE + 3 * away)
            took = time.monotonic() - began
            for server, samples in zip(bridges.servers, memory, strict=True):
                samples.append(resident(server))
        await arrived(bridges, clients.acknowledged, within=PATIENCE + 3 * away)
        await bridges.end()
    assert spooled > CLIENTS
    assert in_order(bridges.taken())
    for first, *later in memory:
        assert max(later) - first < MAY_GROW_BY
    said = (
        f"spools open for {away:.0f} s: {spooled} acknowledged meanwhile, all of it delivered "
        f"{took:.1f} s after the server's return"
    )
    for samples in memory:
        first, last, most = (each / (1 << 20) for each in (samples[0], samples[-1], max(samples)))
        said += f"; MiB resident: {first:.0f} before, at most {most:.0f}, {last:.0f} after"
    print(f"\n{said}")  # noqa: T201 - what a run by hand is for


async def test_storage_is_wiped(tmp_path: Path, nats: NatsServer) -> None:
    """A server that comes back empty gets what was acknowledged while it was away."""
    async with Bridges(tmp_path, config([nats], timeout="0.5s", patience=BRIEFLY)) as bridges:
        async with load(bridges.servers, sticky=True) as clients:
            await clients.more(100)
            nats.end()
            await clients.more(2 * CLIENTS)  # what was under way may be in the lost stream
            before = clients.acknowledged
            await clients.more(300)
            shutil.rmtree(nats.store)
            nats.start()
            await clients.more(100)
        await arrived(bridges, clients.acknowledged - before)
        await bridges.end()
    assert in_order(bridges.taken())
