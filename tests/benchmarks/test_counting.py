"""Counting: what a server's subscribers got can be read by another process."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.contenders import ROOT
from benchmarks.counting import VARIABLE, Counts


def test_a_number_is_seen_by_another_process(tmp_path):
    """What a process adds to its numbers stands in those of the one that made the file."""
    counts = Counts.create(tmp_path / "counts")
    program = (
        "from benchmarks.counting import Counts\n"
        "numbers = Counts.from_environment().numbers\n"
        "numbers[0] += 2\n"
        "numbers[127] += 3\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={VARIABLE: str(tmp_path / "counts"), "PYTHONPATH": str(ROOT)},
    )
    assert (counts.numbers[0], counts.numbers[1], counts.numbers[127]) == (2, 0, 3)
