"""Several messages of a conversation for one call of a function, which takes a list of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, Final

from bridge.delivery.functions import is_async
from bridge.journal.protocol import Held
from bridge.model import Event

MOST: Final = 100
"""How many messages one call gets at most."""

LONGEST: Final = 10.0
"""For how many times its silence a burst is gathered at most: some people never stop typing."""


class Gathered:
    """Calls a function with all of a burst, where a delivery gives it the first event of it."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._bursts: dict[str, list[Event]] = {}
        self.call = self._async(function) if is_async(function) else self._plain(function)

    def add(self, burst: Sequence[Held]) -> None:
        """Note which events the next call with the first of them is about."""
        self._bursts[burst[0].entry.event.key] = [held.entry.event for held in burst]

    def drop(self, burst: Sequence[Held]) -> None:
        """Forget a burst with which the function was not called."""
        self._bursts.pop(burst[0].entry.event.key, None)

    def _async(self, function: Callable[[Any], Any]) -> Callable[[Event], object]:
        async def call(event: Event) -> object:
            return await function(self._bursts.pop(event.key))

        return call

    def _plain(self, function: Callable[[Any], object]) -> Callable[[Event], object]:
        return lambda event: function(self._bursts.pop(event.key))


def burst_of(found: Sequence[Held]) -> Sequence[Held]:
    """Return what belongs together of what waits: what was tried as often as the first.

    A burst that failed comes again as it was; messages that came since are the next one.
    """
    first = found[0].retry.tries
    return tuple(takewhile(lambda held: held.retry.tries == first, found))
