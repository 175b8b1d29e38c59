"""Tasks of our own, none of which ends unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Final, TypeAlias

from bridge.process.raised import kind_of, raised_at

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
Ended: TypeAlias = Callable[[BaseException | None], None]

_CANCEL_AGAIN: Final = 0.1  # seconds
_PAUSE: Final = 0.1  # seconds; a task that fails at once must not keep the loop busy

_log: Final = logging.getLogger(__name__)


class Deaths:
    """Counts, for an owner of several `Tasks`, those that died."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Count one."""
        self.count += 1


class Tasks:
    """The tasks of one owner, which end by returning or when the owner closes them.

    One that ends otherwise, whether it raised or somebody cancelled it, is a critical line, is
    told to `died`, and is replaced.
    """

    def __init__(self, owner: str, died: Callable[[], None] | None = None) -> None:
        self._owner = owner
        self._died = died
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def __iter__(self) -> Iterator[asyncio.Task[None]]:
        """Go through those that run."""
        return iter(tuple(self._tasks))

    def start(self, name: str, work: Work, ended: Ended | None = None) -> None:
        """Begin a task; `ended` is called instead of replacing it, with what it raised.

        After `close` nothing begins.
        """
        if self._is_closing:
            return
        task = asyncio.create_task(work(), name=f"{self._owner}: {name}")
        self._tasks.add(task)
        task.add_done_callback(partial(self._has_ended, name, work, ended))

    async def close(self) -> None:
        """Cancel all of them and wait for their end."""
        self._is_closing = True
        running = set(self._tasks)
        while running:  # before Python 3.12 a cancellation gets lost where a wait ends just then
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN)

    def _has_ended(
        self, name: str, work: Work, ended: Ended | None, task: asyncio.Task[None]
    ) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self._is_closing:
            return
        if error is not None:
            report(self._owner, name, error)
            if self._died is not None:
                self._died()
        if ended is not None:
            ended(error)
        elif error is not None:
            asyncio.get_running_loop().call_later(_PAUSE, self.start, name, work)


def report(owner: str, what: str, error: BaseException) -> None:
    """Log that something of our own failed, which is a bug or somebody else's doing."""
    place = raised_at(error)
    _log.critical(
        "%s: the task %r ended with %s%s, and is replaced",
        owner,
        what,
        kind_of(error),
        "" if place is None else f" at {place}",
        exc_info=error,
    )
