"""A single caller: what the bridge adds, in fdatasyncs of the same turn."""

from __future__ import annotations

import attrs

from benchmarks import single
from benchmarks.disk import Syncs
from benchmarks.figures import Figure, Measure, Missing
from benchmarks.single import Seen
from benchmarks.turns import FULL, Turns
from tests.benchmarks.results import result

REFUSED = "3 requests refused, 0 broken"


def seen(p50: float, *, appended: float, rewritten: float) -> Seen:
    syncs = Syncs(appended=(appended,), rewritten=(rewritten,))
    return Seen(attrs.evolve(result(1000), p50=p50), syncs)


ALONE = Turns(
    results={
        single.BARE: [
            seen(0.125, appended=0.25, rewritten=0.125),
            seen(0.25, appended=0.5, rewritten=0.125),
        ],
        single.BRIDGE: [
            seen(0.875, appended=0.25, rewritten=0.125),
            seen(1.25, appended=0.5, rewritten=0.375),
        ],
    },
    faults={},
)


def test_what_the_bridge_adds_for_a_single_caller():
    """What it adds, 0.75 and 1 ms, is told in fdatasyncs of the same turn."""
    # Where the file grows these took 0.25 and 0.5 ms; rewriting, 0.125 and 0.25.
    found = single.lay_out(ALONE, FULL)
    assert found.figures[Measure.ADDED_TO_FDATASYNC] == Figure((3.0, 2.0))
    assert found.figures[Measure.ADDED_TO_REWRITING] == Figure((6.0, 4.0))
    assert [cells[:2] for cells in found.rows[2:]] == [
        ["added by the bridge", "0.875"],
        ["fdatasync after 4 KB, the file grows", "0.375"],
        ["fdatasync after 4 KB, rewriting", "0.188"],
    ]


def test_nothing_is_added_to_a_server_with_a_fault():
    """A difference needs both of the servers."""
    found = single.lay_out(attrs.evolve(ALONE, faults={single.BARE: REFUSED}), FULL)
    assert found.figures[Measure.ADDED_TO_FDATASYNC] == Missing(REFUSED)
    assert found.rows[0] == [single.BARE, f"no figure: {REFUSED}", "", "", "", ""]
    assert found.rows[1][:2] == [single.BRIDGE, "1.062"]
    assert found.rows[2] == ["added by the bridge", f"no figure: {REFUSED}", "", "", "", ""]
