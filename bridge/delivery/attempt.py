"""One try of an event: what the subscriber may know of it, how it is run, when the next is due."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from functools import partial
from types import CoroutineType, coroutine
from typing import Any, Final

import attrs

from bridge.model import Event
from bridge.settings import DeliverySettings


@attrs.frozen
class Attempt:
    """Which try of an event a subscriber is in.

    `tries` counts those that failed before it. `replayed` says that somebody asked for the
    event again, so that this subscriber may have taken it before; its key tells.
    """

    tries: int = 0
    replayed: bool = False


FIRST: Final = Attempt()
attempt: Final[ContextVar[Attempt]] = ContextVar("attempt", default=FIRST)


def current() -> Attempt:
    """Return which try of its event the calling subscriber is in; elsewhere, a first one."""
    return attempt.get()


def begin(function: Callable[[Event], Awaitable[object]], event: Event) -> Awaitable[object] | None:
    """Run a function up to where it first waits; return what is left of it, if anything is.

    Most subscribers never wait, and so need neither a timer nor a turn of the loop.
    """
    awaitable = function(event)
    if type(awaitable) is not CoroutineType:
        return awaitable
    try:
        waits_for = awaitable.send(None)
    except StopIteration:
        return None
    return _resumed(awaitable, waits_for)


@coroutine
def _resumed(
    started: CoroutineType[Any, Any, object], waits_for: object
) -> Generator[object, Any, object]:
    """Go on with a coroutine that waits for something already."""
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
            step = partial(started.throw, error)
        else:
            step = partial(started.send, sent)
        try:
            waits_for = step()
        except StopIteration as end:
            return end.value


async def finish(rest: Awaitable[object], within: float | None) -> None:
    """Wait for the rest of a function. Raises `TimeoutError` after `within` seconds."""
    async with asyncio.timeout(within):
        await rest


def delay(policy: DeliverySettings, tries: int) -> float:
    """Return how many seconds to wait after so many failed tries."""
    exponent = min(tries - 1, 60)  # beyond, the power says nothing that max_delay does not
    seconds = min(policy.first_delay * 2.0**exponent, policy.max_delay)
    spread = random.uniform(-policy.jitter, policy.jitter)  # noqa: S311 - spreads load, no secret
    return seconds * (1 + spread)
