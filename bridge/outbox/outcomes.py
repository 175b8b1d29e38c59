"""What becomes of messages: the journal is read once for all who wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias, final

import attrs

from bridge.journal.ledger import Track
from bridge.journal.protocol import Cursor, Journal, Start
from bridge.journal.tracks import RANK, names_of
from bridge.model import Message, Status, StatusChange

ENDED: Final = frozenset({Status.FAILED, Status.EXPIRED})

_READ: Final = 256
_RECENT: Final = 1024  # names of messages in each half of what is remembered

_Name: TypeAlias = "tuple[str | None, str]"
"""The trust domain of a message, and our id of it."""


@attrs.define(eq=False)
class _Waiter:
    """Somebody who waits until a message is so far; `moved` is set where there is news."""

    name: _Name
    rank: int
    found: StatusChange | None = None
    moved: asyncio.Event = attrs.field(factory=asyncio.Event)

    def look_at(self, change: StatusChange) -> bool:
        """Return whether a status of the message is what is waited for."""
        current = change.current
        if current is None or (current not in ENDED and RANK[current] < self.rank):
            return False
        self.found = change
        self.moved.set()
        return True


class _Recent:
    """The statuses that were read last, by their messages' names: all behind `since`."""

    def __init__(self, since: int) -> None:
        self.since = self._between = since
        self._older: dict[_Name, list[StatusChange]] = {}
        self._newer: dict[_Name, list[StatusChange]] = {}

    def add(self, name: _Name, change: StatusChange, position: int) -> None:
        if len(self._newer) >= _RECENT and name not in self._newer:
            self._older, self._newer = self._newer, {}
            self.since, self._between = self._between, position - 1
        self._newer.setdefault(name, []).append(change)

    def of(self, name: _Name) -> list[StatusChange]:
        return self._older.get(name, []) + self._newer.get(name, [])


@final
class Outcomes:
    """Waits for statuses. One of those who wait reads the journal, and tells the others.

    It is the next one's turn to read when that one has what it waits for, or gives up.
    """

    def __init__(self, journal: Callable[[], Journal]) -> None:
        self._journal = journal
        self._waiting: dict[_Name, list[_Waiter]] = {}
        self._cursor: Cursor | None = None
        self._reached = 0
        self._recent = _Recent(0)
        self._is_read = False

    async def wait(self, message: Message, rank: int) -> StatusChange:
        """Return the status that a message of ours has so far, or failed. Raises `JournalError`."""
        begin = await self._begin_of(message)
        waiter = _Waiter((message.domain, message.message_id), rank)
        if not self._waiting and begin > self._reached:
            self._cursor, self._reached, self._recent = None, begin, _Recent(begin)
        self._waiting.setdefault(waiter.name, []).append(waiter)
        try:
            since = self._recent.since
            if not any(map(waiter.look_at, self._recent.of(waiter.name))) and begin < since:
                await self._look_back(waiter, message, begin, since)
            while waiter.found is None:
                if self._is_read:
                    waiter.moved.clear()
                    await waiter.moved.wait()
                else:
                    await self._read(waiter)
            return waiter.found
        finally:
            self._forget(waiter)
            if not self._is_read:
                self._let_another_read()

    async def _begin_of(self, message: Message) -> int:
        """Return a position behind which all statuses of a message are."""
        entry = await self._journal().find(message.key)
        if entry is None:  # it waits for its turn to be published, and has no status yet
            end = (await self._journal().follow(start=Start.END)).position
            entry = await self._journal().find(message.key)  # or had its turn in between
            return end if entry is None else entry.position
        return entry.position

    async def _look_back(self, waiter: _Waiter, message: Message, begin: int, end: int) -> None:
        """Look at what was read before a waiter came, and is remembered no more."""
        track = await self._journal().record(names_of(message)[0])
        if isinstance(track, Track) and not track.standing:
            return  # no status has come yet
        cursor = await self._journal().follow(start=begin)
        while waiter.found is None and cursor.reached < end:
            for entry in await cursor.read(_READ):
                if isinstance(entry.event, StatusChange) and waiter.name in _names(entry.event):
                    waiter.look_at(entry.event)

    async def _read(self, waiter: _Waiter) -> None:
        """Read for all until one has what it waits for."""
        self._is_read = True
        cursor, self._cursor = self._cursor, None  # a read that is cut off may have lost some
        try:
            if cursor is None:
                cursor = await self._journal().follow(start=self._reached)
            while waiter.found is None:
                for entry in await cursor.read(_READ):
                    if isinstance(entry.event, StatusChange):
                        self._tell(entry.event, entry.position)
                self._reached = cursor.reached
            self._cursor = cursor
        finally:
            self._is_read = False

    def _tell(self, change: StatusChange, position: int) -> None:
        for name in _names(change):
            self._recent.add(name, change, position)
            waiting = self._waiting.get(name)
            if waiting:
                self._keep(name, [waiter for waiter in waiting if not waiter.look_at(change)])

    def _forget(self, waiter: _Waiter) -> None:
        waiting = self._waiting.get(waiter.name, [])
        if waiter in waiting:
            self._keep(waiter.name, [each for each in waiting if each is not waiter])

    def _keep(self, name: _Name, waiting: list[_Waiter]) -> None:
        if waiting:
            self._waiting[name] = waiting
        else:
            del self._waiting[name]

    def _let_another_read(self) -> None:
        for waiting in self._waiting.values():
            waiting[0].moved.set()
            return
        self._cursor = None  # the journal may be closed and opened before somebody reads on


def _names(change: StatusChange) -> Iterator[_Name]:
    yield change.domain, change.message_id
    for each in change.aliases:
        yield change.domain, each
