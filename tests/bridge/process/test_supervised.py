"""Tasks of our own, none of which ends unseen."""

from __future__ import annotations

import asyncio
import logging

import pytest

from bridge.process.supervised import Tasks

WITHIN = 20.0  # seconds; only a test that fails ever takes that long


async def test_one_that_raises_is_told_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """A critical line names owner, task, error and place, and the same work begins again."""
    begun: list[int] = []
    died: list[bool] = []
    again = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            raise KeyError("a secret word")
        again.set()
        await asyncio.Event().wait()

    tasks = Tasks("journal", lambda: died.append(True))
    tasks.start("read", work)
    async with asyncio.timeout(WITHIN):
        await again.wait()
        await tasks.close()
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.getMessage().startswith("journal: the task 'read' ended with KeyError at ")
    assert "test_supervised.py:" in record.getMessage()
    assert "secret" not in record.getMessage()
    assert died == [True]


async def test_one_that_returns_is_done(caplog: pytest.LogCaptureFixture) -> None:
    """Work that comes to its end is not begun again, and nothing is told."""
    begun: list[int] = []

    async def work() -> None:
        begun.append(0)

    tasks = Tasks("journal")
    tasks.start("prepare", work)
    (task,) = tasks
    await asyncio.wait({task})
    await tasks.close()
    tasks.start("prepare", work)  # after its end, nothing begins
    await asyncio.sleep(0)
    assert (begun, caplog.records) == ([0], [])


async def test_a_cancellation_that_gets_lost_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """As in Python 3.11 where a wait with a time limit ends just then: the owner can close."""
    swallowed: list[bool] = []

    async def work() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed:
                    raise
                swallowed.append(True)

    tasks = Tasks("journal")
    tasks.start("write", work)
    await asyncio.sleep(0)
    async with asyncio.timeout(WITHIN):
        await tasks.close()
    assert swallowed == [True]
    assert caplog.records == []
