"""A subscriber's cursor, as one of the processes that serve the subscriber sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from bridge.errors import JournalError
from bridge.journal.lanes import lane_bytes, partition_of
from bridge.journal.postgres.database import Connection
from bridge.journal.protocol import Entry, Held, Settlement

if TYPE_CHECKING:
    from bridge.journal.postgres.journal import PostgresJournal

_MINE: Final = "cursors.subscriber = %s AND cursors.owner = %s"
_KEEP: Final = f"SELECT 1 FROM $.cursors WHERE {_MINE} FOR KEY SHARE"  # noqa: S608 - our own text
_ADVANCE: Final = f"""
UPDATE $.cursors SET position = greatest(cursors.position, new.position)
FROM unnest(%s::smallint[], %s::bigint[]) AS new (partition, position)
WHERE cursors.partition = new.partition AND {_MINE}
"""  # noqa: S608
# A position alone may be lost in a crash of the server: nobody waits for its disk.
_LAZILY: Final = "AND set_config('synchronous_commit', 'off', true) = 'off'"


@attrs.define(eq=False)
class Partition:
    """A partition that this process serves.

    `settled` is what the server knows, `given` how far its entries have been read. `passed` are
    held already though they lie beyond `settled`. A partition that is `leaving` gives nothing
    more; one that is `untold` gives nothing before delivery has asked what it holds: otherwise
    what is read would overtake that.
    """

    settled: int
    given: int
    passed: set[int]
    untold: bool = True
    leaving: bool = False


class SubscriberCursor:
    """A named subscriber's `Cursor`, over the partitions that this process serves."""

    def __init__(self, journal: PostgresJournal, name: str) -> None:
        self.name = name
        self.partitions: dict[int, Partition] = {}
        self.reached = 0
        self.at_work: Final[dict[int, str]] = {}
        self._journal = journal
        self._me = _literal(name.encode()), _literal(journal.owner.encode())
        self._position = 0
        self._open: dict[int, int] = {}  # the partition by position, in the order of reading

    @property
    def position(self) -> int:
        """See `Cursor.position`; it lies before whatever has been read and is not settled."""
        return next(iter(self._open), self._position + 1) - 1

    def standing(self) -> Iterator[tuple[str, int, int, bool]]:
        """Yield the partitions with which this process has to do, and whether it goes on to serve.

        It does not serve those that have come to rest, so that others can have them, nor those that
        it has lost while something is under way: what others left held must not be overtaken.
        """
        busy = {*self._open.values(), *map(self._partition_of, self.at_work.values())}
        for number, each in self.partitions.items():
            yield self.name, number, each.settled, number in busy or not each.leaving
        for number in busy.difference(self.partitions):
            yield self.name, number, 0, False

    async def serve(self, positions: Mapping[int, int], share: int) -> None:
        """Serve these partitions from now on, and let those beyond a share come to rest."""
        for number in self.partitions.keys() - positions.keys():
            del self.partitions[number]
        new = {n: position for n, position in positions.items() if n not in self.partitions}
        if new:
            await self._begin(new)
        self.leave(beyond=share)
        if new:
            await self._journal.heard(self.name)

    async def _begin(self, positions: Mapping[int, int]) -> None:
        """Begin with partitions, of which nothing is read before `waiting` has been called."""
        rows = await self._journal.database.rows(
            "SELECT held.partition, held.position FROM $.held JOIN $.cursors "
            "USING (subscriber, partition) WHERE subscriber = %s "
            "AND held.position > cursors.position AND partition = ANY(%s)",
            (self.name, list(positions)),
        )
        for number, position in positions.items():
            passed = {held for where, held in rows if where == number}
            self.partitions[number] = Partition(position, position, passed)
        self._position = min((each.settled for each in self.partitions.values()), default=0)
        self.reached = max(self.reached, self._position)

    def leave(self, *, beyond: int) -> None:
        """Let partitions come to rest that are more than so many, so that others can have them."""
        staying = [each for each in self.partitions.values() if not each.leaving]
        for partition in staying[beyond:]:
            partition.leaving = True

    async def rewind(self) -> None:
        """Go back to the last settled position: what was given out after it comes again."""
        self._open.clear()
        self.reached = 0
        await self._begin({number: each.settled for number, each in self.partitions.items()})
        await self.waiting()

    async def read(self, limit: int) -> Sequence[Entry]:
        """See `Cursor.read`."""
        tail, count = self._journal.tail, self._journal.partitions
        while True:
            changed = tail.changed
            tail.check()
            since = tail.since
            told = {n: each for n, each in self.partitions.items() if not each.leaving}
            if told and not any(each.untold for each in told.values()):
                first = upto = min(each.given for each in told.values())
                if first < since and len(told) < count:
                    told = {n: each for n, each in told.items() if each.given < since}
                    found, upto = await self._journal.read_after(first, limit, tuple(told)), since
                else:
                    found = await tail.look_after(first, limit)
                upto = found[-1].position if found else upto
                given, passes = self._give(told, found, upto)
                if given or passes:
                    self.reached = upto
                    return given
                if upto > first:
                    continue
            await changed.wait()

    def _give(
        self, serving: Mapping[int, Partition], found: Sequence[Entry], upto: int
    ) -> tuple[Sequence[Entry], bool]:
        """Return what is new of what was found, and whether something else is ours."""
        given: list[Entry] = []
        passes = False
        for entry in found:
            number = self._partition_of(entry.lane)
            mine = serving.get(number)
            if mine is None or mine.leaving or self.partitions.get(number) is not mine:
                continue  # another's, lost meanwhile, begun anew, or to be handed over
            if entry.position <= mine.given or entry.position in mine.passed:
                mine.passed.discard(entry.position)
                passes = True
            else:
                self._open[entry.position] = number
                given.append(entry)
        for partition in serving.values():
            if not partition.leaving:
                partition.given = max(partition.given, upto)
        return given, passes

    def _partition_of(self, lane: str) -> int:
        return partition_of(lane_bytes(lane), self._journal.partitions)

    async def settle(self, settlement: Settlement) -> None:
        """See `Cursor.settle`; of partitions that another process serves now, nothing is kept.

        A position alone may be lost in a crash of the server, which then gives its entries again.
        """
        order, position = list(self._open), settlement.position
        mark = position + position % 2  # an odd one lies before the first that is not done
        if position == self.reached:
            count = len(order)
        else:
            count = order.index(mark) + (mark == position) if mark in self._open else 0
        first = {self._open[each]: each for each in reversed(order[count:])}
        serving = dict(self.partitions)
        settled = {
            number: upto
            for number, each in serving.items()
            if (upto := first.get(number, each.given + 1) - 1) != each.settled
        }
        if settlement.held or settlement.released or settlement.dead:
            await self._journal.database.run(partial(self._write, settlement, settled))
        elif settled:
            await self._journal.database.ask(_ADVANCE + _LAZILY, self._advanced(settled))
        for each in order[:count]:
            self._open.pop(each, None)
        for number, upto in settled.items():
            serving[number].settled = upto  # whether or not that is served still
        self._position = position

    async def _write(
        self, settlement: Settlement, settled: Mapping[int, int], connection: Connection
    ) -> None:
        database = self._journal.database
        # Nobody takes these partitions over in the midst of it.
        await database.execute(connection, _KEEP, (self.name, self._journal.owner))
        for statement, rows in self._journal.changes_of(self.name, settlement):
            await connection.cursor().executemany(database.qualified(statement), rows)
        if settled:
            await database.execute(connection, _ADVANCE, self._advanced(settled))

    def _advanced(self, settled: Mapping[int, int]) -> tuple[object, ...]:
        return list(settled), list(settled.values()), self.name, self._journal.owner

    async def waiting(self) -> Mapping[str, float]:
        """See `Cursor.waiting`; of the partitions that this process serves now."""
        told = tuple(self.partitions.values())
        lanes = await self._journal.waiting(self.name)
        for partition in told:
            partition.untold = False
        self._journal.tail.wake()
        return lanes

    async def held(self, lane: str, limit: int) -> Sequence[Held]:
        """See `Cursor.held`; nothing where another process is to serve the lane.

        While something that was read of its partition is not done, that has to go behind these.
        """
        number = self._partition_of(lane)
        partition = self._serving(number)
        if partition is None:
            return ()
        found = await self._journal.held(self.name, lane, limit)
        return found if self._serving(number) is partition else ()

    def _serving(self, number: int) -> Partition | None:
        """Return a partition of which something may be begun with, if this is one."""
        partition = self.partitions.get(number)
        is_under_way = number in self._open.values()
        if partition is None and is_under_way:
            raise JournalError("another process serves the conversation now")
        return None if partition is None or (partition.leaving and not is_under_way) else partition

    def transaction(self, entry: Entry) -> AbstractAsyncContextManager[Connection | None]:
        """See `TransactionalCursor.transaction`."""
        return self._journal.effects.taking(
            (str(entry.position), str(self._partition_of(entry.lane)), *self._me)
        )


def _literal(data: bytes) -> str:
    """Return bytes as SQL that means the same whatever is set on the connection."""
    return rf"E'\\x{data.hex()}'"
