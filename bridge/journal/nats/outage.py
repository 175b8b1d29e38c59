"""Being without servers for a moment: an election of theirs, a restart, our own start.

What goes into a spool keeps its order only within this machine: where callbacks of one
conversation take turns between machines, each of their spools would hold every other one. So
whoever appends waits for a while, without an acknowledgement, and nobody sends what comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bridge.journal.nats.broker import Away


class Outage:
    """Waits until the streams are `ready`, for `patience` seconds from a row's first failure.

    Then, or where `max_waiting` wait already, `lasting` is called with the failure; who waits
    goes on waiting for what is left of the time.
    """

    def __init__(
        self,
        *,
        ready: Callable[[], Awaitable[None]],
        patience: float,
        max_waiting: int,
        lasting: Callable[[Away], None],
    ) -> None:
        self._ready = ready
        self._patience = patience
        self._max_waiting = max_waiting
        self._lasting = lasting
        self._until: float | None = None
        self._waiting = 0

    def over(self) -> None:
        """Note that something has been written: the next failure is the first of another row."""
        self._until = None

    async def wait(self, error: Away) -> None:
        """Return when it is worth another try, or when it has lasted for too long."""
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self._patience
        if now >= self._until or self._waiting >= self._max_waiting:
            self._lasting(error)
            return
        self._waiting += 1
        try:
            async with asyncio.timeout_at(self._until):
                await self._ready()
        except TimeoutError:
            self._lasting(error)
        finally:
            self._waiting -= 1
