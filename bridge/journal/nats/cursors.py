"""Who reads in this process: the cursors of its subscribers, and those that belong to nobody."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

from nats.aio.msg import Msg

from bridge.errors import JournalError
from bridge.journal.nats.broker import Away, Listening
from bridge.journal.nats.cursor import SubscriberCursor
from bridge.journal.nats.entries import sequence_of
from bridge.journal.nats.following import EphemeralCursor, Growth
from bridge.journal.nats.streams import Streams
from bridge.journal.nats.subjects import name_of, token
from bridge.journal.protocol import Cursor, Entry, Start

_LOG: Final = logging.getLogger("bridge.journal")

_AFTER_ERROR: Final = 0.5

Told: TypeAlias = Callable[[str], Awaitable[None]]


class Readers:
    """Opens cursors, and tells of what others changed for them.

    A place that cannot be taken while the servers are away is an error, unless there may be
    `latecomers`: then it is taken when they are back, and nobody writes before that.
    """

    def __init__(self, streams: Streams, *, latecomers: bool) -> None:
        self._streams = streams
        self._latecomers = latecomers
        self._cursors: dict[str, SubscriberCursor] = {}
        self._growth: Growth | None = None
        self._joining: dict[Cursor, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._told: Told | None = None
        self._origin = secrets.token_hex(4)
        self._hearing: Listening | None = None

    async def close(self) -> None:
        """Read no more; who still waits for an entry gets a `JournalError`."""
        await asyncio.gather(*(cursor.close() for cursor in self._cursors.values()))
        if self._growth is not None:
            self._growth.close()
            self._growth = None
        tasks = [*self._tasks, *self._joining.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._cursors.clear()
        self._joining.clear()

    # --- cursors -----------------------------------------------------------------------------

    async def subscribe(self, name: str, start: Start) -> Cursor:
        """See `Journal.subscribe`."""
        cursor = self._cursors.get(name)
        if cursor is not None:
            cursor.rewind()
            return cursor
        cursor = self._cursors[name] = SubscriberCursor(self._streams, name)
        try:
            await self._take_place(cursor, partial(self._join, cursor, start))
        except BaseException:
            del self._cursors[name]
            raise
        if self._told is not None:
            self._tasks.append(asyncio.create_task(self._tell(cursor, self._told)))
        return cursor

    async def _join(self, cursor: SubscriberCursor, start: Start) -> None:
        await cursor.join(start)
        cursor.serve()

    async def follow(self, start: Start | int) -> Cursor:
        """See `Journal.follow`."""
        if self._growth is None:
            self._growth = Growth(self._streams)
            self._tasks.append(asyncio.create_task(self._growth.run()))
        if start is not Start.END:
            sequence = 0 if start is Start.BEGINNING else sequence_of(int(start))
            return EphemeralCursor(self._streams, self._growth, sequence)
        cursor = EphemeralCursor(self._streams, self._growth, None)
        await self._take_place(cursor, cursor.begin)
        return cursor

    async def forget(self, name: str) -> None:
        """Read for a subscriber no more."""
        cursor = self._cursors.pop(name, None)
        if cursor is None:
            return
        joining = self._joining.get(cursor)
        if joining is not None:
            joining.cancel()
        await cursor.close()

    # --- places ------------------------------------------------------------------------------

    async def _take_place(self, cursor: Cursor, join: Callable[[], Awaitable[None]]) -> None:
        try:
            await join()
        except Away:
            if not self._latecomers:
                raise
            self._joining[cursor] = joining = asyncio.create_task(self._keep_trying(join))
            joining.add_done_callback(lambda _: self._joining.pop(cursor, None))

    async def _keep_trying(self, join: Callable[[], Awaitable[None]]) -> None:
        fault = ""
        while True:
            await self._streams.until_ready()
            try:
                await join()
            except JournalError as error:
                if str(error) != fault:  # once, however often it is tried again
                    _LOG.warning("a reader cannot take its place: %s", error)
                fault = str(error)
                await asyncio.sleep(_AFTER_ERROR)
            else:
                return

    @property
    def placed(self) -> bool:
        """Whether the streams are there and every cursor has its place in them.

        What is written from then on reaches all of them.
        """
        return self._streams.ready and not self._joining

    async def until_placed(self) -> None:
        """Wait until `placed`."""
        while not self.placed:
            await self._streams.until_ready()
            if self._joining:
                await asyncio.wait(self._joining.values())

    async def keep_places(self) -> None:
        """Remember the subscribers in streams that have replaced lost ones."""
        for cursor in tuple(self._cursors.values()):
            await cursor.keep_place()

    # --- what others change ------------------------------------------------------------------

    def watch(self, told: Told) -> None:
        """See `SharedJournal.watch`."""
        self._told = told
        for cursor in self._cursors.values():
            self._tasks.append(asyncio.create_task(self._tell(cursor, told)))

    async def _tell(self, cursor: SubscriberCursor, told: Told) -> None:
        while True:
            await cursor.stirred()
            try:
                await told(cursor.name)
            except JournalError:
                await asyncio.sleep(_AFTER_ERROR)
                cursor.stir()

    async def listen(self) -> None:
        """Hear what other processes change. Raises `Away`."""
        if self._hearing is None:
            stirred = self._streams.names.stirred
            self._hearing = await self._streams.broker.listen(stirred, self._hear)

    async def stir(self, subscriber: str, entry: Entry | None = None) -> None:
        """Let every process know that what a subscriber holds has been changed from outside.

        Either one entry, or everything, which takes long to read where much is held.
        """
        names = self._streams.names
        place: tuple[int, ...] = ()
        if entry is not None:
            place = (names.partition_of(entry.lane), sequence_of(entry.position))
        cursor = self._cursors.get(subscriber)
        if cursor is not None:
            await cursor.look_again(*place)
        message = " ".join((self._origin, token(subscriber), *map(str, place)))
        await self._streams.broker.send(names.stirred, message.encode())

    async def _hear(self, message: Msg) -> None:
        origin, subscriber, *place = message.data.decode("utf-8", "replace").split(" ")
        cursor = self._cursors.get(name_of(subscriber))
        if cursor is not None and origin != self._origin:
            with suppress(JournalError):  # it looks again when it is pinned again
                await cursor.look_again(*map(int, place))
