"""Verdicts: what was asked for was reached, was not, or is not known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Faulty, Figure, Measure, Missing
from benchmarks.targets import TARGETS, Target, judge
from benchmarks.turns import take_turns

MORE = Target(measure=Measure.DURABLE_TO_BARE, title="throughput", asked=0.4, wanted=0.55)
LESS = Target(measure=Measure.P99_AT_70_PERCENT, title="p99", asked=25, wanted=5, unit=" ms")

DURABLE = "durable end to end, against bare aiohttp, 64 connections"
P99 = "p99 at 70 percent of its own capacity"


def row(figures, title):
    """Return what the table of targets says of one."""
    (found,) = (cells for cells in judge(figures).rows if cells[0] == title)
    return found


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.3999, "no"),
        (0.4, "yes"),
        (0.5499, "yes"),
        (0.55, "yes, as wanted"),
        (2, "yes, as wanted"),
    ],
)
def test_more_is_better(value, verdict):
    """What is asked for is reached by just as much, and what is wanted as well."""
    assert MORE.verdict(value) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(25.001, "no"), (25, "yes"), (5.001, "yes"), (5, "yes, as wanted"), (-1, "yes, as wanted")],
)
def test_less_is_better(value, verdict):
    """Where less is wanted than is asked for, more of it misses the target."""
    assert LESS.verdict(value) == verdict


@given(
    target=st.sampled_from([*TARGETS, MORE, LESS]),
    value=st.floats(min_value=0.001, max_value=1e6),
)
def test_words_promise_no_more_than_the_value(target, value):
    """Whoever reads a figure again as it is told never gives a better verdict."""
    better = ("no", "yes", "yes, as wanted")
    again = float(target.told(value).removesuffix(target.unit))
    assert better.index(target.verdict(again)) <= better.index(target.verdict(value))


def test_a_target_that_was_reached():
    """A row tells what is asked and wanted, the median, the spread and the verdict."""
    figures = {Measure.DURABLE_TO_BARE: Figure((0.437, 0.351, 0.549))}
    assert row(figures, DURABLE) == [
        DURABLE,
        "0.40x",
        "0.55x",
        "0.43x",
        "0.35x to 0.54x",
        "yes",
    ]


def test_a_target_that_was_missed():
    """A median beyond what is asked is a miss, though one of the turns reached it."""
    figures = {Measure.P99_AT_70_PERCENT: Figure((24.0, 25.112, 48.0))}
    assert row(figures, P99) == [
        P99,
        "25.00 ms",
        "5.00 ms",
        "25.12 ms",
        "24.00 ms to 48.00 ms",
        "no",
    ]


def test_a_target_without_a_figure():
    """Neither a figure nor a verdict stands where there is none, but the reason."""
    figures = {Measure.DURABLE_TO_BARE: Missing("3 requests refused")}
    assert row(figures, DURABLE) == [
        DURABLE,
        "0.40x",
        "0.55x",
        "no figure: 3 requests refused",
        "",
        "",
    ]


def test_what_was_not_measured():
    """A run of some sections says so of every target that belongs to others."""
    table = judge({Measure.DURABLE_TO_BARE: Figure((0.5,))})
    others = [cells for cells in table.rows if cells[0] != DURABLE]
    assert {cells[3] for cells in others} == {"no figure: not measured in this run"}
    assert len(others) == len(TARGETS) - 1


def test_a_failed_request_leaves_no_verdict():
    """From the measurement to the table: one fault, and there is neither ratio nor verdict."""

    def failing() -> float:
        raise Faulty("the bridge: 1 requests refused, 0 broken")

    turns = take_turns({"bare": lambda: 10.0, "bridge": failing}, 2, lambda _: None)
    figures = {Measure.DURABLE_TO_BARE: turns.ratio("bridge", "bare", lambda rate: rate)}
    assert row(figures, DURABLE)[3:] == [
        "no figure: the bridge: 1 requests refused, 0 broken",
        "",
        "",
    ]
