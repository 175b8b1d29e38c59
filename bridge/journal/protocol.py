"""What a journal promises, whichever engine keeps it.

A journal is an append-only sequence of events with a cursor for each subscriber. `append`
returns when the events are as safe as the engine makes them; the bridge acknowledges only then.
Delivery reads through a cursor, and gives back what became of the entries with `settle`:
entries that wait for another try are *held* (their conversation waits, others do not), and what
failed for good becomes a *dead letter*. All times are seconds since the epoch, so that a wait
survives a restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self, final, runtime_checkable

import attrs

from bridge.journal.query import Query, conversation_of, identities, is_one_of
from bridge.model import (
    ConsentChange,
    Event,
    Handover,
    JsonValue,
    Message,
    Notice,
    StatusChange,
    TemplateChange,
    Typing,
)
from bridge.model.frozen import quick_init


class Start(StrEnum):
    """Where a subscriber that the journal does not know yet begins."""

    END = "end"
    BEGINNING = "beginning"


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Entry:
    """An event in its place; positions count up from 1, with gaps.

    Entries of one lane are delivered to a subscriber one at a time and in order. `mended` says
    of an event that could not be read that its body has been read since; only `find` and
    `search` tell.
    """

    position: int
    lane: str
    event: Event
    mended: bool = False


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Appended:
    """What became of an append: how many events are new, and how many were known already."""

    published: int
    duplicates: int


@attrs.frozen(kw_only=True)
class Held:
    """An entry that waits: for its own next try, or behind an earlier entry of its lane.

    `due_at` is None for one that only waits behind another. `tries` counts those made so far.
    `replayed` says that somebody asked for it again: the subscriber may have had it before.
    """

    entry: Entry
    tries: int = 0
    due_at: float | None = None
    first_failed_at: float | None = None
    error: str | None = None
    replayed: bool = False


@attrs.frozen(kw_only=True)
class Failure:
    """An entry that a subscriber could not take, after the last of its tries."""

    entry: Entry
    tries: int
    first_failed_at: float
    failed_at: float
    error: str


@attrs.frozen(kw_only=True)
class Settlement:
    """What became of the entries that a cursor gave out; applied as one, or not at all.

    Up to and including `position`, every entry is done with, held or dead. `held` adds entries
    or replaces what is known of them; `released` names the positions of held ones that are done.
    """

    position: int
    held: Sequence[Held] = ()
    released: Sequence[int] = ()
    dead: Sequence[Failure] = ()


@attrs.frozen(kw_only=True)
class DeadLetter:
    """A failure as the journal keeps it; `id` is unique within the journal."""

    id: int
    subscriber: str
    failure: Failure


class Standing(StrEnum):
    """How far a subscriber is with one entry.

    `done` with it is also who never wanted it, and who began after it.
    """

    PENDING = "pending"
    HELD = "held"
    DEAD = "dead"
    DONE = "done"


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one entry with one subscriber.

    Tries, times and error are known while it is held or dead; `letter` is the dead letter's id.
    """

    subscriber: str
    standing: Standing
    tries: int = 0
    due_at: float | None = None
    first_failed_at: float | None = None
    failed_at: float | None = None
    error: str | None = None
    replayed: bool = False
    letter: int | None = None


@attrs.frozen(kw_only=True)
class SubscriberState:
    """How far a subscriber is; `lag` counts the entries that it has yet to look at.

    `lagging_since` is when the oldest of these was received, in seconds. None leaves it to who
    asks to look for the first entry that is beyond `position`, and not all journals go by that.
    """

    name: str
    position: int
    lag: int
    held: int
    dead: int
    lagging_since: float | None = None


@attrs.frozen(kw_only=True)
class Health:
    """Whether the journal takes events now; `reason` says why not, or what is amiss all the same.

    `spooled` is None unless events go into a spool on this machine now, because the journal's
    servers are away or what came meanwhile has yet to reach them; then it is how many wait there.
    """

    ready: bool
    reason: str | None = None
    spooled: int | None = None


class Cursor(Protocol):
    """One subscriber's place in the journal."""

    @property
    def position(self) -> int:
        """Where the subscriber stands: the last position that was settled."""
        ...

    async def read(self, limit: int) -> Sequence[Entry]:
        """Return the next entries in journal order: at least one, waiting for it, at most `limit`.

        Entries that are held are not among them. Raises `JournalError`.
        """
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Keep what became of entries. Raises `JournalError`, and then keeps nothing of it."""
        ...

    async def waiting(self) -> Mapping[str, float]:
        """Return the lanes that hold entries, and when the first entry of each is due."""
        ...

    async def held(self, lane: str, limit: int) -> Sequence[Held]:
        """Return a lane's held entries, first things first."""
        ...


class Journal(Protocol):
    """Keeps events; an async context manager that is open while the bridge runs."""

    @property
    def durable(self) -> bool:
        """Whether what was appended survives the end of the process."""
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
        """Make events durable, leaving out those whose happening is known already.

        All or nothing: raises `JournalError`, and then none of them counts as known. Returns
        only when the originals of duplicates are durable too.
        """
        ...

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """Return the subscriber's cursor where it stopped, or a new one at `start`.

        A name is forgotten only by `forget`.
        """
        ...

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """Return a cursor that belongs to nobody: it is not kept, and holds nothing back.

        A number is the position to begin beyond.
        """
        ...

    async def forget(self, name: str) -> bool:
        """Drop a subscriber with all that it held; return whether there was one."""
        ...

    async def subscribers(self) -> Sequence[SubscriberState]:
        """Return every subscriber that the journal knows, by name."""
        ...

    async def find(self, key: str) -> Entry | None:
        """Return the entry of the event with this key, while the journal keeps it."""
        ...

    async def search(self, query: Query) -> Sequence[Entry]:
        """Return the entries that a query is for, in journal order or the newest first.

        May take long where little is found: nobody else waits for it meanwhile.
        """
        ...

    async def outcomes(self, position: int) -> Sequence[Outcome]:
        """Return what became of the entry at a position, for each subscriber by name."""
        ...

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """Give a subscriber entries again: they are held, due now, and marked as replayed.

        Return how many. What it has yet to look at comes anyway and is left out, as is what
        the journal does not keep; a dead letter of one of them is dropped. Its delivery has
        to be told.
        """
        ...

    async def mend(self, positions: Sequence[int]) -> None:
        """Note of events that could not be read that their bodies have been read since."""
        ...

    async def dead_letters(
        self, subscriber: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """Return dead letters with ids beyond `after`, oldest first."""
        ...

    async def retry(self, letter: int) -> bool:
        """Give a dead letter its tries again: it is held once more, due now, and replayed.

        Return whether there was one. Its subscriber's delivery has to be told.
        """
        ...

    async def drop(self, letter: int) -> bool:
        """Drop a dead letter; return whether there was one."""
        ...

    async def purge(self, subject: str) -> int:
        """Erase every event about one phone number or user id; return how many there were.

        Their keys stay known, so that a provider's late retry does not bring them back.
        """
        ...

    async def health(self) -> Health:
        """Return whether the journal would take an event now."""
        ...


@runtime_checkable
class SharedJournal(Protocol):
    """A journal whose subscribers other processes serve and change as well."""

    def watch(self, told: Callable[[str], Awaitable[None]]) -> None:
        """Tell of every subscriber whose held entries may be others than delivery knows.

        They come and go with the lanes that this process is given to serve. Until `told`
        returns without a `JournalError`, it is told again.
        """
        ...

    async def is_served(self, name: str) -> bool:
        """Return whether some process serves this subscriber now.

        One that was killed may count for a few seconds more.
        """
        ...


def lane_of(event: Event) -> str:
    """Return which events this one must stay in order with."""
    conversation = conversation_of(event)
    if conversation is not None:
        return conversation
    match event:
        case StatusChange():
            return f"{event.channel}::message:{event.message_id}"
        case TemplateChange():
            return f"{event.channel}::template:{event.template_id}"
        case Notice():
            return f"{event.channel}:{event.account or ''}:notice:{event.topic}"
        case _:
            return event.key


def concerns(event: Event, subject: str) -> bool:
    """Return whether an event is about a phone number (E.164, also without its plus) or user id.

    One without parties (an `Unrecognized`, a `Notice`) is if it carries the subject anywhere.
    """
    if not isinstance(event, Message | StatusChange | ConsentChange | Handover | Typing):
        return _carries(event.raw, (*identities(subject), subject.removeprefix("+")))
    if is_one_of(event, subject):
        return True
    conversation = conversation_of(event)
    return conversation is not None and conversation.endswith(
        tuple(f":{name}" for name in identities(subject))
    )


def _carries(value: JsonValue, words: tuple[str, ...]) -> bool:
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, str | int) and str(value) in words:
            return True
    return False
