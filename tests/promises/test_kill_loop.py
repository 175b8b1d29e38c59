"""Nothing acknowledged is lost, whenever the server is killed."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sqlite3
from collections import Counter

import aiohttp
import orjson
import pytest

from tests.callbacks import new_message
from tests.promises.servers import TOKEN, Server

KILLS_IN_SHORT = 4
CLIENTS = 8
CONTROL_EVERY = 25  # kills, in a run by hand: a server with nothing in its journal is started too
IN_FLIGHT = 1024 + 256  # what a delivery has read and not saved, at most


def body(conversation: int, message_id: str) -> bytes:
    return orjson.dumps(new_message(message_id, f"62815000000{conversation:02}"))


class Client:
    """Posts one conversation's messages one after another, again until each has its 200."""

    def __init__(self, server: Server, conversation: int) -> None:
        self._server = server
        self._conversation = conversation
        self.acknowledged: list[str] = []

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for number in itertools.count():
                message_id = f"wamid.{self._conversation}.{number}"
                while not await self._post(session, message_id):
                    await asyncio.sleep(0.01)  # as a provider would: it comes again
                self.acknowledged.append(message_id)

    async def _post(self, session: aiohttp.ClientSession, message_id: str) -> bool:
        try:
            async with session.post(
                f"{self._server.url}/callbacks/incs/{TOKEN}",
                data=body(self._conversation, message_id),
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


async def test_kill_loop(tmp_path, request, record_property):
    """A server killed at random moments loses nothing of what it acknowledged.

    Every acknowledged event reaches the subscriber, in order within its conversation; twice
    only what was in flight at a kill; and the journal needs no repair.
    """
    by_hand = request.config.getoption("--kills")
    server = Server(tmp_path)
    clients = [Client(server, number) for number in range(CLIENTS)]
    chance = random.Random(20261101)
    (tmp_path / "empty").mkdir()
    empty = Server(tmp_path / "empty")
    await server.start()
    running = [asyncio.create_task(client.run()) for client in clients]
    for number in range(by_hand or KILLS_IN_SHORT):
        await asyncio.sleep(chance.uniform(0.05, 0.6))  # the moment of the kill, not a wait
        assert await server.end(signal.SIGKILL) == -signal.SIGKILL
        await server.start()
        if by_hand and number % CONTROL_EVERY == 0:
            await empty.start()
            await empty.end(signal.SIGTERM)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    acknowledged = {message_id for client in clients for message_id in client.acknowledged}
    async with asyncio.timeout(60):
        while not acknowledged <= {each for life in server.collected() for _, each in life}:
            await asyncio.sleep(0.05)
    assert await server.end(signal.SIGTERM) == 0

    lives = server.collected()
    assert len(acknowledged) > KILLS_IN_SHORT
    for life in lives:
        assert max(Counter(life).values(), default=1) == 1, "twice in one life"
    for before, after in itertools.pairwise(lives):
        again = set(before) & set(after)
        assert again <= set(before[-IN_FLIGHT:]), "twice, and not in flight at the kill"
    for number in range(CLIENTS):
        first_time = dict.fromkeys(
            int(message_id.rpartition(".")[2])
            for life in lives
            for _, message_id in life
            if message_id.startswith(f"wamid.{number}.")
        )
        assert list(first_time) == sorted(first_time), "out of order in a conversation"
    with sqlite3.connect(f"file:{server.journal}?mode=ro", uri=True) as journal:
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    slowest = max(server.seconds_to_serve)
    record_property("slowest start in seconds", round(slowest, 2))
    if by_hand:
        print(  # noqa: T201 - what a run by hand is for
            f"\n{by_hand} kills, {len(acknowledged)} acknowledged, none lost; "
            f"slowest start {slowest:.2f} s, "
            f"with an empty journal {max(empty.seconds_to_serve):.2f} s"
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_told_end_delivers_what_was_acknowledged(tmp_path, number):
    """Told to stop, the server finishes deliveries, ends with 0, and nothing comes twice."""
    server = Server(tmp_path)
    await server.start()
    async with aiohttp.ClientSession(server.url) as session:
        for count in range(50):
            async with session.post(
                f"/callbacks/incs/{TOKEN}", data=body(count % 5, f"wamid.{count}")
            ) as response:
                assert response.status == 200
    assert await server.end(number) == 0
    await server.start()
    assert await server.end(number) == 0
    taken = Counter(each for life in server.collected() for _, each in life)
    assert taken == Counter({f"wamid.{count}": 1 for count in range(50)})
