"""What people who watch are told, and that they share the searches for it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import orjson

from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Start
from bridge.journal.query import Query
from bridge.ops.admin.watching import Pace, Watch
from tests.bridge.events import message, notice

PATIENCE = 60.0
SHARING = Pace(every=PATIENCE, rest=0.0)  # all searches of a test are shared, if they can be
ALONE = Pace(every=0.0, rest=0.0)


class Counting(MemoryJournal):
    """Counts the searches."""

    searches = 0

    async def search(self, query):
        self.searches += 1
        return await super().search(query)


class Told:
    """Takes what a watcher is told."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.gaps: list[tuple[int, int]] = []
        self.position = -1
        self._changed = asyncio.Condition()

    async def write(self, data: bytes) -> None:
        for block in data.decode().split("\n\n")[:-1]:
            first, second = block.split("\n", 1)
            value = orjson.loads(second.removeprefix("data: "))
            match first.removeprefix("event: "):
                case "entry":
                    self.keys.append(value["event"]["key"])
                case "gap":
                    self.gaps.append((value["after"], value["before"]))
                case "position":
                    self.position = value["position"]
        async with self._changed:
            self._changed.notify_all()

    async def reaches(self, position: int) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: self.position == position)


@asynccontextmanager
async def watching(journal, watch: Watch, query: Query, *starts: Start | int):
    """Let somebody watch from each of these starts; give what they are told."""
    told = [Told() for _ in starts]
    tasks = [
        asyncio.create_task(
            watch.serve(journal, query, start, each, heartbeat=0.01, masked=False)  # type: ignore[arg-type]
        )
        for each, start in zip(told, starts, strict=True)
    ]
    try:
        yield told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_five_who_watch_the_same_cost_one_search():
    """Of what comes at once, there is one search, however many watch; each is told all of it."""
    async with Counting() as journal:
        watch, query = Watch(SHARING), Query(limit=20)
        async with watching(journal, watch, query, *[Start.END] * 5) as told:
            for each in told:
                await each.reaches(0)
            events = [message(str(number)) for number in range(5)]
            await journal.append(events[:3])
            for each in told:
                await each.reaches(3)
            assert journal.searches == 1
            await journal.append(events[3:])
            for each in told:
                await each.reaches(5)
            assert journal.searches == 2
            for each in told:
                assert each.keys == [event.key for event in events]


async def test_who_comes_later_misses_nothing():
    """A watcher who is further back has a search of its own, and is told everything in order."""
    async with Counting() as journal:
        watch, query = Watch(SHARING), Query(limit=20)
        events = [message(str(number)) for number in range(6)]
        await journal.append(events[:2])
        async with watching(journal, watch, query, Start.END) as (first,):
            await first.reaches(2)
            await journal.append(events[2:])
            await first.reaches(6)
            async with watching(journal, watch, query, 1) as (second,):
                await second.reaches(6)
            assert first.keys == [each.key for each in events[2:]]
            assert second.keys == [each.key for each in events[1:]]
            assert journal.searches == 2


async def test_those_who_want_something_else_share_nothing():
    """Who filters otherwise is told of other events."""
    async with MemoryJournal() as journal:
        watch = Watch(SHARING)
        kinds = Query(kinds=("notice",), limit=20)
        async with (
            watching(journal, watch, Query(limit=20), Start.END) as (all_,),
            watching(journal, watch, kinds, Start.END) as (notices,),
        ):
            await all_.reaches(0)
            await notices.reaches(0)
            await journal.append([message("a"), notice("b")])
            await all_.reaches(2)
            await notices.reaches(2)
            assert all_.keys == [message("a").key, notice("b").key]
            assert notices.keys == [notice("b").key]


async def test_of_a_flood_the_newest_and_where_the_others_are():
    """Where more came than is shown, a gap says between which positions the others are."""
    async with (
        MemoryJournal() as journal,
        watching(journal, Watch(ALONE), Query(limit=2), Start.END) as (told,),
    ):
        await told.reaches(0)
        events = [message(str(number)) for number in range(5)]
        await journal.append(events)
        await told.reaches(5)
        assert told.keys == [each.key for each in events[3:]]
        assert told.gaps == [(0, 4)]
