"""Appending: the events of many callers become one transaction.

What a group is decided on is read without a lock. Where another process has changed some of it
before the group is written, the group is decided on anew, and after a few times under the lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from bridge.errors import CodecError, JournalError
from bridge.journal.correlation import first_keys, first_names
from bridge.journal.grouping import Append, Appends, decide
from bridge.journal.lanes import lane_bytes
from bridge.journal.postgres.database import Connection
from bridge.journal.postgres.ledger import Behind, Changed, GroupLedger, NotRead
from bridge.journal.protocol import Entry
from bridge.journal.waiting import Published
from bridge.model import Event
from bridge.model.codec import encode

if TYPE_CHECKING:
    from bridge.journal.postgres.journal import PostgresJournal

_GROUP: Final = 256  # events in one transaction
_WITHOUT_LOCK: Final = 3  # times that a group is decided on before it takes the lock
_ANSWERS_WITHIN: Final = 2  # times the patience: a group may wait for the one before it


class Appender:
    """Commits what callers append, in groups, while `run` runs; at most `max_waiting` events wait.

    The journal is told of all entries from one position up to another.
    """

    def __init__(self, journal: PostgresJournal, max_waiting: int) -> None:
        self._journal = journal
        self._database = journal.database
        self._appends = Appends("PostgreSQL", max_waiting)

    async def put(self, append: Append) -> Append:
        """Return an append when it is committed. Raises `JournalError` or `CodecError`."""
        return await self._appends.put(append, within=_ANSWERS_WITHIN * self._database.patience)

    async def run(self) -> None:
        """Commit groups, one after the other."""
        while True:
            await self._appends.filled.wait()
            await self._commit(self._appends.take(_GROUP))

    def look_for_due(self) -> None:
        """Publish soon what has waited for long enough, whichever process took it in."""
        if not self._appends:
            self._appends.add(Append())

    async def _commit(self, group: Sequence[Append]) -> None:
        try:
            before, entries, last = await self._keep(group)
        except Exception as error:  # noqa: BLE001 - the appender outlives whatever it is
            self._appends.answer(group, error)
        except BaseException:
            self._appends.answer(group, JournalError("the write was cut off"))
            raise
        else:
            self._appends.answer(group)
            if last > before:
                self._journal.committed(before, entries, last)

    def fail(self, reason: str) -> None:
        """Refuse whatever waits."""
        self._appends.fail(JournalError(reason))

    # --- the transaction ---------------------------------------------------------------------

    async def _keep(self, group: Sequence[Append]) -> tuple[int, list[Entry], int]:
        """Write a group; return the entries after a position, up to another."""
        for _ in range(_WITHOUT_LOCK):
            try:
                return await self._database.run(partial(self._write, group), alone=True)
            except Behind:
                await self._journal.behind()
            except Changed:
                pass
        return await self._database.run(partial(self._write, group, locked=True))

    async def _write(
        self, group: Sequence[Append], connection: Connection, *, locked: bool = False
    ) -> tuple[int, list[Entry], int]:
        """Decide what is new, and write it. Raises `Changed`, unless it is `locked` meanwhile."""
        if locked:
            await self._database.execute(connection, "SELECT FROM $.head FOR UPDATE")
        ledger = GroupLedger(self._database, connection)
        erases = any(item.erase is not None for item in group)
        await ledger.read(_needed(group, ledger), all_queues=erases)
        rows: list[Sequence[bytes]] = []
        publications: list[tuple[int, str, Event, int]] = []
        for item in group:
            item.error = None
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
                rows.append((key, lane_bytes(lane), b"", data))
                publications.append((len(rows), lane, event, len(data)))
            # Known from now on, and not published under this key.
            rows += [(key, b"", of or b"", b"") for key, of in claims.items()]
        before, last = await ledger.keep(rows, self._journal.partitions, self._journal.confirmed)
        entries = [
            Entry(position=before + 2 * number, lane=lane, event=event, size=size)
            for number, lane, event, size in publications
        ]
        return before, entries, last


def _needed(group: Sequence[Append], ledger: GroupLedger) -> NotRead:
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


async def _decide(item: Append, ledger: GroupLedger) -> tuple[Sequence[Published], Sequence[bytes]]:
    """Return what an append publishes, and its JSON. Raises `CodecError`."""
    while True:
        item.due = tuple(ledger.due.items())
        item.lanes = () if item.erase is None else tuple(ledger.seen_lanes)
        try:
            published = decide(item, ledger)
        except NotRead as need:
            ledger.undo()
            await ledger.read(need)
        else:
            return published, [encode(event) for event, _ in published]
