"""Waiting for something to come to be, in tests that run on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 60.0  # seconds until a test gives up; nothing depends on how long it really takes


async def until(condition: Callable[[], object]) -> None:
    """Yield to the loop until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)
