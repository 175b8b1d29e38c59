"""Whether a bridge runs, which its parts ask in many places."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
