"""All cursors of this process, and the messages with which processes tell each other of changes."""

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
from bridge.journal.nats.broker import Repeated
from bridge.journal.nats.cursor import SubscriberCursor
from bridge.journal.nats.entries import sequence_of
from bridge.journal.nats.following import FollowingCursor, Growth
from bridge.journal.nats.messages import Away
from bridge.journal.nats.streams import Streams
from bridge.journal.nats.subjects import name_of, token
from bridge.journal.protocol import Cursor, Entry, Start
from bridge.process.supervised import Deaths, Tasks

_AFTER_ERROR: Final = 0.5

Changed: TypeAlias = Callable[[str], Awaitable[None]]


class Cursors:
    """Opens cursors, and wakes them for what other processes change.

    Subscribing while the servers are away is an error, unless there may be `latecomers`: then the
    cursor joins when they are back, and nobody writes before that.
    """

    def __init__(self, streams: Streams, *, latecomers: bool, deaths: Deaths) -> None:
        self._streams = streams
        self._latecomers = latecomers
        self._cursors: dict[str, SubscriberCursor] = {}
        self._growth = Growth()
        self._joining: dict[Cursor, asyncio.Event] = {}
        self._deaths = deaths
        self._tasks = Tasks("journal", deaths)
        self._changed: Changed | None = None
        self._origin = secrets.token_hex(4)
        self._listening_client = 0

    async def close(self) -> None:
        """Read no more; callers that wait for an entry get a `JournalError`."""
        await asyncio.gather(*(cursor.close() for cursor in self._cursors.values()))
        self._growth.close()
        await self._tasks.close()
        self._cursors.clear()
        self._joining.clear()

    # --- opening -----------------------------------------------------------------------------

    async def subscribe(self, name: str, start: Start) -> Cursor:
        """See `Journal.subscribe`."""
        cursor = self._cursors.get(name)
        if cursor is not None:
            cursor.rewind()
            return cursor
        cursor = self._cursors[name] = SubscriberCursor(self._streams, name, self._deaths)
        try:
            await self._join(cursor, partial(self._serve, cursor, start))
        except BaseException:
            del self._cursors[name]
            raise
        if self._changed is not None:
            self._tasks.start("tell", partial(self._tell, cursor, self._changed))
        return cursor

    async def _serve(self, cursor: SubscriberCursor, start: Start) -> None:
        await cursor.join(start)
        cursor.serve()

    async def follow(self, start: Start | int) -> Cursor:
        """See `Journal.follow`."""
        if isinstance(start, Start):
            cursor = FollowingCursor(self._streams, self._growth, None if start is Start.END else 0)
            await self._join(cursor, cursor.begin)
            return cursor
        return FollowingCursor(self._streams, self._growth, start)

    async def forget(self, name: str) -> None:
        """Read for a subscriber no more."""
        cursor = self._cursors.pop(name, None)
        if cursor is None:
            return
        self._has_joined(cursor)
        await cursor.close()

    async def _join(self, cursor: Cursor, join: Callable[[], Awaitable[None]]) -> None:
        try:
            await join()
        except Away:
            if not self._latecomers:
                raise
            self._joining[cursor] = asyncio.Event()
            self._tasks.start("join", partial(self._keep_trying, cursor, join))

    async def _keep_trying(self, cursor: Cursor, join: Callable[[], Awaitable[None]]) -> None:
        fault = Repeated(logging.WARNING, "a cursor cannot join: %s")
        while cursor in self._joining:
            await self._streams.until_ready()
            try:
                await join()
            except JournalError as error:
                fault.log(error)
                await asyncio.sleep(_AFTER_ERROR)
            else:
                self._has_joined(cursor)

    def _has_joined(self, cursor: Cursor) -> None:
        joined = self._joining.pop(cursor, None)
        if joined is not None:
            joined.set()

    @property
    def joined(self) -> bool:
        """Whether the streams are there and every cursor has joined: it gets all that follows."""
        return self._streams.ready and not self._joining

    async def until_joined(self) -> None:
        """Wait until `joined`."""
        while not self.joined:
            await self._streams.until_ready()
            for joined in tuple(self._joining.values()):
                await joined.wait()

    async def renew(self) -> None:
        """Note the subscribers in streams that have replaced lost ones."""
        for cursor in tuple(self._cursors.values()):
            await cursor.renew()

    # --- what processes tell each other --------------------------------------------------------

    def watch(self, changed: Changed) -> None:
        """See `SharedJournal.watch`."""
        self._changed = changed
        for cursor in self._cursors.values():
            self._tasks.start("tell", partial(self._tell, cursor, changed))

    async def _tell(self, cursor: SubscriberCursor, changed: Changed) -> None:
        while True:
            await cursor.until_held_changed()
            try:
                await changed(cursor.name)
            except JournalError:
                await asyncio.sleep(_AFTER_ERROR)
                cursor.held_changed()
            except BaseException:
                cursor.held_changed()  # for the task that replaces this one
                raise

    async def listen(self) -> None:
        """Listen to other processes. Raises `Away`."""
        broker, names = self._streams.broker, self._streams.names
        if self._listening_client != broker.clients:
            await broker.listen(names.held_changed, self._hear_held_changed)
            await broker.listen(names.grown, self._hear_grown)
            self._listening_client = broker.clients

    async def grown(self) -> None:
        """Tell all processes that events have been written; one that misses it looks later."""
        self._growth.tell()
        with suppress(JournalError):
            await self._streams.broker.send(self._streams.names.grown, self._origin.encode())

    async def _hear_grown(self, message: Msg) -> None:
        if message.data != self._origin.encode():
            self._growth.tell()

    async def held_changed(self, subscriber: str, entry: Entry | None = None) -> None:
        """Tell all processes that a subscriber's held entries were changed from outside.

        Either one entry, or all of them, which take long to read where there are many.
        """
        names = self._streams.names
        where: tuple[int, ...] = ()
        if entry is not None:
            where = (names.partition_of(entry.lane), sequence_of(entry.position))
        cursor = self._cursors.get(subscriber)
        if cursor is not None:
            await cursor.look_again(*where)
        message = " ".join((self._origin, token(subscriber), *map(str, where)))
        await self._streams.broker.send(names.held_changed, message.encode())

    async def _hear_held_changed(self, message: Msg) -> None:
        origin, subscriber, *where = message.data.decode("utf-8", "replace").split(" ")
        cursor = self._cursors.get(name_of(subscriber))
        if cursor is not None and origin != self._origin:
            with suppress(JournalError):  # it looks again when it is pinned again
                await cursor.look_again(*map(int, where))
