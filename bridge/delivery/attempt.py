"""One try of an event: what the subscriber may know of it, and when the next is due."""

from __future__ import annotations

import random
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import attrs

from bridge.settings import DeliverySettings

if TYPE_CHECKING:
    from bridge.journal.protocol import Entry


@attrs.frozen
class Attempt:
    """Which try of an event a subscriber is in.

    `tries` counts those that failed before it. `replayed` says that somebody asked for the
    event again, so that this subscriber may have taken it before; its key tells. `begun` says that
    a try before this one noted that it had begun (`Delivery.note_begun`), and may have had effect.
    `is_new` says that the event came in this life of the process, so that no other has tried it.
    """

    tries: int = 0
    replayed: bool = False
    begun: bool = False
    is_new: bool = attrs.field(default=False, eq=False)


FIRST: Final = Attempt()
NEW: Final = Attempt(is_new=True)


@attrs.define
class Turn:
    """An attempt that is under way: of which subscriber, with which entry.

    `request_id` names the callback that brought the event, where that is remembered. `sent` counts
    what the subscriber has sent for the event so far.
    """

    subscriber: str
    entry: Entry
    attempt: Attempt = FIRST
    request_id: int | str | None = None
    sent: int = 0

    def next_key(self) -> str:
        """Return what names the next intent: the same one whenever the event is given again."""
        self.sent += 1
        return f"{self.subscriber}/{self.entry.event.key}/{self.sent}"


turn: Final[ContextVar[Turn | None]] = ContextVar("turn", default=None)

request_id: Final[ContextVar[int | str | None]] = ContextVar("request_id", default=None)
"""What the callback is called that is being taken; see `callback_id`."""


def callback_id() -> int | str | None:
    """Return what the log calls the callback that is being taken, or that brought the event.

    A number is one that nobody has asked for yet; most are never written out.
    """
    called = request_id.get()
    if called is None and (under_way := turn.get()) is not None:
        called = under_way.request_id
    return called


class Later(Exception):
    """Raised by the outbox: an event has its next turn in so many seconds.

    Where it is not `counted`, nothing was tried. With `begun`, what was tried may have had effect.
    It never leads to a dead letter.
    """

    def __init__(
        self, seconds: float, reason: str, *, counted: bool = True, begun: bool = False
    ) -> None:
        self.seconds = seconds
        self.counted = counted
        self.begun = begun
        super().__init__(reason)


def current() -> Attempt:
    """Return which try of its event the calling subscriber is in; elsewhere, a first one."""
    under_way = turn.get()
    return FIRST if under_way is None else under_way.attempt


def delay(policy: DeliverySettings, tries: int) -> float:
    """Return how many seconds to wait after so many failed tries."""
    exponent = min(tries - 1, 60)  # beyond, the power says nothing that max_delay does not
    spread = random.uniform(-policy.jitter, policy.jitter)  # noqa: S311 - spreads load, no secret
    return min(policy.first_delay * 2.0**exponent * (1 + spread), policy.max_delay)
