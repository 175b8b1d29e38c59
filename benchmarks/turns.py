"""Doing things in turns.

A machine that others share is now fast, now slow. Two things are therefore compared within one
turn, while it was equally fast for both, and the median of the turns is what counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Generic, TypeVar

import attrs

from benchmarks.figures import Faulty, Figure, Measured, Missing
from benchmarks.progress import Tell

T = TypeVar("T")

_AT_ONCE = 50


@attrs.frozen(kw_only=True)
class Extent:
    """How much is measured: so many `turns`, after one to `warm_up` or not."""

    turns: int
    warm_up: bool
    rounds: int
    """Of so many, the best one says what it costs to read a sample."""
    large: int
    """How many events a large journal holds."""
    users: int
    """How many users have a conversation each, at most."""
    appending: float
    """Seconds in which processes append."""
    soak: float
    """Minutes."""

    def __str__(self) -> str:
        return f"{self.turns} turns" if self.turns > 1 else "one turn"

    def at_most(self, turns: int) -> Extent:
        """Return the same in fewer turns, for what nothing is asked of."""
        return attrs.evolve(self, turns=min(turns, self.turns))


FULL = Extent(
    turns=7,
    warm_up=True,
    rounds=400,
    large=1_000_000,
    users=100_000,
    appending=1.0,
    soak=1.5,
)
SHORT = Extent(
    turns=1,
    warm_up=False,
    rounds=20,
    large=30_000,
    users=10_000,
    appending=0.4,
    soak=0.05,
)


@attrs.frozen(kw_only=True)
class Turns(Generic[T]):
    """What several tasks brought in turns; one with a fault has no results at all."""

    results: Mapping[str, Sequence[T]]
    faults: Mapping[str, str]

    def figure(self, name: str, value: Callable[[T], float]) -> Measured:
        """Return a value of one task."""
        if name in self.faults:
            return Missing(self.faults[name])
        return Figure(tuple(value(result) for result in self.results[name]))

    def ratio(self, name: str, base: str, value: Callable[[T], float]) -> Measured:
        """Return a value of one task in multiples of another's in the same turn."""
        return self.compare(name, base, lambda one, other: value(one) / value(other))

    def compare(self, name: str, base: str, value: Callable[[T, T], float]) -> Measured:
        """Return what the results of two tasks come to together, turn by turn."""
        for each in (name, base):
            if each in self.faults:
                return Missing(self.faults[each])
        pairs = zip(self.results[name], self.results[base], strict=True)
        return Figure(tuple(value(one, other) for one, other in pairs))


def take_turns(
    tasks: Mapping[str, Callable[[], T]],
    turns: int,
    tell: Tell,
    *,
    warm_up: bool = False,
    faults: Mapping[str, str] = MappingProxyType({}),
) -> Turns[T]:
    """Do each task once in every turn, in the order given; what is compared stands together.

    What comes of a turn to warm up is not kept. A task that is `Faulty` once is not tried again,
    and the others go on; neither is one that had a fault before.
    """
    results: dict[str, list[T]] = {name: [] for name in tasks}
    found = dict(faults)
    for turn in range(0 if warm_up else 1, turns + 1):
        for name, task in tasks.items():
            if name in found:
                continue
            tell(f"turn {turn} of {turns}: {name}" if turn else f"warming up: {name}")
            try:
                result = task()
            except Faulty as fault:
                found[name] = str(fault)
            else:
                if turn:
                    results[name].append(result)
    return Turns(results=results, faults=found)


def cheapest(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the microseconds of each task in its best round; the tasks take turns."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.perf_counter()
            for _ in range(_AT_ONCE):
                task()
            best[name] = min(best[name], (time.perf_counter() - start) / _AT_ONCE * 1e6)
    return best
