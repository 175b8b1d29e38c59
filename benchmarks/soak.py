"""The durable bridge at half of what it can take, for a while, to see whether anything grows."""

from __future__ import annotations

from pathlib import Path

import attrs

from benchmarks.contenders import running
from benchmarks.figures import Faulty
from benchmarks.load import Load, Result, put_load
from benchmarks.progress import Tell
from benchmarks.report import Table, without_figure
from benchmarks.serving import DURABLE
from benchmarks.turns import Extent

_KEEP = 'keep = "30s"'  # so that retention has something to do within the time
_HEADINGS = ("after s", "per second", "p50 ms", "p99 ms", "p99.9 ms", "MiB", "file MiB")
_SHARE = 0.5


def measure(directory: Path, extent: Extent, tell: Tell) -> Table:
    """Load the bridge in slices, and look at it between them."""
    slices = max(3, min(60, int(extent.soak * 3)))
    seconds = max(1, int(extent.soak * 60 / slices))
    rows: list[list[str]] = []
    bars: list[tuple[str, float]] = []
    try:
        with running(attrs.evolve(DURABLE, settings=_KEEP), directory) as server:
            tell("finding the capacity")
            rate = put_load(server, Load(seconds=min(3, seconds))).asked * _SHARE
            for number in range(1, slices + 1):
                passed = f"{number * seconds:,}"
                tell(f"slice {number} of {slices}")
                found = put_load(server, Load(seconds=seconds, rate=rate))
                size = sum(file.stat().st_size for file in server.folder.glob("bridge.db*"))
                rows.append(_row(passed, found, size))
                bars.append((f"bridge, after {passed} s", found.p99))
    except Faulty as fault:
        rows.append(without_figure(("",), str(fault), len(_HEADINGS)))
    return Table(
        name="soak",
        title="Soak",
        note=(
            f"At {_SHARE:.0%} of what the bridge can take, with events kept for 30 seconds; "
            "between the slices the load pauses for as long as the next one takes to prepare."
        ),
        headings=_HEADINGS,
        rows=rows,
        bars=bars,
        axis="99 percent of the answers within, in ms (less is better)",
    )


def _row(passed: str, found: Result, size: int) -> list[str]:
    return [
        passed,
        f"{found.asked:,.0f}",
        f"{found.p50:.2f}",
        f"{found.p99:.2f}",
        f"{found.p999:.2f}",
        f"{found.memory:.0f}",
        f"{size / 2**20:.0f}",
    ]
