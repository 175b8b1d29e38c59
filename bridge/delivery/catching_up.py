"""Waiting until all that is in a journal has been tried, as tests do."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from bridge.delivery.delivery import Delivery
from bridge.journal.protocol import Journal, SharedJournal

_LOOK_EVERY: Final = 0.02  # seconds


async def caught_up(
    journal: Journal, named: Collection[Delivery], plain: Sequence[Delivery]
) -> None:
    """Return when every event so far has been tried, and what failed waits for its next try.

    Raises `JournalError`.
    """
    is_shared = isinstance(journal, SharedJournal)
    end = -1
    while end != (end := (await journal.follow()).position):  # a subscriber may append
        if is_shared:
            await _none_lags(journal, {each.name for each in named if not each.is_stopped})
        # A cursor of a shared journal reads each partition for itself, in no order of positions.
        await asyncio.gather(
            *(each.caught_up(0 if is_shared else end) for each in named),
            *(each.caught_up(end) for each in plain),
        )


async def _none_lags(journal: Journal, names: Collection[str]) -> None:
    while any(  # noqa: ASYNC110 - no process hears what others have settled
        each.lag for each in await journal.subscribers() if each.name in names
    ):
        await asyncio.sleep(_LOOK_EVERY)
