"""What operators ask of a journal in PostgreSQL, each question and change a few statements."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from bridge.journal.erasure import Subject
from bridge.journal.ledger import Record, decode_record
from bridge.journal.overlay import digest
from bridge.journal.postgres.appender import Appender
from bridge.journal.postgres.database import Database, Row
from bridge.journal.postgres.entries import COLUMNS, WIDTH, lane_bytes, lane_text, read_entry
from bridge.journal.postgres.housekeeping import vacuum
from bridge.journal.postgres.members import Members
from bridge.journal.protocol import (
    DeadLetter,
    Entry,
    Held,
    Journal,
    Outcome,
    Retry,
    SubscriberState,
)
from bridge.journal.query import MOST, Query
from bridge.journal.states import State

_PAGE: Final = 1000
_STATES_PAGE: Final = 100  # each may be large
_LARGEST_PAGE: Final = 8 << 20  # bytes of JSON
_STEP: Final = 5000  # positions that one step of a search looks at, at most
_CLOCKS_APART: Final = 3600.0  # seconds, of a bridge's clock and the server's
_LAG_COUNTED: Final = 10_000
_SELECT: Final = f"SELECT {COLUMNS} FROM $.entries"  # noqa: S608 - our own columns
_SELECT_STATES: Final = "SELECT conversation, name, expires_at, value FROM $.states"
_LETTERS: Final = (
    f"SELECT {COLUMNS}, id, subscriber, retry "  # noqa: S608 - our own columns
    "FROM $.dead JOIN $.entries USING (position) WHERE event IS NOT NULL AND "
)
_STATES: Final = """
SELECT subscriber, min(position),
    (SELECT count(*) FROM $.held WHERE held.subscriber = cursors.subscriber),
    (SELECT count(*) FROM $.dead WHERE dead.subscriber = cursors.subscriber),
    (SELECT count(*) FROM (
        SELECT 1 FROM $.entries JOIN $.cursors AS each USING (partition)
        WHERE each.subscriber = cursors.subscriber AND entries.position > each.position
        AND entries.position > min(cursors.position) AND event IS NOT NULL LIMIT %s
    ) AS few),
    (SELECT last FROM $.head)
FROM $.cursors GROUP BY subscriber ORDER BY subscriber
"""
_OUTCOMES: Final = """
SELECT cursors.subscriber, entries.position <= cursors.position, held.retry
FROM $.entries JOIN $.cursors USING (partition)
LEFT JOIN $.held ON held.subscriber = cursors.subscriber AND held.position = entries.position
WHERE entries.position = %s ORDER BY cursors.subscriber
"""
_REPLAY: Final = """
WITH letters AS (
    DELETE FROM $.dead WHERE subscriber = %s AND position = ANY(%s) RETURNING position
), taken AS (
    DELETE FROM $.done WHERE subscriber = %s AND position = ANY(%s)
)
INSERT INTO $.held SELECT subscriber, entries.position, partition, lane, %s, %b
FROM $.entries JOIN $.cursors USING (partition)
WHERE subscriber = %s AND entries.position = ANY(%s) AND event IS NOT NULL AND (
    entries.position <= cursors.position OR entries.position IN (SELECT position FROM letters)
) ON CONFLICT (subscriber, position) DO UPDATE SET due_at = excluded.due_at, retry = excluded.retry
"""
_FORGET: Final = """
WITH held AS (DELETE FROM $.held WHERE subscriber = %s),
    dead AS (DELETE FROM $.dead WHERE subscriber = %s),
    done AS (DELETE FROM $.done WHERE subscriber = %s)
DELETE FROM $.cursors WHERE subscriber = %s
"""
_ERASE: Final = """
WITH held AS (DELETE FROM $.held WHERE position = ANY(%s)),
    dead AS (DELETE FROM $.dead WHERE position = ANY(%s))
UPDATE $.entries SET lane = '', event = NULL WHERE position = ANY(%s)
"""
_UNSETTLED: Final = f"""
SELECT {COLUMNS}, retry FROM $.entries JOIN $.cursors USING (partition)
LEFT JOIN $.held ON held.subscriber = cursors.subscriber AND held.position = entries.position
WHERE entries.position > %s AND cursors.subscriber = %s AND event IS NOT NULL
AND (retry IS NOT NULL OR entries.position > cursors.position)
ORDER BY entries.position LIMIT %s
"""  # noqa: S608


class Operations(Journal):
    """The part of the journal that is for operators."""

    database: Database
    _appender: Appender
    _members: Members

    async def find(self, key: str) -> Entry | None:
        """See `Journal.find`."""
        rows = await self.database.rows(
            f"{_SELECT} WHERE key = %b AND event IS NOT NULL", (digest(key),)
        )
        return read_entry(rows[0]) if rows else None

    async def record(self, name: str) -> Record | None:
        """See `Journal.record`."""
        rows = await self.database.rows(
            "SELECT coalesce(own.record, other.record) FROM $.records AS own "
            "LEFT JOIN $.records AS other ON other.name = own.tied_to WHERE own.name = %b",
            (digest(name),),
        )
        return decode_record(rows[0][0]) if rows and rows[0][0] is not None else None

    async def read_after(
        self, position: int, limit: int, partitions: Sequence[int] | None = None
    ) -> list[Entry]:
        """Return entries beyond a position, of some partitions or of all: fewer of large ones."""
        chosen = "" if partitions is None else " AND partition = ANY(%s)"
        values = (position, *(() if partitions is None else (list(partitions),)), limit)
        return [
            read_entry(row)
            for row in await self.database.rows(
                f"SELECT position, at, lane, reparsed, event FROM (SELECT *, "  # noqa: S608
                "sum(octet_length(event)) OVER (ORDER BY position) AS total FROM "
                f"({_SELECT} WHERE position > %s AND event IS NOT NULL{chosen} "
                "ORDER BY position LIMIT %s) AS page) AS page "
                "WHERE total <= %s OR total = octet_length(event) ORDER BY position",
                (*values, _LARGEST_PAGE),
            )
        ]

    async def scan(self, query: Query) -> AsyncGenerator[Sequence[Entry]]:
        """See `Journal.scan`."""
        conditions: list[str] = []
        values: list[object] = []
        if query.conversation is not None:
            conditions.append("lane = %s")
            values.append(lane_bytes(query.conversation))
        if query.since is not None:
            conditions.append("at >= %s")
            values.append(query.since.timestamp() - _CLOCKS_APART)
        for alternatives in query.needles:
            conditions.append(_holds_one_of(alternatives))
            values += alternatives
        async for page in self._walk(query, conditions, values):
            yield [each for each in page if query.matches(each.event, reparsed=each.reparsed)]

    async def _walk(
        self, query: Query, conditions: Sequence[str], values: Sequence[object]
    ) -> AsyncGenerator[Sequence[Entry]]:
        """Give the entries for which conditions hold, in steps, so that no transaction is long."""
        ((first, last),) = await self.database.rows(
            "SELECT min(position), max(position) FROM $.entries WHERE position > %s "
            "AND position < coalesce(%s, 9223372036854775807)",
            (query.after, query.before),
        )
        where = " AND ".join(
            ("position >= %s AND position <= %s AND event IS NOT NULL", *conditions)
        )
        order = "DESC" if query.newest_first else "ASC"
        size = min(8 * query.limit, _STEP)
        while first is not None and first <= last:
            if query.newest_first:
                low, high = max(first, last - size + 1), last
                last = low - 1
            else:
                low, high = first, min(last, first + size - 1)
                first = high + 1
            rows = await self.database.rows(
                f"{_SELECT} WHERE {where} ORDER BY position {order}", (low, high, *values)
            )
            yield list(map(read_entry, rows))
            size = min(2 * size, _STEP)

    async def subscribers(self) -> Sequence[SubscriberState]:
        """See `Journal.subscribers`; a lag beyond 10,000 is an estimate from above."""
        rows = await self.database.rows(_STATES, (_LAG_COUNTED + 1,))
        return tuple(
            SubscriberState(
                name=name,
                position=position,
                lag=lag if lag <= _LAG_COUNTED else (last - position) // 2,
                held=held,
                dead=dead,
            )
            for name, position, held, dead, lag, last in rows
        )

    async def is_served(self, name: str) -> bool:
        """See `SharedJournal.is_served`."""
        return bool(
            await self.database.rows(
                "SELECT 1 FROM $.cursors JOIN $.members USING (owner) WHERE subscriber = %s",
                (name,),
            )
        )

    async def outcomes(self, position: int) -> Sequence[Outcome]:
        """See `Journal.outcomes`."""
        letters = await self._letters("position = %s ORDER BY id", (position,))
        dead = {letter.subscriber: letter for letter in letters}  # the newest of each
        return tuple(
            Outcome.of(
                name,
                held=None if retry is None else Retry.decode(retry),
                dead=dead.get(name),
                done=done,
            )
            for name, done, retry in await self.database.rows(_OUTCOMES, (position,))
        )

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`; all processes are told."""
        some = (subscriber, list(dict.fromkeys(positions)))
        again = Retry(due_at=time.time(), replayed=True)
        values = (*some, *some, again.due_at, again.encode(), *some)
        count = await self.database.change(_REPLAY, values)
        self._members.announce(subscriber)
        return count

    async def unsettled(self, subscriber: str) -> AsyncGenerator[Sequence[Held]]:
        """See `Journal.unsettled`."""
        async for rows in self.database.pages(_UNSETTLED, 0, (subscriber, _PAGE)):
            yield [
                Held(
                    entry=read_entry(row),
                    retry=Retry() if row[WIDTH] is None else Retry.decode(row[WIDTH]),
                )
                for row in rows
            ]

    async def known(self) -> AsyncGenerator[Sequence[bytes]]:
        """See `Journal.known`."""
        async for rows in self.database.pages(
            "SELECT position, key FROM $.entries WHERE position > %s AND event IS NULL "
            "ORDER BY position LIMIT %s",
            0,
            (_PAGE,),
        ):
            yield [key for _, key in rows]

    async def mark_reparsed(self, positions: Sequence[int]) -> None:
        """See `Journal.mark_reparsed`."""
        await self.database.change(
            "UPDATE $.entries SET reparsed = true WHERE position = ANY(%s)", (list(positions),)
        )

    async def dead_letters(
        self, subscriber: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """See `Journal.dead_letters`."""
        return await self._letters(
            "id > %s AND (%s::text IS NULL OR subscriber = %s) ORDER BY id LIMIT %s",
            (after, subscriber, subscriber, limit),
        )

    async def _letters(self, condition: str, values: Sequence[object]) -> Sequence[DeadLetter]:
        def letter(row: Row) -> DeadLetter:
            number, name, retry = row[WIDTH:]
            return DeadLetter(
                id=number, subscriber=name, entry=read_entry(row), retry=Retry.decode(retry)
            )

        rows = await self.database.rows(_LETTERS + condition, values)
        return tuple(map(letter, rows))

    async def drop(self, letter: int) -> bool:
        """See `Journal.drop`."""
        return await self.database.change("DELETE FROM $.dead WHERE id = %s", (letter,)) > 0

    # --- erasing somebody --------------------------------------------------------------------

    async def purge(self, subject: str) -> int:
        """See `Journal.purge`; goes over all events, and what is appended meanwhile is left out.

        The server's write-ahead log and its backups keep what they have.
        """
        whom = Subject.of(subject)
        async for records in self._records():
            whom = whom.known_from(record for _, record in records)
        erased = await self._appender.erase_waiting(whom)
        needles = whom.needles
        async for page in self._walk(Query(limit=MOST), [_holds_one_of(needles)], needles):
            gone = [each.position for each in page if whom.is_in(each.event)]
            if gone:
                erased += await self.database.change(_ERASE, (gone, gone, gone))
        async for records in self._records():
            names = [name for name, record in records if whom.is_known_by(record)]
            if names:
                await self.database.change("DELETE FROM $.records WHERE name = ANY(%b)", (names,))
        async for rows in self.database.pages(
            "SELECT DISTINCT conversation FROM $.states WHERE conversation > %b "
            "ORDER BY conversation LIMIT %s",
            b"",
            (_PAGE,),
        ):
            lanes = [each for (each,) in rows if whom.owns(lane_text(each))]
            if lanes:
                await self.database.change(
                    "DELETE FROM $.states WHERE conversation = ANY(%b)", (lanes,)
                )
        await vacuum(self.database)
        return erased

    async def _records(self) -> AsyncGenerator[Sequence[tuple[bytes, Record]]]:
        async for rows in self.database.pages(
            "SELECT name, record FROM $.records WHERE name > %b AND record IS NOT NULL "
            "ORDER BY name LIMIT %s",
            b"",
            (_PAGE,),
        ):
            yield [(name, decode_record(data)) for name, data in rows]

    # --- what subscribers remember of conversations --------------------------------------------

    async def read_state(self, conversation: str, name: str) -> State | None:
        """See `Journal.read_state`."""
        rows = await self.database.rows(
            f"{_SELECT_STATES} WHERE conversation = %b AND name = %s",
            (lane_bytes(conversation), name),
        )
        return _state(rows[0]) if rows else None

    async def write_state(self, state: State) -> None:
        """See `Journal.write_state`."""
        await self.database.change(
            "INSERT INTO $.states (conversation, name, expires_at, value) "
            "VALUES (%b, %s, %s, %b) ON CONFLICT (conversation, name) "
            "DO UPDATE SET expires_at = excluded.expires_at, value = excluded.value",
            (lane_bytes(state.conversation), state.name, state.expires_at, state.value),
        )

    async def erase_state(self, conversation: str, name: str) -> None:
        """See `Journal.erase_state`."""
        await self.database.change(
            "DELETE FROM $.states WHERE conversation = %b AND name = %s",
            (lane_bytes(conversation), name),
        )

    async def states(self, name: str | None = None) -> AsyncGenerator[Sequence[State]]:
        """See `Journal.states`."""
        after: tuple[bytes, str] = (b"", "")
        named, names = ("", ()) if name is None else ("AND name = %s ", (name,))
        while rows := await self.database.rows(
            f"{_SELECT_STATES} WHERE (conversation, name) > (%b, %s) {named}"
            "ORDER BY conversation, name LIMIT %s",
            (*after, *names, _STATES_PAGE),
        ):
            yield list(map(_state, rows))
            after = rows[-1][0], rows[-1][1]

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        return await self.database.change(_FORGET, (name,) * 4) > 0


def _holds_one_of(needles: Sequence[bytes]) -> str:
    """Return the condition that the JSON of an event holds one of these, as parameters."""
    return f"({' OR '.join(['position(%b IN event) > 0'] * len(needles))})"


def _state(row: Row) -> State:
    conversation, name, expires_at, value = row
    return State(
        conversation=lane_text(conversation), name=name, expires_at=expires_at, value=value
    )
