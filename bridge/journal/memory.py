"""A journal in memory: for tests, and for embedders who ask for it in so many words.

It keeps every promise but one: what it holds is gone when the process ends.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import attrs

from bridge.errors import JournalError
from bridge.journal.correlation import Track, correlate, tells_of
from bridge.journal.ephemeral import PassingPlace
from bridge.journal.protocol import (
    Appended,
    Cursor,
    DeadLetter,
    Entry,
    Failure,
    Health,
    Held,
    Outcome,
    Settlement,
    Standing,
    Start,
    SubscriberState,
    concerns,
)
from bridge.journal.query import Query
from bridge.model import Event
from bridge.model.codec import encode

_REMEMBERED_PER_EVENT = 4
"""How many keys and tracks are remembered for each event that may be kept."""


class MemoryJournal:
    """Keeps the last `max_events` events, and never drops one that a subscriber has yet to see.

    While that many wait for a subscriber, `append` raises `JournalError`: the provider is told
    to come again rather than an acknowledged event being lost.
    """

    durable = False

    def __init__(self, *, max_events: int = 100_000) -> None:
        self._max_events = max_events
        self._entries: dict[int, Entry] = {}
        self._first = 1
        self._last = 0
        self._ledger = _Ledger(max_events * _REMEMBERED_PER_EVENT)
        self._by_key: dict[str, Entry] = {}
        self._cursors: dict[str, _Cursor] = {}
        self._grown = asyncio.Event()
        self._letters: dict[int, DeadLetter] = {}
        self._letter_ids = itertools.count(1)
        self._open = False

    async def __aenter__(self) -> Self:
        """Open; a journal that was closed goes on with what it holds."""
        self._open = True
        self._grown = asyncio.Event()  # the last one may be of another event loop
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self._open = False

    async def append(self, events: Sequence[Event]) -> Appended:
        """See `Journal.append`."""
        if not self._open:
            raise JournalError("the journal is not open")
        self._make_room(len(events))
        published = 0
        for event in events:
            encode(event)  # an event that no other journal could keep is refused here too
        for event in events:
            outcome = correlate(event, self._ledger)
            if outcome is None:
                continue
            new, lane = outcome
            self._last += 1
            entry = Entry(position=self._last, lane=lane, event=new)
            self._entries[self._last] = entry
            self._by_key[new.key] = entry
            published += 1
        if published:
            self._grown.set()
            self._grown = asyncio.Event()
        return Appended(published=published, duplicates=len(events) - published)

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
            cursor = self._cursors[name] = _Cursor(self, self._begin(start))
        cursor.rewind()
        return cursor

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """See `Journal.follow`."""
        return _Cursor(self, self._begin(start))

    def _begin(self, start: Start | int) -> int:
        if isinstance(start, int):
            return start
        return self._last if start is Start.END else 0

    def after(self, position: int, limit: int) -> Sequence[Entry]:
        """Return the entries beyond a position."""
        places = range(max(position + 1, self._first), self._last + 1)
        found = (self._entries[place] for place in places if place in self._entries)
        return tuple(itertools.islice(found, limit))

    async def grown(self) -> None:
        """Wait until something has been appended."""
        await self._grown.wait()

    def dead_letter(self, cursor: Cursor, failure: Failure) -> None:
        """Keep a failure as a dead letter of the cursor's subscriber."""
        name = next((name for name, known in self._cursors.items() if known is cursor), None)
        if name is not None:
            letter = DeadLetter(id=next(self._letter_ids), subscriber=name, failure=failure)
            self._letters[letter.id] = letter

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        for letter in await self.dead_letters(name, limit=len(self._letters)):
            del self._letters[letter.id]
        return self._cursors.pop(name, None) is not None

    async def subscribers(self) -> Sequence[SubscriberState]:
        """See `Journal.subscribers`."""
        return tuple(
            SubscriberState(
                name=name,
                position=cursor.position,
                lag=len(self.after(cursor.position, len(self._entries))),
                held=cursor.holding,
                dead=sum(letter.subscriber == name for letter in self._letters.values()),
            )
            for name, cursor in sorted(self._cursors.items())
        )

    async def find(self, key: str) -> Entry | None:
        """See `Journal.find`."""
        return self._by_key.get(key)

    async def search(self, query: Query) -> Sequence[Entry]:
        """See `Journal.search`."""
        last = self._last if query.before is None else min(self._last, query.before - 1)
        places = range(max(self._first, query.after + 1), last + 1)
        entries = map(self._entries.get, reversed(places) if query.newest_first else places)
        found = (
            entry
            for entry in entries
            if entry is not None and query.matches(entry.event, mended=entry.mended)
        )
        return tuple(itertools.islice(found, query.limit))

    async def outcomes(self, position: int) -> Sequence[Outcome]:
        """See `Journal.outcomes`."""
        return tuple(
            self._outcome(name, cursor, position) for name, cursor in sorted(self._cursors.items())
        )

    def _outcome(self, name: str, cursor: _Cursor, position: int) -> Outcome:
        held = cursor.holds(position)
        if held is not None:
            return Outcome(
                subscriber=name,
                standing=Standing.HELD,
                tries=held.tries,
                due_at=held.due_at,
                first_failed_at=held.first_failed_at,
                error=held.error,
                replayed=held.replayed,
            )
        for letter in self._letters.values():
            failure = letter.failure
            if letter.subscriber == name and failure.entry.position == position:
                return Outcome(
                    subscriber=name,
                    standing=Standing.DEAD,
                    tries=failure.tries,
                    first_failed_at=failure.first_failed_at,
                    failed_at=failure.failed_at,
                    error=failure.error,
                    letter=letter.id,
                )
        standing = Standing.PENDING if position > cursor.position else Standing.DONE
        return Outcome(subscriber=name, standing=standing)

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`."""
        cursor = self._cursors.get(subscriber)
        seen = () if cursor is None else [p for p in positions if p <= cursor.position]
        entries = [self._entries[position] for position in seen if position in self._entries]
        again = {entry.position for entry in entries}
        self._letters = {
            letter.id: letter
            for letter in self._letters.values()
            if letter.subscriber != subscriber or letter.failure.entry.position not in again
        }
        if cursor is not None:
            for entry in entries:
                cursor.hold(Held(entry=entry, due_at=time.time(), replayed=True))
        return len(again)

    async def mend(self, positions: Sequence[int]) -> None:
        """See `Journal.mend`."""
        for position in positions:
            entry = self._entries.get(position)
            if entry is not None:
                mended = attrs.evolve(entry, mended=True)
                self._entries[position] = self._by_key[entry.event.key] = mended

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

    async def retry(self, letter: int) -> bool:
        """See `Journal.retry`."""
        found = self._letters.pop(letter, None)
        if found is None:
            return False
        self._cursors[found.subscriber].hold(
            Held(entry=found.failure.entry, due_at=time.time(), replayed=True)
        )
        return True

    async def drop(self, letter: int) -> bool:
        """See `Journal.drop`."""
        return self._letters.pop(letter, None) is not None

    async def purge(self, subject: str) -> int:
        """See `Journal.purge`."""
        gone = {p for p, entry in self._entries.items() if concerns(entry.event, subject)}
        for position in gone:
            del self._by_key[self._entries.pop(position).event.key]
        for cursor in self._cursors.values():
            gone |= cursor.purge(subject)
        self._ledger.purge(subject)
        for letter in list(self._letters.values()):
            if concerns(letter.failure.entry.event, subject):
                gone.add(letter.failure.entry.position)
                del self._letters[letter.id]
        return len(gone)

    async def health(self) -> Health:
        """See `Journal.health`."""
        if not self._open:
            return Health(ready=False, reason="the journal is not open")
        try:
            self._make_room(1)
        except JournalError as error:
            return Health(ready=False, reason=str(error))
        return Health(ready=True)


class _Cursor(PassingPlace):
    """A place in a `MemoryJournal`."""

    def __init__(self, journal: MemoryJournal, position: int) -> None:
        super().__init__(position)
        self._journal = journal
        self._next = position

    @property
    def holding(self) -> int:
        """Return how many entries are held."""
        return len(self._held)

    def holds(self, position: int) -> Held | None:
        """Return what is known of an entry if it is held."""
        return self._held.get(position)

    def rewind(self) -> None:
        """Go back to what has been settled: what was given out and not settled comes again."""
        self._next = self.position

    async def read(self, limit: int) -> Sequence[Entry]:
        """See `Cursor.read`."""
        while not (entries := self._journal.after(self._next, limit)):
            await self._journal.grown()
        self._next = entries[-1].position
        return entries

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`."""
        for held in settlement.held:
            self.hold(held)
        for position in settlement.released:
            self._held.pop(position, None)
        for failure in settlement.dead:
            self._held.pop(failure.entry.position, None)
            self._journal.dead_letter(self, failure)
        self.position = settlement.position

    def hold(self, held: Held) -> None:
        """Hold an entry, or replace what is known of one that is held."""
        self._held[held.entry.position] = held

    def purge(self, subject: str) -> set[int]:
        """Let go of what is held about one subject."""
        gone = {p for p, held in self._held.items() if concerns(held.entry.event, subject)}
        self._held = {p: held for p, held in self._held.items() if p not in gone}
        return gone


class _Ledger:
    """What correlation remembers, bounded: the oldest is forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: OrderedDict[str, None] = OrderedDict()
        self._tracks: OrderedDict[str, Track | str] = OrderedDict()

    def claim(self, key: str) -> bool:
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._limit:
            self._keys.popitem(last=False)
        return True

    def track(self, name: str) -> Track | None:
        found = self._tracks.get(name)
        if isinstance(found, str):
            found = self._tracks.get(found)
        return found if isinstance(found, Track) else None

    def save(self, track: Track) -> None:
        self._keep(track.name, track)

    def tie(self, name: str, to: Track) -> None:
        self._keep(name, to.name)

    def purge(self, subject: str) -> None:
        """Forget the tracks that tell of one subject."""
        self._tracks = OrderedDict(
            (name, found)
            for name, found in self._tracks.items()
            if isinstance(found, str) or not tells_of(found, subject)
        )

    def _keep(self, name: str, value: Track | str) -> None:
        self._tracks[name] = value
        self._tracks.move_to_end(name)
        if len(self._tracks) > self._limit:
            self._tracks.popitem(last=False)
