"""The conversations in which something is to be delivered, and when each has its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from bridge.delivery.attempt import Later
from bridge.delivery.gathering import LONGEST
from bridge.delivery.progress import Progress
from bridge.journal.protocol import Entry, Held, Retry
from bridge.process.clock import Clock, Timer

QUEUE: Final = 64
"""At most so many entries of a lane are in memory; where more come, the journal holds them all."""

_PARKED: Final = 1.0  # seconds; who has its turn that soon waits in memory
_MOST_PARKED: Final = 512


@attrs.define(eq=False)
class Lane:
    """A conversation that has something to deliver: in memory, or held in the journal."""

    name: str
    entries: deque[Entry] = attrs.field(factory=deque)
    held: bool = False
    queued: bool = False  # it is being served, or will be
    is_running: bool = False  # a function is at work on its first entry in memory
    look_again: bool = False
    is_due: bool = False  # its first held entry, whatever the clock says
    is_parked: bool = False  # its first entry in memory has its turn in a moment
    trying: Held | None = None
    timer: Timer | None = None
    gathers_until: float | None = None  # on the monotonic clock; None where nothing is gathered


class Lanes:
    """The lanes of a delivery, by name; those in `ready` have their turn now.

    `waiting` is how many have something that the journal holds. `call` is called when a lane has
    become ready, and `moved` is set when one has been put off. No lane waits for longer than
    `max_delay` because of a clock that was set. Where messages are gathered, they wait for
    so many seconds of `silence`, which is 0 elsewhere.
    """

    def __init__(
        self,
        progress: Progress,
        clock: Clock,
        *,
        max_delay: float,
        call: Callable[[], None],
        moved: asyncio.Event,
        silence: float,
    ) -> None:
        self.by_name: dict[str, Lane] = {}
        self.ready: deque[Lane] = deque()  # bounded by what is under way, and the lanes
        self.waiting = 0
        self._parked = 0
        self._progress = progress
        self._clock = clock
        self._max_delay = max_delay
        self._call = call
        self._moved = moved
        self._silence = silence

    def close(self) -> None:
        """Let no lane have another turn by itself."""
        for lane in self.by_name.values():
            if lane.timer is not None:
                lane.timer.cancel()

    def get(self, name: str) -> Lane:
        """Return the lane of this name, a new one where there is none."""
        lane = self.by_name.get(name)
        if lane is None:
            lane = self.by_name[name] = Lane(name)
        return lane

    def busy_with(self, entry: Entry) -> Lane:
        """Return a new lane that is being served, with this entry."""
        lane = self.by_name[entry.lane] = Lane(entry.lane, deque((entry,)), queued=True)
        self._progress.begin(entry)
        return lane

    def remove(self, lane: Lane) -> None:
        """Forget a lane that has nothing more."""
        del self.by_name[lane.name]
        if lane.held:
            self.waiting -= 1

    def hold(self, lane: Lane, held: Held) -> None:
        """Let the journal hold an entry of a lane."""
        self.mark_held(lane)
        lane.look_again = True
        self._progress.hold(held)

    def mark_held(self, lane: Lane) -> None:
        """Note that the journal holds something for a lane."""
        if not lane.held:
            lane.held = True
            self.waiting += 1

    def wake(self, waiting: Mapping[str, float | None], *, at_once: bool) -> None:
        """Let lanes for which the journal holds something have their turn when that is due.

        Those for which it holds nothing any more, as after a purge, have theirs now.
        """
        for lane in self.by_name.values():
            is_soon = lane.is_parked or lane.gathers_until is not None
            if lane.timer is not None and lane.name not in waiting and not is_soon:
                lane.timer.cancel()
                lane.timer = None
                self.enqueue(lane)
        for name, due_at in waiting.items():
            lane = self.get(name)
            self.mark_held(lane)
            if lane.queued:
                lane.look_again = True
            else:
                self.schedule(lane, 0 if at_once else self.until(due_at))

    def enqueue(self, lane: Lane) -> None:
        """Let a lane have its turn."""
        lane.queued = True
        self.ready.append(lane)
        self._call()

    def until(self, due_at: float | None) -> float:
        """Return how long to wait; the clock may have been set since that time was noted."""
        return 0 if due_at is None else min(due_at - self._clock.time(), self._max_delay)

    def schedule(self, lane: Lane, seconds: float) -> None:
        """Let a lane have its turn in so many seconds."""
        lane.queued = False
        self._moved.set()
        if lane.timer is not None:
            lane.timer.cancel()
        if seconds > 0:
            lane.timer = self._clock.call_later(seconds, self._due, lane)
        else:
            self._due(lane)

    def park(self, lane: Lane, later: Later) -> bool:
        """Let a lane wait in memory, if that is short; return whether it does."""
        if later.counted or later.begun or later.seconds > _PARKED or self._parked >= _MOST_PARKED:
            return False
        self._parked += 1
        lane.is_parked = True
        self.schedule(lane, later.seconds)
        return True

    def _due(self, lane: Lane) -> None:
        lane.timer = None
        if lane.is_parked:
            lane.is_parked = False
            self._parked -= 1
        lane.is_due = True
        self.enqueue(lane)

    # --- bursts ----------------------------------------------------------------------------

    def gather(self, entry: Entry) -> None:
        """Let the journal hold a message until nothing has followed it for a while."""
        lane = self.by_name.get(entry.lane)
        if lane is None:
            lane = self.get(entry.lane)
            self.begin_gathering(lane)
        due_at = self._clock.time() + self._silence
        self.hold(lane, Held(entry=entry, retry=Retry(due_at=due_at)))
        if lane.gathers_until is not None and not lane.queued:
            longest = lane.gathers_until - self._clock.monotonic()
            self.schedule(lane, min(self._silence, longest))

    def begin_gathering(self, lane: Lane) -> None:
        """Note that a burst begins, if any is gathered."""
        if self._silence:
            lane.gathers_until = self._clock.monotonic() + LONGEST * self._silence

    def end_gathering(self) -> None:
        """Let what has been gathered so far have its turn now."""
        for lane in self.by_name.values():
            if lane.gathers_until is not None and not lane.queued:
                self.schedule(lane, 0)
