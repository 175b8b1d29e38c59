"""The spool, by itself."""

from __future__ import annotations

import asyncio

from bridge.journal.nats.spool import Spool
from bridge.journal.sqlite import SqliteJournal


async def test_an_empty_spool_waits_for_what_is_being_taken_in(tmp_path):
    """While an append is under way and nothing else is there, its flow leaves the loop alone."""

    async def append(events):
        raise AssertionError(events)

    async def ready():
        pass

    spool = Spool(SqliteJournal(tmp_path / "spool.db"), append=append)
    await spool.open()
    spool.activate()
    spool._taking = 1
    spool._filled.set()
    running = asyncio.create_task(spool.run(ready))
    async with asyncio.timeout(10):
        while spool._filled.is_set():
            await asyncio.sleep(0)
    assert spool.active
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await spool.close()
