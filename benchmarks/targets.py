"""What was to be reached, and whether it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import attrs

from benchmarks.figures import Figure, Measure, Measured, Missing
from benchmarks.report import Table, without_figure

_HUNDREDTH = Decimal("0.01")


@attrs.frozen(kw_only=True)
class Target:
    """At least this much is asked of a figure, and that much is wanted.

    Where less is wanted than is asked for, less is better.
    """

    measure: Measure
    title: str
    asked: float
    wanted: float
    unit: str = "x"

    @property
    def less_is_better(self) -> bool:
        return self.wanted < self.asked

    def share(self, value: float) -> float:
        """Return how far a value gets: 1 is what is asked for, and more is better."""
        return self.asked / value if self.less_is_better else value / self.asked

    def verdict(self, value: float) -> str:
        if not self._reaches(self.asked, value):
            return "no"
        return "yes, as wanted" if self._reaches(self.wanted, value) else "yes"

    def _reaches(self, goal: float, value: float) -> bool:
        return value <= goal if self.less_is_better else value >= goal

    def told(self, value: float) -> str:
        """Return a value in words, rounded so that it never looks better than it is."""
        worse = ROUND_CEILING if self.less_is_better else ROUND_FLOOR
        # As it is written: 0.7 is a little less than seven tenths, and would be 0.69.
        return f"{Decimal(str(value)).quantize(_HUNDREDTH, worse)}{self.unit}"


TARGETS = (
    Target(
        measure=Measure.PARSE_TO_LOADS,
        title="parsing INCS's WhatsApp text, against orjson.loads",
        asked=5,
        wanted=3,
    ),
    Target(
        measure=Measure.PARSE_TO_PYWA,
        title="the same, times faster than pywa's parsing",
        asked=3,
        wanted=6,
    ),
    Target(
        measure=Measure.DURABLE_TO_BARE,
        title="durable end to end, against bare aiohttp, 64 connections",
        asked=0.40,
        wanted=0.55,
    ),
    Target(
        measure=Measure.DURABLE_TO_BARE_AT_256,
        title="the same, 256 connections",
        asked=0.50,
        wanted=0.65,
    ),
    Target(
        measure=Measure.DURABLE_TO_PYWA,
        title="durable end to end, against pywa's fastest signed server",
        asked=1.4,
        wanted=2,
    ),
    Target(
        measure=Measure.DURABLE_TO_ONE_COMMIT,
        title="durable end to end, against one commit per event",
        asked=4,
        wanted=6,
    ),
    Target(
        measure=Measure.APPEND_TO_ONE_COMMIT,
        title="the same of the journal alone, 64 callers",
        asked=4,
        wanted=6,
    ),
    Target(
        measure=Measure.P99_AT_70_PERCENT,
        title="p99 at 70 percent of its own capacity",
        asked=25,
        wanted=5,
        unit=" ms",
    ),
    Target(
        measure=Measure.ADDED_TO_FDATASYNC,
        title="latency added for a single caller, against one fdatasync",
        asked=3,
        wanted=1.5,
    ),
    Target(
        measure=Measure.ADDED_TO_REWRITING,
        title="the same, against one that only rewrites",
        asked=3,
        wanted=1.5,
    ),
    Target(
        measure=Measure.FILLED_TO_EMPTY,
        title="throughput with a large journal, against an empty one",
        asked=0.8,
        wanted=0.95,
    ),
    Target(
        measure=Measure.TEN_TO_ONE,
        title="throughput with ten subscribers, against one",
        asked=0.7,
        wanted=0.9,
    ),
    Target(
        measure=Measure.WATCHED_TO_ALONE,
        title="throughput with five inspectors open, against none",
        asked=0.97,
        wanted=0.99,
    ),
    Target(
        measure=Measure.CATCH_UP_TO_PARSE,
        title="catching up, against parsing alone",
        asked=0.5,
        wanted=0.85,
    ),
    Target(
        measure=Measure.REPLAY_TO_PARSE,
        title="replaying with `bridge replay`, against parsing alone",
        asked=0.5,
        wanted=0.85,
    ),
    Target(
        measure=Measure.MEDIAN_UNDER_ATTACK,
        title="median of a callback under the worst flood",
        asked=50,
        wanted=10,
        unit=" ms",
    ),
)


def judge(figures: Mapping[Measure, Measured]) -> Table:
    """Lay the figures beside the targets; what was not measured has no verdict."""
    rows, reached = [], []
    headings = ("measure", "at least", "want", "measured", "turns, least to most", "reached")
    for target in TARGETS:
        measured = figures.get(target.measure, Missing("not measured in this run"))
        asked = (target.title, target.told(target.asked), target.told(target.wanted))
        if not isinstance(measured, Figure):
            rows.append(without_figure(asked, measured.why, len(headings)))
            continue
        value = measured.median
        spread = f"{target.told(measured.least)} to {target.told(measured.most)}"
        rows.append([*asked, target.told(value), spread, target.verdict(value)])
        if value > 0:  # a difference of two times may be none, which no bar can show
            reached.append((target, math.floor(target.share(value) * 100) / 100))
    return Table(
        name="targets",
        title="What was to be reached",
        note=(
            "Each figure is the median of its turns: in one turn both sides of a ratio are "
            "measured right after one another, so that what disturbs the machine disturbs both. "
            "Where less is wanted than is asked for, less is better. "
            "The tables below say what each was measured with."
        ),
        headings=headings,
        rows=rows,
        bars=[(target.title, share) for target, share in reached],
        axis="multiples of what was asked for, more is better (red: asked for; violet: wanted)",
        line=1.0,
        marks=[target.share(target.wanted) for target, _ in reached],
    )
