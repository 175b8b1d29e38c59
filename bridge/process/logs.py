"""The loggers of the bridge, which outlive the handlers and filters that others give them.

`logging` lets a handler's exception through to whoever writes a line. A handler that cannot reach
its server would end what serves a subscriber, and each task that is to replace it.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from typing import Final

from bridge.process.raised import kind_of, raised_at

_EVERY: Final = 60.0  # seconds
_PREFIX: Final = "bridge."


class Guarded(logging.Logger):
    """A logger of ours."""

    told_at = -_EVERY

    def __setattr__(self, name: str, value: object) -> None:
        """Set anything but `disabled`: levels and filters say what is wanted.

        `logging.config`, which migrations of databases call, disables every logger that it is not
        told of.
        """
        if name != "disabled":
            super().__setattr__(name, value)

    def handle(self, record: logging.LogRecord) -> None:
        """Hand a line to the handlers; one that raises is told of on standard error."""
        try:
            super().handle(record)
        except KeyboardInterrupt:  # of somebody who wants the program to end
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the handler's
            now = time.monotonic()
            if now - Guarded.told_at >= _EVERY:
                Guarded.told_at = now
                fault = f"{kind_of(error)} at {raised_at(error)}"
                with suppress(Exception):  # nobody is left to be told
                    sys.stderr.write(f"a handler or filter of the log raised {fault}\n")


def guard() -> None:
    """Guard the loggers that there are."""
    for name, logger in tuple(logging.Logger.manager.loggerDict.items()):
        if name.startswith(_PREFIX) and type(logger) is logging.Logger:
            logger.disabled = False
            logger.__class__ = Guarded
