"""One try of an event: what the subscriber may know of it, and when the next is due."""

from __future__ import annotations

import random
from contextvars import ContextVar
from typing import Final

import attrs

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


def delay(policy: DeliverySettings, tries: int) -> float:
    """Return how many seconds to wait after so many failed tries."""
    exponent = min(tries - 1, 60)  # beyond, the power says nothing that max_delay does not
    spread = random.uniform(-policy.jitter, policy.jitter)  # noqa: S311 - spreads load, no secret
    return min(policy.first_delay * 2.0**exponent * (1 + spread), policy.max_delay)
