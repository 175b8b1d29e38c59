"""Normalizing: every documented callback is measured, and the peers read what they should."""

from __future__ import annotations

import gc

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


def test_peers_get_only_what_is_theirs(table):
    """None of RCS goes to pywa, and pydantic's shapes are those of texts."""
    rows = {cells[0]: list(cells) for cells in table.rows}
    assert rows["RCS text, direct"][5] == ""
    assert rows["RCS text, direct"][6] != ""
    assert rows["INCS whatsapp-image"][5] != ""
    assert rows["INCS whatsapp-image"][6] == ""


def test_every_callback_has_a_row_of_its_own(table):
    """No title comes twice, and each has its bar."""
    titles = [cells[0] for cells in table.rows]
    assert len(set(titles)) == len(titles)
    assert [name for name, _ in table.bars] == [f"bridge: {title}" for title in titles]


def test_what_something_is_asked_of(table):
    """Parsing has a figure for each turn, against `orjson.loads` and against pywa."""
    assert set(table.figures) == {Measure.PARSE_TO_LOADS, Measure.PARSE_TO_PYWA}
    assert all(isinstance(figure, Figure) for figure in table.figures.values())


def test_the_garbage_collector_runs_again(table):
    """Measuring leaves it as it was."""
    assert gc.isenabled()
