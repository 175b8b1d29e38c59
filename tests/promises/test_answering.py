"""Every message is answered, whenever the server is killed, and doubts are the only repetitions."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time
from collections import Counter

import orjson
import pytest

from bridge.model import Text
from bridge.testing.providers import SimulatedProvider
from tests.bridge.outbox.keys import service_account
from tests.bridge.outbox.providers import ADAPTERS, TABLES
from tests.bridge.outbox.trips import text_of
from tests.promises.servers import Server

KILLS_IN_SHORT = 3
USERS = 6
PER_USER = 20  # messages; WhatsApp takes 45 at once for one user
CONCURRENCY = 16
PATIENCE = 120
DOUBT = 10  # seconds

CONFIG = f"""
[server]
port = 0
[admin]
port = 0
[journal]
path = "journal.db"
[log]
format = "json"
[outbox]
concurrency = {CONCURRENCY}
doubt = {DOUBT}
[subscribers.bot]
use = "tests.promises.answering:answer"
events = ["message"]
direction = "inbound"
"""


class Timed(list):
    """Knows when each item was appended."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def append(self, item: object) -> None:
        super().append(item)
        self.times.append(time.monotonic())

    def timed(self):
        return zip(self, self.times, strict=True)


def beyond_doubt(name: str, provider: SimulatedProvider, starts: list[float]) -> list[str]:
    """Return why repetitions are none that the doubt explains.

    It explains what a life of the server sends again after it has waited for what may tell that
    the provider has it already, if no life before had acknowledged that.
    """
    reasons = []
    first: dict[str, str] = {}
    for arrived, at in provider.arrived.timed():
        words = text_of(name, arrived.body)
        began = max(start for start in starts if start <= at)
        if words not in first:
            first[words] = arrived.message_id
        elif at - began < DOUBT:
            reasons.append(f"{words!r} without a wait")
        elif any(
            told_at < began and tells(body, first[words])
            for body, told_at in provider.callbacks.acknowledged.timed()
        ):
            reasons.append(f"{words!r} though it was told")
    return reasons


def tells(body, message_id: str) -> bool:
    """Return whether a callback settles a doubt: WhatsApp's statuses, and messages of INCS."""
    is_one = body.get("event", "message_created") == "message_created"
    return is_one and message_id.encode() in orjson.dumps(body)


async def talk(provider: SimulatedProvider, number: int, said: list[str]) -> None:
    """Write as one user after another, each next message once the last one was acknowledged."""
    for count in itertools.count():
        user = f"+1650555{number:02}{count // PER_USER:02}"
        words = f"{user} {count}"
        if await provider.say(user, Text(text=words)):
            said.append(words)


@pytest.mark.parametrize("name", ADAPTERS)
async def test_every_message_is_answered(name, tmp_path, request):
    """A bot on a server that is killed at random moments answers everything that was acknowledged.

    In the order of the conversation; on RCS once, elsewhere what was in flight at a kill may come
    twice, after the wait for what WhatsApp or INCS tells of it, and where that comes too late.
    """
    by_hand = request.config.getoption("--kills")
    kills = by_hand or KILLS_IN_SHORT
    said: list[str] = []
    chance = random.Random(20261127)
    async with SimulatedProvider() as provider:
        adapter = ADAPTERS[name](provider.url)
        provider.play(adapter).arrived = Timed()
        provider.callbacks.acknowledged = Timed()
        provider.callbacks.pause, provider.callbacks.patience = 0.05, PATIENCE
        server = Server(tmp_path)
        (tmp_path / "key.json").write_text(service_account(f"{provider.url}/token"))
        table = TABLES[name].replace("URL", provider.url)
        (tmp_path / "config.toml").write_text(CONFIG + table)
        starts = [time.monotonic()]
        await server.start()
        provider.callbacks.direct(adapter, f"{server.url}/callbacks/{name}")
        talking = [asyncio.create_task(talk(provider, number, said)) for number in range(USERS)]
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 0.6))  # the moment of the kill, not a wait
            assert await server.end(signal.SIGKILL) == -signal.SIGKILL
            starts.append(time.monotonic())
            await server.start()
            provider.callbacks.direct(adapter, f"{server.url}/callbacks/{name}")
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        asked = list(said)
        await all_answered(name, provider, {f"re: {each}" for each in asked})
        provider.callbacks.direct(adapter, None)
        assert await server.end(signal.SIGTERM) == 0
    arrived = answers(name, provider)
    times = Counter(arrived)
    twice = sum(count - 1 for count in times.values())
    assert twice <= (0 if name == "rcs" else kills * CONCURRENCY)
    assert beyond_doubt(name, provider, starts) == []
    by_user: dict[str, list[int]] = {}
    for words in dict.fromkeys(arrived):
        _, user, count = words.split()
        by_user.setdefault(user, []).append(int(count))
    assert all(counts == sorted(counts) for counts in by_user.values())
    if by_hand:
        print(  # noqa: T201 - what a run by hand is for
            f"\n{name}: {kills} kills, {len(asked)} messages, none unanswered, {twice} twice"
        )


async def all_answered(name: str, provider: SimulatedProvider, wanted: set[str]) -> None:
    """Wait for as long as answers come: with the kills grows how many are yet to be made."""
    while missing := wanted - set(answers(name, provider)):
        async with asyncio.timeout(PATIENCE):
            while len(missing - set(answers(name, provider))) == len(missing):
                await asyncio.sleep(0.5)


def answers(name: str, provider: SimulatedProvider) -> list[str]:
    return [text_of(name, arrived.body) for arrived in provider.arrived]
