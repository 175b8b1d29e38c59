"""What a journal promises, whichever engine keeps it.

A journal is an append-only sequence of events with a cursor for each subscriber. `append`
returns when the events are as durable as the engine makes them; the bridge acknowledges only
then. Delivery reads through a cursor and reports what became of the entries with `settle`:
entries with another try to come are *held* (their conversation waits, others do not), and those
without are *dead letters*. All times are seconds since the epoch, so that a wait survives a
restart.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, final, runtime_checkable

import attrs
import orjson

from bridge.journal.ledger import Record
from bridge.journal.query import Query
from bridge.journal.start import Start as Start  # noqa: PLC0414 - a part of the protocol
from bridge.journal.states import State
from bridge.model import Event
from bridge.model.frozen import quick_init
from bridge.model.masking import mask_phones_in


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Entry:
    """An event at its position in the journal; positions count up from 1, with gaps.

    Entries of one lane are delivered to a subscriber one at a time and in order. `reparsed` says
    of an `Unrecognized` that its body has been read since; only `find` and `search` set it.
    `size` is that of the event's JSON in bytes, 0 where an engine has not written it.
    """

    position: int
    lane: str
    event: Event
    reparsed: bool = False
    size: int = attrs.field(default=0, eq=False)


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Appended:
    """The result of an append: how many events are new, and how many were known already."""

    published: int
    duplicates: int


def _writable(text: str) -> str:
    """Return a text without lone surrogates, which no JSON can hold."""
    return text.encode("utf-8", "replace").decode()


def _discreet(error: str | None) -> str:
    return repr(error and mask_phones_in(error))


def _lines(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(_writable, lines))


@attrs.frozen(kw_only=True, weakref_slot=False)
class Retry:
    """How often a subscriber has tried an entry, what came of it, and when the next try is due.

    `tries` counts failed ones: the first at `first_failed_at`, the last at `failed_at` with
    `error`, which was raised at `where`, the innermost line of the user's own code. `trace` holds
    the lines of code that it came through. `due_at` is None where no try is planned: behind an
    earlier entry of the lane, and for a dead letter.
    `replayed`: an operator asked for the entry again, so the subscriber may have taken it before.
    `begun`: a try has begun with what cannot be undone, and nobody has noted its end.
    """

    tries: int = 0
    due_at: float | None = None
    first_failed_at: float | None = None
    failed_at: float | None = None
    error: str | None = attrs.field(
        default=None, converter=attrs.converters.optional(_writable), repr=_discreet
    )
    where: str | None = attrs.field(default=None, converter=attrs.converters.optional(_writable))
    trace: tuple[str, ...] = attrs.field(default=(), converter=_lines)
    replayed: bool = False
    begun: bool = False

    def encode(self) -> bytes:
        """Return the JSON that an engine keeps."""
        return orjson.dumps(dict(zip(_TOLD, _told(self), strict=True)))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` returned."""
        return cls(**orjson.loads(data))


_TOLD: Final = tuple(attrs.fields_dict(Retry))
_told: Final = attrgetter(*_TOLD)  # in a quarter of the time that `attrs.asdict` takes


@attrs.frozen(kw_only=True, weakref_slot=False)
class Held:
    """An entry with the tries that a subscriber has made of it."""

    entry: Entry
    retry: Retry = Retry()


@attrs.frozen(kw_only=True)
class Settlement:
    """What became of the entries that a cursor gave out; applied as one, or not at all.

    Every entry that the cursor gave out before the one at `position`, and that one, is done, held
    or dead. `held` adds entries or replaces what is known of them, `released` names the positions
    of held ones that are done, and `dead` makes dead letters. What is released or dead is not
    held, also where `held` has it.
    """

    position: int
    held: Sequence[Held] = ()
    released: Sequence[int] = ()
    dead: Sequence[Held] = ()


@attrs.frozen(kw_only=True)
class DeadLetter:
    """An entry that a subscriber could not take; `id` is unique within the journal."""

    id: int
    subscriber: str
    entry: Entry
    retry: Retry


class Standing(StrEnum):
    """How far a subscriber is with one entry.

    It is also `done` with an entry that it never wanted, or that is older than itself.
    """

    PENDING = "pending"
    HELD = "held"
    DEAD = "dead"
    DONE = "done"


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one entry with one subscriber; `letter` is the id of its dead letter."""

    subscriber: str
    standing: Standing
    retry: Retry = Retry()
    letter: int | None = None

    @classmethod
    def of(
        cls,
        subscriber: str,
        *,
        held: Retry | None = None,
        dead: DeadLetter | None = None,
        done: bool,
    ) -> Self:
        """Return the outcome from what an engine knows; an entry that is held may be dead too."""
        if held is not None:
            return cls(subscriber=subscriber, standing=Standing.HELD, retry=held)
        if dead is not None:
            return cls(
                subscriber=subscriber, standing=Standing.DEAD, retry=dead.retry, letter=dead.id
            )
        return cls(subscriber=subscriber, standing=Standing.DONE if done else Standing.PENDING)


@attrs.frozen(kw_only=True)
class SubscriberState:
    """How far a subscriber is; `lag` counts the entries that it has yet to look at.

    `lagging_since` is when the oldest of these was received, in seconds. None: the caller finds
    the first entry after `position`.
    """

    name: str
    position: int
    lag: int
    held: int
    dead: int
    lagging_since: float | None = None


@attrs.frozen(kw_only=True)
class Health:
    """Whether the journal takes events now; `reason` says why not, or what needs attention.

    `spooled` counts the events in the spool, a journal on this machine, and is None where events
    go to the servers directly. `set_aside` counts damaged files that nobody has moved away yet,
    and `losses` how often since the start the files on disk were not those that were open.
    `deaths` counts the journal's own tasks and threads that failed since then, and were replaced.
    `size` is what the journal takes up on this machine's disk, and `free` what is free there, in
    bytes; both are None where it keeps nothing on this machine.
    """

    ready: bool
    reason: str | None = None
    spooled: int | None = None
    set_aside: int = 0
    losses: int = 0
    deaths: int = 0
    size: int | None = None
    free: int | None = None


class Cursor(Protocol):
    """One subscriber's position in the journal, and what it holds."""

    @property
    def position(self) -> int:
        """The last position that was settled."""
        ...

    @property
    def reached(self) -> int:
        """How far `read` has come: to settle it is to settle all that was given out."""
        ...

    @property
    def at_work(self) -> dict[int, str]:
        """The lanes of held entries, by position, that the caller notes while it works on these.

        No other process is given them meanwhile.
        """
        ...

    async def read(self, limit: int) -> Sequence[Entry]:
        """Return the next entries: at least one, waiting for it, at most `limit`.

        They are in journal order within each lane; where processes share the lanes, not across
        them. An engine returns fewer where they are large, so that a page does not fill the memory.

        Entries that are held are not among them. Where nothing but these is to be read, it returns
        without any, so that the caller sees what it has `reached`. Raises `JournalError`.
        """
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Keep what became of entries. Raises `JournalError`, and then keeps nothing of it."""
        ...

    async def waiting(self) -> Mapping[str, float]:
        """Return the lanes that hold entries, and when the first entry of each is due."""
        ...

    async def held(self, lane: str, limit: int) -> Sequence[Held]:
        """Return a lane's held entries in journal order."""
        ...


class Engine(Protocol):
    """What every engine does; an async context manager that is open while the bridge runs."""

    @property
    def durable(self) -> bool:
        """Whether what was appended survives the end of the process."""
        ...

    @property
    def location(self) -> str:
        """Where the events are kept, in words."""
        ...

    async def __aenter__(self) -> Self:
        """Open. Raises `JournalError` where the journal cannot be used."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; what was appended stays."""
        ...

    async def append(self, events: Sequence[Event]) -> Appended:
        """Make events durable, except those that are known already.

        All or nothing: raises `JournalError`, and then none of them counts as known, except where
        the journal has lost its files and recovers: then some of them may be. Returns only when
        the originals of duplicates are durable too.
        """
        ...

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """Return the subscriber's cursor where it stopped, or a new one at `start`.

        The journal remembers the name until `forget`.
        """
        ...

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """Return a cursor without a subscriber: it is kept in memory alone, and holds nothing back.

        It begins after `start` where that is a position.
        """
        ...

    async def forget(self, name: str) -> bool:
        """Drop a subscriber with all that it held; return whether there was one."""
        ...

    async def subscribers(self) -> Sequence[SubscriberState]:
        """Return every subscriber that the journal knows, by name."""
        ...

    async def health(self) -> Health:
        """Return whether the journal would take an event now."""
        ...

    async def find(self, key: str) -> Entry | None:
        """Return the entry of the event with this key, while the journal keeps it."""
        ...

    async def record(self, name: str) -> Record | None:
        """Return what correlation remembers under a name, or under the one that it is tied to.

        It is looked up, however much the journal holds.
        """
        ...

    def scan(self, query: Query) -> AsyncGenerator[Sequence[Entry]]:
        """Give all entries that a query matches, page by page, in its order.

        The query's limit is the number of entries that the caller is likely to take. Nobody else
        waits meanwhile, however long it takes.
        """
        ...

    async def outcomes(self, position: int) -> Sequence[Outcome]:
        """Return what became of the entry at a position, for each subscriber by name."""
        ...

    async def dead_letters(
        self, subscriber: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """Return dead letters with ids beyond `after`, oldest first."""
        ...

    async def drop(self, letter: int) -> bool:
        """Drop a dead letter; return whether there was one."""
        ...

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """Give a subscriber entries again: they are held, due now, and marked as replayed.

        Return how many. Left out are entries that the subscriber has yet to look at, since they
        come anyway, and those that the journal does not keep. The dead letters of the others are
        dropped. The caller has to tell the subscriber's delivery.
        """
        ...

    def unsettled(self, subscriber: str) -> AsyncGenerator[Sequence[Held]]:
        """Give what a subscriber holds and what it has yet to look at, page by page."""
        ...

    def known(self) -> AsyncGenerator[Sequence[bytes]]:
        """Give the digests (`digests.digest`) of keys that are known without an event.

        Those of keys whose events are kept may be among them.
        """
        ...

    async def learn(self, digests: Sequence[bytes]) -> None:
        """Make keys known by their digests, so that their events are duplicates."""
        ...

    async def mark_reparsed(self, positions: Sequence[int]) -> None:
        """Note of events that could not be read that their bodies have been read since."""
        ...

    async def purge(self, subject: str) -> int:
        """Erase every event about one phone number or user id; return how many there were.

        Their keys stay known, so that a provider's late retry does not bring them back. The states
        of the subject's conversations are erased as well.
        """
        ...

    # --- what subscribers remember of conversations --------------------------------------------

    async def read_state(self, conversation: str, name: str) -> State | None:
        """Return what was written last for a conversation under a name, expired or not."""
        ...

    async def write_state(self, state: State) -> None:
        """Keep a state in the place of an earlier one, durable when this returns."""
        ...

    async def erase_state(self, conversation: str, name: str) -> None:
        """Forget what is remembered of a conversation under a name."""
        ...

    def states(self, name: str | None = None) -> AsyncGenerator[Sequence[State]]:
        """Give all states, or those of one name, page by page; expired ones may be among them."""
        ...


class Journal(Engine, Protocol):
    """An engine, and what operators ask of every engine; engines are subclasses."""

    async def search(self, query: Query) -> Sequence[Entry]:
        """Return the entries that a query matches, in its order, up to its limit."""
        found: list[Entry] = []
        async with aclosing(self.scan(query)) as pages:
            async for page in pages:
                found += page
                if len(found) >= query.limit:
                    break
        return found[: query.limit]

    async def dead_letter(self, letter: int) -> DeadLetter | None:
        """Return a dead letter by its id, if there is one."""
        found = await self.dead_letters(after=letter - 1, limit=1)
        return found[0] if found and found[0].id == letter else None

    async def retry(self, letter: int) -> bool:
        """Give a dead letter its tries again, as `replay` does; return whether there was one."""
        found = await self.dead_letter(letter)
        if found is None:
            return False
        return await self.replay((found.entry.position,), found.subscriber) == 1


@runtime_checkable
class FileJournal(Protocol):
    """A journal that is one file on this machine."""

    def backup(self, target: Path) -> None:
        """Write a consistent and checked copy, while the journal may be in use; blocks.

        Raises `JournalError`, also where the target exists.
        """
        ...


@runtime_checkable
class SharedJournal(Protocol):
    """A journal whose subscribers other processes serve and change as well."""

    def watch(self, changed: Callable[[str], Awaitable[None]]) -> None:
        """Call `changed` with every subscriber whose held entries delivery has to read again.

        They change with the lanes that this process is given to serve, and where an operator
        replays through another process. A call that raises `JournalError` is repeated.
        """
        ...

    async def is_served(self, name: str) -> bool:
        """Return whether some process serves this subscriber now.

        One that was killed may count for a few seconds more.
        """
        ...


@runtime_checkable
class TransactionalCursor(Protocol):
    """A cursor of a journal in a database that subscribers may write to themselves."""

    def transaction(self, entry: Entry) -> AbstractAsyncContextManager[Any]:
        """Give a connection in a transaction, which commits what is done and that it was done.

        None instead of a connection says that the entry was taken before, or is another process's
        now. An exception in the block rolls everything back.
        """
        ...
