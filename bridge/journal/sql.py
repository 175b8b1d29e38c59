"""What operators and subscribers ask of a journal in SQL tables, once for SQLite and PostgreSQL.

Both engines keep entries, held entries, dead letters and states in tables of the same names. The
statements here are in the SQL that they share; what is not is in the engine's `Dialect`.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

from bridge.journal.dialect import WIDTH, Row
from bridge.journal.erasure import Subject
from bridge.journal.ledger import Record, decode_record
from bridge.journal.protocol import (
    DeadLetter,
    Entry,
    Held,
    Journal,
    Outcome,
    Retry,
    Settlement,
    SubscriberState,
)
from bridge.journal.query import MOST, Query
from bridge.journal.states import State
from bridge.journal.walking import Walking

_PAGE: Final = 1000
_STATES_PAGE: Final = 100  # each may be large
_LAG_COUNTED: Final = 10_000
_HELD_AGAIN: Final = (
    "ON CONFLICT (subscriber, position) "
    "DO UPDATE SET due_at = excluded.due_at, retry = excluded.retry"
)


class SqlJournal(Walking, Journal):
    """The part of a journal that asks its tables."""

    owner = ""
    """The name of this process among those that serve subscribers."""

    @abstractmethod
    async def _change(self, *statements: str, **values: object) -> int:
        """Run statements as one, and return how many rows the first one concerns.

        Raises `JournalError`.
        """

    @abstractmethod
    async def _erase_waiting(self, whom: Subject) -> int:
        """Let nothing about somebody wait to be published; return how much did."""

    @abstractmethod
    async def _forget_records(self, marks: Sequence[Any]) -> None:
        """Forget records, by the marks with which the dialect gives them."""

    @abstractmethod
    async def _overwrite(self) -> None:
        """Let nothing be left of what was erased, in memory or in free space."""

    # --- entries -----------------------------------------------------------------------------

    async def scan(self, query: Query) -> AsyncGenerator[Sequence[Entry]]:
        """See `Journal.scan`.

        The database looks for the strings that a match holds, which is a hundred times faster than
        decoding; only what is left is decoded and matched. `since` narrows the walk first, as
        positions are in the order of time.
        """

        def is_match(entry: Entry) -> bool:
            return query.matches(entry.event, reparsed=entry.reparsed)

        async for page in self._walk(query, query.needles, is_match):
            yield page

    async def known(self) -> AsyncGenerator[Sequence[bytes]]:
        """See `Journal.known`."""
        after = 0
        while page := await self._rows(
            "SELECT position, key FROM $.entries WHERE position > :after AND event IS NULL "
            "ORDER BY position LIMIT :page",
            tuple,
            after=after,
            page=_PAGE,
        ):
            yield [key for _, key in page]
            after = page[-1][0]

    async def mark_reparsed(self, positions: Sequence[int]) -> None:
        """See `Journal.mark_reparsed`."""
        dialect = self._dialect
        await self._change(
            f"UPDATE $.entries SET {dialect.reparsed} = true WHERE position {dialect.among}",  # noqa: S608
            positions=list(positions),
        )

    # --- subscribers -------------------------------------------------------------------------

    async def subscribers(self) -> Sequence[SubscriberState]:
        """See `Journal.subscribers`; a lag beyond 10,000 is an estimate from above."""
        dialect = self._dialect

        def state(row: Row) -> SubscriberState:
            name, position, held, dead, lag, last = row
            if lag > _LAG_COUNTED:  # counting it would read all those entries
                lag = (last - position) // dialect.stride
            return SubscriberState(name=name, position=position, lag=lag, held=held, dead=dead)

        return await self._rows(
            f"""
            SELECT subscriber, position,
                (SELECT count(*) FROM $.held WHERE held.subscriber = own.subscriber),
                (SELECT count(*) FROM $.dead WHERE dead.subscriber = own.subscriber),
                (SELECT count(*) FROM (
                    SELECT 1 FROM $.entries JOIN {dialect.cursors} AS cursors ON {dialect.serves}
                    WHERE cursors.subscriber = own.subscriber AND event IS NOT NULL
                    AND entries.position > cursors.position AND entries.position > own.position
                    LIMIT :counted
                ) AS few),
                (SELECT max(position) FROM $.entries)
            FROM (
                SELECT subscriber, min(position) AS position FROM {dialect.cursors} AS cursors
                GROUP BY subscriber
            ) AS own ORDER BY subscriber
            """,  # noqa: S608 - the engine's own text, here and below
            state,
            counted=_LAG_COUNTED + 1,
        )

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        tables = ("held", *self._dialect.notes)
        return bool(
            await self._change(
                self._dialect.forget,
                *(f"DELETE FROM $.{table} WHERE subscriber = :subscriber" for table in tables),  # noqa: S608
                subscriber=name,
            )
        )

    async def unsettled(self, subscriber: str) -> AsyncGenerator[Sequence[Held]]:
        """See `Journal.unsettled`."""
        dialect, after = self._dialect, 0
        while page := await self._rows(
            f"""
            SELECT {dialect.columns}, retry FROM $.entries
            JOIN {dialect.cursors} AS cursors ON {dialect.serves} LEFT JOIN $.held AS held
            ON held.subscriber = cursors.subscriber AND held.position = entries.position
            WHERE entries.position > :after AND cursors.subscriber = :subscriber
            AND event IS NOT NULL AND (retry IS NOT NULL OR entries.position > cursors.position)
            ORDER BY entries.position LIMIT :page
            """,  # noqa: S608
            self._held,
            after=after,
            subscriber=subscriber,
            page=_PAGE,
        ):
            yield page
            after = page[-1].entry.position

    def _held(self, row: Row) -> Held:
        retry = row[WIDTH]
        return Held(
            entry=self._entry(row),
            retry=Retry() if retry is None else Retry.decode(retry),
        )

    # --- what a subscriber has settled and holds -------------------------------------------------

    def changes_of(
        self, subscriber: str, settlement: Settlement
    ) -> Sequence[tuple[str, Sequence[Mapping[str, object]]]]:
        """Return the statements of a settlement, but for its position, and the values of each row.

        What has been purged meanwhile is neither held nor a dead letter. A dead letter that is told
        again, since nobody could know that it was kept, is the same.
        """
        copied = ", ".join(self._dialect.copied)
        mine = f"position = :position AND {self._dialect.mine}"
        hold = (
            f"INSERT INTO $.held (subscriber, position, {copied}, due_at, retry) "  # noqa: S608
            f"SELECT :subscriber, position, {copied}, :due_at, :retry FROM $.entries "
            f"WHERE {mine} AND event IS NOT NULL {_HELD_AGAIN}"
        )
        die = (
            "INSERT INTO $.dead (subscriber, position, retry) "  # noqa: S608
            f"SELECT :subscriber, position, :retry FROM $.entries WHERE {mine} "
            "AND event IS NOT NULL AND NOT EXISTS (SELECT 1 FROM $.dead WHERE dead.subscriber "
            "= :subscriber AND dead.position = :position AND dead.retry = :retry)"
        )
        release = f"DELETE FROM $.held WHERE subscriber = :subscriber AND {mine}"  # noqa: S608

        mine_alone = {"subscriber": subscriber, "owner": self.owner}

        def values(each: Held) -> Mapping[str, object]:
            retry = each.retry
            told = {"due_at": retry.due_at, "retry": retry.encode()}
            return {**mine_alone, "position": each.entry.position, **told}

        dead = [values(each) for each in settlement.dead]
        released = [{**mine_alone, "position": position} for position in settlement.released]
        return (
            (hold, [values(each) for each in settlement.held]),
            (die, dead),
            (release, [*released, *dead]),
        )

    async def waiting(self, subscriber: str) -> Mapping[str, float]:
        """Return what `Cursor.waiting` does of a subscriber."""
        indexed = self._dialect.indexed.format
        return dict(
            await self._rows(
                "SELECT lane, due_at FROM $.held AS first "  # noqa: S608
                f"WHERE subscriber = :subscriber AND {self._dialect.mine} AND NOT EXISTS ("
                "SELECT 1 FROM $.held WHERE held.subscriber = :subscriber "
                f"AND {indexed('held.lane')} = {indexed('first.lane')} "
                "AND held.position < first.position) ORDER BY position",
                lambda row: (self._dialect.read_lane(row[0]), row[1] or 0.0),
                subscriber=subscriber,
                owner=self.owner,
            )
        )

    async def held(self, subscriber: str, lane: str, limit: int) -> Sequence[Held]:
        """Return what `Cursor.held` does of a subscriber."""
        indexed = self._dialect.indexed.format
        return await self._rows(
            f"SELECT {self._dialect.columns}, retry FROM $.held {self._dialect.by_lane} "  # noqa: S608
            "JOIN $.entries USING (position) WHERE subscriber = :subscriber "
            f"AND {indexed('held.lane')} = {indexed(':lane')} "
            "AND event IS NOT NULL ORDER BY position LIMIT :limit",
            self._held,
            subscriber=subscriber,
            lane=self._dialect.write_lane(lane),
            limit=limit,
        )

    async def outcomes(self, position: int) -> Sequence[Outcome]:
        """See `Journal.outcomes`."""
        dialect = self._dialect
        letters = await self._letters("position = :position ORDER BY id", position=position)
        # A subscriber that failed with a replay again may have several: the newest counts.
        dead = {letter.subscriber: letter for letter in letters}

        def outcome(row: Row) -> Outcome:
            name, done, retry = row
            held = None if retry is None else Retry.decode(retry)
            return Outcome.of(name, held=held, dead=dead.get(name), done=bool(done))

        return await self._rows(
            f"""
            SELECT cursors.subscriber, entries.position <= cursors.position, retry FROM $.entries
            JOIN {dialect.cursors} AS cursors ON {dialect.serves} LEFT JOIN $.held AS held
            ON held.subscriber = cursors.subscriber AND held.position = entries.position
            WHERE entries.position = :position ORDER BY cursors.subscriber
            """,  # noqa: S608
            outcome,
            position=position,
        )

    async def replay(self, positions: Sequence[int], subscriber: str) -> int:
        """See `Journal.replay`."""
        dialect, again = self._dialect, Retry(due_at=self._now(), replayed=True)
        copied = ", ".join(dialect.copied)
        return await self._change(
            f"""
            INSERT INTO $.held (subscriber, position, {copied}, due_at, retry)
            SELECT cursors.subscriber, entries.position,
                {", ".join(f"entries.{column}" for column in dialect.copied)}, :due_at, :retry
            FROM $.entries JOIN {dialect.cursors} AS cursors ON {dialect.serves}
            WHERE cursors.subscriber = :subscriber AND entries.position {dialect.among}
            AND event IS NOT NULL AND (entries.position <= cursors.position OR EXISTS (
                SELECT 1 FROM $.dead
                WHERE dead.subscriber = :subscriber AND dead.position = entries.position
            )) {_HELD_AGAIN}
            """,  # noqa: S608
            *(
                f"DELETE FROM $.{table} WHERE subscriber = :subscriber AND position {dialect.among}"  # noqa: S608
                for table in dialect.notes
            ),
            subscriber=subscriber,
            positions=list(positions),
            due_at=again.due_at,
            retry=again.encode(),
        )

    def _now(self) -> float:
        return time.time()

    async def dead_letters(
        self, subscriber: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """See `Journal.dead_letters`."""
        return await self._letters(
            "id > :after AND (CAST(:subscriber AS text) IS NULL OR subscriber = :subscriber) "
            "ORDER BY id LIMIT :limit",
            after=after,
            subscriber=subscriber,
            limit=limit,
        )

    async def _letters(self, condition: str, **values: object) -> Sequence[DeadLetter]:
        def letter(row: Row) -> DeadLetter:
            number, name, retry = row[WIDTH:]
            return DeadLetter(
                id=number, subscriber=name, entry=self._entry(row), retry=Retry.decode(retry)
            )

        return await self._rows(
            f"SELECT {self._dialect.columns}, id, subscriber, retry "  # noqa: S608
            f"FROM $.dead JOIN $.entries USING (position) WHERE event IS NOT NULL AND {condition}",
            letter,
            **values,
        )

    async def drop(self, letter: int) -> bool:
        """See `Journal.drop`."""
        return await self._change("DELETE FROM $.dead WHERE id = :id", id=letter) > 0

    # --- what subscribers remember of conversations ------------------------------------------

    async def read_state(self, conversation: str, name: str) -> State | None:
        """See `Journal.read_state`."""
        found = await self._states(
            "conversation = :conversation AND name = :name",
            conversation=self._dialect.write_lane(conversation),
            name=name,
        )
        return found[0] if found else None

    async def write_state(self, state: State) -> None:
        """See `Journal.write_state`."""
        await self._change(
            "INSERT INTO $.states (conversation, name, expires_at, value) "
            "VALUES (:conversation, :name, :expires_at, :value) ON CONFLICT (conversation, name) "
            "DO UPDATE SET expires_at = excluded.expires_at, value = excluded.value",
            conversation=self._dialect.write_lane(state.conversation),
            name=state.name,
            expires_at=state.expires_at,
            value=state.value,
        )

    async def erase_state(self, conversation: str, name: str) -> None:
        """See `Journal.erase_state`."""
        await self._change(
            "DELETE FROM $.states WHERE conversation = :conversation AND name = :name",
            conversation=self._dialect.write_lane(conversation),
            name=name,
        )

    async def states(self, name: str | None = None) -> AsyncGenerator[Sequence[State]]:
        """See `Journal.states`."""
        conversation = last = ""
        while page := await self._states(
            "(conversation, name) > (:conversation, :last) "
            f"{'' if name is None else 'AND name = :name '}"
            "ORDER BY conversation, name LIMIT :page",
            conversation=self._dialect.write_lane(conversation),
            last=last,
            name=name,
            page=_STATES_PAGE,
        ):
            yield page
            conversation, last = page[-1].conversation, page[-1].name

    async def _states(self, condition: str, **values: object) -> Sequence[State]:
        def state(row: Row) -> State:
            lane, name, expires_at, value = row
            conversation = self._dialect.read_lane(lane)
            return State(conversation=conversation, name=name, expires_at=expires_at, value=value)

        return await self._rows(
            f"SELECT conversation, name, expires_at, value FROM $.states WHERE {condition}",  # noqa: S608
            state,
            **values,
        )

    # --- erasing somebody --------------------------------------------------------------------

    async def _records(self) -> AsyncGenerator[Sequence[tuple[Any, Record]]]:
        """Give what is remembered, each with the mark by which it is forgotten."""
        after: Any = self._dialect.before_records
        while page := await self._rows(
            self._dialect.records,
            lambda row: (row[0], decode_record(row[1])),
            after=after,
            page=_PAGE,
        ):
            yield page
            after = page[-1][0]

    async def purge(self, subject: str) -> int:
        """See `Journal.purge`; goes over the whole journal, a little at a time.

        Events that are appended while it runs are not looked at.
        """
        dialect = self._dialect
        whom = Subject.of(subject)
        async for records in self._records():
            whom = whom.known_from(record for _, record in records)
        erased = await self._erase_waiting(whom)

        def is_about(entry: Entry) -> bool:
            return whom.is_in(entry.event)

        async for page in self._walk(Query(limit=MOST), [whom.needles], is_about):
            if page:
                erased += await self._change(
                    f"UPDATE $.entries SET lane = {dialect.no_lane}, event = NULL "  # noqa: S608
                    f"WHERE position {dialect.among}",
                    f"DELETE FROM $.held WHERE position {dialect.among}",  # noqa: S608
                    f"DELETE FROM $.dead WHERE position {dialect.among}",  # noqa: S608
                    positions=[entry.position for entry in page],
                )
        async for records in self._records():
            if marks := [mark for mark, record in records if whom.is_known_by(record)]:
                await self._forget_records(marks)
        after = ""
        while lanes := await self._rows(  # alone: whatever is remembered of them stays on disk
            "SELECT DISTINCT conversation FROM $.states WHERE conversation > :after "
            "ORDER BY conversation LIMIT :page",
            lambda row: dialect.read_lane(row[0]),
            after=dialect.write_lane(after),
            page=_PAGE,
        ):
            for lane in filter(whom.owns, lanes):
                await self._change(
                    "DELETE FROM $.states WHERE conversation = :conversation",
                    conversation=dialect.write_lane(lane),
                )
            after = lanes[-1]
        await self._overwrite()
        return erased
