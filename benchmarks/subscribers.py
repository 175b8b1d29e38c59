"""Subscribers that count; `subscriber0` and so on, as the settings of a bridge name them.

`effect0` writes a row in the transaction that it is given, besides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from psycopg import AsyncConnection

from benchmarks.counting import PLACES, Counts
from bridge import Event

_numbers = Counts.from_environment().numbers


def _subscriber(place: int) -> Callable[[Event], Awaitable[None]]:
    async def count(_: Event) -> None:
        _numbers[place] += 1

    return count


async def effect0(event: Event, connection: AsyncConnection) -> None:
    """Count an event, and note it in a table of the subscriber's own."""
    await connection.execute("INSERT INTO effects VALUES (%s)", (event.key,))
    _numbers[0] += 1


for _place in range(PLACES):
    globals()[f"subscriber{_place}"] = _subscriber(_place)
