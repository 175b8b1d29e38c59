"""The floods of the attack section: each is refused, and none keeps callbacks out."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from benchmarks import attack
from tests.bridge.providers import authentic, real_bridge
from tests.bridge.serving import exchange, post, serving, statuses

WHATSAPP = b'{"object":"whatsapp_business_account","entry":[]}'


@pytest.mark.parametrize(
    "flood",
    [
        *(attack.unsigned, attack.forged, attack.small, attack.half_open, attack.slow),
        *(attack.unread, attack.operators, attack.many_ids),
    ],
)
async def test_a_flood_leaves_nothing_behind(flood):
    """After a wave of each flood nothing is kept, and a callback is answered with 200."""
    made = real_bridge(body_timeout=1.0, max_connections=100)
    async with serving(made) as url:
        with suppress(OSError):
            await asyncio.to_thread(flood, int(url.rsplit(":", 1)[1]))
        assert made.journal.kept == []
        path, headers, sent = authentic("whatsapp", WHATSAPP)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        answer = await exchange(url, post(path, *lines, "Connection: close", body=sent))
        assert statuses(answer) == [200]
