"""Turns: what is compared is done right after one another, and a fault leaves no figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks.figures import Faulty, Figure, Missing
from benchmarks.turns import Turns, take_turns


def silent(_: str) -> None:
    """Take what a run tells of its steps."""


def giving(values: Iterable[float]) -> Callable[[], float]:
    """Return a task that brings one value after the other."""
    return iter(values).__next__


def of(**results: list[float]) -> Turns[float]:
    return Turns(results=results, faults={})


# --- taking turns ------------------------------------------------------------------------------


def test_tasks_take_turns():
    """Each task is done once before any is done again, in the order given."""
    done: list[str] = []
    take_turns({name: lambda name=name: done.append(name) for name in "ab"}, 3, silent)
    assert done == ["a", "b", "a", "b", "a", "b"]


def test_a_fault_ends_one_task_and_no_other():
    """A task with a fault is not tried again, while the others have all their turns."""
    tries: list[int] = []

    def failing() -> float:
        tries.append(1)
        if len(tries) == 2:
            raise Faulty("3 requests refused")
        return 1.0

    turns = take_turns({"bad": failing, "good": giving([1, 2, 3])}, 3, silent)
    assert len(tries) == 2
    assert turns.faults == {"bad": "3 requests refused"}
    assert turns.results["good"] == [1, 2, 3]


# --- what the turns come to ----------------------------------------------------------------------


def test_a_ratio_is_taken_within_each_turn():
    """A machine that halves its speed between two turns changes no ratio."""
    turns = of(bridge=[400, 200], bare=[1000, 500])
    assert turns.ratio("bridge", "bare", lambda rate: rate) == Figure((0.4, 0.4))


def test_the_median_of_ratios_is_not_the_ratio_of_medians():
    """Of 1/10, 6/10 and 9/1 the median is 0.6, though the medians are 6 and 10."""
    turns = of(bridge=[1, 6, 9], bare=[10, 10, 1])
    ratio = turns.ratio("bridge", "bare", lambda rate: rate)
    assert isinstance(ratio, Figure)
    assert ratio.turns == (0.1, 0.6, 9.0)
    assert ratio.median == 0.6


def test_no_figure_with_a_fault():
    """A task with a fault has no figure, not even of the turns before."""
    turns = Turns(results={"a": [1.0]}, faults={"a": "2 of 5 events went missing"})
    assert turns.figure("a", lambda value: value) == Missing("2 of 5 events went missing")


def test_no_ratio_with_a_fault_on_either_side():
    """A ratio needs both of its sides: whichever has a fault gives the reason."""
    turns = Turns(results={"a": [1.0], "b": []}, faults={"b": "it did not start"})
    missing = Missing("it did not start")
    assert turns.ratio("a", "b", lambda value: value) == missing
    assert turns.ratio("b", "a", lambda value: value) == missing


# --- rounds of something quick -----------------------------------------------------------------
