"""A journal in memory: for tests, and for embedders who ask for it in so many words.

It keeps every promise but one: what it holds is gone when the process ends.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Self

import attrs

from bridge.errors import JournalError
from bridge.journal.correlation import correlate
from bridge.journal.ephemeral import EphemeralCursor
from bridge.journal.erasure import Subject, leave_numbers
from bridge.journal.ledger import Record
from bridge.journal.overlay import Overlay
from bridge.journal.protocol import (
    Appended,
    Cursor,
    DeadLetter,
    Entry,
    Health,
    Held,
    Journal,
    Outcome,
    Retry,
    Settlement,
    Start,
    SubscriberState,
)
from bridge.journal.query import Query
from bridge.journal.states import State
from bridge.journal.waiting import Published, Queues, release, withdraw
from bridge.model import Event
from bridge.model.codec import encode
from bridge.process.clock import SYSTEM_CLOCK, Clock, Timer
from bridge.settings import JournalSettings

_REMEMBERED_PER_EVENT = 4
"""How many keys and tracks are remembered for each event that may be kept."""


class MemoryJournal(Journal):
    """Keeps the last `max_events` events, and never drops one that a subscriber has yet to see.

    While that many wait for a subscriber, `append` raises `JournalError`: the provider is told
    to come again rather than an acknowledged event being lost.
    """

    durable = False
    location = "memory"

    @classmethod
    def from_settings(cls, _: JournalSettings, **_local: object) -> Self:
        """See `JournalClass.from_settings`; events are bounded by their number alone."""
        return cls()

    def __init__(self, *, max_events: int = 100_000, clock: Clock = SYSTEM_CLOCK) -> None:
        self._max_events = max_events
        self._clock = clock
        self._entries: dict[int, Entry] = {}
        self._first = 1
        self._last = 0
        self._by_key: dict[str, Entry] = {}
        queues = Queues(clock=clock.time, monotonic=clock.monotonic)
        self._ledger = _Ledger(max_events * _REMEMBERED_PER_EVENT, self._by_key, queues)
        self._timer: Timer | None = None
        self._cursors: dict[str, _Cursor] = {}
        self._grown = asyncio.Event()
        self._letters: dict[int, DeadLetter] = {}
        self._letter_ids = itertools.count(1)
        self._states: dict[tuple[str, str], State] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        """Open; a journal that was closed goes on with what it holds."""
        self._open = True
        self._grown = asyncio.Event()  # the last one may be of another event loop
        self._release_later()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def append(self, events: Sequence[Event]) -> Appended:
        """See `Journal.append`."""
        if not self._open:
            raise JournalError("the journal is not open")
        self._make_room(len(events))
        for event in events:
            encode(event)  # an event that no other journal could keep is refused here too
        new = 0
        for event in events:
            is_new, published = correlate(event, self._ledger)
            new += is_new
            self._publish(published)
        self._release_later()
        return Appended(published=new, duplicates=len(events) - new)

    def _publish(self, published: Sequence[Published]) -> None:
        for event, lane in published:
            self._last += 1
            entry = Entry(position=self._last, lane=lane, event=event)
            self._entries[self._last] = entry
            self._by_key[event.key] = entry
        self._ledger.keep()
        if published:
            self._grown.set()
            self._grown = asyncio.Event()

    def _release_later(self) -> None:
        """Publish what waits once its time is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._ledger.waiting.deadline
        if deadline is not None:
            delay = max(0.0, deadline - self._clock.monotonic())
            self._timer = self._clock.call_later(delay, self._release)

    @property
    def settles_at(self) -> float | None:
        """When the first of those that wait for a fuller account is published, as is."""
        return self._ledger.waiting.deadline

    def _release(self) -> None:
        for lane, due in self._ledger.waiting.due():
            self._publish(release(lane, due, self._ledger))
        self._release_later()

    def _make_room(self, coming: int) -> None:
        done = min((cursor.position for cursor in self._cursors.values()), default=self._last)
        while self._entries and len(self._entries) + coming > self._max_events:
            if self._first > done:
                raise JournalError(f"{len(self._entries)} events wait for their subscribers")
            old = self._entries.pop(self._first, None)
            self._first += 1
            if old is not None:
                self._by_key.pop(old.event.key, None)

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """See `Journal.subscribe`."""
        cursor = self._cursors.get(name)
        if cursor is None:
            cursor = self._cursors[name] = _Cursor(self, name, self._begin(start))
        cursor.rewind(cursor.retries)
        return cursor

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """See `Journal.follow`."""
        return EphemeralCursor(self._begin(start), self.next_after)

    def _begin(self, start: Start | int) -> int:
        if isinstance(start, int):
            return start
        return self._last if start is Start.END else 0

    async def next_after(self, position: int, limit: int) -> Sequence[Entry]:
        """Return the entries after a position, waiting for at least one."""
        while not (entries := tuple(itertools.islice(self._after(position), limit))):
            await self._grown.wait()
        return entries

    def _after(self, position: int) -> Iterator[Entry]:
        positions = range(max(position + 1, self._first), self._last + 1)
        return (self._entries[each] for each in positions if each in self._entries)

    def keeps(self, position: int) -> bool:
        """Return whether there is an entry at a position still."""
        return position in self._entries

    def add_dead_letter(self, cursor: _Cursor, dead: Held) -> None:
        """Keep an entry as a dead letter of the cursor's subscriber, unless it was forgotten."""
        if self._cursors.get(cursor.name) is cursor:
            letter = next(self._letter_ids)
            self._letters[letter] = DeadLetter(
                id=letter, subscriber=cursor.name, entry=dead.entry, retry=dead.retry
            )

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        self._letters = {k: each for k, each in self._letters.items() if each.subscriber != name}
        return self._cursors.pop(name, None) is not None

    async def subscribers(self) -> Sequence[SubscriberState]:
        """See `Journal.subscribers`."""
        return tuple(
            SubscriberState(
                name=name,
                position=cursor.position,
                lag=sum(1 for _ in self._after(cursor.position)),
                held=len(cursor.retries),
                dead=sum(letter.subscriber == name for letter in self._letters.values()),
            )
            for name, cursor in sorted(self._cursors.items())
        )

    async def find(self, key: str) -> Entry | None:
        """See `Journal.find`."""
        return self._by_key.get(key)

    async def record(self, name: str) -> Record | None:
        """See `Journal.record`."""
        return self._ledger.find(name)

    async def scan(self, query: Query) -> AsyncGenerator[Sequence[Entry]]:
        """See `Journal.scan`."""
        last = self._last if query.before is None else min(self._last, query.before - 1)
        positions = range(max(self._first, query.after + 1), last + 1)
        entries = map(self._entries.get, reversed(positions) if query.newest_first else positions)
        found = (
            entry
            for entry in entries
            if entry is not None and query.matches(entry.event, reparsed=entry.reparsed)
        )
        while page := tuple(itertools.islice(found, query.limit)):
            yield page

    async def outcomes(self, position: int) -> Sequence[Outcome]:
        """See `Journal.outcomes`."""
        dead = {
            letter.subscriber: letter
            for letter in self._letters.values()
            if letter.entry.position == position
        }
        return tuple(
            Outcome.of(
                name,
                held=cursor.retries.get(position),
                dead=dead.get(name),
                done=position <= cursor.position,
            )
            for name, cursor in sorted(self._cursors.items())
        )

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`."""
        cursor = self._cursors.get(subscriber)
        if cursor is None:
            return 0
        dead = {
            letter.entry.position: letter.id
            for letter in self._letters.values()
            if letter.subscriber == subscriber
        }
        again = {
            position: self._entries[position]
            for position in positions
            if position in self._entries and (position <= cursor.position or position in dead)
        }
        for position, entry in again.items():
            cursor.hold(Held(entry=entry, retry=Retry(due_at=self._clock.time(), replayed=True)))
            self._letters.pop(dead.get(position, 0), None)
        return len(again)

    async def unsettled(self, subscriber: str) -> AsyncGenerator[Sequence[Held]]:
        """See `Journal.unsettled`."""
        cursor = self._cursors[subscriber]
        yield [
            Held(entry=self._entries[position], retry=retry)
            for position, retry in sorted(cursor.retries.items())
            if position in self._entries
        ]
        yield [Held(entry=entry) for entry in self._after(cursor.position)]

    async def known(self) -> AsyncGenerator[Sequence[bytes]]:
        """See `Journal.known`; the keys here end with the process anyway."""
        yield ()

    async def learn(self, digests: Sequence[bytes]) -> None:
        """See `Journal.learn`: not possible, since here keys are known as they are."""
        if digests:
            raise JournalError("a journal in memory cannot learn keys by their digests")

    async def mark_reparsed(self, positions: Sequence[int]) -> None:
        """See `Journal.mark_reparsed`."""
        for position in positions:
            entry = self._entries.get(position)
            if entry is not None:
                reparsed = attrs.evolve(entry, reparsed=True)
                self._entries[position] = self._by_key[entry.event.key] = reparsed

    async def dead_letters(
        self, subscriber: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """See `Journal.dead_letters`."""
        letters = (
            letter
            for letter in self._letters.values()
            if letter.id > after and subscriber in (None, letter.subscriber)
        )
        return tuple(itertools.islice(letters, limit))

    async def drop(self, letter: int) -> bool:
        """See `Journal.drop`."""
        return self._letters.pop(letter, None) is not None

    async def purge(self, subject: str) -> int:
        """See `Journal.purge`."""
        whom = Subject.of(subject).known_from(self._ledger.all_records())
        count = 0
        leave_numbers(whom, self._ledger)
        self._ledger.keep()
        for queue in self._ledger.waiting.all():
            erased, published = withdraw(queue.lane, whom.is_in, self._ledger)
            self._publish(published)
            count += erased
        self._ledger.purge(whom)
        self._states = {k: each for k, each in self._states.items() if not whom.owns(k[0])}
        gone = {p for p, entry in self._entries.items() if whom.is_in(entry.event)}
        for position in gone:
            del self._by_key[self._entries.pop(position).event.key]
        for cursor in self._cursors.values():
            gone |= cursor.purge(whom)
        for letter in list(self._letters.values()):
            if whom.is_in(letter.entry.event):
                gone.add(letter.entry.position)
                del self._letters[letter.id]
        return count + len(gone)

    async def read_state(self, conversation: str, name: str) -> State | None:
        """See `Journal.read_state`."""
        return self._states.get((conversation, name))

    async def write_state(self, state: State) -> None:
        """See `Journal.write_state`; no more than `max_events` are kept."""
        if len(self._states) >= self._max_events:
            now = self._clock.time()
            self._states = {k: each for k, each in self._states.items() if each.expires_at > now}
        key = state.conversation, state.name
        if len(self._states) >= self._max_events and key not in self._states:
            raise JournalError(f"{len(self._states)} states are kept")
        self._states[key] = state

    async def erase_state(self, conversation: str, name: str) -> None:
        """See `Journal.erase_state`."""
        self._states.pop((conversation, name), None)

    async def states(self, name: str | None = None) -> AsyncGenerator[Sequence[State]]:
        """See `Journal.states`."""
        yield tuple(each for each in self._states.values() if name in (None, each.name))

    async def health(self) -> Health:
        """See `Journal.health`."""
        if not self._open:
            return Health(ready=False, reason="the journal is not open")
        try:
            self._make_room(1)
        except JournalError as error:
            return Health(ready=False, reason=str(error))
        return Health(ready=True)


class _Cursor(EphemeralCursor):
    """A subscriber's cursor, which lives as long as its `MemoryJournal`."""

    def __init__(self, journal: MemoryJournal, name: str, position: int) -> None:
        super().__init__(position, journal.next_after)
        self._journal = journal
        self.name = name

    @property
    def retries(self) -> Mapping[int, Retry]:
        """Return what is known of the held entries, by position."""
        return {position: held.retry for position, held in self._held.items()}

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`; what has been purged is neither held nor a dead letter."""
        held = tuple(filter(self._is_kept, settlement.held))
        dead = tuple(filter(self._is_kept, settlement.dead))
        await super().settle(attrs.evolve(settlement, held=held))
        for letter in dead:
            self._journal.add_dead_letter(self, letter)

    def _is_kept(self, held: Held) -> bool:
        position = held.entry.position
        return position in self._held or self._journal.keeps(position)

    def hold(self, held: Held) -> None:
        """Hold an entry, or replace what is known of one that is held."""
        self._held[held.entry.position] = held

    def purge(self, subject: Subject) -> set[int]:
        """Let go of what is held about one subject."""
        gone = {p for p, held in self._held.items() if subject.is_in(held.entry.event)}
        self._held = {p: held for p, held in self._held.items() if p not in gone}
        return gone


class _Same(dict[str, str]):
    """Lets every key and name stand for itself."""

    def __missing__(self, text: str) -> str:
        return text


class _Ledger(Overlay[str]):
    """What correlation remembers, bounded: the oldest is forgotten first."""

    def __init__(self, limit: int, entries: Mapping[str, Entry], waiting: Queues) -> None:
        super().__init__(_Same(), stored_queue=waiting.by_lane.get, stored_lane=waiting.lanes.get)
        self.waiting = waiting
        self._limit = limit
        self._entries = entries
        self._keys: OrderedDict[str, str | None] = OrderedDict()
        self._records: OrderedDict[str, Record | str] = OrderedDict()

    def has_key(self, key: str) -> bool:
        return key in self._keys

    def stored_event(self, key: str) -> Event | str | None:
        entry = self._entries.get(key)
        return self._keys.get(key) if entry is None else entry.event

    def stored_record(self, name: str) -> Record | str | None:
        return self._records.get(name)

    def keep(self) -> None:
        """Keep what has been decided last."""
        self._keys |= self.accept()
        for name, record in self.records.items():
            self._records[name] = record
            self._records.move_to_end(name)
        self.waiting.commit(self.queues, self.lanes)
        for changes in (self.claims, self.records, self.queues, self.lanes):
            changes.clear()
        for remembered in (self._keys, self._records):
            while len(remembered) > self._limit:
                remembered.popitem(last=False)

    def purge(self, subject: Subject) -> None:
        """Forget the records that tell of somebody."""
        self._records = OrderedDict(
            (name, found)
            for name, found in self._records.items()
            if isinstance(found, str) or not subject.is_known_by(found)
        )

    def all_records(self) -> Sequence[Record]:
        """Return every record."""
        return [found for found in self._records.values() if not isinstance(found, str)]
