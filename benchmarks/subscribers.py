"""Subscribers that count; `subscriber0` and so on, as the settings of a bridge name them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from benchmarks.counting import PLACES, Counts
from bridge import Event

_numbers = Counts.from_environment().numbers


def _subscriber(place: int) -> Callable[[Event], Awaitable[None]]:
    async def count(_: Event) -> None:
        _numbers[place] += 1

    return count


for _place in range(PLACES):
    globals()[f"subscriber{_place}"] = _subscriber(_place)
