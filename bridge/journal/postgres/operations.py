"""What operators ask of a journal in PostgreSQL, beside what `SqlJournal` asks of any tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from bridge.journal.dialect import Dialect
from bridge.journal.erasure import Subject
from bridge.journal.grouping import Append
from bridge.journal.ledger import Record, decode_record
from bridge.journal.newest import Newest
from bridge.journal.overlay import digest
from bridge.journal.postgres.appender import Appender
from bridge.journal.postgres.database import Connection, Database, Row
from bridge.journal.postgres.database import Cursor as DatabaseCursor
from bridge.journal.postgres.entries import lane_bytes, lane_text
from bridge.journal.postgres.housekeeping import vacuum
from bridge.journal.postgres.members import Members
from bridge.journal.protocol import Entry
from bridge.journal.sql import SqlJournal

T = TypeVar("T")


class Operations(SqlJournal):
    """The part of the journal that is for operators."""

    database: Database
    tail: Newest
    appender: Appender
    _members: Members
    _dialect = Dialect(
        cursors="$.cursors",
        serves="entries.partition = cursors.partition",
        forget="DELETE FROM $.cursors WHERE subscriber = :subscriber",
        copied=("partition", "lane"),
        notes=("dead", "done"),
        reparsed="reparsed",
        among="= ANY(:positions)",
        holds="position({} IN event) > 0",
        mine=(
            "partition IN (SELECT partition FROM $.cursors AS own "
            "WHERE own.subscriber = :subscriber AND own.owner = :owner)"
        ),
        records=(
            "SELECT name, record FROM $.records WHERE name > :after AND record IS NOT NULL "
            "ORDER BY name LIMIT :page"
        ),
        before_records=b"",
        no_lane="''",
        write_lane=lane_bytes,
        read_lane=lane_text,
        stride=2,
    )

    async def _rows(
        self, statement: str, make: Callable[[Row], T], **values: object
    ) -> tuple[T, ...]:
        return tuple(map(make, await self.database.rows(statement, values)))

    async def _change(self, *statements: str, **values: object) -> int:
        async def work(connection: Connection) -> list[DatabaseCursor]:
            return [await self.database.execute(connection, each, values) for each in statements]

        first, *_ = await self.database.run(work, alone=len(statements) == 1)
        return first.rowcount

    async def find(self, key: str) -> Entry | None:
        """See `Journal.find`."""
        found = await self._rows(
            f"SELECT {self._dialect.columns} FROM $.entries WHERE key = :key "  # noqa: S608
            "AND event IS NOT NULL",
            self._entry,
            key=digest(key),
        )
        return found[0] if found else None

    async def record(self, name: str) -> Record | None:
        """See `Journal.record`."""
        rows = await self.database.rows(
            "SELECT coalesce(own.record, other.record) FROM $.records AS own "
            "LEFT JOIN $.records AS other ON other.name = own.tied_to WHERE own.name = %b",
            (digest(name),),
        )
        return decode_record(rows[0][0]) if rows and rows[0][0] is not None else None

    async def is_served(self, name: str) -> bool:
        """See `SharedJournal.is_served`."""
        return bool(
            await self.database.rows(
                "SELECT 1 FROM $.cursors JOIN $.members USING (owner) WHERE subscriber = %s",
                (name,),
            )
        )

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`; all processes are told."""
        count = await super().replay(positions, subscriber)
        self._members.announce(subscriber)
        return count

    # --- erasing somebody --------------------------------------------------------------------

    async def _erase_waiting(self, whom: Subject) -> int:
        return (await self.appender.put(Append(erase=whom))).erased

    async def _forget_records(self, marks: Sequence[bytes]) -> None:
        await self.database.change("DELETE FROM $.records WHERE name = ANY(%b)", (list(marks),))

    async def _overwrite(self) -> None:
        """See `SqlJournal`; the server's write-ahead log and its backups keep what they have."""
        self.tail.clear()
        await vacuum(self.database)
