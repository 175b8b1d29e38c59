"""Runs: where their results belong, and what they say of themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.disk import Syncs
from benchmarks.run import Machine, Run

MACHINE = Machine(
    processor="Example 3000",
    cores=2,
    python="3.11.7",
    syncs=Syncs(appended=(0.1, 0.284, 9.0), rewritten=(0.2, 0.1)),
    load=0.83,
)
BEGAN = datetime(2026, 11, 22, 12, 54, 31, tzinfo=UTC)
RESULTS = Path("results")


def run(*only: str, short: bool = False) -> Run:
    return Run(began=BEGAN, machine=MACHINE, only=only, short=short)


@pytest.mark.parametrize(
    ("made", "folder"),
    [
        (run(), "results"),
        (run(short=True), "results/short"),
        (run("soak"), "results/soak"),
        (run("growth", "soak"), "results/growth-soak"),
        (run("soak", short=True), "results/soak-short"),
    ],
)
def test_where_results_belong(made, folder):
    """Only a full run of everything replaces the results of one."""
    assert made.folder(RESULTS) == Path(folder)


def test_what_a_run_of_everything_says():
    """The page tells how much was measured, when and on what, with the medians of the disk."""
    assert run().heading() == (
        "# Results\n"
        "\n"
        "Measured: everything, in full.\n"
        "2026-11-22 12:54 UTC, Python 3.11.7, 2 cores (Example 3000).\n"
        "One fdatasync after 4 KB took 0.28 ms, or 0.15 ms without growth.\n"
        "The load average was 0.8.\n"
        "Ratios within this run are what counts; absolute figures drift with the machine.\n"
    )


def test_what_a_run_of_some_sections_says():
    """Whoever reads the page learns that it is not about everything, and in little only."""
    heading = run("growth", "soak", short=True).heading()
    assert "\nMeasured: only growth, soak, in short.\n" in heading
