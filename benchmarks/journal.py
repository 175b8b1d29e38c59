"""What it costs to make an event durable.

    python benchmarks/journal.py                       about half a minute, beside the source
    python benchmarks/journal.py --rows 1000000        after filling the file with a million rows
    python benchmarks/journal.py --directory /mnt/x    on the disk that matters

Callers append one event each, wait until it is durable, and append the next; so at 64 callers
there are always 64 waiting. Beside the journal stand the same journal with every append in a
commit of its own, the journal in memory, and one bare `fdatasync` of 4 KB: all on the same disk,
in one run, in turns. Compare the ratios; the absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import TypeAlias

import attrs
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bridge.journal.base import Journal
from bridge.journal.memory import MemoryJournal
from bridge.journal.sqlite import SqliteJournal
from bridge.keys import conversation_id, message_key
from bridge.model import Conversation, Direction, Message, Origin, Party, Role, Text

CALLERS = (1, 16, 64)
ROUNDS = 5
ROWS = 20_000  # enough for the write-ahead log to have started over, as it has in service
GROUPED = "SQLite"
SINGLE = "one commit each"
_FASTEST = 60_000  # messages per second to prepare, so that making them is not measured
NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)

Open: TypeAlias = Callable[[Path], Journal]


@attrs.frozen
class Measured:
    """Appends per second, and how long each took, in seconds and ascending."""

    rate: float
    latencies: list[float]

    def percentile(self, share: float) -> float:
        """Return the latency that this share of the appends stayed below, in milliseconds."""
        return self.latencies[int((len(self.latencies) - 1) * share)] * 1000


def messages() -> Iterator[Message]:
    """Make WhatsApp texts without end; their ids sort as real ones do, which is not at all."""
    nonce = time.time_ns()
    for number in count():
        digits = f"{(nonce + number) * 6364136223846793005 % 2**64:020}"
        message_id = f"wamid.HBgLMTY1MDU1NTEyMzQVAgASGB{digits}"
        phone = f"+1650{number % 5000:07}"
        yield Message(
            key=message_key("whatsapp", message_id),
            source="benchmark",
            channel="whatsapp",
            account="106540352242922",
            occurred_at=NOW,
            received_at=NOW,
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


async def measure(journal: Journal, callers: int, seconds: float) -> Measured:
    """Let callers append for a while."""
    prepared = deque(islice(messages(), int(seconds * _FASTEST)))
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while prepared and (start := time.perf_counter()) < end:
            await journal.append((prepared.popleft(),))
            latencies.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took = time.perf_counter() - start
    return Measured(len(latencies) / took, sorted(latencies))


def measure_disk(directory: Path, times: int = 50) -> list[float]:
    """Return the seconds that each fdatasync of 4 KB, written over, took."""
    page = bytes(4096)
    took = []
    with (directory / "probe").open("wb+", buffering=0) as file:
        for _ in range(times):
            start = time.perf_counter()
            os.pwrite(file.fileno(), page, 0)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return took


@asynccontextmanager
async def filled(journal: Journal, rows: int) -> AsyncIterator[Journal]:
    """Open a journal that holds this many entries already."""
    source = messages()
    async with journal:
        for start in range(0, rows, 1000):
            await journal.append([next(source) for _ in range(min(1000, rows - start))])
        yield journal


async def compare(directory: Path, seconds: float, rows: int) -> Table:
    """Measure everything in turns, and lay it out."""
    engines: dict[str, Journal] = {
        GROUPED: SqliteJournal(directory / "group.db"),
        SINGLE: SqliteJournal(directory / "single.db", max_group=1),
        "memory": MemoryJournal(max_events=1_000_000),
    }
    syncs: list[float] = []
    results: dict[tuple[int, str], list[Measured]] = defaultdict(list)
    async with (
        filled(engines[GROUPED], rows),
        filled(engines[SINGLE], rows),
        engines["memory"],
    ):
        gc.freeze()
        # Many short turns: a disk that others share changes its mind from second to second.
        for callers in CALLERS:
            for _ in range(ROUNDS):
                syncs += measure_disk(directory)
                for name, journal in engines.items():
                    one = await measure(journal, callers, seconds / ROUNDS)
                    results[callers, name].append(one)
    return lay_out(results, statistics.median(syncs) * 1000, rows)


def lay_out(
    results: Mapping[tuple[int, str], Sequence[Measured]], fdatasync: float, rows: int
) -> Table:
    """Put the median of each figure's turns beside its ratios."""
    table = Table(title=f"append, after {rows:,} rows; one fdatasync of 4 KB: {fdatasync:.2f} ms")
    for heading in ("callers", "journal", "per second", f"x {SINGLE}", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="left" if heading == "journal" else "right")
    table.add_column("p50 x fdatasync", justify="right")
    for (callers, name), turns in results.items():
        rate = statistics.median(turn.rate for turn in turns)
        single = statistics.median(turn.rate for turn in results[callers, SINGLE])
        p50, p99 = (
            statistics.median(turn.percentile(share) for turn in turns) for share in (0.5, 0.99)
        )
        table.add_row(
            str(callers),
            name,
            f"{rate:,.0f}",
            f"{rate / single:.1f}",
            f"{p50:.2f}",
            f"{p99:.2f}",
            f"{p50 / fdatasync:.1f}",
            end_section=name == "memory",
        )
    return table


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure")
    parser.add_argument("--rows", type=int, default=ROWS, help="that the files hold before")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the disk to use")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="journal-") as place:
        table = asyncio.run(compare(Path(place), options.seconds, options.rows))
    Console().print(table)


if __name__ == "__main__":
    main()
