"""Bridges on PostgreSQL: nothing acknowledged is lost, whoever is killed, and effects are once."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.bridge.journal.postgres_servers import PostgresServer
from tests.promises.servers import COLLECTOR, Bridges, shared
from tests.promises.test_nats import CLIENTS, Client

KILLS_IN_SHORT = 4
PATIENCE = 90.0  # seconds; only a test that fails ever takes that long
VICTIMS = ("bridge", "bridge", "bridge", "backend", "backend", "server")
SHORT = ("bridge", "backend", "server", "bridge")


TRACKER = """
[subscribers.tracker]
use = "tests.promises.tracking:track"
events = ["message"]
transaction = true
start = "beginning"
first_delay = "0.1s"
max_delay = "1s"
tries = 100
"""


async def kill(what: str, server: PostgresServer, bridges: Bridges, chance: random.Random) -> None:
    """Kill a bridge, a connection of one while it has a transaction open, or the server."""
    if what == "bridge":
        victim = chance.choice(bridges.servers)
        assert await victim.end(signal.SIGKILL) == -signal.SIGKILL
        await victim.start()
    elif what == "backend":
        await asyncio.to_thread(
            server.sql,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'incs-bridge%' AND random() < 0.5",
        )
    else:
        await asyncio.to_thread(server.stop, "immediate")
        await asyncio.to_thread(server.start)


async def test_effects_happen_exactly_once(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Whoever is killed, and whenever: each acknowledged message has one effect, in order.

    Bridges are killed in the midst of a subscriber's transactions, connections are cut, and the
    server is stopped as by a loss of power.
    """
    by_hand = request.config.getoption("--kills")
    chance = random.Random(20261101)
    victims = chance.choices(VICTIMS, k=by_hand) if by_hand else list(SHORT)
    with PostgresServer(synced=True) as server:
        server.sql(
            "CREATE TABLE effects (id bigserial PRIMARY KEY, conversation text, message text)"
        )
        settings = f'dsn = "{server.dsn}"\npatience = "5s"'
        configuration = shared("postgres", settings, TRACKER + COLLECTOR)
        async with Bridges(tmp_path, configuration) as bridges:
            clients = [Client(bridges.servers, number) for number in range(CLIENTS)]
            running = [asyncio.create_task(client.run()) for client in clients]
            for victim in victims:
                await asyncio.sleep(chance.uniform(0.05, 0.6))  # the moment, not a wait
                await kill(victim, server, bridges, chance)
            await asyncio.sleep(0.3)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            wanted = {each for client in clients for each in client.acknowledged}
            async with asyncio.timeout(PATIENCE):
                while not wanted <= set(effects(server)) & set(bridges.taken()):
                    await asyncio.sleep(0.2)
            await bridges.end()
            made, taken = effects(server), bridges.taken()
    assert len(wanted) > KILLS_IN_SHORT
    assert max(Counter(made).values()) == 1
    for each in (made, list(dict.fromkeys(taken))):
        for number in range(CLIENTS):
            mine = [int(m.rpartition(".")[2]) for m in each if m.startswith(f"wamid.{number}.")]
            assert mine == sorted(mine), "out of order in a conversation"
    if by_hand:
        again = sum(count - 1 for count in Counter(taken).values())
        print(  # noqa: T201 - what a run by hand is for
            f"\n{len(victims)} kills ({dict(Counter(victims))}): {len(wanted)} acknowledged, "
            f"{len(made)} effects, none twice, none missing; "
            f"without a transaction {again} came again"
        )


def effects(server: PostgresServer) -> list[str]:
    """Return the messages of all effects, in the order in which these were made."""
    return server.sql("SELECT message FROM effects ORDER BY id").splitlines()
