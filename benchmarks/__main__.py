"""Measure the bridge beside its peers: `python -m benchmarks`, from the root of the source.

    pip install -e '.[bench]'
    apt-get install wrk                        the load generator

    python -m benchmarks                       everything, in about a quarter of an hour
    python -m benchmarks --short               the same in little, in about two minutes
    python -m benchmarks --only normalize serving growth soak
    python -m benchmarks --only growth --rows 10000000
    python -m benchmarks --only soak --minutes 60

Writes tables and plots to `benchmarks/results/`. How fast the journal alone is, tells
`benchmarks/journal.py`. Compare ratios within one run; absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs

from benchmarks import growth, normalize, serving, soak
from benchmarks.journal import measure_disk
from benchmarks.load import check_tools
from benchmarks.report import Table, save, show

_RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="little of everything")
    parser.add_argument("--only", nargs="+", help="these sections", metavar="SECTION")
    parser.add_argument("--rows", type=int, help="how many events the large journal holds")
    parser.add_argument("--minutes", type=float, help="how long the soak is")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the disk to use")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    options = parser.parse_args()
    minutes = options.minutes or (0.1 if options.short else 3)
    sections: dict[str, Callable[[], Table]] = {
        "normalize": lambda: normalize.measure(short=options.short),
        "serving": lambda: serving.measure(options.directory, short=options.short),
        "growth": lambda: growth.measure(options.directory, short=options.short, rows=options.rows),
        "soak": lambda: soak.measure(options.directory, minutes=minutes),
    }
    chosen = options.only or list(sections)
    if unknown := set(chosen) - set(sections):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    if chosen != ["normalize"]:
        check_tools()
    heading = _heading(options.directory)
    tables = []
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        table = sections[name]()
        busy = f"At its end the load average was {os.getloadavg()[0]:.1f}."
        tables.append(attrs.evolve(table, note=f"{table.note} {busy}"))
        show(tables[-1])
        save(tables, heading, options.results)


def _heading(directory: Path) -> str:
    busy, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    fdatasync = statistics.median(measure_disk(directory)) * 1000
    return "\n".join(
        [
            "# Results",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {cores} cores.",
            f"One fdatasync of 4 KB took {fdatasync:.2f} ms; the load average was {busy:.1f}.",
            "Ratios within this run are what counts; absolute figures drift with the machine.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
