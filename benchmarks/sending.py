"""What durability costs where messages go out: the outbox, and its HTTP client without a journal.

`python -m benchmarks.sending` alternates turns of both against one simulated provider, which has
a process of its own; the sender is held to one core. Then one caller answers alone: how much later
the provider's response is there than after a call of the bare client, and how much later the
caller knows, in fdatasyncs of the same turn.
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
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import uuid4

import attrs
import orjson

from benchmarks.disk import Syncs, measure_syncs
from bridge import Bridge, Callback, SqliteJournal, Text
from bridge.adapter import Outcome, Sender
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.model import Message, Party
from bridge.outbox.client import Client
from bridge.outbox.outbox import NAME
from bridge.settings import OutboxSettings, PaceSettings
from bridge.testing.providers import SimulatedProvider

MESSAGES = 2000
TURNS = 5
ANSWERS = 200
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
            while any(  # noqa: ASYNC110 - until the journal says so, which takes time as well
                each.lag or each.held
                for each in await bridge.journal.subscribers()
                if each.name == NAME
            ):
                await asyncio.sleep(0.05)
            rate = MESSAGES / (time.perf_counter() - began)
        return rate, last[0].messages[0]


@attrs.frozen
class Added:
    """What an answer takes longer than a bare call, in milliseconds, and the disk meanwhile.

    `responded` is until the provider's response is there, `known` until the caller has it as a
    status, and it is durable.
    """

    bare: float
    responded: float
    known: float
    syncs: Syncs

    def in_syncs(self) -> str:
        """Return both in fdatasyncs, of a file that grows and of one that rewrites."""
        kinds = {"growing": self.syncs.appended, "rewriting": self.syncs.rewritten}
        return "; ".join(
            f"{self.responded / sync:.2f} until the response, {self.known / sync:.2f} until it is"
            f" known ({kind}, {sync:.3f} ms)"
            for kind, syncs in kinds.items()
            if (sync := statistics.median(syncs))
        )


class Timed:
    """The outbox's client, which remembers when the last response came."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.responded = 0.0

    async def send(
        self, sender: Sender, message: Message, /, *, ttl: float | None = None
    ) -> Outcome:
        outcome = await self.client.send(sender, message, ttl=ttl)
        self.responded = time.perf_counter()
        return outcome


async def alone(url: str) -> Added:
    """Answer and call in turns, each when the one before is over."""
    bare, responded, known = [], [], []
    whatsapp = adapter(url)
    with tempfile.TemporaryDirectory() as folder:
        bridge = Bridge(journal=SqliteJournal(Path(folder) / "bridge.db"))
        bridge.add_adapter("whatsapp", whatsapp, pace=PACE)
        heard = asyncio.Queue[Message]()
        bridge.on(Message, direction="inbound", name="bot")(heard.put)
        timed = Timed(bridge._outbox.client)  # noqa: SLF001
        bridge._outbox.sends = timed  # noqa: SLF001
        async with bridge:
            now = datetime.now(UTC)
            body = orjson.dumps(whatsapp.simulation().say("+16505551234", Text(text="hi"), now))
            signed = whatsapp.authenticate(body)
            await bridge.receive(
                "whatsapp", Callback(body=signed.body, headers=signed.headers, received_at=now)
            )
            question = await heard.get()
            syncs = measure_syncs(Path(folder))
            for _ in range(ANSWERS):
                began = time.perf_counter()
                sending = await bridge.reply(question, "hello")
                await sending.outcome(10)
                known.append(time.perf_counter() - began)
                responded.append(timed.responded - began)
                began = time.perf_counter()
                again = attrs.evolve(sending.messages[0], message_id=str(uuid4()))
                await timed.client.send(whatsapp.sender(), again)
                bare.append(time.perf_counter() - began)
    median = statistics.median(bare)
    return Added(
        bare=median * 1000,
        responded=(statistics.median(responded) - median) * 1000,
        known=(statistics.median(known) - median) * 1000,
        syncs=syncs,
    )


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
    for turn in range(len(shares)):
        print(f"turn {turn}: an answer takes longer by {asyncio.run(alone(url)).in_syncs()}")
    process.terminate()


if __name__ == "__main__":
    main()
