"""The processes that share the journal: who lives, who serves which partition, and what is new.

Each process is a row whose `beat` grows. One that another process sees standing still is taken
for dead, and its partitions are free: after two seconds where its session is gone from the server
too, else after ten. No clocks are compared.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import psycopg

from bridge.errors import JournalError
from bridge.journal.postgres.database import (
    AFTER_FAILURE,
    NAME,
    PASSING,
    Connection,
    ending_within,
    told,
)
from bridge.journal.postgres.ledger import HEAD_IS_EMPTY

if TYPE_CHECKING:
    from bridge.journal.postgres.cursor import SubscriberCursor
    from bridge.journal.postgres.journal import PostgresJournal

_LOG: Final = logging.getLogger("bridge.journal")

LAST: Final = "\n"  # before a position; no subscriber's name begins so
_GONE: Final = 2.0  # seconds
_SILENT: Final = 10.0

_LOOK: Final = f"""
WITH me AS (UPDATE $.members SET beat = beat + 1, serves = %s WHERE owner = %s)
SELECT last, (SELECT min(due) FROM $.queues) - extract(epoch FROM clock_timestamp()),
    owner, beat, serves, listens AND NOT EXISTS (
        SELECT FROM pg_stat_activity WHERE application_name = '{NAME} ' || owner
    )
FROM $.head LEFT JOIN $.members ON true
"""  # noqa: S608 - our own text
_ANNOUNCE: Final = """
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, word)
FROM unnest(%s::text[]) AS word
"""
_MINE: Final = "SELECT subscriber, partition FROM $.cursors WHERE owner = %s"
_PUT_BACK: Final = """
INSERT INTO $.cursors (subscriber, owner, partition, position)
SELECT %s, %s, partition, position
FROM unnest(%s::smallint[], %s::bigint[]) AS gone (partition, position)
ON CONFLICT DO NOTHING
"""
_GIVE_BACK: Final = """
UPDATE $.cursors SET owner = NULL WHERE subscriber = %s AND owner = %s AND partition = ANY(%s)
"""
_LEAVE: Final = """
WITH me AS (DELETE FROM $.members WHERE owner = %s)
UPDATE $.cursors SET owner = NULL WHERE owner = %s
"""
_CLAIM: Final = """
WITH free AS MATERIALIZED (
    SELECT subscriber, partition FROM $.cursors
    WHERE subscriber = %s AND (owner IS NULL OR owner NOT IN (SELECT owner FROM $.members))
    AND partition <> ALL(%s)
    ORDER BY partition LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE $.cursors SET owner = %s FROM free
WHERE cursors.subscriber = free.subscriber AND cursors.partition = free.partition
RETURNING cursors.partition, cursors.position
"""


class Members:
    """This process among the others, while `run` runs.

    It tells the journal what another process announces (a subscriber of which something has
    changed, or an empty word for a change of members), the last position, again and again, and
    when something that waits is due. `fault` is what keeps it from that while the server is there.
    """

    def __init__(self, journal: PostgresJournal) -> None:
        self.owner = uuid4().hex
        self.joined = asyncio.Event()
        self.fault: str | None = None
        self._journal = journal
        self._database = journal.database
        self._poll, self._listens = journal.settings.poll, not journal.settings.pooler
        self._next_look = self._poll  # in seconds
        self._channel = f"bridge_{journal.settings.schema}"
        self._seen: dict[str, tuple[int, float]] = {}  # beats, and since when they stand still
        self._looking = asyncio.Lock()
        self._announced: set[str] = set()
        self._to_announce = asyncio.Event()

    async def run(self) -> None:
        """Beat, listen, and serve a fair share, with a new connection whenever one is lost."""
        while True:
            try:
                async with await self._database.connect(self.owner) as connection:
                    await self._take_part(connection)
            except (psycopg.Error, JournalError) as error:
                if isinstance(error, (*PASSING, JournalError)):
                    _LOG.debug("the server is away: %s", told(error))
                elif self.fault is None:  # it does not pass by itself
                    self.fault = told(error)
                    _LOG.critical("subscribers are not served as they should be: %s", self.fault)
                await asyncio.sleep(AFTER_FAILURE)

    async def _take_part(self, connection: Connection) -> None:
        """Return where others took this process for dead: it begins anew under another name."""
        self._seen = {}  # whoever lost the connection too has time to come back
        with ending_within(self._database.ends_within, connection):
            if self._listens:
                await connection.execute(f'LISTEN "{self._channel}"')
            if not self.joined.is_set():
                join = "INSERT INTO $.members (owner, listens) VALUES (%s, %s)"
                await self._database.execute(connection, join, (self.owner, self._listens))
                self.joined.set()
        while await self._look(connection):
            self.fault = None
            await self._listen(connection)
        _LOG.warning("this process was taken for dead, and what it served is served by others")
        self.owner = uuid4().hex
        self.joined.clear()
        for cursor in self._journal.cursors.values():
            cursor.partitions.clear()

    async def _listen(self, connection: Connection) -> None:
        """Hear what others announce until it is time to look, or the members have changed."""
        until = time.monotonic() + self._next_look
        words: set[str] = set()
        while "" not in words and (left := until - time.monotonic()) > 0:
            heard = connection.notifies(timeout=left, stop_after=1)
            words = {notification.payload async for notification in heard}
            for word in words:
                await self._journal.heard(word)

    async def _look(self, connection: Connection) -> bool:
        """Beat, and see what there is to do; return whether others count this process in."""
        async with self._looking:
            with ending_within(self._database.ends_within, connection):
                return await self._look_around(connection)

    async def _look_around(self, connection: Connection) -> bool:
        known = self._journal.confirmed
        values = (sorted(self._journal.cursors), self.owner)
        members = await (await self._database.execute(connection, _LOOK, values)).fetchall()
        if not members:
            raise JournalError(HEAD_IS_EMPTY)
        last, due_in = members[0][:2]
        if last < known:
            await self._journal.behind()
        self._journal.confirmed = max(self._journal.confirmed, last)
        self._journal.tail.hear_of(last)
        self._next_look = self._poll
        if due_in is not None and due_in > 0:
            self._next_look = min(due_in, self._poll)
        elif due_in is not None:
            self._journal.appender.look_for_due()
        now, before, self._seen = time.monotonic(), self._seen, {}
        served = []
        for *_, owner, beat, serves, is_gone in members:
            seen = before.get(owner)
            self._seen[owner] = seen if seen is not None and seen[0] == beat else (beat, now)
            if owner == self.owner or owner is None:
                continue
            if now - self._seen[owner][1] > (_GONE if is_gone else _SILENT):
                _LOG.warning("the bridge process %s has stopped; others go on with its work", owner)
                remove = "DELETE FROM $.members WHERE owner = %s AND beat = %s"
                await self._database.execute(connection, remove, (owner, beat))
            else:
                served += serves
        if self.owner not in self._seen:
            return False
        await self._look_after_progress(connection)
        for cursor in tuple(self._journal.cursors.values()):
            await self._share(connection, cursor, 1 + served.count(cursor.name))
        return True

    async def _look_after_progress(self, connection: Connection) -> None:
        """Put back what somebody deleted of how far subscribers are; let go of what others serve.

        Otherwise the next process would begin at the end, and pass over what it has not taken.
        A claim whose answer was lost is given back.
        """
        mine = await self._database.execute(connection, _MINE, (self.owner,))
        kept = set(await mine.fetchall())
        cursors = tuple(self._journal.cursors.values())
        for name, number in kept - {(each.name, n) for each in cursors for n in each.partitions}:
            await self._give_back(connection, name, [number])
        for cursor in cursors:
            gone = [number for number in cursor.partitions if (cursor.name, number) not in kept]
            if not gone:
                continue
            positions = [cursor.partitions[number].settled for number in gone]
            values = (cursor.name, self.owner, gone, positions)
            put_back = await self._database.execute(connection, _PUT_BACK, values)
            if put_back.rowcount:
                told = "somebody deleted from the table cursors how far %s is: it is put back"
                _LOG.critical(told, cursor.name)
            if put_back.rowcount < len(gone):
                for number in gone:  # they are claimed again where nobody else has them
                    cursor.partitions.pop(number, None)

    async def _share(self, connection: Connection, cursor: SubscriberCursor, serving: int) -> None:
        """Claim partitions up to a fair share of a subscriber's, and let go of more than that."""
        fair = -(-self._journal.partitions // serving)
        if leaving := cursor.at_rest():
            await self._give_back(connection, cursor.name, leaving)
            for number in leaving:
                cursor.partitions.pop(number, None)
        cursor.leave(beyond=fair)
        if (room := fair - len(cursor.partitions)) > 0:
            values = (cursor.name, cursor.left_open(), room, self.owner)
            claimed = await self._database.execute(connection, _CLAIM, values)
            positions: dict[int, int] = dict(await claimed.fetchall())
            if positions:
                await cursor.begin(positions)
                await self._journal.heard(cursor.name)

    async def _give_back(self, connection: Connection, name: str, partitions: list[int]) -> None:
        await self._database.execute(connection, _GIVE_BACK, (name, self.owner, partitions))
        self.announce("")

    async def serve(self) -> None:
        """Claim what is free of what this process serves since now."""
        await self._database.run(self._look, alone=True)

    async def leave(self) -> None:
        """Let others have what this process served, at once."""
        with suppress(JournalError):
            await self._database.change(_LEAVE, (self.owner, self.owner))

    # --- what others are told ------------------------------------------------------------------

    def announce(self, *words: str) -> None:
        """Tell the other processes soon: a subscriber's name, or "" for a change of members."""
        if self._listens:
            self._announced.update(words)
            self._to_announce.set()

    def announce_last(self, last: int) -> None:
        """Tell the other processes, if any, soon that there are entries up to a position."""
        if len(self._seen) > 1:
            self.announce(f"{LAST}{last}")

    async def run_announcing(self) -> None:
        """Tell the other processes, outside of appends: a commit that notifies blocks others."""
        while True:
            await self._to_announce.wait()
            self._to_announce.clear()
            words, self._announced = self._announced, set()
            with suppress(JournalError):  # then it is looked for
                await self._database.rows(_ANNOUNCE, (self._channel, list(words)))
            await asyncio.sleep(0.01)
