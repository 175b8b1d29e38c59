"""Figures: what the turns brought, in the middle and at the edges."""

from __future__ import annotations

from benchmarks.figures import Figure


def test_the_median_of_an_odd_number_of_turns():
    """The turn in the middle is what counts, wherever it was and however far off others are."""
    assert Figure((9.0, 1.0, 2.0)).median == 2.0


def test_the_median_of_an_even_number_of_turns():
    """Without a turn in the middle, it is what lies halfway between the two nearest to it."""
    assert Figure((4.0, 1.0, 2.0, 100.0)).median == 3.0


def test_the_spread():
    """The least and the most of the turns are told beside the median."""
    figure = Figure((4.0, 1.0, 2.0))
    assert (figure.least, figure.most) == (1.0, 4.0)
