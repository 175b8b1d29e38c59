"""A pytest fixture: `test_bridge`, the `TestBridge` around a fixture of yours called `bridge`.

Ask for it in a `conftest.py`::

    pytest_plugins = ["bridge.testing.fixtures"]

    @pytest.fixture
    def bridge():
        from bot import bridge

        return bridge

No entry point of pytest loads it: that would import the bridge, before coverage is measured, in
every run of pytest in the same environment. It needs pytest-asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from bridge.runtime import Bridge
from bridge.testing.rehearsal import TestBridge


@pytest_asyncio.fixture
async def test_bridge(bridge: Bridge) -> AsyncIterator[TestBridge]:
    """Run the fixture `bridge` for one test, with nothing of the world around it."""
    async with TestBridge(bridge) as test:
        yield test
