"""Server-sent events for people, who read only a few lines a second.

At any rate of events, a watcher costs the server one bounded search about every second, and less
often where the search is slow, so watching does not slow down the server.
(https://html.spec.whatwg.org/#server-sent-events)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NoReturn
from weakref import WeakValueDictionary

import attrs
from aiohttp import web

from bridge.journal.protocol import Journal, Start
from bridge.journal.query import Query
from bridge.ops.admin.responses import dumps

CONTENT_TYPE: Final = "text/event-stream"


@attrs.frozen
class Pace:
    """Serve a watcher every `every` seconds, and pause for `rest` times as long as that took."""

    every: float
    rest: float


CALM: Final = Pace(every=1.0, rest=200.0)
QUICK: Final = Pace(every=0.1, rest=5.0)  # one who writes a bot waits for its answers


@attrs.frozen
class _Page:
    """The newest matches beyond `after`, up to `end`, oldest first, each with its position."""

    after: int
    end: int
    pieces: Sequence[tuple[int, bytes]]
    found_at: float
    took: float

    def is_for(self, position: int, every: float) -> bool:
        """Return whether the page answers a watcher at this position."""
        is_new = time.monotonic() - self.found_at < every
        return is_new and self.after <= position < self.end


class _Shared:
    """The search that several watchers with one query share, each at its own position."""

    def __init__(self, journal: Journal, query: Query, pace: Pace, *, masked: bool) -> None:
        self._journal = journal
        self._query = query
        self._pace = pace
        self._masked = masked
        self._page: _Page | None = None
        self._looking = asyncio.Lock()

    async def beyond(self, position: int) -> _Page:
        """Return the page for a watcher at this position."""
        async with self._looking:
            if self._page is None or not self._page.is_for(position, self._pace.every):
                self._page = await self._look(position)
            return self._page

    async def _look(self, position: int) -> _Page:
        end = (await self._journal.follow()).position
        began = time.monotonic()
        found = await self._journal.search(
            attrs.evolve(self._query, after=position, before=end + 1, newest_first=True)
        )
        pieces = [
            (entry.position, _event("entry", entry, masked=self._masked))
            for entry in reversed(found)
        ]
        now = time.monotonic()
        return _Page(position, end, pieces, now, now - began)


class Watch:
    """Serves the watchers of a listener; those with one query share their searches."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._shared: WeakValueDictionary[object, _Shared] = WeakValueDictionary()

    async def serve(
        self,
        journal: Journal,
        query: Query,
        start: Start | int,
        response: web.StreamResponse,
        *,
        heartbeat: float,
        masked: bool,
    ) -> NoReturn:
        """Send the newest `query.limit` entries since the last page, oldest first.

        A `gap` names the positions between which entries were left out. A `position` tells where to
        resume a broken stream, and comes at least every `heartbeat` seconds.
        """
        query = attrs.evolve(query, after=0)
        name = (id(journal), query, masked)
        shared = self._shared.get(name) or _Shared(journal, query, self._pace, masked=masked)
        self._shared[name] = shared
        position = (await journal.follow(start=start)).position
        while True:
            await response.write(_event("position", {"position": position}))
            if (await journal.follow()).position == position:
                try:
                    async with asyncio.timeout(heartbeat):
                        await (await journal.follow(start=position)).read(1)
                except TimeoutError:
                    continue
            page = await shared.beyond(position)
            new = [(at, piece) for at, piece in page.pieces if at > position]
            pieces = [piece for _, piece in new]
            if len(new) == query.limit:
                pieces.insert(0, _event("gap", {"after": position, "before": new[0][0]}))
            await response.write(b"".join(pieces))
            position = page.end
            rest = max(self._pace.every, self._pace.rest * page.took)
            await asyncio.sleep(min(rest, heartbeat))


def _event(name: str, value: object, *, masked: bool = False) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps(value, masked=masked))
