"""Normalizing: every documented callback is measured, and the peers read what they should."""

from __future__ import annotations

import attrs
import pytest

pytest.importorskip("pydantic", reason="the peers are installed with the extra `bench`")
pytest.importorskip("pywa", reason="the peers are installed with the extra `bench`")

from benchmarks import normalize
from benchmarks.figures import Figure, Measure
from benchmarks.turns import SHORT


@pytest.fixture(scope="module")
def table():
    extent = attrs.evolve(SHORT, rounds=1)
    return normalize.measure(extent, lambda _: None)


def test_the_peers_read_what_they_are_asked(table):
    """The text that the targets are about has a cost with each of them."""
    rows = {cells[0]: cells for cells in table.rows}
    assert all(rows["INCS whatsapp-text"])
    assert all(rows["WhatsApp text, direct"])


def test_what_something_is_asked_of(table):
    """Parsing has a figure for each turn, against `orjson.loads` and against pywa."""
    assert set(table.figures) == {Measure.PARSE_TO_LOADS, Measure.PARSE_TO_PYWA}
    assert all(isinstance(figure, Figure) for figure in table.figures.values())
