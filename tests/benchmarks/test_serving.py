"""The serving tables: ratios within the turns, and none where something failed."""

from __future__ import annotations

import attrs
import pytest

from benchmarks import serving
from benchmarks.figures import Figure, Measure, Missing
from benchmarks.load import Result
from benchmarks.turns import FULL, Turns
from tests.benchmarks.results import result

BARE, DURABLE = "bare aiohttp and uvloop", "bridge, SQLite, 1 subscriber"
ONE_COMMIT = "bridge, SQLite, one commit per event"
STARLETTE, FASTAPI = "pywa on Starlette", "pywa on FastAPI"
FLASK = "pywa on Flask and waitress"
REFUSED = "3 requests refused, 0 broken"


def rates(*found: float) -> list[Result]:
    return [result(rate) for rate in found]


MANY = Turns(
    results={
        BARE: [result(10_000, cpu=50), result(20_000, cpu=50, generator=0.4)],
        DURABLE: [result(4000, cpu=125), result(10_000, cpu=100, p99=30)],
        STARLETTE: rates(5000, 2000),
        ONE_COMMIT: rates(1000, 2000),
        FASTAPI: rates(4000, 4000),
        FLASK: rates(1000, 1000),
    },
    faults={},
)
MORE = Turns(
    results={BARE: rates(10_000, 10_000), DURABLE: rates(6000, 5000)},
    faults={},
)
PACED = Turns(
    results={
        serving.WHOLE: rates(10_000, 10_000),
        serving.PACED: [result(7000, p99=20), result(6800, p99=30)],
    },
    faults={},
)


def with_fault(turns: Turns[Result], title: str) -> Turns[Result]:
    """Return the same, except that a request to one of the servers failed in the second turn."""
    results = {**turns.results, title: turns.results[title][:1]}
    return attrs.evolve(turns, results=results, faults={title: REFUSED})


def table(*, many=MANY, more=MORE, paced=PACED):
    return serving.lay_out(many=many, more=more, paced=paced, extent=FULL)


def row(found, title, connections="64"):
    (cells,) = (cells for cells in found.rows if list(cells[:2]) == [title, connections])
    return cells


def ratio(figure):
    assert isinstance(figure, Figure)
    return figure.median


# --- everything was measured -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "median"),
    [
        (Measure.DURABLE_TO_BARE, 0.45),  # 4,000 of 10,000 and 10,000 of 20,000
        (Measure.DURABLE_TO_BARE_AT_256, 0.55),  # 6,000 and 5,000 of 10,000
        (Measure.DURABLE_TO_ONE_COMMIT, 4.5),  # 4 times 1,000 and 5 times 2,000
        (Measure.DURABLE_TO_PYWA, 1.75),  # of FastAPI's 4,000 once, and 2.5 times
        (Measure.P99_AT_70_PERCENT, 25),  # 20 and 30 ms
    ],
)
def test_figures_of_the_turns(measure, median):
    """Each ratio is taken within a turn, and the median of the turns is what counts."""
    assert ratio(table().figures[measure]) == pytest.approx(median)


def test_a_row():
    """A server's row has its medians, and both of its ratios to the bare one."""
    assert row(table(), DURABLE) == [
        DURABLE,
        "64",
        "7,000",
        "0.45",
        "0.45",  # 50 of 125 and 50 of 100 microseconds
        "5.00",
        "25.00",
        "40.00",
        "112",
        "80",
        "14,000",
        "0.00",
    ]


# --- something failed ------------------------------------------------------------------------


def test_no_ratio_of_a_server_with_a_fault():
    """A request that failed leaves a reason in the row and in the figures, and no number."""
    found = table(many=with_fault(MANY, DURABLE))
    assert row(found, DURABLE) == [DURABLE, "64", f"no figure: {REFUSED}", *[""] * 9]
    for measure in (
        Measure.DURABLE_TO_BARE,
        Measure.DURABLE_TO_PYWA,
        Measure.DURABLE_TO_ONE_COMMIT,
    ):
        assert found.figures[measure] == Missing(REFUSED)
    assert DURABLE not in dict(found.bars)


def test_no_ratio_to_a_server_with_a_fault():
    """Without the bare server there is nothing to compare with, while rates are still told."""
    found = table(many=with_fault(MANY, BARE))
    assert found.figures[Measure.DURABLE_TO_BARE] == Missing(REFUSED)
    assert list(row(found, DURABLE)[2:5]) == ["7,000", "no figure", "no figure"]
    assert list(found.bars) == []


def test_the_fastest_peer_is_not_known_without_one_of_them():
    """A slower peer never takes the place of one that could not be measured."""
    found = table(many=with_fault(MANY, STARLETTE))
    assert found.figures[Measure.DURABLE_TO_PYWA] == Missing(
        f"which is the fastest is not known: {REFUSED}"
    )
    assert "the fastest was: not known. " in found.note


def test_no_latency_under_another_load():
    """A server that was asked for less than its share has no latency at that share."""
    results = {serving.WHOLE: rates(10_000, 10_000), serving.PACED: rates(6000, 6600)}
    found = table(paced=Turns(results=results, faults={}))
    why = "the load was 63% of the capacity"
    assert found.figures[Measure.P99_AT_70_PERCENT] == Missing(why)
    assert found.rows[-1][2] == f"no figure: {why}"


def test_no_latency_without_a_capacity():
    """Nor has one whose capacity could not be found."""
    found = table(paced=with_fault(PACED, serving.WHOLE))
    assert found.figures[Measure.P99_AT_70_PERCENT] == Missing(REFUSED)
