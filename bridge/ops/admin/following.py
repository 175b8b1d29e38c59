"""Events as they come: lines of JSON for programs, server-sent events for people."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NoReturn

import attrs
from aiohttp import web

from bridge.ingress.responses import HEADERS, problem, web_response
from bridge.journal.protocol import Start
from bridge.journal.query import Query
from bridge.ops.admin import watching
from bridge.ops.admin.requests import is_masked
from bridge.ops.admin.responses import dumps
from bridge.ops.operators import Operators

LINES: Final = "application/x-ndjson"
_MOST: Final = 32
_BATCH: Final = 256


class Followers:
    """The clients that follow events, each on a connection; their number is bounded.

    A client for which there is no event gets a position every `heartbeat` seconds.
    """

    def __init__(self, operators: Operators, pace: watching.Pace, heartbeat: float) -> None:
        self._operators = operators
        self._watch = watching.Watch(pace)
        self._heartbeat = heartbeat
        self._tasks: set[asyncio.Task[Any]] = set()

    async def dismiss(self, _: web.Application) -> None:
        """End every stream."""
        for task in self._tasks:
            task.cancel()

    async def serve(self, request: web.Request, query: Query) -> web.StreamResponse:
        """Stream matching events from a position, a time or now on, until the client leaves."""
        task = asyncio.current_task()
        if len(self._tasks) >= _MOST or task is None:
            return web_response(problem(503, f"{_MOST} followers are being served already"))
        self._tasks.add(task)
        is_watched = watching.CONTENT_TYPE in request.headers.get("Accept", "")
        kind = watching.CONTENT_TYPE if is_watched else LINES
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": kind})
        try:
            start, masked = await self._start(request, query), is_masked(request)
            await response.prepare(request)
            if is_watched:
                journal, heartbeat = self._operators.journal, self._heartbeat
                await self._watch.serve(
                    journal, query, start, response, heartbeat=heartbeat, masked=masked
                )
            await self._stream(query, start, response, masked=masked)
        except ConnectionError:
            pass  # the follower has seen enough
        finally:
            self._tasks.discard(task)
        return response

    async def _stream(
        self, query: Query, start: Start | int, response: web.StreamResponse, *, masked: bool
    ) -> NoReturn:
        """Send each entry as a line.

        A line without an event tells the position from which to resume a broken stream.
        """
        cursor = await self._operators.journal.follow(start=start)
        position = cursor.position
        while True:
            await response.write(dumps({"position": position}) + b"\n")
            try:
                async with asyncio.timeout(self._heartbeat):
                    entries = await cursor.read(_BATCH)
            except TimeoutError:
                continue
            lines = [
                dumps(entry, masked=masked) + b"\n"
                for entry in entries
                if query.matches(entry.event, reparsed=entry.reparsed)
            ]
            if lines:
                await response.write(b"".join(lines))
            position = entries[-1].position

    async def _start(self, request: web.Request, query: Query) -> Start | int:
        """Return where a client begins: after a position, at a time, or at the end."""
        journal = self._operators.journal
        # Where an engine's servers are away there are no positions: this says so, instead of
        # waiting.
        await journal.search(Query(limit=1))
        if "after" in request.query:
            last = (await journal.follow()).position
            # A position that is yet to come is of another journal, which was in memory or lost.
            return query.after if query.after <= last else Start.BEGINNING
        if query.since is None:
            return Start.END
        entries = await journal.search(attrs.evolve(query, limit=1))
        return entries[0].position - 1 if entries else Start.END
