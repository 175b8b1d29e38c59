"""Whether a bridge runs, which its parts ask in many places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import NotRunning

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Life:
    """Runs in one event loop at a time; a part of `Bridge`.

    With its loop a bridge has ended too, though nobody left it: nothing of it goes on.
    """

    def __init__(self) -> None:
        self._loop: AbstractEventLoop | None = None

    @property
    def _is_running(self) -> bool:
        return self._loop is not None and not self._loop.is_closed()

    def _check_running(self) -> None:
        if not self._is_running:
            raise NotRunning("enter the bridge (`async with bridge:`) before it is used")
        self._refuse_elsewhere()

    def _refuse_elsewhere(self) -> None:
        """Raise `NotRunning` in another event loop than the one that the bridge runs in."""
        import asyncio  # noqa: PLC0415 - `bridge check` asks nobody whether they run

        if self._is_running and asyncio.get_running_loop() is not self._loop:
            raise NotRunning(
                "the bridge runs in another event loop: an async function can use it, and a plain "
                "one with `asyncio.run_coroutine_threadsafe` and that loop"
            )
