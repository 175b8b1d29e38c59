"""Processor time for each append and each callback: `python -m benchmarks.cost USERS`.

All threads count, and so does everything but sockets. Compare two checkouts in turns, and take the
best of several: what else the machine does makes each dearer, none cheaper.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import islice

from benchmarks.appending import messages
from benchmarks.bodies import texts
from bridge import Bridge, Event
from bridge.adapter import Callback
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.journal.sqlite import SqliteJournal

_EVENTS = 8000
_CALLERS = 64


async def _spent(ask: Callable[[], Awaitable[object]]) -> float:
    """Return the microseconds of processor time for each of so many calls."""
    left = iter(range(_EVENTS))

    async def caller() -> None:
        for _ in left:
            await ask()

    gc.collect()
    gc.freeze()
    start = time.process_time()
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return (time.process_time() - start) / _EVENTS * 1e6


async def append(path: str, users: int) -> float:
    """Append messages, each by itself."""
    source = iter(list(islice(messages(users), _EVENTS)))
    async with SqliteJournal(path) as journal:
        return await _spent(lambda: journal.append((next(source),)))


async def receive(path: str, users: int) -> float:
    """Receive callbacks with a subscriber, which may not have seen the last of them."""
    bridge = Bridge(journal=SqliteJournal(path))
    bridge.add_adapter("whatsapp", WhatsApp("whatsapp", WhatsAppSettings(insecure=True)))

    @bridge.on(Event, name="one")
    async def look(event: Event) -> None:
        pass

    source = iter(list(islice(texts(users=users), _EVENTS)))
    async with bridge:
        return await _spent(
            lambda: bridge.receive(
                "whatsapp", Callback(body=next(source), received_at=datetime.now(UTC))
            )
        )


def _main(users: int) -> None:
    for measure in (append, receive):
        with tempfile.TemporaryDirectory() as place:
            spent = asyncio.run(measure(f"{place}/journal.db", users))
        print(f"{measure.__name__} of {users} users: {spent:.1f} µs")


if __name__ == "__main__":
    _main(int(sys.argv[1]))
