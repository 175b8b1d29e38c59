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
from bridge.journal.postgres.cursor import SubscriberCursor
from bridge.journal.postgres.database import (
    AFTER_FAILURE,
    PASSING,
    Connection,
    ending_within,
    told,
)

if TYPE_CHECKING:
    from bridge.journal.postgres.journal import PostgresJournal

_LOG: Final = logging.getLogger("bridge.journal")

_LAST: Final = "\n"  # before a position; no subscriber's name begins so
_GONE: Final = 2.0  # seconds
_SILENT: Final = 10.0

_LOOK: Final = """
SELECT last, EXISTS (SELECT 1 FROM $.queues WHERE due <= extract(epoch FROM clock_timestamp()))
FROM $.head
"""
_MEMBERS: Final = """
SELECT owner, beat, serves, session IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM pg_stat_activity WHERE pid = session AND backend_start = session_start
) FROM $.members
"""
_ANNOUNCE: Final = """
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, word)
FROM unnest(%s::text[]) AS word
"""
_JOIN: Final = """
INSERT INTO $.members (owner, serves, session, session_start)
SELECT %s, %s, pid, backend_start FROM (SELECT 1) AS one
LEFT JOIN pg_stat_activity ON pid = pg_backend_pid() AND %s
ON CONFLICT (owner) DO UPDATE SET beat = members.beat + 1, serves = excluded.serves,
    session = excluded.session, session_start = excluded.session_start
"""
_SERVE: Final = """
WITH me AS (UPDATE $.members SET serves = %s WHERE owner = %s)
SELECT count(*) FROM $.members WHERE %s = ANY(serves) AND owner <> %s
"""
_MINE: Final = "SELECT subscriber, partition FROM $.cursors WHERE owner = %s"
_PUT_BACK: Final = """
INSERT INTO $.cursors (subscriber, owner, partition, position)
SELECT %s, %s, partition, position
FROM unnest(%s::smallint[], %s::bigint[]) AS gone (partition, position)
ON CONFLICT DO NOTHING
"""
_LEAVE: Final = """
WITH me AS (DELETE FROM $.members WHERE owner = %s)
UPDATE $.cursors SET owner = NULL WHERE owner = %s
"""
_CLAIM: Final = """
WITH free AS MATERIALIZED (
    SELECT subscriber, partition FROM $.cursors
    WHERE subscriber = %s AND (owner IS NULL OR owner NOT IN (SELECT owner FROM $.members))
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
    where something that waits is due. `fault` is what keeps it from that while the server is there.
    """

    def __init__(self, journal: PostgresJournal) -> None:
        self.owner = uuid4().hex
        self.joined = asyncio.Event()
        self.fault: str | None = None
        self._journal = journal
        self._database = journal.database
        self._poll, self._pooler = journal.settings.poll, journal.settings.pooler
        self._channel = f"bridge_{journal.settings.schema}"
        self._seen: dict[str, tuple[int, float]] = {}  # beats, and since when they stand still
        self._beats_at = 0.0
        self._announced: set[str] = set()
        self._to_announce = asyncio.Event()

    async def run(self) -> None:
        """Beat, listen, and serve a fair share, with a new connection whenever one is lost."""
        while True:
            try:
                async with self._database.session() as connection:
                    await self._take_part(connection)
            except (psycopg.Error, JournalError) as error:
                self._note(error)
                await asyncio.sleep(AFTER_FAILURE)

    def _note(self, error: psycopg.Error | JournalError) -> None:
        """Say once what does not pass by itself: others' events are not heard of meanwhile."""
        if isinstance(error, (*PASSING, JournalError)):
            _LOG.debug("the server is away: %s", told(error))
        elif self.fault is None:
            self.fault = told(error)
            _LOG.critical("subscribers are not served as they should be: %s", self.fault)

    async def _take_part(self, connection: Connection) -> None:
        database = self._database
        self._seen.clear()  # whoever lost the connection too has time to come back
        with ending_within(database.ends_within, connection):
            if not self._pooler:
                await connection.execute(f'LISTEN "{self._channel}"')
            if self.joined.is_set():
                await self._beat(connection)
            await database.execute(connection, _JOIN, (self.owner, self._serves, not self._pooler))
        self.joined.set()
        while True:
            with ending_within(database.ends_within, connection):
                await self._look_around(connection)
            self.fault = None
            if self._pooler:
                await asyncio.sleep(self._poll)
                continue
            until = time.monotonic() + self._poll
            words: set[str] = set()
            while "" not in words and (left := until - time.monotonic()) > 0:
                words.clear()
                async for notification in connection.notifies(timeout=left, stop_after=1):
                    words.add(notification.payload)
                for word in words:
                    if word.startswith(_LAST):
                        self._journal.heard_of(int(word[1:]))
                    else:
                        await self._journal.heard(word)

    async def _look_around(self, connection: Connection) -> None:
        database, known = self._database, self._journal.committed
        looked = await (await database.execute(connection, _LOOK)).fetchone()
        last, is_due = looked or (known, False)
        if last < known:
            await self._journal.lost()
        self._journal.committed = max(known, self._journal.committed, last)
        self._journal.heard_of(last)
        if is_due:
            self._journal.appender.look_for_due()
        now = time.monotonic()
        if now < self._beats_at:
            return
        self._beats_at = now + self._poll / 2
        await self._beat(connection)
        members = await (await database.execute(connection, _MEMBERS)).fetchall()
        for owner, beat, _, is_gone in members:
            before, since = self._seen.get(owner, (None, now))
            self._seen[owner] = (beat, since if beat == before else now)
            if owner != self.owner and now - self._seen[owner][1] > (_GONE if is_gone else _SILENT):
                await self._remove(connection, owner, beat)
        await self._look_after_progress(connection)
        for cursor in tuple(self._journal.cursors.values()):
            serving = sum(cursor.name in serves for _, _, serves, _ in members)
            await self.share(connection, cursor, max(1, serving))

    async def _beat(self, connection: Connection) -> None:
        """Show that this process lives; where others took it for dead, begin anew."""
        beaten = await self._database.execute(
            connection, "UPDATE $.members SET beat = beat + 1 WHERE owner = %s", (self.owner,)
        )
        if beaten.rowcount:
            return
        _LOG.warning("this process was taken for dead, and what it served is served by others")
        self.owner = uuid4().hex
        for cursor in self._journal.cursors.values():
            cursor.drop(tuple(cursor.partitions))
        await self._database.execute(
            connection, _JOIN, (self.owner, self._serves, not self._pooler)
        )

    async def _look_after_progress(self, connection: Connection) -> None:
        """Put back what somebody deleted of how far subscribers are; let go of what others serve.

        Otherwise the next process would begin at the end, and pass over what it has not taken.
        """
        serves = {cursor: dict(cursor.partitions) for cursor in self._journal.cursors.values()}
        mine = await self._database.execute(connection, _MINE, (self.owner,))
        kept = set(await mine.fetchall())
        for cursor, partitions in serves.items():
            gone = [number for number in partitions if (cursor.name, number) not in kept]
            gone = [each for each in gone if cursor.partitions.get(each) is partitions[each]]
            if not gone or self._journal.cursors.get(cursor.name) is not cursor:
                continue
            positions = [partitions[number].settled for number in gone]
            put_back = await self._database.execute(
                connection, _PUT_BACK, (cursor.name, self.owner, gone, positions)
            )
            if put_back.rowcount:
                _LOG.critical(
                    "somebody deleted from the table cursors how far %s is: it is put back",
                    cursor.name,
                )
            if put_back.rowcount < len(gone):
                cursor.drop(gone)  # and claimed again where nobody else has it

    async def _remove(self, connection: Connection, owner: str, beat: int) -> None:
        _LOG.warning("the bridge process %s has stopped; others go on with what it served", owner)
        await self._database.execute(
            connection, "DELETE FROM $.members WHERE owner = %s AND beat = %s", (owner, beat)
        )
        self._seen.pop(owner, None)

    @property
    def _serves(self) -> list[str]:
        return sorted({cursor.name for cursor in self._journal.cursors.values()})

    async def share(
        self, connection: Connection, cursor: SubscriberCursor, serving: int, *, untold: bool = True
    ) -> None:
        """Claim partitions up to a fair share of a subscriber's, and let go of more than that."""
        fair = -(-self._journal.partitions // serving)
        if leaving := cursor.at_rest():
            await self._database.execute(
                connection,
                "UPDATE $.cursors SET owner = NULL "
                "WHERE subscriber = %s AND owner = %s AND partition = ANY(%s)",
                (cursor.name, self.owner, list(leaving)),
            )
            cursor.drop(leaving)
            self.announce("")
        staying = sum(not each.leaving for each in cursor.partitions.values())
        if staying > fair:
            cursor.leave(staying - fair)
        elif len(cursor.partitions) < fair:
            room = fair - len(cursor.partitions)
            claimed = await self._database.execute(
                connection, _CLAIM, (cursor.name, room, self.owner)
            )
            positions: dict[int, int] = dict(await claimed.fetchall())
            if positions:
                await cursor.begin(positions, untold=untold)
                if untold:
                    await self._journal.heard(cursor.name)

    async def serve(self, cursor: SubscriberCursor) -> None:
        """Note that this process serves a subscriber, and claim what is free of it."""
        values = (self._serves, self.owner, cursor.name, self.owner)
        ((others,),) = await self._database.rows(_SERVE, values)
        await self._database.run(
            lambda connection: self.share(connection, cursor, 1 + others, untold=False)
        )

    async def leave(self) -> None:
        """Let others have what this process served, at once."""
        with suppress(JournalError):
            await self._database.change(_LEAVE, (self.owner, self.owner))

    # --- what others are told ------------------------------------------------------------------

    def announce(self, word: str) -> None:
        """Tell the other processes soon: a subscriber's name, or "" for a change of members."""
        self._announced.add(word)
        self._to_announce.set()

    def announce_last(self, last: int) -> None:
        """Tell the other processes, if any, soon that there are entries up to a position."""
        if len(self._seen) > 1:
            self.announce(f"{_LAST}{last}")

    async def run_announcing(self) -> None:
        """Tell the other processes, outside of appends: a commit that notifies blocks others."""
        while True:
            await self._to_announce.wait()
            self._to_announce.clear()
            words, self._announced = self._announced, set()
            if self._pooler:
                continue
            with suppress(JournalError):  # then it is looked for
                await self._database.rows(_ANNOUNCE, (self._channel, list(words)))
            await asyncio.sleep(0.01)
