"""What it costs to make an event durable on NATS, with one and two ingesting processes.

    python benchmarks/nats_journal.py                       about a minute, beside the source
    python benchmarks/nats_journal.py --directory /mnt/x    on the disk that matters

Callers append one event each, wait until the server has acknowledged it, and append the next.
The SQLite journal stands beside it in the same run and in turns, on the same disk. Server and
processes share this machine's cores: what two processes gain over one shows how much of the
work is the server's. Compare the ratios; the absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.journal import measure
from bridge.journal.base import Journal
from bridge.journal.nats import NatsJournal
from bridge.journal.sqlite import SqliteJournal

CALLERS = (1, 64, 256)
ROUNDS = 3
SQLITE = "SQLite"
SYNCS = {"NATS, default sync": "2m", "NATS, sync always": "always"}


@contextmanager
def server(directory: Path, sync: str) -> Iterator[str]:
    """Run a server with JetStream; give its address."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = directory / "server.conf"
    configuration.write_text(
        f'listen: "127.0.0.1:{port}"\nmax_payload: 8MB\nlog_file: "{directory / "log"}"\n'
        f'jetstream {{ store_dir: "{directory}", sync_interval: "{sync}" }}\n'
    )
    binary = Path(sys.executable).with_name("nats-server")
    process = subprocess.Popen([binary, "-c", configuration])
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def journal_of(place: str) -> Journal:
    """Return the journal that an address or a path names."""
    if place.startswith("nats:"):
        return NatsJournal([place], synced=True)
    return SqliteJournal(place)


async def work(place: str, callers: int, seconds: float) -> None:
    """Append for a while, and print the rate and the latencies at 50 and 99 percent."""
    async with journal_of(place) as journal:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        one = await measure(journal, callers, seconds)
    print(one.rate, one.percentile(0.5), one.percentile(0.99), flush=True)


def run(place: str, processes: int, callers: int, seconds: float) -> tuple[float, float, float]:
    """Let processes append at once; return their rates' sum and their worst latencies."""
    command = [sys.executable, __file__, "--work", place, "--callers", str(callers)]
    running = [
        subprocess.Popen(
            [*command, "--seconds", str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    figures = [tuple(map(float, process.communicate()[0].split())) for process in running]
    rates, p50, p99 = zip(*figures, strict=True)
    return sum(rates), max(p50), max(p99)


Results = Mapping[tuple[int, str, int], Sequence[tuple[float, float, float]]]


def compare(directory: Path, seconds: float) -> Results:
    """Measure everything in turns."""
    results: dict[tuple[int, str, int], list[tuple[float, float, float]]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        places = {}
        for name, sync in SYNCS.items():
            folder = directory / sync
            folder.mkdir()
            places[name] = stack.enter_context(server(folder, sync))
        for callers in CALLERS:
            for _ in range(ROUNDS):
                sqlite = str(directory / "journal.db")
                results[callers, SQLITE, 1].append(run(sqlite, 1, callers, seconds))
                for name, place in places.items():
                    for processes in (1, 2):
                        one = run(place, processes, callers, seconds)
                        results[callers, name, processes].append(one)
    return results


def lay_out(results: Results) -> Table:
    """Put the median of each figure's turns beside SQLite's."""
    table = Table(title="append, one event each")
    for heading in ("callers each", "journal", "processes", "per second", "x SQLite"):
        table.add_column(heading, justify="left" if heading == "journal" else "right")
    table.add_column("p50 ms", justify="right")
    table.add_column("p99 ms", justify="right")
    for (callers, name, processes), turns in results.items():
        rate, p50, p99 = (statistics.median(turn[n] for turn in turns) for n in range(3))
        sqlite = statistics.median(turn[0] for turn in results[callers, SQLITE, 1])
        table.add_row(
            str(callers),
            name,
            str(processes),
            f"{rate:,.0f}",
            f"{rate / sqlite:.2f}",
            f"{p50:.1f}",
            f"{p99:.1f}",
        )
    return table


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="for each turn of a figure")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the disk to use")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--callers", type=int, default=64, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        asyncio.run(work(options.work, options.callers, options.seconds))
        return
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="nats-") as place:
        Console(width=110).print(lay_out(compare(Path(place), options.seconds)))


if __name__ == "__main__":
    main()
