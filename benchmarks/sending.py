"""What durability costs where messages go out: the outbox, and its HTTP client without a journal.

`python -m benchmarks.sending` alternates turns of both against one simulated provider, which has
a process and a core of its own, and no address to post callbacks to; the sender is held to another
core. Both have sent before the first turn, each turn is begun by the other one, and the garbage
collector looks as seldom as in `bridge serve`. Then one caller answers alone: how much later the
provider's response is there than after a call of the bare client, and how much later the caller
knows, in fdatasyncs of the same turn.
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
from collections.abc import Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import uuid4

import attrs
import orjson

from benchmarks.disk import CountedDisk
from bridge import Bridge, Callback, SqliteJournal, Text
from bridge.adapter import Outcome, Sender
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.cli.serving import spare_the_collector
from bridge.model import Message, Party
from bridge.outbox.client import Client
from bridge.settings import OutboxSettings, PaceSettings
from bridge.testing.providers import SimulatedProvider

MESSAGES = 2000
WARM_UP = 300
TURNS = 5
ANSWERS = 200
PAUSES = (0.0, 0.003)  # seconds by which an fdatasync takes longer
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


@attrs.frozen
class Speed:
    """Messages a second, and the processor time of each in microseconds, of all threads."""

    rate: float
    processor: float

    @classmethod
    def since(cls, began: float, used: float, messages: int) -> Speed:
        """Return the speed since `time.perf_counter` and `time.process_time` said so."""
        return cls(
            rate=messages / (time.perf_counter() - began),
            processor=(time.process_time() - used) / messages * 1e6,
        )


async def bare(url: str, template: Message, messages: int = MESSAGES) -> Speed:
    """Send with the client alone."""
    sender = adapter(url).sender()
    waiting = iter(range(messages))

    async def work(client: Client) -> None:
        for number in waiting:
            user = Party(phone=f"+1650{number:07}")
            message = attrs.evolve(template, message_id=str(uuid4()), recipient=user)
            await client.send(sender, message)

    async with Client(connections=CONCURRENCY) as client:
        began, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work(client) for _ in range(CONCURRENCY)))
        return Speed.since(began, used, messages)


class Timed:
    """The outbox's client, which counts responses, and remembers when the last one came.

    And how many fdatasyncs of a disk there had been before the last request, and its response.
    """

    def __init__(self, client: Client, disk: CountedDisk | None) -> None:
        self.client = client
        self.disk = disk
        self.responses = 0
        self.responded = 0.0
        self.until_request = self.until_response = 0

    @classmethod
    def watching(cls, bridge: Bridge, disk: CountedDisk | None = None) -> Timed:
        """Let a bridge send with such a client."""
        bridge._outbox.dispatch.sends = timed = cls(bridge._outbox.client, disk)  # noqa: SLF001
        return timed

    @property
    def syncs(self) -> int:
        """How many fdatasyncs the journal has waited for."""
        return 0 if self.disk is None else len(self.disk.took)

    async def send(
        self, sender: Sender, message: Message, /, *, ttl: float | None = None
    ) -> Outcome:
        self.until_request = self.syncs
        outcome = await self.client.send(sender, message, ttl=ttl)
        self.responded, self.until_response = time.perf_counter(), self.syncs
        self.responses += 1
        return outcome


async def durable(url: str, messages: int = MESSAGES) -> tuple[Speed, Message]:
    """Send through the outbox; return how fast that was, and one of the messages."""
    with tempfile.TemporaryDirectory() as folder:
        bridge = Bridge(
            journal=SqliteJournal(Path(folder) / "bridge.db"),
            outbox=OutboxSettings(concurrency=CONCURRENCY),
        )
        bridge.add_adapter("whatsapp", adapter(url), pace=PACE)
        timed = Timed.watching(bridge)
        waiting = iter(range(messages))
        last = []

        async def work() -> None:
            for number in waiting:
                last[:] = [await bridge.send(f"+1650{number:07}", "hello", via="whatsapp")]

        async with bridge:
            began, used = time.perf_counter(), time.process_time()
            await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
            await bridge.caught_up()  # each status is durable, since it is told within a delivery
            speed = Speed.since(began, used, messages)
        if timed.responses != messages:
            raise RuntimeError(f"{timed.responses} responses to {messages} messages")
        return speed, last[0].messages[0]


@attrs.frozen
class Answer:
    """What an answer took: seconds, and fdatasyncs that it waited for.

    `responded` is until the provider's response is there, `known` until the caller has it as a
    status, and it is durable; `bare` is a call of the client alone.
    """

    bare: float
    responded: float
    known: float
    until_request: int
    until_response: int
    until_known: int


def told(answers: Sequence[Answer], sync: float) -> str:
    """Say what answers wait for in the mean, and take longer than a call in the median."""
    counts = (
        f"{statistics.mean(getattr(each, name) for each in answers):.2f}"
        for name in ("until_request", "until_response", "until_known")
    )
    bare = statistics.median(each.bare for each in answers)
    responded, known = (
        (statistics.median(getattr(each, name) for each in answers) - bare) / sync
        for name in ("responded", "known")
    )
    return (
        f"waits for {', '.join(counts)} fdatasyncs (request, response, known) and takes longer"
        f" than a call by {responded:.2f} until the response, {known:.2f} until it is known, where"
        f" one takes {sync * 1000:.2f} ms"
    )


async def alone(url: str, pause: float) -> str:
    """Answer and call in turns, each when the one before is over, on a disk so much slower."""
    answers, disk = [], CountedDisk(pause)
    whatsapp = adapter(url)
    with tempfile.TemporaryDirectory() as folder:
        bridge = Bridge(journal=SqliteJournal(Path(folder) / "bridge.db", vfs=disk.name))
        bridge.add_adapter("whatsapp", whatsapp, pace=PACE)
        heard = asyncio.Queue[Message]()
        bridge.on(Message, direction="inbound", name="bot")(heard.put)
        timed = Timed.watching(bridge, disk)
        async with bridge:
            now = datetime.now(UTC)
            body = orjson.dumps(whatsapp.simulation().say("+16505551234", Text(text="hi"), now))
            signed = whatsapp.authenticate(body)
            await bridge.receive(
                "whatsapp", Callback(body=signed.body, headers=signed.headers, received_at=now)
            )
            question = await heard.get()
            for _ in range(ANSWERS):
                before, began = len(disk.took), time.perf_counter()
                sending = await bridge.reply(question, "hello")
                await sending.outcome(10)
                known, syncs = time.perf_counter() - began, len(disk.took)
                again = attrs.evolve(sending.messages[0], message_id=str(uuid4()))
                called = time.perf_counter()
                await timed.client.send(whatsapp.sender(), again)
                answers.append(
                    Answer(
                        bare=time.perf_counter() - called,
                        responded=timed.responded - began,
                        known=known,
                        until_request=timed.until_request - before,
                        until_response=timed.until_response - before,
                        until_known=syncs - before,
                    )
                )
    return told(answers, statistics.median(disk.took))


def main() -> None:
    theirs, ours = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=provide, args=(ours,), daemon=True
    )
    process.start()
    url = theirs.recv()
    cores = os.sched_getaffinity(0)
    mine = {min(cores)}
    os.sched_setaffinity(0, mine)
    os.sched_setaffinity(process.pid or 0, cores - mine or cores)  # else it takes turns with both
    _, message = asyncio.run(durable(url, WARM_UP))
    asyncio.run(bare(url, message, WARM_UP))
    spare_the_collector()
    shares, by_processor = [], []
    for turn in range(int(sys.argv[1]) if sys.argv[1:] else TURNS):
        if turn % 2:
            without = asyncio.run(bare(url, message))
            outbox, message = asyncio.run(durable(url))
        else:
            outbox, message = asyncio.run(durable(url))
            without = asyncio.run(bare(url, message))
        shares.append(outbox.rate / without.rate)
        by_processor.append(without.processor / outbox.processor)
        print(
            f"turn {turn}: outbox {outbox.rate:,.0f}/s and {outbox.processor:,.0f} µs each,"
            f" client alone {without.rate:,.0f}/s and {without.processor:,.0f} µs each,"
            f" {shares[-1]:.2f} and {by_processor[-1]:.2f} by processor time"
        )
    print(
        f"the outbox reaches {statistics.median(shares):.2f} of its client,"
        f" {statistics.median(by_processor):.2f} by processor time"
    )
    for turn in range(len(shares)):
        for pause in PAUSES:
            print(f"turn {turn}: an answer {asyncio.run(alone(url, pause))}")
    process.terminate()


if __name__ == "__main__":
    main()
