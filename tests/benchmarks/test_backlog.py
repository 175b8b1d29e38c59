"""Catching up and replaying, against parsing in the same turn."""

from __future__ import annotations

import attrs

from benchmarks.backlog import Pace, lay_out
from benchmarks.figures import Figure, Measure, Missing
from benchmarks.turns import FULL, Turns

TURNS = Turns(
    results={
        "catching up": [Pace(40_000, 1.0, 90.0), Pace(10_000, 0.5, 97.0)],
        "parsing alone": [Pace(20_000, 0.25), Pace(20_000, 0.5)],
        "`bridge replay`": [Pace(4000, 2.0, 86.0), Pace(8000, 2.0, 80.0)],
    },
    faults={},
)


def test_paces_are_compared_with_parsing_in_the_same_turn():
    """Half of 80,000 and of 40,000 a second; of the same, a fortieth and a tenth."""
    figures = lay_out(TURNS, FULL).figures
    assert figures[Measure.CATCH_UP_TO_PARSE] == Figure((0.5, 0.5))
    assert figures[Measure.REPLAY_TO_PARSE] == Figure((0.025, 0.1))


def test_the_rows():
    """How long it takes follows from the median pace, and memory is the most of the turns."""
    assert lay_out(TURNS, FULL).rows == [
        ["parsing alone", "60,000", "", "", "", ""],
        ["catching up", "30,000", "0.50", "1,000,000", "33.3", "97"],
        ["`bridge replay`", "3,000", "0.06", "20,000", "6.7", "86"],
    ]


def test_events_that_went_missing():
    """A subscriber who did not get everything has no pace."""
    why = "7 of 1,000,000 events went missing"
    found = lay_out(attrs.evolve(TURNS, faults={"catching up": why}), FULL)
    assert found.figures[Measure.CATCH_UP_TO_PARSE] == Missing(why)
    assert found.rows[1] == ["catching up", f"no figure: {why}", "", "", "", ""]
