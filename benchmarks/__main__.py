"""Measure the bridge beside its peers: `python -m benchmarks`, from the root of the source.

    pip install -e '.[bench]'
    apt-get install wrk                        the load generator

    python -m benchmarks                       everything, in about ten minutes
    python -m benchmarks --short               the same in little, in about a minute and a half
    python -m benchmarks --only normalize serving watching journal growth postgres nats attack soak
    python -m benchmarks --only growth --rows 10000000
    python -m benchmarks --only soak soak-postgres --minutes 60

Writes tables and plots to `benchmarks/results/`, first of all what was to be reached and whether
it was. A run that is short or of some sections has a folder of its own there, such as `growth` or
`growth-short`, and leaves the results of others alone; `--results` names another place.
Compare ratios within one run; absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs

from benchmarks import attack, growth, journal, normalize, serving, shared_journals, soak, watching
from benchmarks.load import check_tools
from benchmarks.progress import Progress, Tell
from benchmarks.report import Table, save, show
from benchmarks.run import Machine, Run
from benchmarks.targets import judge
from benchmarks.turns import FULL, SHORT, Extent

_RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="little of everything")
    parser.add_argument("--only", nargs="+", default=(), help="these sections", metavar="SECTION")
    parser.add_argument("--rows", type=int, help="how many events the large journal holds")
    parser.add_argument("--minutes", type=float, help="how long the soak is")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the disk to use")
    parser.add_argument("--results", type=Path, help="where to write them to, whatever is run")
    options = parser.parse_args()
    extent = SHORT if options.short else FULL
    if options.rows:
        extent = attrs.evolve(extent, large=options.rows)
    if options.minutes:
        extent = attrs.evolve(extent, soak=options.minutes)
    place = options.directory.resolve()
    sections = _sections(place, extent)
    only = tuple(dict.fromkeys(options.only))
    if unknown := set(only) - set(sections):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    check_tools()
    run = Run(
        began=datetime.now(UTC),
        machine=Machine.look_at(place),
        only=only,
        short=options.short,
    )
    folder = options.results or run.folder(_RESULTS)
    tables: list[Table] = []
    progress = Progress()
    for name in only or sections:
        with progress.section(name) as tell:
            found = sections[name](tell)
        for table in found:
            busy = f"At its end the load average was {os.getloadavg()[0]:.1f}."
            tables.append(attrs.evolve(table, note=f"{table.note} {busy}"))
            show(tables[-1])
        save([*_verdicts(tables), *tables], run.heading(), folder)
    for table in _verdicts(tables):
        show(table)


def _sections(place: Path, extent: Extent) -> dict[str, Callable[[Tell], list[Table]]]:
    return {
        "normalize": lambda tell: [normalize.measure(extent, tell)],
        "serving": lambda tell: serving.measure(place, extent, tell),
        "watching": lambda tell: [watching.measure(place, extent, tell)],
        "journal": lambda tell: [journal.measure(place, extent, tell)],
        "growth": lambda tell: growth.measure(place, extent, tell),
        "postgres": lambda tell: [
            shared_journals.measure(shared_journals.POSTGRES, place, extent, tell)
        ],
        "nats": lambda tell: [shared_journals.measure(shared_journals.NATS, place, extent, tell)],
        "attack": lambda tell: [attack.measure(place, extent, tell)],
        "soak": lambda tell: [soak.measure(place, extent, tell)],
        "soak-postgres": lambda tell: [soak.measure_postgres(place, extent, tell)],
    }


def _verdicts(tables: Sequence[Table]) -> list[Table]:
    """Judge what was measured in this run; there is nothing to say where nothing is asked of it."""
    figures = {measure: found for table in tables for measure, found in table.figures.items()}
    return [judge(figures)] if figures else []


if __name__ == "__main__":
    main()
