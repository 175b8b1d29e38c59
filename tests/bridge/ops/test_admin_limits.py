"""The operators' listener takes nothing from callbacks, whoever connects to it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from bridge.ops.admin import listening
from bridge.ops.metrics import Metrics
from bridge.settings import AdminSettings
from tests.bridge.providers import authentic, real_bridge
from tests.bridge.serving import PATIENCE, connect, exchange, post, serving, statuses


async def test_half_open_connections_do_not_pile_up():
    """Of 260 that send nothing, 128 stay; callbacks and operators are answered meanwhile."""
    made = real_bridge()
    path, _, body = authentic("incs", b'{"event":"e"}')
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(made))
        settings = AdminSettings(port=0, socket=None)
        operated = listening(made.operators, Metrics(), settings)
        admin_url = await stack.enter_async_context(operated)
        idle = [await connect(admin_url) for _ in range(260)]
        async with asyncio.timeout(PATIENCE):
            for reader, _ in idle[: 260 - 128]:
                assert await reader.read() == b""
        callback = post(path, "Connection: close", body=body)
        assert statuses(await exchange(url, callback)) == [200]
        probe = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert statuses(await exchange(admin_url, probe)) == [200]
        for _, writer in idle:
            writer.close()
