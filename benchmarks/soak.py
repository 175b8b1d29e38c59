"""The durable bridge at half of what it can take, for a while, to see whether anything grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import psycopg

from benchmarks.broker import cluster
from benchmarks.contenders import Contender, Server, running
from benchmarks.figures import Faulty
from benchmarks.load import Load, Result, put_load
from benchmarks.progress import Tell
from benchmarks.report import Table, without_figure
from benchmarks.serving import DURABLE
from benchmarks.turns import Extent

_KEEP = 'keep = "30s"'  # so that retention has something to do within the time
_HEADINGS = ("after s", "per second", "p50 ms", "p99 ms", "p99.9 ms", "MiB", "journal MiB")
_TABLES = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
    "WHERE relnamespace = 'bridge'::regnamespace AND relkind = 'r'"
)
_SHARE = 0.5


@attrs.frozen
class _Soaked:
    name: str
    contender: Contender
    size_of: Callable[[Server], int]


def measure(directory: Path, extent: Extent, tell: Tell) -> Table:
    """Load the bridge in slices, and look at it between them."""

    def files(server: Server) -> int:
        return sum(file.stat().st_size for file in server.folder.glob("bridge.db*"))

    soaked = _Soaked("soak", attrs.evolve(DURABLE, settings=_KEEP), files)
    return _measure(soaked, directory, extent, tell)


def measure_postgres(directory: Path, extent: Extent, tell: Tell) -> Table:
    """Do the same with the journal in PostgreSQL, on a server of its own."""
    with cluster(directory) as dsn:

        def tables(_: Server) -> int:
            with psycopg.connect(dsn) as connection:
                (found,) = connection.execute(_TABLES).fetchone() or (0,)
            return int(found)

        contender = Contender(
            title="bridge, PostgreSQL, 1 subscriber",
            journal="postgres",
            settings=f'{_KEEP}\n[journal.postgres]\ndsn = "{dsn}"',
        )
        return _measure(_Soaked("soak-postgres", contender, tables), directory, extent, tell)


def _measure(soaked: _Soaked, directory: Path, extent: Extent, tell: Tell) -> Table:
    slices = max(3, min(60, int(extent.soak * 3)))
    seconds = max(1, int(extent.soak * 60 / slices))
    rows: list[list[str]] = []
    bars: list[tuple[str, float]] = []
    try:
        with running(soaked.contender, directory) as server:
            tell("finding the capacity")
            rate = put_load(server, Load(seconds=min(3, seconds))).asked * _SHARE
            for number in range(1, slices + 1):
                passed = f"{number * seconds:,}"
                tell(f"slice {number} of {slices}")
                found = put_load(server, Load(seconds=seconds, rate=rate))
                rows.append(_row(passed, found, soaked.size_of(server)))
                bars.append((f"bridge, after {passed} s", found.p99))
    except Faulty as fault:
        rows.append(without_figure(("",), str(fault), len(_HEADINGS)))
    return Table(
        name=soaked.name,
        title=f"Soak: {soaked.contender.title}",
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
