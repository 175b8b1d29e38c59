"""Server-sent events for people, who cannot read more than so many lines in a second.

However much comes, a watcher costs the server a bounded search about once a second, and the slower
that is, the less often: looking on does not slow down what is looked at.
(https://html.spec.whatwg.org/#server-sent-events)
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, NoReturn

import attrs
from aiohttp import web

from bridge.journal.protocol import Journal, Start
from bridge.journal.query import Query
from bridge.ops.admin.responses import dumps

CONTENT_TYPE: Final = "text/event-stream"


@attrs.frozen
class Pace:
    """A watcher is told `every` so many seconds, and rests for `rest` times what that took."""

    every: float
    rest: float


CALM: Final = Pace(every=1.0, rest=200.0)
QUICK: Final = Pace(every=0.1, rest=5.0)  # one who writes a bot waits for its answers


async def watch(
    journal: Journal,
    query: Query,
    start: Start | int,
    response: web.StreamResponse,
    *,
    heartbeat: float,
    pace: Pace,
    masked: bool,
) -> NoReturn:
    """Send the newest `query.limit` entries of what came since the last time, oldest first.

    Where there may be more, a `gap` says between which positions. A `position` says from where to
    go on, should the stream break, and comes at least every `heartbeat` seconds.
    """
    position = (await journal.follow(start=start)).position
    while True:
        await response.write(_event("position", {"position": position}))
        end = (await journal.follow()).position
        if end == position:
            try:
                async with asyncio.timeout(heartbeat):
                    await (await journal.follow(start=position)).read(1)
            except TimeoutError:
                continue
            end = (await journal.follow()).position
        began = time.monotonic()
        found = await journal.search(
            attrs.evolve(query, after=position, before=end + 1, newest_first=True)
        )
        pieces = [_event("entry", entry, masked=masked) for entry in reversed(found)]
        if len(found) == query.limit:
            pieces.insert(0, _event("gap", {"after": position, "before": found[-1].position}))
        await response.write(b"".join(pieces))
        position = end
        took = time.monotonic() - began
        await asyncio.sleep(min(max(pace.every, pace.rest * took), heartbeat))


def _event(name: str, value: object, *, masked: bool = False) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps(value, masked=masked))
