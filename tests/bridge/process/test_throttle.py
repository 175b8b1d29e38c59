"""A log that a flood does not flood."""

from __future__ import annotations

import asyncio
import logging

from bridge.process.throttle import Throttle

_log = logging.getLogger("flooded")
NEVER = 3600.0


async def test_the_first_of_many_is_logged_at_once(caplog):
    """Of a thousand equal lines one comes at once, and the others are kept back."""
    throttle = Throttle(_log, NEVER)
    for number in range(1000):
        throttle.log(logging.ERROR, "it failed", number=number)
    assert [(r.message, r.number, hasattr(r, "repeated")) for r in caplog.records] == [
        ("it failed", 0, False)
    ]


async def test_the_others_are_counted_when_the_interval_is_over(caplog):
    """A second line says how many more there were, though nothing more happens."""
    throttle = Throttle(_log, 0.01)
    for _ in range(7):
        throttle.log(logging.ERROR, "it failed")
    async with asyncio.timeout(10):
        while len(caplog.records) < 2:
            await asyncio.sleep(0)
    assert caplog.records[1].repeated == 6


async def test_keys_are_told_apart(caplog):
    """What happens to one does not keep back what happens to another."""
    throttle = Throttle(_log, NEVER)
    for adapter in ("a", "b", "a"):
        throttle.log(logging.ERROR, "it failed", key=adapter, adapter=adapter)
    assert [record.adapter for record in caplog.records] == ["a", "b"]


def test_another_event_loop_goes_on_with_it(caplog):
    """What was counted when a loop ended is told with the next line of another loop."""
    throttle = Throttle(_log, 0.01)

    async def flood():
        for _ in range(3):
            throttle.log(logging.ERROR, "it failed")

    asyncio.run(flood())

    async def later():
        async with asyncio.timeout(10):
            while len(caplog.records) < 2:
                throttle.log(logging.ERROR, "it failed")
                await asyncio.sleep(0)

    asyncio.run(later())
    assert caplog.records[1].repeated >= 2
