"""Appending: the events of many callers become one transaction.

What a group is decided on is read without a lock. Where another process has changed some of it
before the group is written, the group is decided on anew, and after a few times under the lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import attrs

from bridge.errors import CodecError, JournalError
from bridge.journal.correlation import correlate, first_keys, first_names
from bridge.journal.erasure import Subject
from bridge.journal.postgres.database import Connection, Database
from bridge.journal.postgres.entries import lane_bytes, partition_of
from bridge.journal.postgres.ledger import Changed, GroupLedger, NotRead
from bridge.journal.protocol import Appended, Entry
from bridge.journal.waiting import Published, release, withdraw
from bridge.model import Event
from bridge.model.codec import encode

_GROUP: Final = 256  # events in one transaction
_WITHOUT_LOCK: Final = 3  # times that a group is decided on before it takes the lock
_ANSWERS_WITHIN: Final = 2  # times the patience: a group may wait for the one before it
_NO_ANSWER: Final = "PostgreSQL does not answer"
_SOONEST: Final = 0.02  # seconds until what waits is looked at again


@attrs.define(eq=False)
class _Append:
    """Events to be appended, keys to be learned, or somebody to be erased from what waits."""

    done: asyncio.Future[Appended] | None = None
    events: Sequence[Event] = ()
    learned: Sequence[bytes] = ()
    erase: Subject | None = None
    erased: int = 0
    new: int = 0
    error: Exception | None = None


class Appender:
    """Commits what callers append, in groups, while `run` runs.

    `committed` is called with all entries from one position up to another. At most `max_waiting`
    events wait.
    """

    def __init__(
        self,
        database: Database,
        *,
        partitions: int,
        committed: Callable[[int, Sequence[Entry], int], None],
        max_waiting: int,
    ) -> None:
        self._database = database
        self.partitions = partitions
        self._committed = committed
        self._max_waiting = max_waiting
        self._queue: deque[_Append] = deque()
        self._waiting = 0
        self._queued = asyncio.Event()
        self._due_at: float | None = None  # on the loop's clock

    async def append(self, events: Sequence[Event]) -> Appended:
        """Return when events are durable. Raises `JournalError` or `CodecError`."""
        if self._waiting + len(events) > self._max_waiting:
            raise JournalError(f"{self._waiting} events wait for PostgreSQL already")
        return await self._put(_Append(events=events))

    async def learn(self, digests: Sequence[bytes]) -> None:
        """Make keys known."""
        await self._put(_Append(learned=digests))

    async def erase_waiting(self, subject: Subject) -> int:
        """Erase events about somebody that wait to be published; return how many."""
        item = _Append(erase=subject)
        await self._put(item)
        return item.erased

    async def _put(self, item: _Append) -> Appended:
        loop = asyncio.get_running_loop()
        item.done = loop.create_future()
        self._queue.append(item)
        self._waiting += len(item.events)
        self._queued.set()
        within = _ANSWERS_WITHIN * self._database.patience
        timer = loop.call_later(within, self._answer, (item,), JournalError(_NO_ANSWER))
        try:
            return await item.done
        finally:
            timer.cancel()

    async def run(self) -> None:
        """Commit groups, one after the other, and what waits when its time is over."""
        while True:
            if not self._queue:
                self._queued.clear()
                try:
                    async with asyncio.timeout_at(self._due_at):
                        await self._queued.wait()
                except TimeoutError:
                    self._queue.append(_Append())
            group: list[_Append] = []
            count = 0
            while self._queue and count < _GROUP:
                item = self._queue.popleft()
                self._waiting -= len(item.events)
                count += len(item.events)
                group.append(item)
            await self._commit(group)

    def look_for_due(self) -> None:
        """Publish soon what another process let wait, and does not publish itself."""
        if not self._queue:
            self._queue.append(_Append())
            self._queued.set()

    async def _commit(self, group: Sequence[_Append]) -> None:
        try:
            before, entries, last = await self._keep(group)
        except Exception as error:  # noqa: BLE001 - the appender outlives whatever it is
            self._answer(group, error)
        except BaseException:
            self._answer(group, JournalError("the write was cut off"))
            raise
        else:
            self._answer(group, None)
            if last > before:
                self._committed(before, entries, last)

    def _answer(self, group: Sequence[_Append], error: Exception | None) -> None:
        for item in group:
            if item.done is None or item.done.done():  # nobody waits for it
                continue
            failed = item.error or error
            if failed is None:
                duplicates = len(item.events) - item.new
                item.done.set_result(Appended(published=item.new, duplicates=duplicates))
            elif isinstance(failed, JournalError | CodecError):
                item.done.set_exception(failed)
            else:
                told = JournalError(f"this cannot be kept: {type(failed).__name__}")
                told.__cause__ = failed
                item.done.set_exception(told)

    def fail(self, reason: str) -> None:
        """Refuse whatever waits."""
        self._answer(tuple(self._queue), JournalError(reason))
        self._queue.clear()
        self._waiting = 0

    # --- the transaction ---------------------------------------------------------------------

    async def _keep(self, group: Sequence[_Append]) -> tuple[int, list[Entry], int]:
        """Write a group; return the entries after a position, up to another."""
        for _ in range(_WITHOUT_LOCK):
            with suppress(Changed):
                return await self._database.run(partial(self._write, group), alone=True)
        return await self._database.run(partial(self._write_locked, group))

    async def _write_locked(
        self, group: Sequence[_Append], connection: Connection
    ) -> tuple[int, list[Entry], int]:
        await self._database.execute(connection, "SELECT FROM $.head FOR UPDATE")
        return await self._write(group, connection)

    async def _write(
        self, group: Sequence[_Append], connection: Connection
    ) -> tuple[int, list[Entry], int]:
        """Decide what is new, and write it. Raises `Changed`."""
        for item in group:
            item.new, item.erased, item.error = 0, 0, None
        ledger = GroupLedger(self._database, connection)
        await ledger.read(_needed(group, ledger))
        partitions = self.partitions
        rows: list[Sequence[bytes]] = []
        numbers = bytearray()  # of the rows' partitions
        publications: list[tuple[int, str, Event, int]] = []
        for item in group:
            try:
                published, lines = await _decide(item, ledger)
            except CodecError as error:
                item.error = error
                ledger.undo()
                continue
            claims = ledger.accept()
            ledger.due.clear()
            for (event, lane), data in zip(published, lines, strict=True):
                key = ledger.ids[event.key]
                del claims[key]
                numbers.append(partition_of(lane, partitions))
                rows.append((key, lane_bytes(lane), b"", data))
                publications.append((len(rows), lane, event, len(data)))
            # Known from now on, and not published under this key.
            if item.learned:
                known = {row[0] for row in rows}
                claims |= {
                    key: None
                    for key in item.learned
                    if key not in known and not ledger.has_key(key)
                }
            rows += [(key, b"", of or b"", b"") for key, of in claims.items()]
            numbers += bytes(len(claims))
        before, last = await ledger.keep(rows, bytes(numbers))
        now = asyncio.get_running_loop().time()
        self._due_at = now + max(min(ledger.waits), _SOONEST) if ledger.waits else None
        entries = [
            Entry(position=before + 2 * number, lane=lane, event=event, size=size)
            for number, lane, event, size in publications
        ]
        return before, entries, last


def _needed(group: Sequence[_Append], ledger: GroupLedger) -> NotRead:
    """Return what deciding on these is sure to need."""
    ids = ledger.ids
    need = NotRead()
    for item in group:
        need.keys.update(item.learned)
        for event in item.events:
            names, lanes = first_names(event)
            need.keys.update(ids[key] for key in first_keys(event))
            need.names.update(ids[name] for name in names)
            need.lanes.update(lanes)
    return need


async def _decide(
    item: _Append, ledger: GroupLedger
) -> tuple[Sequence[Published], Sequence[bytes]]:
    """Return what an append publishes, and its JSON. Raises `CodecError`."""
    if item.erase is not None:
        await ledger.read(NotRead(), all_queues=True)
    while True:
        try:
            return _decided(item, ledger)
        except NotRead as need:
            ledger.undo()
            await ledger.read(need)


def _decided(item: _Append, ledger: GroupLedger) -> tuple[Sequence[Published], Sequence[bytes]]:
    item.new = item.erased = 0
    published: list[Published] = []
    lines: list[bytes] = []

    def publish(found: Sequence[Published]) -> None:
        ledger.publish(found)
        published.extend(found)
        lines.extend(encode(event) for event, _ in found)

    for lane, due in ledger.due.items():
        publish(release(lane, due, ledger))
    if item.erase is not None:
        for lane in ledger.all_lanes:
            erased, freed = withdraw(lane, item.erase.is_in, ledger)
            item.erased += erased
            publish(freed)
    for event in item.events:
        try:
            is_new, found = correlate(event, ledger)
            publish(found)
        except (NotRead, CodecError):
            raise
        except Exception as error:
            # A third party's event that breaks the model must not fail its neighbours.
            raise CodecError(f"not a valid {event.kind}: {type(error).__name__}") from error
        item.new += is_new
    return published, lines
