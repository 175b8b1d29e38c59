"""Operations on a running bridge: inspect, replay, drop, parse again.

Changes are made in the journal; the deliveries are woken, so that they take effect at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

import attrs

from bridge.adapter import Adapter, Parsed
from bridge.delivery import Delivery
from bridge.delivery.bus import Bus
from bridge.delivery.subscriber import Subscriber
from bridge.errors import BridgeError, UnknownAdapter
from bridge.ingress.intake import Intake
from bridge.journal.protocol import (
    DeadLetter,
    Entry,
    Health,
    Held,
    Journal,
    SharedJournal,
)
from bridge.journal.query import Query
from bridge.journal.transfer import lines_of
from bridge.model import Event, Message, StatusChange, Unrecognized
from bridge.model.keys import happening_of
from bridge.model.masking import MASK, mask_phones_in
from bridge.observer import Observers, OperationDetails
from bridge.ops.audit import hashed
from bridge.ops.callbacks import LatestCallbacks
from bridge.ops.results import Described, Reparsed, Replayed, Served, lag_seconds
from bridge.outbox.outbox import Outbox
from bridge.settings import wording
from bridge.threads import in_thread

_TOGETHER: Final = 500  # changes that share a commit, and letters that are in memory at once
_LONGEST_HISTORY: Final = 100


@attrs.frozen
class Caller:
    """The operator of a request: the name of its token, and its address."""

    name: str = "program"
    client: str = "this process"


_PROGRAM: Final = Caller()
caller: Final[ContextVar[Caller]] = ContextVar("caller", default=_PROGRAM)
"""The operator of the current request, for the record; the listener sets it."""


class UnknownSubscriber(BridgeError):
    """No subscriber of this name runs, or is known."""


class StillRunning(BridgeError):
    """A subscriber that runs cannot be forgotten."""


class Operators:
    """The operations on a bridge; all may raise `JournalError`.

    `deliveries` are the running ones, by the names of their subscribers.
    """

    def __init__(
        self,
        journal: Journal,
        bus: Bus,
        deliveries: Mapping[str, Delivery],
        intake: Intake,
        *,
        observers: Observers,
        outbox: Outbox,
    ) -> None:
        self.journal = journal
        self.outbox = outbox
        self._bus = bus
        self._deliveries = deliveries
        self._intake = intake
        self._observers = observers
        self._callbacks = LatestCallbacks()

    @contextmanager
    def remembering_callbacks(self) -> Iterator[None]:
        """Remember the latest callbacks until the block ends, for `describe`."""
        self._observers.add(self._callbacks)
        try:
            yield
        finally:
            self._observers.remove(self._callbacks)

    @contextmanager
    def operation(self, action: str, subject: str | None = None) -> Iterator[OperationDetails]:
        """Tell observers of an operation of the caller, until the block ends."""
        by = caller.get()
        details = OperationDetails(action, by.name, by.client, subject)
        with self._observers.operation(details):
            yield details

    def refuse(self, reason: str) -> None:
        """Tell observers that the caller was refused."""
        by = caller.get()
        details = OperationDetails("request", by.name, by.client, refusal=reason)
        with self._observers.operation(details):
            pass

    # --- looking ---------------------------------------------------------------------------

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """Return the configured adapters by name."""
        return self._intake.adapters

    async def health(self) -> Health:
        """Return whether a callback would be taken now."""
        return await self._intake.health()

    async def describe(self, key: str) -> Described | None:
        """Return all that is known about the event with this key, as for `find`.

        A key under another name of the message, or a provider's id by itself, leads to the first
        event that was published about it.
        """
        entry = await self.find(key) or await self._named(key)
        if entry is None:
            return None
        history = await self._history(entry.event)
        strangers = {
            subscriber.name
            for subscriber in self._bus.subscribers
            if not subscriber.wants(entry.event)
        }
        outcomes = await self.journal.outcomes(entry.position)
        return Described(
            entry=entry,
            outcomes=[outcome for outcome in outcomes if outcome.subscriber not in strangers],
            history=history,
            callbacks=self._callbacks.of(entry, history),
        )

    async def _named(self, key: str) -> Entry | None:
        """Return the first entry that a key means, where it was published under another name."""
        one = happening_of(key)
        if one is None and "/" in key:
            return None
        query = Query(message_id=key if one is None else one.message_id, limit=_LONGEST_HISTORY)
        for entry in await self.journal.search(query):
            other = happening_of(entry.event.key)
            if one is None or (
                other is not None
                and entry.event.domain == one.domain
                and (one.kind, one.rest) == (other.kind, other.rest)
            ):
                return entry
        return None

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key, which may be masked as the log and the commands print it.

        For a masked key all entries are looked at, the newest first.
        """
        if MASK not in key:
            return await self.journal.find(key)
        async for page in self.journal.scan(Query(newest_first=True, limit=_TOGETHER)):
            for entry in page:
                if mask_phones_in(entry.event.key) == key:
                    return entry
        return None

    async def _history(self, event: Event) -> Sequence[Entry]:
        if not isinstance(event, Message | StatusChange):
            return ()
        found: dict[int, Entry] = {}
        for name in (event.message_id, *event.aliases):
            query = Query(
                kinds=(Message.kind, StatusChange.kind), message_id=name, limit=_LONGEST_HISTORY
            )
            entries = await self.journal.search(query)
            found |= {e.position: e for e in entries if e.event.domain == event.domain}
        return [found[position] for position in sorted(found)]

    async def at(self, position: int) -> Entry | None:
        """Return the entry at a position, if there is one."""
        query = Query(after=position - 1, before=position + 1, limit=1)
        return next(iter(await self.journal.search(query)), None)

    def normalize(self, adapter: str, payload: bytes) -> Parsed:
        """Return what an adapter makes of a body; nothing is kept. Raises `UnknownAdapter`."""
        return self._intake.preview(adapter, payload, datetime.now(UTC))

    # --- subscribers -----------------------------------------------------------------------

    async def subscribers(self) -> Sequence[Served]:
        """Return the state of each subscriber that the journal knows, by name."""
        found = []
        for state in await self.journal.subscribers():
            delivery = self._deliveries.get(state.name)
            served = Served(
                state=state,
                lag_seconds=await lag_seconds(self.journal, state),
                running=delivery is not None,
                held_lanes=0 if delivery is None else delivery.held_lanes,
            )
            found.append(served)
        return found

    async def held(self, name: str, *, limit: int) -> Sequence[Held]:
        """Return the events that a subscriber is to try again, the earliest in the journal first.

        Raises `UnknownSubscriber`.
        """
        await self._check_known(name)
        found: list[Held] = []
        async for page in self.journal.unsettled(name):
            found += [held for held in page if held.retry.due_at is not None]
            if len(found) >= limit:
                break
        return found[:limit]

    async def forget(self, name: str) -> None:
        """Drop a subscriber with all that it held. Raises `UnknownSubscriber`.

        Raises `StillRunning` while it runs in any process, since it would begin anew.
        """
        with self.operation("forget", name) as details:
            await self._forget(name)
            details.count = 1

    async def _forget(self, name: str) -> None:
        journal, where = self.journal, ""
        if name not in self._deliveries:
            if not (isinstance(journal, SharedJournal) and await journal.is_served(name)):
                await self._check_known(name)
                await journal.forget(name)
                return
            where = " in another process"
        raise StillRunning(
            f"subscriber {name!r} is running{where}: take it out of the configuration, restart, "
            "and then forget it"
        )

    async def _check_known(self, name: str) -> None:
        known = {each.name for each in await self.journal.subscribers()}
        if name not in known:
            raise UnknownSubscriber(wording.unknown("subscriber", name, known))

    async def _wake(self, names: Iterable[str]) -> None:
        for name in names:
            delivery = self._deliveries.get(name)
            if delivery is not None:
                await delivery.wake()

    # --- dead letters ----------------------------------------------------------------------

    async def dead_letters(
        self, subscriber: str | None = None, *, after: int = 0, limit: int = _TOGETHER
    ) -> Sequence[DeadLetter]:
        """Return a page of dead letters, oldest first. Raises `UnknownSubscriber`."""
        if subscriber is not None:
            await self._check_known(subscriber)
        return await self.journal.dead_letters(subscriber, after=after, limit=limit)

    async def dead_letter(self, letter: int) -> DeadLetter | None:
        """Return a dead letter by its id, if there is one."""
        return await self.journal.dead_letter(letter)

    async def retry(self, ids: Sequence[int] | None, subscriber: str | None = None) -> int:
        """Deliver these dead letters again, or all of them; return their number.

        Raises `UnknownSubscriber`.
        """
        return await self._change("retry", self.journal.retry, ids, subscriber)

    async def drop(self, ids: Sequence[int] | None, subscriber: str | None = None) -> int:
        """Drop these dead letters, or all of them; return their number.

        Raises `UnknownSubscriber`.
        """
        return await self._change("drop", self.journal.drop, ids, subscriber)

    async def _change(
        self,
        action: str,
        change: Callable[[int], Awaitable[bool]],
        ids: Sequence[int] | None,
        subscriber: str | None,
    ) -> int:
        with self.operation(action) as details:
            letters = await self._letters(ids, subscriber)
            details.count = 0
            for start in range(0, len(letters), _TOGETHER):
                some = letters[start : start + _TOGETHER]
                done = await asyncio.gather(*(change(letter) for letter, _ in some))
                details.count += sum(done)
                await self._wake({name for _, name in some})
            return details.count

    async def _letters(
        self, ids: Sequence[int] | None, subscriber: str | None
    ) -> Sequence[tuple[int, str]]:
        """Return the ids and subscribers of the named dead letters, or of all there are now."""
        if ids is not None:
            letters = [await self.dead_letter(letter) for letter in ids]
            return [(letter.id, letter.subscriber) for letter in letters if letter is not None]
        # Listed before any is changed: one that dies again at once would come up without end.
        found: list[tuple[int, str]] = []
        while page := await self.dead_letters(subscriber, after=found[-1][0] if found else 0):
            found += [(letter.id, letter.subscriber) for letter in page]
        return found

    # --- events once more ------------------------------------------------------------------

    async def replay(
        self, keys: Iterable[str], name: str | None = None, *, dry_run: bool = False
    ) -> Replayed:
        """Deliver events again to a subscriber, or to each running one, if its filters match.

        Events beyond a subscriber's position come anyway, and are not counted. Raises
        `UnknownSubscriber`.
        """
        found = {key: await self.find(key) for key in keys}
        entries = [entry for entry in found.values() if entry is not None]
        return Replayed(
            subscribers=await self._replay(entries, name, dry_run=dry_run),
            unknown=[key for key, entry in found.items() if entry is None],
        )

    async def replay_found(self, query: Query, name: str, *, dry_run: bool = False) -> Replayed:
        """Deliver the events that a search finds again to one subscriber, as `replay` does."""
        entries = await self.journal.search(query)
        return Replayed(
            subscribers=await self._replay(entries, name, dry_run=dry_run),
            next=entries[-1].position if len(entries) == query.limit else None,
        )

    async def _replay(
        self, entries: Sequence[Entry], name: str | None, *, dry_run: bool
    ) -> Mapping[str, int]:
        reached = {state.name: state.position for state in await self.journal.subscribers()}
        wanted = {
            subscriber.name: [
                entry.position
                for entry in entries
                if subscriber.wants(entry.event)
                and entry.position <= reached.get(subscriber.name, 0)
            ]
            for subscriber in self._running(name)
        }
        counts = Counter({each: len(positions) for each, positions in wanted.items() if positions})
        if dry_run:
            return counts
        with self.operation("replay", name) as details:
            for each in counts:
                counts[each] = await self.journal.replay(wanted[each], each)
                await self._wake({each})
            details.count = counts.total()
        return counts

    def _running(self, name: str | None) -> Sequence[Subscriber]:
        found = [each for each in self._bus.subscribers if name in (None, each.name)]
        if name is not None and not found:
            running = (each.name for each in self._bus.subscribers)
            raise UnknownSubscriber(wording.unknown("running subscriber", name, running))
        return found

    async def reparse(
        self, keys: Iterable[str], *, dry_run: bool = False
    ) -> Mapping[str, Reparsed | None]:
        """Parse unreadable bodies again, by key; a dry run only returns their events.

        New events are appended with the time at which their callback came, and the entry is
        marked. None: there is no such entry, it is readable, or its adapter is not configured.
        """
        done: dict[str, Reparsed | None] = {}
        with nullcontext() if dry_run else self.operation("reparse") as details:
            for key in keys:
                done[key] = None
                entry = await self.find(key)
                if entry is not None and isinstance(entry.event, Unrecognized):
                    with suppress(UnknownAdapter):
                        done[key] = await self._reparse(
                            entry.position, entry.event, dry_run=dry_run
                        )
            if details is not None:
                appended = [each.appended for each in done.values() if each is not None]
                details.count = sum(each.published for each in appended if each is not None)
        return done

    async def _reparse(self, position: int, event: Unrecognized, *, dry_run: bool) -> Reparsed:
        parsed = self._intake.parse_again(event)
        news = [
            each
            for each in parsed.events
            if not (isinstance(each, Unrecognized) and each.raw == event.raw)
        ]
        readable = parsed.malformed is None and len(news) == len(parsed.events)
        if dry_run:
            return Reparsed(is_whole=readable, events=news)
        appended = await self.journal.append(news)
        if readable:
            await self.journal.mark_reparsed([position])
        return Reparsed(is_whole=readable, events=news, appended=appended)

    async def purge(self, subject: str) -> int:
        """Erase every event about a phone number or a user id; return their number."""
        with self.operation("purge", await in_thread(hashed, subject)) as details:
            details.count = await self.journal.purge(subject)
            await self._wake(self._deliveries)
            return details.count

    async def export(self) -> AsyncIterator[bytes]:
        """Give the whole journal as lines (see `transfer.lines_of`)."""
        with self.operation("export") as details:
            details.count = 0
            async for line in lines_of(self.journal):
                yield line
                details.count += 1
