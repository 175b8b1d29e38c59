"""What the journal holds for a subscriber: it comes to be held, and is tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Final

import attrs

from bridge.delivery.attempt import Attempt, Later
from bridge.delivery.failures import Failures
from bridge.delivery.gathering import MOST, Gathered, burst_of
from bridge.delivery.lanes import Lane, Lanes
from bridge.delivery.progress import Progress
from bridge.delivery.running import Runner
from bridge.errors import Stop
from bridge.journal.protocol import Cursor, Entry, Held, Retry
from bridge.model import Event
from bridge.model.frozen import builder, changer
from bridge.process.clock import Clock
from bridge.process.raised import is_a

_begun: Final = changer(Retry, "begun", "due_at")
_held: Final = builder(Held)
_AT_ONCE: Final = 8  # held entries of one lane before another lane has its turn


@attrs.define(eq=False, kw_only=True)
class Holding:
    """Lets the journal hold entries, and delivers what it holds.

    `begun` has the keys under way that have begun with what cannot be undone, and whether that is
    held for them. `overdue` counts the functions at work whose events the journal holds meanwhile.
    `done` is told what was delivered, `stop` when the function asks for nothing more, and `moved`
    when something is under way no more.
    """

    cursor: Cursor
    progress: Progress
    lanes: Lanes
    runner: Runner
    failures: Failures
    clock: Clock
    gathered: Gathered | None
    done: Callable[[Entry], None]
    stop: Callable[[Stop], None]
    moved: Callable[[], None]
    begun: dict[str, bool] = attrs.field(factory=dict)
    overdue: int = 0

    async def note_begun(self, lane: Lane | None, event: Event) -> None:
        """See `Delivery.note_begun`."""
        held = None if lane is None else lane.trying
        if lane is not None and held is None and lane.entries:
            held = Held(entry=lane.entries[0])
        if lane is None or held is None or held.entry.event.key != event.key:
            raise TimeoutError(f"{event.key} was given up before it began")
        self.begun[event.key] = True
        retry: Retry = _begun(held.retry, begun=True, due_at=self.clock.time())
        noted = _held(entry=held.entry, retry=retry)
        if lane.trying is not None:
            lane.trying = noted
        self.progress.work_on(held.entry)
        self.progress.hold(noted)
        await self.progress.save()

    def hold_back(self, lane: Lane) -> None:
        """Let the journal hold what a lane has in memory, also what a function is at work on.

        So it is where a plain function may never return: the position moves on, and where other
        processes share the work, the partition is free for them. And so it is before anything that
        comes later is held: whoever takes up the lane after this process begins with what is held.
        """
        if not lane.entries:
            return
        if lane.is_running:
            self.overdue += 1
            running = lane.entries.popleft()
            begun = running.event.key in self.begun
            lane.trying = Held(entry=running, retry=Retry(begun=begun))
            self.progress.work_on(running)
            self.lanes.hold(lane, lane.trying)
        for each in lane.entries:
            self.lanes.hold(lane, Held(entry=each))
        lane.entries.clear()
        self.moved()

    def let_go(self, lane: Lane, entry: Entry) -> None:
        """Let others have what a plain function may never return from."""
        self.hold_back(lane)
        self.progress.rest(entry)

    def fail(
        self,
        lane: Lane,
        held: Held,
        error: BaseException,
        context: Context | None = None,
        others: Sequence[Held] = (),
    ) -> bool:
        """Hold an entry for its next try; return True where it has had its last.

        It is logged in the context in which the function ran, by default that of the last one.
        The others of its burst share its fate.
        """
        if is_a(error, Stop):
            self.stop(error)
            for each in (held, *others):
                self.lanes.hold(lane, each)
            lane.queued = False
            return False
        if is_a(error, Later):
            retry = self.failures.put_off(held, error)
            self.lanes.hold(lane, Held(entry=held.entry, retry=retry))
            self.lanes.schedule(lane, error.seconds)
            return False
        retry, seconds = self.failures.failed(held, error, context or self.runner.context)
        final = retry.due_at is None
        for each in (held, *others):
            failed = Held(entry=each.entry, retry=retry)
            if final:
                self.progress.dead_letter(failed)
            else:
                self.lanes.hold(lane, failed)
        if not final:
            self.lanes.schedule(lane, seconds)
        return final

    async def deliver(self, lane: Lane) -> None:
        """Deliver what is held of a lane, as far as it is due. Raises `JournalError`."""
        lane.look_again = False
        await self.progress.save()
        at_once = _AT_ONCE if self.gathered is None else MOST
        found = await self.cursor.held(lane.name, at_once)
        bursts: list[Sequence[Held]] = [(held,) for held in found]
        if found and self.gathered is not None:
            bursts = [burst_of(found)]  # the rest is another, which may grow meanwhile
        for burst in bursts:
            seconds = self.lanes.until(burst[-1].retry.due_at)
            if seconds > 0 and not lane.is_due:
                if burst[0].retry.tries == 0:
                    self.lanes.begin_gathering(lane)
                self.lanes.schedule(lane, seconds)
                return
            lane.is_due = False
            lane.gathers_until = None
            if not await self._try(lane, burst):
                return
        is_all = len(found) < at_once and sum(map(len, bursts)) == len(found)
        # Told before anything passes: after a crash the lane would begin with these again.
        await self.progress.save()
        if lane.look_again or not is_all:
            self.lanes.enqueue(lane)
        else:
            self.lanes.remove(lane)
            self.moved()

    async def _try(self, lane: Lane, burst: Sequence[Held]) -> bool:
        """Make one call with what is held of a lane; return whether the lane may go on."""
        held = lane.trying = burst[0]
        if self.gathered is not None:
            self.gathered.add(burst)
        which = Attempt(held.retry.tries, held.retry.replayed, held.retry.begun)
        rest = partial(self.progress.rest, held.entry)
        self.progress.work_on(held.entry)
        try:
            error, context = await self.runner.run(held.entry, which, overdue=rest)
        finally:
            rest()
        if self.gathered is not None:
            self.gathered.drop(burst)
        lane.trying = None
        begun = self.begun.pop(held.entry.event.key, None) is not None or held.retry.begun
        if error is not None:
            tried = Held(entry=held.entry, retry=attrs.evolve(held.retry, begun=begun))
            return self.fail(lane, tried, error, context, burst[1:])
        for each in burst:
            self.done(each.entry)
            self.progress.release(each.entry)
        return True
