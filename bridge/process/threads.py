"""Threads for what of our own would block the event loop.

Not those of `asyncio.to_thread`: code of others may fill them with calls that never return, or shut
them down for good (`loop.shutdown_default_executor`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_MOST: Final = 16


class _Pool:
    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)  # where none of the threads goes on

    def renew(self) -> None:
        self.executor = ThreadPoolExecutor(_MOST, thread_name_prefix="bridge")


_pool: Final = _Pool()


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something in a thread, with the context of the caller, and return its result."""
    run = partial(copy_context().run, call, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_pool.executor, run)
