"""Appends to a server: whatever queued up during a write goes into the next one, as a group."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import attrs

from bridge.errors import CodecError, JournalError
from bridge.journal.correlation import correlate
from bridge.journal.erasure import Subject, leave_numbers
from bridge.journal.hindsight import note_terms_of
from bridge.journal.overlay import Overlay
from bridge.journal.waiting import Published, release, withdraw
from bridge.model import Event


class Unread(Exception):
    """What is needed has not been read yet: it has to be, and all is decided again."""


@attrs.define(eq=False)
class Append:
    """Events that wait to be written, and what came of them.

    Or `due` lanes with the times for which they were, somebody to `erase` from what waits in some
    `lanes`, the digests of keys to be `learned`, or events that were published in the `past`,
    before their terms were noted. `error` is why this one alone is not written.
    """

    events: Sequence[Event] = ()
    due: Sequence[tuple[str, float]] = ()
    erase: Subject | None = None
    lanes: Sequence[str] = ()
    learned: Sequence[bytes] = ()
    past: Sequence[Event] = ()
    done: asyncio.Future[None] | None = None
    published: int = 0
    erased: int = 0
    error: Exception | None = None

    @property
    def size(self) -> int:
        """How much there is to decide."""
        return max(len(self.events), len(self.due), len(self.lanes), len(self.past))


class Appends:
    """The queue of appends to `servers`; at most `most` events are in it when one is added.

    Callers wait for an answer `within` so many seconds; an append may be written after that.
    """

    def __init__(self, servers: str, most: int, *, within: float | None = None) -> None:
        self.filled = asyncio.Event()
        self._servers = servers
        self._most = most
        self._within = within
        self._queue: deque[Append] = deque()
        self._waiting = 0

    def __len__(self) -> int:
        """Return how many appends are in the queue."""
        return len(self._queue)

    def add(self, append: Append) -> None:
        """Let something be written for which nobody waits."""
        self._queue.append(append)
        self.filled.set()

    async def put(self, append: Append) -> Append:
        """Return an append when it is written. Raises `JournalError` or `CodecError`."""
        if append.events and self._waiting >= self._most:
            raise JournalError(f"{self._waiting} events wait for {self._servers}")
        loop = asyncio.get_running_loop()
        append.done = loop.create_future()
        self._waiting += len(append.events)
        self.add(append)
        timer = None
        if self._within is not None:
            silent = JournalError(f"{self._servers} does not answer")
            timer = loop.call_later(self._within, self.answer, (append,), silent)
        try:
            await append.done
        finally:
            if timer is not None:
                timer.cancel()
        return append

    def take(self, most: int) -> list[Append]:
        """Return the next group: one append, and others up to that size."""
        group: list[Append] = []
        while self._queue and (not group or self._queue[0].size <= most):
            append = self._queue.popleft()
            self._waiting -= len(append.events)
            most -= append.size
            group.append(append)
        if not self._queue:
            self.filled.clear()
        return group

    def answer(self, group: Iterable[Append], error: Exception | None = None) -> None:
        """Tell everyone of a group what became of it; nobody may have asked, or have gone away."""
        for append in group:
            failed = append.error or error
            if append.done is None or append.done.done():
                continue
            if failed is None:
                append.done.set_result(None)
            elif isinstance(failed, JournalError | CodecError):
                append.done.set_exception(failed)
            else:
                told = JournalError(f"this cannot be kept: {type(failed).__name__}")
                told.__cause__ = failed
                append.done.set_exception(told)

    def fail(self, error: Exception) -> None:
        """Refuse whatever waits."""
        while group := self.take(self._most):
            self.answer(group, error)


def decide(
    append: Append,
    ledger: Overlay[Any],
    reading: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[Published]:
    """Return what an append publishes. Raises `CodecError`, and what the ledger does.

    `reading` is entered for each thing that is decided.
    """
    append.published = append.erased = 0
    published: list[Published] = []

    def publish(found: Sequence[Published]) -> None:
        ledger.publish(found)
        published.extend(found)

    for lane, due in append.due:
        with reading():
            publish(release(lane, due, ledger))
    if append.erase is not None:
        with reading():
            leave_numbers(append.erase, ledger)
        for lane in append.lanes:
            with reading():
                erased, freed = withdraw(lane, append.erase.is_in, ledger)
                append.erased += erased
                publish(freed)
    for event in append.past:
        with reading():
            note_terms_of(event, ledger)
    ledger.learn(append.learned)
    for event in append.events:
        with reading():
            try:
                is_new, found = correlate(event, ledger)
                publish(found)
            except (CodecError, JournalError, Unread):
                raise
            except Exception as error:
                # A third party's event that breaks the model must not fail its neighbours.
                raise CodecError(f"not a valid {event.kind}: {type(error).__name__}") from error
            append.published += is_new
    return published
