"""Measure the bridge beside its peers: `python -m benchmarks`, from the root of the source.

    pip install -e '.[bench]'
    apt-get install wrk                        the load generator

    python -m benchmarks                       everything, in about a quarter of an hour
    python -m benchmarks --short               the same in little, in about two minutes
    python -m benchmarks --only normalize serving journal growth nats soak
    python -m benchmarks --only growth --rows 10000000
    python -m benchmarks --only soak --minutes 60

Writes tables and plots to `benchmarks/results/`, first of all what was to be reached and whether
it was. Compare ratios within one run; absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs

from benchmarks import growth, journal, nats_journal, normalize, parsing, serving, soak
from benchmarks.disk import measure_syncs
from benchmarks.figures import Measure, Measured
from benchmarks.load import check_tools
from benchmarks.progress import Progress, Tell
from benchmarks.report import Table, save, show
from benchmarks.targets import judge
from benchmarks.turns import FULL, SHORT, Extent

_RESULTS = Path(__file__).parent / "results"
_MINUTES, _SHORT_MINUTES = 1.5, 0.1


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="little of everything")
    parser.add_argument("--only", nargs="+", help="these sections", metavar="SECTION")
    parser.add_argument("--rows", type=int, help="how many events the large journal holds")
    parser.add_argument("--minutes", type=float, help="how long the soak is")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the disk to use")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    options = parser.parse_args()
    extent = SHORT if options.short else FULL
    if options.rows:
        extent = attrs.evolve(extent, large=options.rows)
    minutes = options.minutes or (_SHORT_MINUTES if options.short else _MINUTES)
    place = options.directory.resolve()
    sections: dict[str, Callable[[Tell], list[Table]]] = {
        "normalize": lambda tell: [_normalize(extent, tell, short=options.short)],
        "serving": lambda tell: serving.measure(place, extent, tell),
        "journal": lambda tell: [journal.measure(place, extent, tell)],
        "growth": lambda tell: growth.measure(place, extent, tell),
        "nats": lambda tell: [nats_journal.measure(place, extent, tell)],
        "soak": lambda tell: [soak.measure(place, minutes, tell)],
    }
    chosen = options.only or list(sections)
    if unknown := set(chosen) - set(sections):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    check_tools()
    heading = _heading(place)
    tables: list[Table] = []
    progress = Progress()
    for name in chosen:
        with progress.section(name) as tell:
            found = sections[name](tell)
        for table in found:
            busy = f"At its end the load average was {os.getloadavg()[0]:.1f}."
            tables.append(attrs.evolve(table, note=f"{table.note} {busy}"))
            show(tables[-1])
        save([judge(_figures(tables)), *tables], heading, options.results)
    show(judge(_figures(tables)))


def _normalize(extent: Extent, tell: Tell, *, short: bool) -> Table:
    tell("every sample")
    table = normalize.measure(short=short)
    return attrs.evolve(table, figures=parsing.measure(extent, tell))


def _figures(tables: Sequence[Table]) -> dict[Measure, Measured]:
    return {measure: found for table in tables for measure, found in table.figures.items()}


def _heading(directory: Path) -> str:
    busy, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    syncs = measure_syncs(directory)
    grows, rewrites = statistics.median(syncs.appended), statistics.median(syncs.rewritten)
    return "\n".join(
        [
            "# Results",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {cores} cores.",
            f"One fdatasync after 4 KB took {grows:.2f} ms, or {rewrites:.2f} ms without growth.",
            f"The load average was {busy:.1f}.",
            "Ratios within this run are what counts; absolute figures drift with the machine.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
