"""How far a subscriber is, and what of it the journal has yet to be told."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from bridge.errors import JournalError
from bridge.journal.protocol import Cursor, Entry, Held, Settlement

_EVERY: Final = 0.02  # seconds; what a kill repeats also depends on the journal
_LAZILY: Final = 0.1  # seconds; where the journal knows by itself what is not to be repeated
_SKIPPED: Final = 0.1  # seconds; what is only passed over may be so again


@attrs.define(eq=False)
class _Saving:
    """The journal being told once, for all who wait until it has `ended`."""

    ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    is_told: bool = False
    error: JournalError | None = None


class Progress:
    """Collects what became of entries, and settles it with the journal by and by.

    Entries are taken in the journal's order and settled in any: everything before the first one
    that is still under way counts as done. `changed` is set when there is something to tell.
    `under_way` has the entries that are taken and not settled, by their positions the bytes of
    JSON of each, and `size` is the sum of these. It is told less often where entries are taken
    in transactions, with which the journal notes that.
    """

    def __init__(self, cursor: Cursor, *, in_transactions: bool = False) -> None:
        self._every = _LAZILY if in_transactions else _EVERY
        self.taken_up_to = cursor.position
        self.changed: Final = asyncio.Event()
        self._cursor = cursor
        self.under_way: OrderedDict[int, int] = OrderedDict()
        self.size = 0
        self._saving: _Saving | None = None
        self._next: _Saving | None = None  # somebody waits to begin with it
        self._saved_position = cursor.position
        self._held: dict[int, Held] = {}
        self._released: set[int] = set()
        self._dead: list[Held] = []
        self._ended: list[int] = []
        self._skipped: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Let nothing be saved any more, but by `save`."""
        if self._skipped is not None:
            self._skipped.cancel()

    def begin(self, entry: Entry) -> None:
        """Note that an entry is under way."""
        self.under_way[entry.position] = entry.size
        self.size += entry.size

    def settle(self, entry: Entry) -> None:
        """Note that an entry is done with."""
        self.size -= self.under_way.pop(entry.position, 0)
        self.changed.set()

    def hold(self, held: Held) -> None:
        """Let the journal keep an entry for later; it is not under way any more."""
        self._held[held.entry.position] = held
        self.size -= self.under_way.pop(held.entry.position, 0)
        self.changed.set()

    def work_on(self, entry: Entry) -> None:
        """Note that a function is at work on a held entry, which nobody else is to be given."""
        self._cursor.at_work[entry.position] = entry.lane

    def rest(self, entry: Entry) -> None:
        """Let others be given a held entry again, once the journal knows what became of it."""
        self._ended.append(entry.position)
        self.changed.set()

    def release(self, entry: Entry) -> None:
        """Note that a held entry has been delivered."""
        self._released.add(entry.position)
        self.changed.set()

    def dead_letter(self, held: Held) -> None:
        """Make an entry a dead letter."""
        self._dead.append(held)
        self.changed.set()

    def save_in_a_while(self) -> None:
        """Let what was only passed over be saved, by and by."""
        if self._skipped is None:
            loop = asyncio.get_running_loop()
            self._skipped = loop.call_later(_SKIPPED, self._save_skipped)

    def _save_skipped(self) -> None:
        self._skipped = None
        self.changed.set()

    async def keep_saved(self, failed: Callable[[JournalError], Awaitable[None]]) -> None:
        """Save what changes, as long as the task runs; `failed` waits before the next time."""
        time = asyncio.get_running_loop().time
        next_at = 0.0
        while True:
            await self.changed.wait()
            # At once where that has taken long enough: functions may block the loop.
            if (seconds := next_at - time()) > 0:
                await asyncio.sleep(seconds)
            next_at = time() + self._every
            try:
                await self.save()
            except JournalError as error:
                await failed(error)

    async def save(self) -> None:
        """Tell the journal what has been noted so far.

        Raises `JournalError`, and then nothing of it is forgotten. Those who ask while the
        journal is being told wait for the next time, which is one for all of them.
        """
        while (joined := self._next) is not None:
            await joined.ended.wait()
            if joined.error is not None:
                raise JournalError(str(joined.error)) from joined.error
            if joined.is_told:
                return
        saving = _Saving()
        try:
            while self._saving is not None:
                self._next = saving
                await self._saving.ended.wait()
            self._next, self._saving = None, saving
            await self._save()
            saving.is_told = True
        except JournalError as error:
            saving.error = error
            raise
        finally:
            if self._saving is saving:
                self._saving = None
            else:  # it was given up before it began
                self._next = None
            saving.ended.set()

    async def _save(self) -> None:
        self.changed.clear()
        position = next(iter(self.under_way), self.taken_up_to + 1) - 1
        held, released, dead = self._held, self._released, self._dead
        ended, self._ended = self._ended, []
        is_told = position == self._saved_position == self._cursor.position
        if is_told and not (held or released or dead):
            self._let_go(ended)
            return
        self._held, self._released, self._dead = {}, set(), []
        settlement = Settlement(
            position=position,
            held=tuple(held.values()),
            released=tuple(released),
            dead=tuple(dead),
        )
        try:
            await self._cursor.settle(settlement)
        except BaseException:
            # Not told: tell it again, together with what has come since.
            self._held = held | self._held
            self._released |= released
            self._dead = dead + self._dead
            self._ended = ended + self._ended
            self.changed.set()
            raise
        self._saved_position = position
        self._let_go(ended)

    def _let_go(self, ended: list[int]) -> None:
        for position in ended:
            self._cursor.at_work.pop(position, None)
