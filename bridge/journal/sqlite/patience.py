"""How long a start waits for another program that has the journal's file locked."""

from __future__ import annotations

import threading
import time
from typing import Final

_PAUSE: Final = 0.01  # seconds between tries to lock


class Patience:
    """So many seconds for all that a start has to wait for, unless somebody gives up."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """Let whoever waits wait no longer; from another thread."""
        self._given_up.set()

    def __call__(self, _: int = 0) -> bool:
        """Wait a moment, and return whether to try again; SQLite's busy handler."""
        return time.monotonic() < self._until and not self._given_up.wait(_PAUSE)
