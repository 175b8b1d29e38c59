"""The values that `Operators` returns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import attrs

from bridge.journal.protocol import Appended, Entry, Journal, Outcome, SubscriberState
from bridge.journal.query import Query
from bridge.model import Event
from bridge.ops.callbacks import KnownCallback


@attrs.frozen(kw_only=True)
class Described:
    """An entry with all that is known about it.

    `outcomes` leaves out subscribers that run and do not want the event. `history` holds the
    entries about the same message, this one among them, in journal order. `callbacks` are the
    latest that contained the event, repetitions among them.
    """

    entry: Entry
    outcomes: Sequence[Outcome]
    history: Sequence[Entry]
    callbacks: Sequence[KnownCallback]


@attrs.frozen(kw_only=True)
class Served:
    """A subscriber's state; `lag_seconds` is how long the oldest event of its lag has waited.

    `held_lanes` is how many conversations wait for a retry.
    """

    state: SubscriberState
    lag_seconds: float
    running: bool
    held_lanes: int


@attrs.frozen(kw_only=True)
class Replayed:
    """How many entries each subscriber gets again.

    `unknown` are keys that the journal does not know; `next` is where the next page begins.
    """

    subscribers: Mapping[str, int]
    unknown: Sequence[str] = ()
    next: int | None = None


@attrs.frozen(kw_only=True)
class Reparsed:
    """The result of parsing an unreadable body again.

    `events` are those that could be read; `is_whole` is true where nothing unreadable is left.
    `appended` is None in a dry run.
    """

    is_whole: bool
    events: Sequence[Event] = ()
    appended: Appended | None = None


async def lag_seconds(journal: Journal, state: SubscriberState) -> float:
    """Return how long the oldest event beyond a subscriber's position has waited."""
    if not state.lag:
        return 0.0
    since = state.lagging_since
    if since is None:
        entries = await journal.search(Query(after=state.position, limit=1))
        if not entries:
            return 0.0
        since = entries[0].event.received_at.timestamp()
    return max(0.0, time.time() - since)
