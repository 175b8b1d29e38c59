"""The durable bridge at half of what it can take, for a while, to see whether anything grows."""

from __future__ import annotations

from pathlib import Path

from benchmarks.load import Contender, Faulty, put_load, running
from benchmarks.report import Table
from benchmarks.serving import DURABLE

_KEEP = 'keep = "30s"'  # so that retention has something to do within the time


def measure(directory: Path, *, minutes: float) -> Table:
    """Load the bridge in slices, and look at it between them."""
    slices = max(3, min(60, int(minutes)))
    seconds = max(2, int(minutes * 60 / slices))
    contender = Contender(title=DURABLE.title, journal="sqlite", settings=_KEEP)
    rows: list[list[str]] = []
    try:
        with running(contender, directory) as server:
            capacity = put_load(server, seconds=2).rate
            pause = 64 / (capacity / 2) * 1000
            for number in range(1, slices + 1):
                found = put_load(server, seconds=seconds, pause=pause, warm_up=0)
                size = sum(file.stat().st_size for file in server.folder.glob("bridge.db*"))
                rows.append(
                    [
                        f"{number * seconds / 60:.1f}",
                        f"{found.rate:,.0f}",
                        f"{found.p50:.2f}",
                        f"{found.p99:.2f}",
                        f"{found.p999:.2f}",
                        f"{found.memory:.0f}",
                        f"{size / 2**20:.0f}",
                    ]
                )
    except Faulty as fault:
        rows.append(["", f"no figure: {fault}"] + [""] * 5)
    return Table(
        name="soak",
        title="Soak",
        note="At half of what the bridge can take, with events kept for 30 seconds.",
        headings=("minutes", "per second", "p50 ms", "p99 ms", "p99.9 ms", "MiB", "file MiB"),
        rows=rows,
    )
