"""What looking on costs: throughput with inspectors open, against none in the same turn."""

from __future__ import annotations

import attrs

from benchmarks import watching
from benchmarks.figures import Figure, Measure, Missing
from benchmarks.turns import FULL, Turns
from tests.benchmarks.results import result

LOOKED = Turns(
    results={
        watching.NONE: [result(1000, cpu=100), result(2000, cpu=100), result(4000, cpu=200)],
        watching.FIVE: [result(990, cpu=101), result(2020, cpu=102), result(3920, cpu=206)],
    },
    faults={},
)


def test_the_share_of_the_throughput_that_is_left():
    """Each turn's throughput with inspectors is told in multiples of the one without."""
    found = watching.lay_out(LOOKED, FULL)
    assert found.figures[Measure.WATCHED_TO_ALONE] == Figure((0.99, 1.01, 0.98))
    assert found.rows == [
        [watching.NONE, "2,000", "1.000", "100", "1.000"],
        [watching.FIVE, "2,020", "0.990", "102", "1.020"],
    ]


def test_an_inspector_that_was_told_nothing():
    """Where one of the inspectors got nothing there is no figure, and the row says why."""
    why = "an inspector was told nothing"
    found = watching.lay_out(attrs.evolve(LOOKED, faults={watching.FIVE: why}), FULL)
    assert found.figures[Measure.WATCHED_TO_ALONE] == Missing(why)
    assert found.rows[1] == [watching.FIVE, f"no figure: {why}", "", "", ""]


def test_nothing_to_compare_with():
    """Where there is no figure without inspectors, theirs is compared with nothing."""
    found = watching.lay_out(attrs.evolve(LOOKED, faults={watching.NONE: "refused"}), FULL)
    assert found.rows[1] == [watching.FIVE, "2,020", "no figure", "102", "no figure"]
