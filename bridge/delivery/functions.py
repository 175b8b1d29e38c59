"""The functions of others: whether they are async, what they are called, where they failed."""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Final

from bridge.process.raised import cause_of, frames_of, is_a, kind_of, trace_of

_MOST_LINES: Final = 50
_OURS: Final = f"{Path(__file__).parents[1]}{os.sep}"
_CALLERS: Final = frozenset(
    str(Path(__file__).with_name(name)) for name in ("delivery.py", "running.py", "threads.py")
)
_STDLIB: Final = f"{sysconfig.get_path('stdlib')}{os.sep}"
_PACKAGES: Final = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def is_async(function: Callable[..., object]) -> bool:
    """Return whether calling this gives a coroutine: an async function, method or object."""
    function = plain(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object's own call may be async
    )


def plain(function: Callable[..., object]) -> Callable[..., object]:
    """Return what is inside of partials."""
    while isinstance(function, partial):
        function = function.func
    return function


def name_of(function: Callable[..., object]) -> str:
    """Return `module:name` of a function, as it is written in the settings."""
    function = plain(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', '?')}:{named.__qualname__}"


def exc_info_of(error: BaseException) -> tuple[type[BaseException], BaseException, Any]:
    """Return what a log record takes, without our own frames around the function's."""
    return type(error), error, _trace_of(error)


def _trace_of(error: BaseException) -> TracebackType | None:
    trace = trace_of(error)
    while trace is not None and trace.tb_next and trace.tb_frame.f_code.co_filename in _CALLERS:
        trace = trace.tb_next
    return trace


def chain_of(error: BaseException) -> tuple[str, ...]:
    """Return the lines that an exception came through, the innermost last, without any value.

    The exception that caused it follows, headed by its class.
    """
    lines: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen and len(lines) < _MOST_LINES:
        if seen:
            lines.append(f"from {kind_of(cause)}")
        seen.add(id(cause))
        lines += [
            f"{file}:{line} in {name}" for file, line, name in frames_of(cause, _trace_of(cause))
        ]
        cause = cause_of(cause)
    return tuple(lines[:_MOST_LINES])


def where_of(error: BaseException, function: Callable[..., object] | None = None) -> str | None:
    """Return the innermost line of the user's own code that raised.

    That is what lies in the function's package or beside its module, and otherwise what is
    neither ours nor a library. If no such line is known, it is where the function begins, and
    None if it is not written in Python.
    """
    if is_a(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    code = _code_of(function)
    root = None if code is None else _root_of(code, function)
    for cause in (error, cause_of(error)):
        lines = [(file, line) for file, line, _ in (() if cause is None else frames_of(cause))]
        own = [each for each in lines if root is not None and _is_below(root, each[0])]
        own = own or [each for each in lines if not _is_others(each[0])]
        if own:
            return f"{own[-1][0]}:{own[-1][1]}"
    return None if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def _code_of(function: Callable[..., object] | None) -> CodeType | None:
    if function is None:
        return None
    function = inspect.unwrap(plain(function))
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _root_of(code: CodeType, function: object) -> str:
    """Return the folder of the package that a function is from, or of its module."""
    module = getattr(function, "__module__", None) or type(function).__module__
    package = sys.modules.get(module.partition(".")[0])
    for folder in getattr(package, "__path__", ()):
        if code.co_filename.startswith(f"{folder}{os.sep}"):
            return f"{folder}{os.sep}"
    folder = f"{Path(code.co_filename).parent}{os.sep}"
    # A module that is installed by itself lies beside everybody else's.
    return code.co_filename if folder.endswith(_PACKAGES) else folder


def _is_below(root: str, file: str) -> bool:
    return file.startswith(root) and not _is_library(f"{os.sep}{file.removeprefix(root)}")


def _is_library(file: str) -> bool:
    return file.startswith((_STDLIB, "<frozen ")) or any(name in file for name in _PACKAGES)


def place_of(frame: FrameType | None) -> str:
    """Return the innermost line of the user's own code that a frame is in, or else its own line."""
    each = frame
    while each is not None and _is_others(each.f_code.co_filename):
        each = each.f_back
    found = each or frame
    return "?" if found is None else f"{found.f_code.co_filename}:{found.f_lineno}"


def _is_others(file: str) -> bool:
    return file.startswith(_OURS) or _is_library(file)
