"""From `append` to the stream: whatever queued up during a write goes into the next one.

A group is one atomic batch: the keys on condition that they are unknown, the events, and the
tracks of messages on condition that nobody moved them meanwhile. So any number of processes may
write at once, and each decides upon the truth or learns that it did not, and decides again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from bridge.errors import CodecError, JournalError
from bridge.journal.correlation import first_keys, first_names
from bridge.journal.erasure import Subject
from bridge.journal.grouping import Append, Appends, decide
from bridge.journal.lanes import lane_of
from bridge.journal.ledger import Queue
from bridge.journal.nats.broker import Broker
from bridge.journal.nats.entries import draft_of
from bridge.journal.nats.ledger import GroupLedger, NotSeen, View, read_queue
from bridge.journal.nats.messages import Away, Conflict, Draft, Refused, Stored, Unfit
from bridge.journal.nats.subjects import Names, digest
from bridge.journal.protocol import Appended
from bridge.journal.waiting import Published, Queues
from bridge.model import Event
from bridge.model.codec import encode

_GROUP: Final = 128  # events, or lanes that are due
_BATCH: Final = 1000  # messages that the server takes as one
_LOOKED_UP: Final = 512  # subjects in one request
_TRIES: Final = 20
_QUICK_TRIES: Final = 3  # a replica that lags would say the same for as long as it does
_PAUSE: Final = 0.005  # seconds; so that whoever lost a race does not lose the next one too
_KNOWN: Final = Stored(subject="", sequence=0, data=b"")  # written by this process
_LONGEST_SLEEP: Final = 60.0  # seconds
_LOOK_EVERY: Final = 5.0  # seconds
_REMEMBERED: Final = 100_000  # keys written by this process, which need not be looked up


class Publisher:
    """Writes to the stream while its task runs.

    `max_waiting` bounds the events in the queue, `largest` a message. `lost` is called before any
    caller learns that the servers are away, so that nobody overtakes it, `wrote` with the last
    message of a batch, and `written` after each group. `ttl` is how long keys are known, in
    seconds, if that is less than the stream keeps its messages.
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
        wrote: Callable[[int, str], None],
        written: Callable[[], Awaitable[None]],
    ) -> None:
        self._broker = broker
        self._names = names
        self._ttl = ttl
        self._largest = largest
        self._lost = lost
        self._wrote = wrote
        self._written = written
        self._appends = Appends("NATS", max_waiting)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._waits = Queues()

    async def append(self, events: Sequence[Event]) -> Appended:
        """Return when the events are in the stream.

        Those of one call are written as one, as far as a batch of 1000 messages goes; a call with
        more is several batches, and one that fails in between is completed by its repetition.
        """
        published = 0
        for start in range(0, len(events), _GROUP):
            part = Append(events=events[start : start + _GROUP])
            published += (await self._appends.put(part)).published
        return Appended(published=published, duplicates=len(events) - published)

    async def erase_waiting(self, subject: Subject, lanes: Sequence[str]) -> int:
        """Let nothing about a subject wait in these lanes any more; return how much did."""
        return (await self._appends.put(Append(erase=subject, lanes=lanes))).erased

    async def note_terms(self, events: Sequence[Event]) -> None:
        """Note on what terms users may be written to, as events tell that are in the stream."""
        for start in range(0, len(events), _GROUP):
            await self._appends.put(Append(past=events[start : start + _GROUP]))

    def refuse_too_large(self, events: Sequence[Event]) -> None:
        """Raise `Unfit` where an event is larger than the servers take."""
        for event in events:
            lane = lane_of(event)
            draft_of(self._names, event, lane, encode(event)).check(self._largest())

    def forget_known(self) -> None:
        """Look everything up again: the stream may be another one."""
        self._known.clear()
        self._waits.clear()

    def fail(self, reason: str) -> None:
        """Let everyone who waits know that nothing more is written."""
        self._appends.fail(JournalError(reason))

    async def run(self) -> None:
        """Write groups, one after the other."""
        while True:
            await self._until_something_is_to_be_written()
            group = self._appends.take(_GROUP)
            if not group:
                continue
            try:
                await self._write(group)
            except Away as error:
                # Those behind it must not overtake this group on its way into the spool.
                self._lost()
                self._appends.answer(group, error)
                self._appends.fail(error)
            except JournalError as error:
                self._appends.answer(group, error)
            except BaseException:
                self._lost()  # nobody knows what of it has been written
                self._appends.answer(group, JournalError("the write was cut off"))
                raise
            else:
                self._appends.answer(group)
                await self._written()

    async def _until_something_is_to_be_written(self) -> None:
        """Wait for an append, or until a lane in which something waits is due."""
        deadline = self._waits.deadline
        delay = _LONGEST_SLEEP if deadline is None else deadline - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._appends.filled.wait()
        due = self._waits.due()
        for start in range(0, len(due), _GROUP):
            self._appends.add(Append(due=due[start : start + _GROUP]))

    async def look_for_waiting(self) -> None:
        """Publish in time what other processes, which may have died, have left waiting."""
        while True:
            with suppress(JournalError):
                await self._broker.until_connected()
                for queue in await self.waiting():
                    if queue.lane not in self._waits.by_lane:
                        self._waits.commit({queue.lane: queue})
                        self._appends.filled.set()  # so that the deadline is looked at
            await asyncio.sleep(_LOOK_EVERY)

    async def waiting(self) -> Sequence[Queue]:
        """Return what waits in the stream, and delete what has waited in it.

        Deleted events come before all that still waits: so of no lane the last message goes while
        an earlier one stays, which would then be the last.
        """
        subject, stream = f"{self._names.waiting}*", self._names.stream
        latest: dict[str, Stored] = {}
        first, last = 0, 0
        while found := await self._broker.next_of(stream, subject, last + 1, _LOOKED_UP):
            first = first or found[0].sequence
            last = found[-1].sequence
            latest |= {stored.subject: stored for stored in found}
        waits = [stored for stored in latest.values() if stored.data]
        keep = min((stored.sequence for stored in waits), default=last + 1)
        if 0 < first < keep:
            with suppress(JournalError):  # the next look is soon
                await self._broker.empty(stream, subject, before=keep)
        return [queue for stored in waits if (queue := read_queue(stored.data)) is not None]

    # --- one group -------------------------------------------------------------------------

    async def _write(self, group: Sequence[Append]) -> None:
        for number in range(_TRIES):
            decision = await self._decide(group, certain=number >= _QUICK_TRIES)
            drafts = decision.drafts()
            if len(drafts) > _BATCH:
                await self._write_halves(group)
                return
            try:
                if drafts:
                    sequence = await self._broker.write_as_one(drafts)
                    self._wrote(sequence, drafts[-1].subject)
            except Conflict:
                self._known.clear()
                await asyncio.sleep(random.uniform(0, _PAUSE))  # noqa: S311 - no secret
                continue
            except Refused as error:
                # A stream that is gone, or has just got another leader, refuses batches.
                raise Away(str(error)) from error
            self._remember(decision.claimed)
            self._waits.commit(decision.queues)
            return
        raise JournalError("too many processes write about the same messages")

    async def _write_halves(self, group: Sequence[Append]) -> None:
        if len(group) > 1:
            for each in _halves(len(group)):
                await self._write(group[each])
            return
        (append,) = group
        parts = [_part(append, each) for each in _halves(append.size)]
        if len(parts) == 1:
            append.error = Unfit("an event changes more than the server writes as one")
            return
        for part in parts:
            await self._write([part])
        append.published = sum(part.published for part in parts)
        append.erased = sum(part.erased for part in parts)
        append.error = next((part.error for part in parts if part.error is not None), None)

    async def _decide(self, group: Sequence[Append], *, certain: bool) -> _Decision:
        """Return what to write, reading what the decision needs."""
        unseen: set[str] = set()
        for append in group:
            lanes = [*append.lanes, *(lane for lane, _ in append.due)]
            for event in append.events:
                names, own = first_names(event)
                unseen.update(self._names.keys + digest(key) for key in first_keys(event))
                unseen.update(self._names.tracks + digest(name) for name in names)
                lanes += own
            unseen.update(self._names.waiting + digest(lane) for lane in lanes)
        view: View = {}
        while True:
            view |= await self._look_up(unseen, certain=certain)
            decision = _Decision(self._names, view, self._ttl, self._largest())
            for append in group:
                decision.take(append)
            if not decision.unseen:
                return decision
            unseen = decision.unseen

    async def _look_up(self, subjects: set[str], *, certain: bool) -> View:
        """Read subjects: quickly, from whichever replica, or for certain, from the leader."""
        view: View = dict.fromkeys(subjects)
        asked, alone = [], []
        for subject in subjects:
            if subject.startswith(("#", "=")):
                alone.append(subject)
            elif subject in self._known:
                view[subject] = _KNOWN
            else:
                asked.append(subject)
        view |= zip(alone, await asyncio.gather(*map(self._stored, alone)), strict=True)
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

    async def _stored(self, which: str) -> Stored | None:
        wanted = {"seq": int(which[1:])} if which[0] == "#" else {"last_by_subj": which[1:]}
        return await self._broker.stored(self._names.stream, **wanted)

    def _remember(self, claimed: set[str]) -> None:
        for subject in claimed:
            self._known[subject] = None
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


class _Decision:
    """What a group comes to, upon one view of the stream."""

    def __init__(self, names: Names, view: View, ttl: int | None, largest: int) -> None:
        self.unseen: set[str] = set()
        self.claimed: set[str] = set()
        self._names = names
        self._ttl = ttl
        self._largest = largest
        self._ledger = GroupLedger(names, view)
        self._drafts: list[Draft] = []
        self._due: dict[str, Queue] = {}

    @property
    def queues(self) -> Mapping[str, Queue]:
        """Return what waits from now on in the lanes that were due or have changed."""
        return self._due | self._ledger.queues

    def take(self, append: Append) -> None:
        """Decide what becomes of an append."""
        append.error = None
        try:
            published = self._correlate(append)
            if self.unseen:
                return
            drafts = [self._draft(event, lane) for event, lane in published]
            for draft in (*drafts, *self._ledger.waiting()):
                draft.check(self._largest)
        except (CodecError, JournalError) as error:
            append.error = error
            return
        finally:
            if self.unseen or append.error is not None:
                self._ledger.undo()
        claims = self._ledger.accept()
        self.claimed.update(self._names.keys + key for key in claims)
        for (event, _), draft in zip(published, drafts, strict=True):
            key = self._ledger.ids[event.key]
            del claims[key]
            claim = self._ledger.claim_of(key, None, is_before=True, ttl=self._ttl)
            self._drafts += (claim, draft)
        for key, of in claims.items():  # known from now on, and not published under this key
            self._drafts.append(self._ledger.claim_of(key, of, is_before=False, ttl=self._ttl))

    def _correlate(self, append: Append) -> list[Published]:
        published = decide(append, self._ledger, self._reading)
        for lane, _ in append.due:
            with self._reading():
                self._due[lane] = self._ledger.queue(lane) or Queue(lane=lane)
        return published

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Note what is not in the view, and go on, so that all of it is read at once."""
        try:
            yield
        except NotSeen as error:
            self.unseen |= error.subjects

    def _draft(self, event: Event, lane: str) -> Draft:
        return draft_of(self._names, event, lane, encode(event))

    def drafts(self) -> list[Draft]:
        """Return the messages to write."""
        return [*self._drafts, *self._ledger.changes(self._ttl)]


def _halves(count: int) -> Sequence[slice]:
    """Return the slices of two halves, or one of all where there is nothing to divide."""
    half = (count + 1) // 2
    return (slice(0, half), slice(half, count)) if count > 1 else (slice(None),)


def _part(append: Append, which: slice) -> Append:
    """Return a part of what is to be written."""
    return Append(
        events=append.events[which],
        due=append.due[which],
        erase=append.erase,
        lanes=append.lanes[which],
        past=append.past[which],
    )
