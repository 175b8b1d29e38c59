"""The callbacks of a simulated provider: signed, repeated until acknowledged, late, or lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Final, final

import aiohttp
import orjson

from bridge.adapter.simulation import SimulatedCallback, SimulationSource
from bridge.model import JsonValue

_ACKNOWLEDGED: Final = 200
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)


@final
class Callbacks:
    """Posts callbacks to a bridge. Its attributes may be changed at any time.

    `delay` is how many seconds later than in reality a callback comes, `repeats` how many times
    more than once, `loss` which share of them never comes. With `shuffled`, those that follow one
    request come in any order. A callback that is not acknowledged with 200 is posted again after
    `pause` seconds, for `patience` seconds at most.
    """

    def __init__(self, seed: int = 0) -> None:
        self.delay = 0.0
        self.repeats = 0
        self.loss = 0.0
        self.shuffled = False
        self.pause = 0.1
        self.patience = 60.0
        self.acknowledged: list[JsonValue] = []
        self.given_up: list[JsonValue] = []
        self._random = random.Random(seed)  # noqa: S311 - the same trouble in every run
        self._source: SimulationSource | None = None
        self._url: str | None = None
        self._session: aiohttp.ClientSession | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._faults: list[BaseException] = []

    async def start(self) -> None:
        """Open the connections that callbacks are posted over."""
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)

    async def stop(self) -> None:
        """Stop posting, and raise the errors of posts that are under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._faults:
            raise self._faults[0]

    def direct(self, source: SimulationSource, url: str | None) -> None:
        """Post to a URL from now on, signed as the adapter's provider signs; None: post nothing."""
        self._source, self._url = source, url

    def follow(self, callbacks: Iterable[SimulatedCallback]) -> None:
        """Post callbacks in the background, each at its time."""
        coming = [one for one in callbacks if self._random.random() >= self.loss]
        times = [one.after for one in coming]
        if self.shuffled:
            self._random.shuffle(coming)
        for one, after in zip(coming, times, strict=True):
            for _ in range(1 + self.repeats):
                task = asyncio.create_task(self._follow(one.body, after + self.delay))
                self._under_way.add(task)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._faults.append(fault)

    async def _follow(self, body: JsonValue, after: float) -> None:
        await asyncio.sleep(after)
        await self.post(body)

    async def post(self, body: JsonValue) -> bool:
        """Post a callback until it is acknowledged or given up; return which of these."""
        began = asyncio.get_running_loop().time()
        while self._url is not None:
            if await self._once(body):
                self.acknowledged.append(body)
                return True
            if asyncio.get_running_loop().time() - began >= self.patience:
                break
            await asyncio.sleep(self.pause)
        self.given_up.append(body)
        return False

    async def _once(self, body: JsonValue) -> bool:
        if self._url is None or self._source is None or self._session is None:
            return False
        signed = self._source.authenticate(orjson.dumps(body))
        url = f"{self._url.rstrip('/')}/{signed.tail}" if signed.tail else self._url
        headers = {"Content-Type": "application/json", **signed.headers}
        try:
            async with self._session.post(url, data=signed.body, headers=headers) as response:
                await response.read()
                return response.status == _ACKNOWLEDGED
        except (aiohttp.ClientError, TimeoutError):  # the bridge is away: that is what is tried
            return False

    async def settle(self) -> None:
        """Wait until every callback so far was acknowledged or given up."""
        while self._under_way:
            await asyncio.wait(self._under_way)
