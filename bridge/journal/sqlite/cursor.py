"""The cursors of named subscribers, and the newest entries in memory for all who read on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import apsw

from bridge.journal.newest import Newest, Reader
from bridge.journal.protocol import Held, Settlement
from bridge.journal.sqlite.entries import read_after

if TYPE_CHECKING:
    from bridge.journal.sqlite.journal import SqliteJournal
    from bridge.journal.sqlite.store import Store

_SAVE_EVERY: Final = 0.03  # seconds; what a kill repeats also depends on the delivery


class SubscriberCursor(Reader):
    """A `Cursor` that survives a restart."""

    def __init__(self, journal: SqliteJournal, cursors: Cursors, name: str, position: int) -> None:
        super().__init__(position, cursors.tail.next_after)
        self._journal = journal
        self._cursors = cursors
        self._name = name

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`.

        A position alone is written a little later, and nobody waits for it: if a crash loses it,
        its entries are delivered once more, which delivery allows for anyway.
        """
        if settlement.held or settlement.released or settlement.dead:
            changes = self._journal.changes_of(self._name, settlement)
            await self._journal.writing(settle, self._name, settlement.position, changes)
        else:
            self._cursors.save_soon(self._name, settlement.position)
        self.position = settlement.position

    async def waiting(self) -> Mapping[str, float]:
        """See `Cursor.waiting`."""
        return await self._journal.waiting(self._name)

    async def held(self, lane: str, limit: int) -> Sequence[Held]:
        """See `Cursor.held`."""
        return await self._journal.held(self._name, lane, limit)


class Cursors:
    """What the cursors of a journal share: the newest entries, and the positions to be written.

    Open the `tail` before anybody reads, and end it when the journal has closed. While `saving`
    is set, how far they are is yet to be written.
    """

    def __init__(self, store: Store, max_entries: int) -> None:
        self.store = store
        self.by_name: dict[str, SubscriberCursor] = {}
        self.tail = Newest(max_entries, lambda *after: store.reading(read_after, *after))
        self._unsaved: dict[str, int] = {}
        self.saving: asyncio.TimerHandle | None = None
        self._saved_at = 0.0  # of the event loop's clock

    def positions(self) -> dict[str, int]:
        """Return how far subscribers are, which may not have been written yet."""
        return {name: cursor.position for name, cursor in self.by_name.items()}

    def forget(self, name: str) -> None:
        """Let go of a subscriber's cursor."""
        self.by_name.pop(name, None)
        self._unsaved.pop(name, None)

    def save_soon(self, name: str, position: int) -> None:
        """Write how far a subscriber is, a little later and together with others.

        Raises `JournalError`.
        """
        self._check_running()
        self._unsaved[name] = position
        if self.saving is None:
            loop = asyncio.get_running_loop()
            at = self._saved_at + _SAVE_EVERY
            if at > loop.time():
                self.saving = loop.call_at(at, self.save)
            else:  # a turn of the loop may take long where functions block it
                self.save()

    def _check_running(self) -> None:
        if self.store.writer is None:
            self.store.running()  # which says why it is not

    def save(self) -> None:
        """Write now how far subscribers are."""
        if self.saving is not None:
            self.saving.cancel()
            self.saving = None
        self._saved_at = asyncio.get_running_loop().time()
        if not self._unsaved or self.store.writer is None:  # while it recovers: with the next
            return
        positions, self._unsaved = self._unsaved, {}

        def saved(done: asyncio.Future[bool]) -> None:
            if done.exception() is not None:  # comes again with what is settled next
                self._unsaved = positions | self._unsaved

        self.store.writing(advance, positions).add_done_callback(saved)


# --- inside the writer's transaction -------------------------------------------------------------


def advance(connection: apsw.Connection, positions: Mapping[str, int]) -> bool:
    """Note how far subscribers are; return False where the last one has been forgotten."""
    for name, position in positions.items():
        connection.execute(
            "UPDATE subscribers SET position = max(position, ?) WHERE name = ?", (position, name)
        )
    return connection.changes() > 0


def settle(
    connection: apsw.Connection,
    name: str,
    position: int,
    changes: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
) -> None:
    """Apply the changes of a settlement, unless its subscriber has been forgotten."""
    if advance(connection, {name: position}):
        for statement, rows in changes:
            connection.executemany(statement.replace("$.", ""), rows)
