"""The processes that share the journal: who lives, who serves which partition, and what is new.

Each process looks around every `poll` seconds, which the function `look` of the schema does. One
that does not any more is taken for dead, and its partitions are free: a second after it was to look
where its session is gone from the server too, else after nine. The server's clock alone decides.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from bridge.errors import JournalError
from bridge.journal.postgres.database import (
    AFTER_FAILURE,
    HEAD_IS_EMPTY,
    Away,
    Connection,
    columns,
    ending_within,
    telling,
)

if TYPE_CHECKING:
    from bridge.journal.postgres.journal import PostgresJournal

_LOG: Final = logging.getLogger("bridge.journal")

LAST: Final = "\n"  # before a position; no subscriber's name begins so
_SILENT: Final = 9.0  # seconds

_LOOK: Final = f"SELECT * FROM $.look({', '.join(['%s'] * 12)})"  # noqa: S608 - our own text
_ANNOUNCE: Final = """
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, word)
FROM unnest(%s::text[]) AS word
"""
_LEAVE: Final = """
WITH me AS (DELETE FROM $.members WHERE owner = :owner)
UPDATE $.cursors SET owner = NULL WHERE owner = :owner
"""


class Members:
    """This process among the others, while `run` runs.

    It tells the journal what another process announces (a subscriber of which something has
    changed, or an empty word for a change of members), the last position, again and again, and
    when something that waits is due. `fault` is what keeps it from that while the server is there;
    it has `looked` when that is known for the first time. `looking` is held while it looks, and by
    what must not come amid that.
    """

    def __init__(self, journal: PostgresJournal) -> None:
        self.looked = asyncio.Event()
        self.fault: str | None = None
        self._journal = journal
        self._database = journal.database
        self._poll, self._listens = journal.settings.poll, not journal.settings.pooler
        self._next_look = self._poll  # in seconds
        self._channel = f"bridge_{journal.settings.schema}"
        self._has_others = False
        self.looking = asyncio.Lock()
        self._announced: set[str] = set()
        self._to_announce = asyncio.Event()

    async def run(self) -> None:
        """Look around, and listen, with a new connection whenever one is lost."""
        while True:
            try:
                with telling():
                    await self._stay(await self._database.connect(self._journal.owner))
            except Away as error:
                _LOG.debug("the server is away: %s", error)
            except JournalError as error:  # it does not pass by itself
                if self.fault is None and self.looked.is_set():
                    _LOG.critical("subscribers are not served as they should be: %s", error)
                self.fault = str(error)
                self.looked.set()
                for cursor in self._journal.cursors.values():
                    cursor.leave(beyond=0)  # others are about to take this process for dead
            await asyncio.sleep(AFTER_FAILURE)

    async def _stay(self, connection: Connection) -> None:
        anew = True  # whoever lost the connection too has time to come back
        try:
            with ending_within(self._database.ends_within, connection):
                if self._listens:
                    await connection.execute(f'LISTEN "{self._channel}"')
            while True:
                async with self.looking:
                    with ending_within(self._database.ends_within, connection):
                        await self._look(connection, anew=anew)
                anew = False
                await self._listen(connection)
        finally:  # leaving its own block would roll back before, and may be cancelled in that
            await connection.close()

    async def _listen(self, connection: Connection) -> None:
        """Hear what others announce until it is time to look, or the members have changed."""
        until = time.monotonic() + self._next_look
        words: set[str] = set()
        while "" not in words and (left := until - time.monotonic()) > 0:
            heard = connection.notifies(timeout=left, stop_after=1)
            words = {notification.payload async for notification in heard}
            for word in words:
                await self._journal.heard(word)

    async def _look(self, connection: Connection, *, anew: bool = False) -> None:
        """Show that this process lives, and serve its share."""
        known, cursors = self._journal.tail.reach, dict(self._journal.cursors)
        named = [each for cursor in cursors.values() for each in cursor.standing()]
        values = (
            *(self._journal.owner, self._listens, list(cursors), self._journal.partitions),
            *(self._poll, _SILENT, anew, known),
            *columns(named, 4),
        )
        asked = await self._database.execute(connection, _LOOK, values)
        (found,) = await asked.fetchall()
        last, due_in, self._has_others, returns, gives, *told = found
        gone, put_back, shares, *owned = (each or () for each in told)
        if last is None:
            raise JournalError(HEAD_IS_EMPTY)
        self._journal.hear_of(last, known)
        if due_in is not None and due_in <= 0:
            self._journal.appender.look_for_due()
            due_in = None
        self._next_look = self._poll if due_in is None else min(due_in, self._poll)
        for each in gone:
            _LOG.warning("the bridge process %s has stopped; others go on with its work", each)
        if returns and self.looked.is_set():
            _LOG.warning("this process was taken for dead; others may serve what it served")
        for each in put_back:
            _LOG.critical("somebody deleted from cursors how far %s is: it is put back", each)
        for cursor, share in zip(cursors.values(), shares, strict=True):
            own = zip(*owned, strict=True)
            await cursor.serve({n: upto for name, n, upto in own if name == cursor.name}, share)
        if gives:
            self.announce("")  # others can have them
        self.fault = None
        self.looked.set()

    async def serve(self) -> None:
        """Claim what is free of what this process serves since now."""
        async with self.looking:  # before a connection is taken, which others need
            await self._database.run(self._look, alone=True)

    async def leave(self) -> None:
        """Let others have what this process served, at once."""
        with suppress(JournalError):
            await self._database.ask(_LEAVE, {"owner": self._journal.owner})

    def announce(self, word: str) -> None:
        """Tell the other processes soon: a subscriber's name, or "" for a change of members."""
        if self._listens:
            self._announced.add(word)
            self._to_announce.set()

    def announce_last(self, last: int) -> None:
        """Tell the other processes, if any, soon that there are entries up to a position."""
        if self._has_others:
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
