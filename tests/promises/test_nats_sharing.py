"""Two bridges on NATS are told the same in different orders: everything happens once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import orjson

from tests.bridge.journal.nats_servers import NatsServer
from tests.callbacks import NOW
from tests.promises.servers import TOKEN, Bridges, Server
from tests.promises.test_kill_loop import body
from tests.promises.test_nats import PATIENCE, arrived, config

MESSAGES = [(number % 12, f"wamid.{number % 12}.{number}") for number in range(240)]
TIED = tuple(range(20))  # of ours: INCS tells of them by the channel's id, and by its own number
UNTIED = tuple(range(20, 40))  # only the channel's id is ever told
AT_ONCE = 16
TODAY = f"{datetime.fromtimestamp(int(NOW), UTC):%Y-%m-%dT%H:%M:%S.000000Z}"
STEPS = ("sent", "delivered", "read")
NUMBERS = {"sent": 1, "delivered": 3, "read": 4}  # as INCS numbers them

OBSERVER = """
[subscribers.observer]
use = "tests.promises.observing:observe"
events = ["status_change"]
start = "beginning"
"""


def created(number: int) -> bytes:
    return orjson.dumps(
        {
            "event": "message_created",
            "message": {
                "id": 260400000000 + number,
                "auth_id": 30058,
                "conversation_id": 979,
                "session_type": 1,
                "sender": "incs_1",
                "receiver": f"62815191403{number:02}",
                "type": 101,
                "channel_msg_id": f"wamid.ours.{number}",
                "channel_status": 0,
                "content": {"content": "Hi"},
                "source": 0,
                "created_at": TODAY,
                "updated_at": TODAY,
            },
        }
    )


def told_by_id(number: int, step: str) -> bytes:
    return orjson.dumps(
        {
            "event": "message_status_update",
            "channel_id": 30058,
            "business_phone": "6281519236680",
            "message_id": f"wamid.ours.{number}",
            "message_status": step,
            "received_at": int(NOW),
        }
    )


def told_by_number(number: int, step: str) -> bytes:
    return orjson.dumps(
        {
            "event": "message_status_updated",
            "message_id": 260400000000 + number,
            "message_status": NUMBERS[step],
            "error": "",
            "updated_at": TODAY,
        }
    )


async def feed(server: Server, callbacks: Sequence[bytes]) -> None:
    """Post everything in this order, some at once, and see that each is acknowledged."""
    waiting = iter(callbacks)

    async def post(session: aiohttp.ClientSession) -> None:
        for data in waiting:
            async with session.post(f"/callbacks/incs/{TOKEN}", data=data) as response:
                assert response.status == 200

    async with aiohttp.ClientSession(server.url) as session:
        await asyncio.gather(*(post(session) for _ in range(AT_ONCE)))


async def feed_both(bridges: Bridges, callbacks: Sequence[bytes], chance: random.Random) -> None:
    await asyncio.gather(
        *(feed(server, chance.sample(callbacks, len(callbacks))) for server in bridges.servers)
    )


async def test_everything_happens_once(tmp_path: Path) -> None:
    """Whichever of two bridges hears of it first, and by which name: each event comes out once.

    Where a message of ours stands never goes back, and `advanced` is said where it moved on and
    nowhere else.
    """
    messages = [body(conversation, message_id) for conversation, message_id in MESSAGES]
    statuses = [told_by_id(number, step) for number in TIED + UNTIED for step in STEPS]
    statuses += [told_by_number(number, step) for number in TIED for step in STEPS]
    sent = [f"wamid.ours.{number}" for number in TIED]
    wanted = [*sent, *(message_id for _, message_id in MESSAGES)]
    chance = random.Random(20261101)
    with NatsServer(tmp_path / "nats") as nats:
        async with Bridges(tmp_path, config([nats]) + OBSERVER) as bridges:
            await feed_both(bridges, [created(number) for number in TIED], chance)
            await feed_both(bridges, messages + statuses, chance)
            await arrived(bridges, set(wanted))
            observed = tmp_path / "statuses"
            async with asyncio.timeout(PATIENCE):
                while len(observed.read_text().splitlines()) < len(STEPS) * len(TIED + UNTIED):
                    await asyncio.sleep(0.05)
            await bridges.end()
    assert Counter(bridges.taken()) == Counter(wanted)
    lines = [line.split() for line in observed.read_text().splitlines()]
    assert Counter((message_id, status) for message_id, status, _, _ in lines) == Counter(
        (f"wamid.ours.{number}", step) for number in TIED + UNTIED for step in STEPS
    )
    for number in TIED + UNTIED:
        stood = -1
        for message_id, status, advanced, current in lines:
            if message_id == f"wamid.ours.{number}":
                stands = max(stood, STEPS.index(status))
                assert (advanced, current) == ("yes" if stands > stood else "no", STEPS[stands])
                stood = stands
