"""Bridges on PostgreSQL whose plain subscriber hangs: whatever can be served is served."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import aiohttp

from tests.bridge.journal.postgres_servers import PostgresServer
from tests.promises.servers import TOKEN, Bridges, Server, shared
from tests.promises.test_kill_loop import body
from tests.promises.test_nats import PATIENCE

HANGING = range(8)  # conversations, in both partitions
OTHERS = range(10, 34)


CRM = """
[subscribers.crm]
use = "tests.promises.hanging:collect"
events = ["message"]
start = "beginning"
timeout = "0.2s"
"""


async def post(server: Server, conversations: Iterable[int], number: int) -> set[str]:
    """Let each of these conversations have another message; return the messages' ids."""
    ids = {f"wamid.{conversation}.{number}" for conversation in conversations}
    async with aiohttp.ClientSession() as session:
        for message_id in ids:
            data = body(int(message_id.split(".")[1]), message_id)
            async with session.post(f"{server.url}/callbacks/incs/{TOKEN}", data=data) as response:
                assert response.status == 200
    return ids


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_function_that_hangs_keeps_its_own_conversation_alone(tmp_path: Path) -> None:
    """Others get a share of the partitions, and the process has all again when they have gone.

    Whatever becomes of the processes, the other conversations are served, and each one that a
    function hangs with goes on in order once that returns.
    """
    (tmp_path / "hangs").touch()
    with PostgresServer() as server:

        def owners() -> list[str]:
            return server.sql("SELECT owner FROM bridge.cursors WHERE owner > ''").splitlines()

        settings = f'dsn = "{server.dsn}"\npartitions = 2\npoll = "0.05s"'
        bridges = Bridges(tmp_path, shared("postgres", settings, CRM))
        one, two = bridges.servers
        try:
            await one.start()
            first = await post(one, HANGING, 0)
            await until(lambda: first <= set(bridges.taken()))
            in_partitions = "SELECT count(DISTINCT partition) FROM bridge.entries"
            assert server.sql(in_partitions) == "2"
            later = await post(one, HANGING, 1)
            await two.start()
            await until(lambda: len(set(owners())) == 2)
            others = await post(two, OTHERS, 0)
            await until(lambda: others <= set(bridges.taken()))
            assert await two.end(signal.SIGKILL) == -signal.SIGKILL
            await until(lambda: len(owners()) == 2 and len(set(owners())) == 1)
            others |= await post(one, OTHERS, 1)
            await until(lambda: others <= set(bridges.taken()))
            assert later.isdisjoint(bridges.taken())
            (tmp_path / "hangs").unlink()
            await until(lambda: later <= set(bridges.taken()))
            assert await one.end(signal.SIGTERM) == 0
            left = server.sql("SELECT count(*) FROM bridge.held")
        finally:
            for each in bridges.servers:
                await each.end(signal.SIGKILL)
    in_order = list(dict.fromkeys(bridges.taken()))
    for conversation in (*HANGING, *OTHERS):
        mine = [each for each in in_order if each.startswith(f"wamid.{conversation}.")]
        assert mine == [f"wamid.{conversation}.{number}" for number in range(2)]
    assert left == "0"
