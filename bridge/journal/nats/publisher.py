"""From `append` to the stream: whatever queued up during a write goes into the next one.

A group is one atomic batch: the keys on condition that they are unknown, the events, and the
tracks of messages on condition that nobody moved them meanwhile. So any number of processes may
write at once, and each decides upon the truth or learns that it did not, and decides again.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from contextlib import suppress
from typing import Final

import attrs

from bridge.errors import CodecError, JournalError
from bridge.journal.correlation import Published, correlate, release
from bridge.journal.identity import names_for
from bridge.journal.ledger import Queue
from bridge.journal.nats.broker import Away, Broker, Conflict, Draft, Refused, Stored, Unfit
from bridge.journal.nats.entries import draft_of
from bridge.journal.nats.ledger import GroupLedger, NotSeen, View, read_queue
from bridge.journal.nats.subjects import Names
from bridge.journal.protocol import Appended
from bridge.model import Event
from bridge.model.codec import encode

_GROUP: Final = 90  # events; a batch has at most 1000 messages, and an event needs up to eleven
_LOOKED_UP: Final = 512  # subjects in one request
_TRIES: Final = 20
_QUICK_TRIES: Final = 3  # a replica that lags would say the same for as long as it does
_PAUSE: Final = 0.005  # seconds; so that whoever lost a race does not lose the next one too
_HEADERS: Final = 4096  # bytes that an event's headers may take
_KNOWN: Final = Stored(subject="", sequence=0, data=b"")  # written by this process
_LONGEST_SLEEP: Final = 60.0  # seconds
_AGAIN_AFTER: Final = 1.0  # seconds, where publishing what was due has failed
_LOOK_EVERY: Final = 5.0  # seconds
_REMEMBERED: Final = 100_000  # keys written by this process, which need not be looked up


@attrs.define(eq=False)
class _Append:
    """Events that wait to be written, and who waits for them; or lanes whose queues are due."""

    events: Sequence[Event]
    done: asyncio.Future[Appended] | None = None
    due: Sequence[str] = ()
    published: int = 0
    error: JournalError | CodecError | None = None


class Publisher:
    """Writes to the stream while its task runs.

    `max_waiting` bounds the events in the queue, `largest` a message. `lost` is called before
    any caller learns that the servers are away, so that nobody overtakes it, and `written` after
    each group. `ttl` is how long keys are known, in seconds, if that is less than the stream keeps
    its messages.
    """

    def __init__(
        self,
        broker: Broker,
        names: Names,
        *,
        ttl: int | None,
        max_waiting: int,
        largest: Callable[[], int],
        lost: Callable[[], None],
        written: Callable[[], Awaitable[None]],
    ) -> None:
        self._broker = broker
        self._names = names
        self._ttl = ttl
        self._max_waiting = max_waiting
        self._largest = largest
        self._lost = lost
        self._written = written
        self._queue: deque[_Append] = deque()
        self._waiting = 0
        self._filled = asyncio.Event()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._deadlines: dict[str, float] = {}  # of the lanes in which something waits, monotonic

    async def append(self, events: Sequence[Event]) -> Appended:
        """Return when the events are in the stream.

        Those of one call are written as one, up to 90 of them; a call with more is several
        batches, and one that fails in between is completed by its repetition.
        """
        if self._waiting >= self._max_waiting:
            raise JournalError(f"{self._waiting} events wait for NATS")
        published = 0
        for start in range(0, len(events), _GROUP):
            published += (await self._append(events[start : start + _GROUP])).published
        return Appended(published=published, duplicates=len(events) - published)

    async def _append(self, events: Sequence[Event]) -> Appended:
        done: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._queue.append(_Append(events, done))
        self._waiting += len(events)
        self._filled.set()
        return await done

    def refuse_too_large(self, events: Sequence[Event]) -> None:
        """Raise `Unfit` where an event is larger than the servers take."""
        for event in events:
            _check_size(len(encode(event)), self._largest())

    def forget_known(self) -> None:
        """Look keys up again: the stream may be another one."""
        self._known.clear()
        self._deadlines.clear()

    def fail(self, reason: str) -> None:
        """Let everyone who waits know that nothing more is written."""
        self._answer(list(self._queue), JournalError(reason))
        self._queue.clear()

    async def run(self) -> None:
        """Write groups, one after the other."""
        while True:
            await self._until_something_is_to_be_written()
            group = self._next_group()
            try:
                await self._write(group)
            except Away as error:
                # Those behind it must not overtake this group on its way into the spool.
                self._lost()
                group += self._queue
                self._queue.clear()
                self._answer(group, error)
            except JournalError as error:
                self._answer(group, error)
            except BaseException:
                self._answer(group, JournalError("the journal was closed"))
                raise
            else:
                self._answer(group, None)
                await self._written()

    async def _until_something_is_to_be_written(self) -> None:
        """Wait for an append, or until a lane in which something waits is due."""
        first = min(self._deadlines.values(), default=math.inf)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(first - time.monotonic(), _LONGEST_SLEEP)):
                await self._filled.wait()
        now = time.monotonic()
        due = [lane for lane, deadline in self._deadlines.items() if deadline <= now]
        if due:
            self._deadlines |= dict.fromkeys(due, now + _AGAIN_AFTER)  # should it fail
            self._queue.appendleft(_Append((), due=due[:_GROUP]))

    async def look_for_waiting(self) -> None:
        """Publish in time what another process, which may have died, has left waiting."""
        while True:
            with suppress(JournalError):
                await self._broker.until_connected()
                found = await self._broker.last_of(self._names.stream, [self._names.waiting()])
                for stored in found.values():
                    queue = read_queue(stored.data)
                    if queue is not None and queue.lane not in self._deadlines:
                        self._waits(queue)
                self._filled.set()  # so that the deadlines are looked at
            await asyncio.sleep(_LOOK_EVERY)

    def _waits(self, queue: Queue) -> None:
        """Remember when the first event of a queue is due, on a clock that nobody changes."""
        self._deadlines.pop(queue.lane, None)
        if queue.due is not None:
            longest = queue.due - queue.items[0].event.received_at.timestamp()
            seconds = max(0.0, min(queue.due - time.time(), longest))
            self._deadlines[queue.lane] = time.monotonic() + seconds

    def _next_group(self) -> list[_Append]:
        group: list[_Append] = []
        room = _GROUP
        while self._queue and (not group or len(self._queue[0].events) <= room):
            append = self._queue.popleft()
            room -= len(append.events)
            group.append(append)
        if not self._queue:
            self._filled.clear()
        return group

    def _answer(self, group: Sequence[_Append], error: JournalError | None) -> None:
        for append in group:
            self._waiting -= len(append.events)
            failed = append.error or error
            if append.done is None or append.done.done():  # nobody asked, or has gone away
                continue
            if failed is not None:
                append.done.set_exception(failed)
            else:
                duplicates = len(append.events) - append.published
                append.done.set_result(Appended(published=append.published, duplicates=duplicates))

    # --- one group -------------------------------------------------------------------------

    async def _write(self, group: Sequence[_Append]) -> None:
        for number in range(_TRIES):
            decision = await self._decide(group, certain=number >= _QUICK_TRIES)
            drafts = decision.drafts()
            if not drafts:
                self._conclude(group, decision)
                return
            try:
                await self._broker.write_as_one(drafts)
            except Conflict:
                self._known.clear()
                await asyncio.sleep(random.uniform(0, _PAUSE))  # noqa: S311 - no secret
                continue
            except Refused as error:
                # A stream that is gone, or has just got another leader, refuses batches.
                raise Away(str(error)) from error
            self._conclude(group, decision)
            return
        raise JournalError("too many processes write about the same messages")

    async def _decide(self, group: Sequence[_Append], *, certain: bool) -> _Decision:
        """Return what to write, reading what the decision needs."""
        unseen: set[str] = set()
        for append in group:
            for event in append.events:
                unseen.add(self._names.key(event.key))
                unseen.update(map(self._names.track, names_for(event)))
        view: View = {}
        while True:
            view |= await self._look_up(unseen, certain=certain)
            decision = _Decision(self._names, view, self._deadlines, self._ttl, self._largest())
            for append in group:
                decision.take(append)
            if not decision.unseen:
                return decision
            unseen = decision.unseen

    def _conclude(self, group: Sequence[_Append], decision: _Decision) -> None:
        self._remember(decision.claimed)
        for append in group:
            for lane in append.due:  # another process may have published it
                self._deadlines.pop(lane, None)
        for queue in decision.queued.values():
            self._waits(queue)

    async def _look_up(self, subjects: set[str], *, certain: bool) -> View:
        """Read subjects: quickly, from whichever replica, or for certain, from the leader."""
        view: View = dict.fromkeys(subjects)
        asked = []
        for subject in subjects:
            if subject.startswith("#"):
                view[subject] = await self._broker.stored(self._names.stream, seq=int(subject[1:]))
            elif subject.startswith("="):
                view[subject] = await self._broker.stored(
                    self._names.stream, last_by_subj=subject[1:]
                )
            elif subject in self._known:
                view[subject] = _KNOWN
            else:
                asked.append(subject)
        if certain:
            stream = self._names.stream
            found = await asyncio.gather(
                *(self._broker.stored(stream, last_by_subj=subject) for subject in asked)
            )
            return view | dict(zip(asked, found, strict=True))
        for start in range(0, len(asked), _LOOKED_UP):
            some = asked[start : start + _LOOKED_UP]
            view |= await self._broker.last_of(self._names.stream, some)
        return view

    def _remember(self, claimed: set[str]) -> None:
        for subject in claimed:
            self._known[subject] = None
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


class _Decision:
    """What a group comes to, upon one view of the stream."""

    def __init__(
        self, names: Names, view: View, lanes: Container[str], ttl: int | None, largest: int
    ) -> None:
        self.unseen: set[str] = set()
        self.claimed: set[str] = set()
        self._names = names
        self._ttl = ttl
        self._largest = largest
        self._ledger = GroupLedger(names, view, lanes)
        self._drafts: list[Draft] = []

    @property
    def queued(self) -> Mapping[str, Queue]:
        """Return the queues that are changed, by lane."""
        return self._ledger.queued

    def take(self, append: _Append) -> None:
        """Decide which events of an append are new."""
        append.error = None
        append.published = 0
        try:
            published = self._correlate(append)
            if self.unseen:
                return
            drafts = [self._draft(event, lane) for event, lane in published]
        except (CodecError, JournalError) as error:
            append.error = error
            return
        finally:
            if self.unseen or append.error is not None:
                self._ledger.undo()
        claims = set(self._ledger.accept(published))
        self.claimed |= claims
        for (event, _), draft in zip(published, drafts, strict=True):
            key = self._names.key(event.key)
            claims.discard(key)
            self._drafts += (self._claim(key, before_its_event=True), draft)
        for key in claims:  # known from now on, and not published under this key
            self._drafts.append(self._claim(key, before_its_event=False))

    def _claim(self, key: str, *, before_its_event: bool) -> Draft:
        return self._ledger.claim_of(key, before_its_event=before_its_event, ttl=self._ttl)

    def _correlate(self, append: _Append) -> list[Published]:
        published: list[Published] = []
        for lane in append.due:
            try:
                queue = self._ledger.queue(lane)
                if queue is not None:
                    published += release(lane, queue.due or 0.0, self._ledger)
            except NotSeen as error:
                self.unseen.add(error.subject)
        for event in append.events:
            try:
                is_new, found = correlate(event, self._ledger)
            except NotSeen as error:
                self.unseen.add(error.subject)
                continue
            except JournalError:
                raise
            except Exception as error:
                # A third party's event that breaks the model must not fail its neighbours.
                raise CodecError(f"not a valid {event.kind}: {type(error).__name__}") from error
            append.published += is_new
            published += found
        return published

    def _draft(self, event: Event, lane: str) -> Draft:
        data = encode(event)
        _check_size(len(data), self._largest)
        return draft_of(self._names, event, lane, data)

    def drafts(self) -> list[Draft]:
        """Return the messages to write."""
        return [*self._drafts, *self._ledger.changes(self._ttl)]


def _check_size(size: int, largest: int) -> None:
    if size > largest - _HEADERS:
        raise Unfit(f"an event of {size} bytes is larger than the server takes")
