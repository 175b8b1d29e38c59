"""A journal as lines of JSON, from one journal into another, of whatever engine.

The first lines say what each subscriber has yet to take; then come the events, what subscribers
remember of conversations, the keys that are known without an event, and a last line by which a file
that is cut short shows. A subscriber is not given again what it has taken; it is given what it has
not, with its tries. Events of an export before trust domains are moved into theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from bridge.errors import CodecError, JournalError
from bridge.journal.domains import move_fields
from bridge.journal.overlay import moved
from bridge.journal.protocol import (
    Cursor,
    Entry,
    Held,
    Journal,
    Retry,
    Settlement,
    SharedJournal,
)
from bridge.journal.query import MOST, Query
from bridge.journal.states import State
from bridge.model.codec import decode, encode

_VERSION: Final = 2
_WITHOUT_DOMAINS: Final = 1
_BATCH: Final = 500
_PATIENCE: Final = 60.0  # seconds; of several processes, each would read a part


@attrs.define
class Transferred:
    """How much has been written, or read: events, and which of them are new."""

    events: int = 0
    new: int = 0
    pending: int = 0
    dead: int = 0


# --- out -------------------------------------------------------------------------------------


async def lines_of(journal: Journal) -> AsyncIterator[bytes]:
    """Give a journal, as far as it reaches now, as lines. Raises `JournalError`."""
    await journal.append(())  # what waited to be told whole and is due by now comes out first
    newest = await journal.search(Query(newest_first=True, limit=1))
    last = newest[0].position if newest else 0
    count = Transferred()
    yield _line(bridge_export=_VERSION)
    for state in await journal.subscribers():
        yield _line(subscriber=state.name)
        async for unsettled in journal.unsettled(state.name):
            for held in unsettled:
                if held.entry.position <= last:
                    count.pending += 1
                    retry = orjson.Fragment(held.retry.encode())
                    yield _line(subscriber=state.name, pending=held.entry.event.key, retry=retry)
    after = 0
    while letters := await journal.dead_letters(after=after, limit=_BATCH):
        for letter in letters:
            count.dead += 1
            retry = orjson.Fragment(letter.retry.encode())
            yield _line(subscriber=letter.subscriber, dead=letter.entry.event.key, retry=retry)
        after = letters[-1].id
    async for page in journal.scan(Query(before=last + 1, limit=MOST)):
        for entry in page:
            count.events += 1
            yield _line(event=orjson.Fragment(encode(entry.event)))
    async for remembered in journal.states():
        for each in remembered:
            yield _line(state=orjson.Fragment(each.encode()))
    async for digests in journal.known():
        for digest in digests:
            yield _line(known=digest.hex())
    yield _line(end=attrs.asdict(count, filter=attrs.filters.exclude("new")))


def _line(**values: Any) -> bytes:  # noqa: ANN401 - JSON
    return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)


# --- in --------------------------------------------------------------------------------------


async def take_in(journal: Journal, lines: Iterable[bytes]) -> Transferred:
    """Append what `lines_of` gave, to a journal that nobody is served from.

    Events that are known already are left out, so it may be repeated. Raises `JournalError`, also
    where a line makes no sense; what was before it has been taken in.
    """
    reader = _Reader(journal)
    await reader.begin()
    for number, line in enumerate(lines, 1):
        try:
            await reader.take(orjson.loads(line))
        except (orjson.JSONDecodeError, CodecError, ValueError, KeyError, TypeError) as error:
            raise JournalError(f"line {number} is no line of an export: {error}") from error
    if not reader.is_whole:
        raise JournalError("the export is cut short: its last line is missing")
    return reader.count


class _Reader:
    def __init__(self, journal: Journal) -> None:
        self.count = Transferred()
        self.is_whole = False
        self._journal = journal
        self._cursors: dict[str, Cursor] = {}
        self._pending: dict[tuple[str, str], Retry] = {}
        self._dead: dict[tuple[str, str], Retry] = {}
        self._events: list[Any] = []
        self._position = 0
        self._version: int | None = None
        self._domains: set[str] = set()

    async def begin(self) -> None:
        """Have every subscriber that the journal knows already at its end."""
        for state in await self._journal.subscribers():
            if isinstance(self._journal, SharedJournal) and await self._journal.is_served(
                state.name
            ):
                raise JournalError(f"the subscriber {state.name} is served: stop every bridge")
            if state.lag:
                raise JournalError(
                    f"the subscriber {state.name} has yet to take {state.lag} events here: "
                    "let it, or forget it, or take the export into another journal"
                )
            self._cursors[state.name] = await self._journal.subscribe(state.name)
        newest = await self._journal.search(Query(newest_first=True, limit=1))
        self._position = newest[0].position if newest else 0

    async def take(self, line: Mapping[str, Any]) -> None:
        match line:
            case {"bridge_export": version}:
                if version not in (_WITHOUT_DOMAINS, _VERSION):
                    raise ValueError(f"version {version}, and this one reads {_VERSION}")
                self._version = version
            case _ if self._version is None:
                raise ValueError("the first line is missing")
            case {"subscriber": name, "pending": key, "retry": retry}:
                self._pending[name, key] = Retry(**retry)
            case {"subscriber": name, "dead": key, "retry": retry}:
                self._dead[name, key] = Retry(**retry)
            case {"subscriber": str(name)}:
                if name not in self._cursors:
                    self._cursors[name] = await self._journal.subscribe(name)
            case {"event": event}:
                if self._version == _WITHOUT_DOMAINS:
                    self._move(event)
                self._events.append(decode(orjson.dumps(event)))
                if len(self._events) == _BATCH:
                    await self._append()
            case {"known": digest}:
                await self._append()
                await self._journal.learn(self._digests(bytes.fromhex(digest)))
            case {"state": state}:
                await self._journal.write_state(State.decode(orjson.dumps(state)))
            case {"end": _}:
                await self._append()
                self.is_whole = True
            case _:
                raise ValueError("nothing of it is known")

    def _move(self, event: dict[str, Any]) -> None:
        """Move an event into a domain, with what waits with it."""
        key = event["key"]
        move_fields(event)
        self._domains.add(event["domain"])
        for waiting in (self._pending, self._dead):
            for name in self._cursors:
                if (name, key) in waiting:
                    waiting[name, event["key"]] = waiting.pop((name, key))

    def _digests(self, digest: bytes) -> Sequence[bytes]:
        """Return a known key, in every domain where nobody can tell any more which it is of."""
        if self._version == _WITHOUT_DOMAINS:
            return [moved(digest, domain) for domain in sorted(self._domains)]
        return [digest]

    async def _append(self) -> None:
        """Append what has been gathered, and settle it for each subscriber."""
        if not self._events:
            return
        appended = await self._journal.append(self._events)
        self.count.events += len(self._events)
        self.count.new += appended.published
        self._events = []
        fresh: list[Entry] = []
        async for page in self._journal.scan(Query(after=self._position, limit=MOST)):
            fresh += page
        if fresh:
            self._position = fresh[-1].position
            for name, cursor in self._cursors.items():
                await self._settle(name, cursor, {entry.position for entry in fresh})

    async def _settle(self, name: str, cursor: Cursor, positions: set[int]) -> None:
        while positions:
            try:
                async with asyncio.timeout(_PATIENCE):
                    entries = await cursor.read(_BATCH)
            except TimeoutError:
                raise JournalError(f"the subscriber {name} is served elsewhere") from None
            positions -= {entry.position for entry in entries}
            held = [
                Held(entry=entry, retry=retry)
                for entry in entries
                if (retry := self._pending.get((name, entry.event.key))) is not None
            ]
            dead = [
                Held(entry=entry, retry=retry)
                for entry in entries
                if (retry := self._dead.get((name, entry.event.key))) is not None
            ]
            self.count.pending += len(held)
            self.count.dead += len(dead)
            await cursor.settle(Settlement(position=cursor.reached, held=held, dead=dead))
