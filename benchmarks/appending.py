"""Appending to a journal: by many callers of one process, or of several.

Callers append one event each, wait until it is durable, and append the next; so at 64 callers
there are always 64 waiting.

`python -m benchmarks.appending PLACE CALLERS SECONDS` does so in a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from subprocess import PIPE, Popen

import attrs
import orjson

from benchmarks.contenders import ROOT
from benchmarks.figures import Faulty
from bridge.adapter.signing import Secret
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Journal
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Conversation, Direction, Message, Origin, Party, Role, Text
from bridge.model.keys import conversation_id, message_key

_FASTEST = 30_000  # messages per second
_READY = "ready\n"
_TOGETHER = 1000
_NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Appended:
    """Appends per second, and how long they took, in milliseconds."""

    rate: float
    p50: float
    p99: float


def messages(users: int = 5000) -> Iterator[Message]:
    """Make WhatsApp texts without end; their ids sort as real ones do, which is not at all."""
    nonce = time.time_ns()
    for number in count():
        digits = f"{(nonce + number) * 6364136223846793005 % 2**64:020}"
        message_id = f"wamid.HBgLMTY1MDU1NTEyMzQVAgASGB{digits}"
        phone = f"+1650{number % users:07}"
        yield Message(
            key=message_key("whatsapp", message_id),
            source="benchmark",
            channel="whatsapp",
            account="106540352242922",
            occurred_at=(now := _NOW + timedelta(milliseconds=number)),
            received_at=now,
            reply_until=now + timedelta(days=1),
            raw={
                "from": phone.removeprefix("+"),
                "id": message_id,
                "timestamp": "1793534400",
                "type": "text",
                "text": {"body": "Does it come in another colour?"},
            },
            message_id=message_id,
            direction=Direction.INBOUND,
            origin=Origin.USER,
            conversation=Conversation(id=conversation_id("whatsapp", "106540352242922", phone)),
            sender=Party(phone=phone, name="Sheena Nelson"),
            recipient=Party(phone="+15550783881", role=Role.BUSINESS),
            content=Text(text="Does it come in another colour?"),
        )


def prepare(seconds: float) -> deque[Message]:
    """Make more messages than can be appended in this time, so that making them is not measured."""
    return deque(islice(messages(), int(seconds * _FASTEST)))


async def append_for(
    journal: Journal, callers: int, seconds: float, prepared: deque[Message]
) -> Appended:
    """Let callers append what is prepared for a while."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while prepared and (start := time.perf_counter()) < end:
            await journal.append((prepared.popleft(),))
            latencies.append((time.perf_counter() - start) * 1000)

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took = time.perf_counter() - start
    latencies.sort()
    return Appended(
        rate=len(latencies) / took,
        p50=latencies[(len(latencies) - 1) // 2],
        p99=latencies[int((len(latencies) - 1) * 0.99)],
    )


async def fill(journal: Journal, rows: int) -> None:
    """Append so many events to an open journal."""
    source = messages()
    for start in range(0, rows, _TOGETHER):
        await journal.append(list(islice(source, min(_TOGETHER, rows - start))))


def journal_at(place: str) -> Journal:
    """Return the journal that an address or a path names."""
    if place.startswith("nats:"):
        return NatsJournal(NatsSettings(servers=(place,), synced=True))
    if place.startswith("postgresql:"):
        dsn, _, schema = place.partition("#")
        return PostgresJournal(PostgresSettings(dsn=Secret(dsn), schema=schema or "bridge"))
    return SqliteJournal(place)


def append_in_processes(place: str, *, processes: int, callers: int, seconds: float) -> Appended:
    """Let processes append at once; return their rates' sum and their worst latencies.

    Raises `Faulty`.
    """
    command = [sys.executable, "-m", "benchmarks.appending", place, str(callers), str(seconds)]
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(command)) for _ in range(processes)]
        for worker in workers:
            worker.wait_until_ready()
        for worker in workers:
            worker.go()
        results = [worker.result() for worker in workers]
    return Appended(
        rate=sum(one.rate for one in results),
        p50=max(one.p50 for one in results),
        p99=max(one.p99 for one in results),
    )


@attrs.frozen
class _Worker:
    """A process that appends when it is told to."""

    process: Popen[str]

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline() != _READY:
            raise self._failed()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self) -> Appended:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._failed()
        return Appended(**orjson.loads(line))

    def _failed(self) -> Faulty:
        assert self.process.stderr is not None
        said = self.process.stderr.read().splitlines()
        return Faulty(f"appending failed: {said[-1] if said else 'no word'}")


@contextmanager
def _worker(command: Sequence[str]) -> Iterator[_Worker]:
    with Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            yield _Worker(process)
        except BaseException:
            process.kill()
            raise


async def _work(place: str, callers: int, seconds: float) -> None:
    prepared = prepare(seconds)
    async with journal_at(place) as journal:
        print(_READY, end="", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        found = await append_for(journal, callers, seconds, prepared)
    print(orjson.dumps(attrs.asdict(found)).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
