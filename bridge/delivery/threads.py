"""Threads for plain functions, which may block for as long as they like."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias

from bridge.process.forked import end_child, forks

Returned: TypeAlias = Callable[[Any, BaseException | None], None]
"""Called on the event loop with what a function returned, or with what it raised."""


class Threads:
    """As many threads as calls are under way at once; each stays for the next call.

    They are daemons: a function that never returns does not keep the process from ending, as it
    would in a `ThreadPoolExecutor`. An exception is handed over as a value, since a future refuses
    StopIteration.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._name = name
        self._forks = forks.count
        self._loop = loop
        self._calls: SimpleQueue[tuple[Callable[[], object], Returned] | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0

    def run(self, call: Callable[[], object], returned: Returned) -> None:
        """Call something in a thread.

        Where no more can be started, it waits for one that is there. Raises RuntimeError where
        there is none.
        """
        if self._busy >= self._threads:
            name = f"{self._name} {self._threads + 1}"
            try:
                threading.Thread(target=self._work, name=name, daemon=True).start()
            except RuntimeError:
                if not self._threads:
                    raise
            else:
                self._threads += 1
        self._busy += 1
        self._calls.put((call, returned))

    def close(self) -> None:
        """End the threads that are idle now, and each other one when its function returns."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            call, returned = job
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:  # noqa: BLE001 - whatever it is, it is the caller's
                error = raised
            if forks.count != self._forks:
                end_child(self._name)
            try:
                self._loop.call_soon_threadsafe(self._hand_over, returned, result, error)
            except RuntimeError:  # the loop is closed, so nobody waits
                return
            del job, call, returned, result, error  # they may be large, and the next may be late

    def _hand_over(self, returned: Returned, result: object, error: BaseException | None) -> None:
        self._busy -= 1
        returned(result, error)
