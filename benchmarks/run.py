"""What a run is told by: how much of what it measures, on which machine, and when."""

from __future__ import annotations

import os
import platform
import statistics
from datetime import datetime
from pathlib import Path

import attrs

from benchmarks.disk import Syncs, measure_syncs

_PROCESSORS = Path("/proc/cpuinfo")


@attrs.frozen(kw_only=True)
class Machine:
    """What figures depend on, and what else it did when the run began."""

    processor: str
    cores: int
    python: str
    syncs: Syncs
    load: float

    @classmethod
    def look_at(cls, directory: Path) -> Machine:
        """Return this one; the directory says which of its disks is used."""
        return cls(
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)),
            python=platform.python_version(),
            load=os.getloadavg()[0],  # before the disk is kept busy
            syncs=measure_syncs(directory),
        )


@attrs.frozen(kw_only=True)
class Run:
    """A run of everything, or of `only` some sections, in full or `short`."""

    began: datetime
    machine: Machine
    only: tuple[str, ...] = ()
    short: bool = False

    def folder(self, results: Path) -> Path:
        """Return where its results belong.

        Only a full run of everything writes to the place itself. Any other has a folder of its
        own: no table stands beside one of another run, and one turn does not replace seven.
        """
        return results / "-".join((*self.only, *(("short",) if self.short else ())))

    def heading(self) -> str:
        """Return how its results begin, as Markdown."""
        machine = self.machine
        sections = f"only {', '.join(self.only)}" if self.only else "everything"
        extent = "in short" if self.short else "in full"
        python = f"Python {machine.python}, {machine.cores} cores ({machine.processor})"
        grows = f"{statistics.median(machine.syncs.appended):.2f} ms"
        rewrites = f"{statistics.median(machine.syncs.rewritten):.2f} ms"
        return "\n".join(
            [
                "# Results",
                "",
                f"Measured: {sections}, {extent}.",
                f"{self.began:%Y-%m-%d %H:%M} UTC, {python}.",
                f"One fdatasync after 4 KB took {grows}, or {rewrites} without growth.",
                f"The load average was {machine.load:.1f}.",
                "Ratios within this run are what counts; absolute figures drift with the machine.",
                "",
            ]
        )


def _processor() -> str:
    """Return the processor's name, or its kind where it tells none."""
    for line in _PROCESSORS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
