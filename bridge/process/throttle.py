"""A log for what may happen a thousand times a second."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict

import attrs


@attrs.define
class _Line:
    logged_at: float = -math.inf
    repeated: int = 0


class Throttle:
    """Logs one line at most in `interval` seconds for each `key`, by default the message.

    The first one is logged at once; those that follow within the interval are counted, and one
    of them is logged at its end, with their number as `repeated`. There must be few keys, and an
    event loop.
    """

    def __init__(self, log: logging.Logger, interval: float = 10.0) -> None:
        self._log = log
        self._interval = interval
        self._lines: defaultdict[str, _Line] = defaultdict(_Line)

    def log(self, level: int, message: str, *, key: str = "", **fields: object) -> None:
        """Log a message with these fields, or count it."""
        line = self._lines[key or message]
        wait = line.logged_at + self._interval - time.monotonic()
        if wait <= 0:
            self._write(line, level, message, fields)
            return
        line.repeated += 1
        if line.repeated == 1:
            loop = asyncio.get_running_loop()
            loop.call_later(wait, self._end, line, level, message, fields)

    def _end(self, line: _Line, level: int, message: str, fields: dict[str, object]) -> None:
        if line.repeated:  # otherwise one that came just now has been logged
            self._write(line, level, message, fields)

    def _write(self, line: _Line, level: int, message: str, fields: dict[str, object]) -> None:
        if line.repeated:
            fields = {**fields, "repeated": line.repeated}
        line.logged_at, line.repeated = time.monotonic(), 0
        self._log.log(level, message, extra=fields)
