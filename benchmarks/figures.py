"""What is measured by name, each figure with the turns that it comes from."""

from __future__ import annotations

import statistics
from enum import Enum, auto
from typing import TypeAlias

import attrs


class Measure(Enum):
    """The figures that something is asked of; `targets.py` says what."""

    PARSE_TO_LOADS = auto()
    PARSE_TO_PYWA = auto()
    DURABLE_TO_BARE = auto()
    DURABLE_TO_BARE_AT_256 = auto()
    DURABLE_TO_PYWA = auto()
    DURABLE_TO_ONE_COMMIT = auto()
    APPEND_TO_ONE_COMMIT = auto()
    P99_AT_70_PERCENT = auto()
    ADDED_TO_FDATASYNC = auto()
    ADDED_TO_REWRITING = auto()
    FILLED_TO_EMPTY = auto()
    TEN_TO_ONE = auto()
    WATCHED_TO_ALONE = auto()
    CATCH_UP_TO_PARSE = auto()
    REPLAY_TO_PARSE = auto()
    MEDIAN_UNDER_ATTACK = auto()


class Faulty(Exception):
    """A measurement that proves nothing: requests failed or events went missing."""


@attrs.frozen
class Figure:
    """A ratio or a time, once for each turn."""

    turns: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.turns)

    @property
    def least(self) -> float:
        return min(self.turns)

    @property
    def most(self) -> float:
        return max(self.turns)


@attrs.frozen
class Missing:
    """There is no figure."""

    why: str


Measured: TypeAlias = Figure | Missing
