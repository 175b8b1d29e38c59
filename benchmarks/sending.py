"""What durability costs where messages go out: the outbox, and its HTTP client without a journal.

`python -m benchmarks.sending` alternates turns of both against one simulated provider, which has
a process of its own; the sender is held to one core.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import uuid4

import attrs

from bridge import Bridge, SqliteJournal
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.model import Message, Party
from bridge.outbox.client import Client
from bridge.outbox.outbox import NAME
from bridge.settings import OutboxSettings, PaceSettings
from bridge.testing.providers import SimulatedProvider

MESSAGES = 2000
TURNS = 5
CONCURRENCY = 64
NUMBER = "106540352242922"
PACE = {"whatsapp": PaceSettings(rate=math.inf, pair_every=0)}


def adapter(url: str) -> WhatsApp:
    settings = WhatsAppSettings(
        app_secrets="s", access_token="t", phone_number_id=NUMBER, base_url=url
    )
    return WhatsApp("whatsapp", settings)


def provide(told: Connection) -> None:
    """Be the provider until the process is ended."""

    async def run() -> None:
        async with SimulatedProvider() as provider:
            rules = provider.play(adapter(provider.url)).rules
            rules.rate = rules.pair_every = rules.window = None
            told.send(provider.url)
            await asyncio.Event().wait()

    asyncio.run(run())


async def bare(url: str, template: Message) -> float:
    """Send with the client alone; return messages a second."""
    sender = adapter(url).sender()
    waiting = iter(range(MESSAGES))

    async def work(client: Client) -> None:
        for number in waiting:
            user = Party(phone=f"+1650{number:07}")
            message = attrs.evolve(template, message_id=str(uuid4()), recipient=user)
            await client.send(sender, message)

    async with Client(connections=CONCURRENCY) as client:
        began = time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(CONCURRENCY)))
        return MESSAGES / (time.perf_counter() - began)


async def durable(url: str) -> tuple[float, Message]:
    """Send through the outbox; return messages a second, and one of them."""
    with tempfile.TemporaryDirectory() as folder:
        bridge = Bridge(
            journal=SqliteJournal(Path(folder) / "bridge.db"),
            outbox=OutboxSettings(concurrency=CONCURRENCY),
        )
        bridge.add_adapter("whatsapp", adapter(url), pace=PACE)
        waiting = iter(range(MESSAGES))
        last = []

        async def work() -> None:
            for number in waiting:
                last[:] = [await bridge.send(f"+1650{number:07}", "hello", via="whatsapp")]

        async with bridge:
            began = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
            while any(  # noqa: ASYNC110 - until the journal says so
                each.lag or each.held
                for each in await bridge.journal.subscribers()
                if each.name == NAME
            ):
                await asyncio.sleep(0.01)
            rate = MESSAGES / (time.perf_counter() - began)
        return rate, last[0].messages[0]


def main() -> None:
    theirs, ours = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=provide, args=(ours,), daemon=True
    )
    process.start()
    url = theirs.recv()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    shares = []
    for turn in range(int(sys.argv[1]) if sys.argv[1:] else TURNS):
        rate, message = asyncio.run(durable(url))
        without = asyncio.run(bare(url, message))
        shares.append(rate / without)
        print(f"turn {turn}: outbox {rate:,.0f}/s, client alone {without:,.0f}/s, {shares[-1]:.2f}")
    print(f"the outbox reaches {statistics.median(shares):.2f} of its client")
    process.terminate()


if __name__ == "__main__":
    main()
