"""The functions of others: how they are called, named, and where they failed."""

from __future__ import annotations

import inspect
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import cast


def as_async(
    function: Callable[..., object], executor: Executor
) -> Callable[..., Awaitable[object]]:
    """Return the function itself if it is async, else one that runs it in a thread.

    A plain function may block, and must not hold up everyone else while it does. It sees the
    caller's context variables.
    """
    if is_async(function):
        return cast("Callable[..., Awaitable[object]]", function)

    async def in_thread(*args: object, **kwargs: object) -> object:
        result = await get_running_loop().run_in_executor(
            executor, partial(copy_context().run, function, *args, **kwargs)
        )
        return await result if inspect.isawaitable(result) else result

    return in_thread


def is_async(function: Callable[..., object]) -> bool:
    """Return whether calling this gives an awaitable: an async function, method or object."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object's own call may be async
    )


def name_of(function: Callable[..., object]) -> str:
    """Return `module:name` of a function, as it is written in the settings."""
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def raised_at(error: BaseException) -> str | None:
    """Return the innermost line that raised, and none of the values there."""
    traceback = error.__traceback__
    if traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
