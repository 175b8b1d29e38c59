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

from bridge.errors import JournalError
from bridge.journal.postgres.database import (
    AFTER_FAILURE,
    HEAD_IS_EMPTY,
    NAME,
    Away,
    Connection,
    ending_within,
    telling,
)

if TYPE_CHECKING:
    from bridge.journal.postgres.cursor import SubscriberCursor
    from bridge.journal.postgres.journal import PostgresJournal

_LOG: Final = logging.getLogger("bridge.journal")

LAST: Final = "\n"  # before a position; no subscriber's name begins so
_GONE: Final = 2.0  # seconds
_SILENT: Final = 10.0

# The row of a process that others took for dead is made anew: what nobody has claimed it goes on
# to serve.
_LOOK: Final = f"""
WITH me AS (
    INSERT INTO $.members (owner, listens, serves) VALUES (%s, %s, %s)
    ON CONFLICT (owner) DO UPDATE SET beat = members.beat + 1, serves = excluded.serves
)
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
    AND partition <> ALL(%s::smallint[])
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
        self._seen: dict[
            str, tuple[int, float]
        ] = {}  # others' beats, and since when they stand still
        self._looked_at = 0.0
        self._looking = asyncio.Lock()
        self._announced: set[str] = set()
        self._to_announce = asyncio.Event()

    async def run(self) -> None:
        """Beat, listen, and serve a fair share, with a new connection whenever one is lost."""
        while True:
            self._seen = {}  # whoever lost the connection too has time to come back
            try:
                with telling():
                    async with await self._database.connect(self.owner) as connection:
                        with ending_within(self._database.ends_within, connection):
                            if self._listens:
                                await connection.execute(f'LISTEN "{self._channel}"')
                        while True:
                            await self._look(connection)
                            self.joined.set()
                            self.fault = None
                            await self._listen(connection)
            except Away as error:
                _LOG.debug("the server is away: %s", error)
            except JournalError as error:  # it does not pass by itself
                if self.fault is None:
                    self.fault = str(error)
                    _LOG.critical("subscribers are not served as they should be: %s", error)
            await asyncio.sleep(AFTER_FAILURE)

    async def _listen(self, connection: Connection) -> None:
        """Hear what others announce until it is time to look, or the members have changed."""
        until = time.monotonic() + self._next_look
        words: set[str] = set()
        while "" not in words and (left := until - time.monotonic()) > 0:
            heard = connection.notifies(timeout=left, stop_after=1)
            words = {notification.payload async for notification in heard}
            for word in words:
                await self._journal.heard(word)

    async def _look(self, connection: Connection) -> None:
        """Beat, and see what there is to do."""
        async with self._looking:
            with ending_within(self._database.ends_within, connection):
                await self._look_around(connection)

    async def _look_around(self, connection: Connection) -> None:
        known = self._journal.confirmed
        cursors = dict(self._journal.cursors)
        values = (self.owner, self._listens, sorted(cursors))
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
        if now - self._looked_at > self._poll + _GONE:
            before = {}  # the server or this process stood still: nobody could look
        self._looked_at = now
        served, counted_in = [], not self.joined.is_set()
        for *_, owner, beat, serves, is_gone in members:
            if owner == self.owner or owner is None:
                counted_in = True
                continue
            seen = before.get(owner)
            self._seen[owner] = seen if seen is not None and seen[0] == beat else (beat, now)
            if now - self._seen[owner][1] > (_GONE if is_gone else _SILENT):
                _LOG.warning("the bridge process %s has stopped; others go on with its work", owner)
                remove = "DELETE FROM $.members WHERE owner = %s AND beat = %s"
                await self._database.execute(connection, remove, (owner, beat))
            else:
                served += serves
        if not counted_in:
            _LOG.warning("this process was taken for dead; others may serve what it served")
        mine = "SELECT subscriber, partition FROM $.cursors WHERE owner = %s"
        found = await self._database.execute(connection, mine, (self.owner,))
        kept = await found.fetchall()
        for name, cursor in cursors.items():
            own = {number for subscriber, number in kept if subscriber == name}
            await self._look_after(connection, cursor, own)
            await self._share(connection, cursor, 1 + served.count(name))

    async def _look_after(
        self, connection: Connection, cursor: SubscriberCursor, kept: set[int]
    ) -> None:
        """Put back what somebody deleted of how far a subscriber is; let go of what others serve.

        Otherwise the next process would begin at the end, and pass over what it has not taken.
        """
        gone = list(cursor.partitions.keys() - kept)
        if gone:
            positions = [cursor.partitions[number].settled for number in gone]
            values = (cursor.name, self.owner, gone, positions)
            put_back = await self._database.execute(connection, _PUT_BACK, values)
            if put_back.rowcount:
                told = "somebody deleted from the table cursors how far %s is: it is put back"
                _LOG.critical(told, cursor.name)
            if put_back.rowcount < len(gone):
                for number in gone:  # they are claimed again where nobody else has them
                    cursor.partitions.pop(number, None)
        # A claim whose answer was lost is given back too.
        if leaving := [*cursor.at_rest(), *(kept - cursor.partitions.keys())]:
            await self._database.execute(connection, _GIVE_BACK, (cursor.name, self.owner, leaving))
            for number in leaving:
                cursor.partitions.pop(number, None)
            self.announce("")

    async def _share(self, connection: Connection, cursor: SubscriberCursor, serving: int) -> None:
        """Claim partitions up to a fair share of a subscriber's, and let go of more than that."""
        fair = -(-self._journal.partitions // serving)
        cursor.leave(beyond=fair)
        if (room := fair - len(cursor.partitions)) > 0:
            values = (cursor.name, cursor.left_open(), room, self.owner)
            claimed = await self._database.execute(connection, _CLAIM, values)
            positions: dict[int, int] = dict(await claimed.fetchall())
            if positions:
                await cursor.begin(positions)
                await self._journal.heard(cursor.name)

    async def serve(self) -> None:
        """Claim what is free of what this process serves since now."""
        await self._database.run(self._look, alone=True)

    async def leave(self) -> None:
        """Let others have what this process served, at once."""
        with suppress(JournalError):
            await self._database.change(_LEAVE, (self.owner, self.owner))

    def announce(self, *words: str) -> None:
        """Tell the other processes soon: a subscriber's name, or "" for a change of members."""
        if self._listens:
            self._announced.update(words)
            self._to_announce.set()

    def announce_last(self, last: int) -> None:
        """Tell the other processes, if any, soon that there are entries up to a position."""
        if self._seen:
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
