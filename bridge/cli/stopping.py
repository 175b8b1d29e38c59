"""How `bridge serve` is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopping() -> Iterator[asyncio.Event]:
    """Give an event that SIGTERM and SIGINT set; a second one of them cuts the ending short."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stop = asyncio.Event()

    def stop_or_cancel() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop_or_cancel)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
