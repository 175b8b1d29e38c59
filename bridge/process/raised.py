"""What can be told of an exception: its class and text, and the lines of code it came through.

An exception of somebody else's class may lie: its `__class__` may be a property that raises, and so
may its `__cause__`. What Python itself keeps is read here, past whatever the class defines.
"""

from __future__ import annotations

from traceback import walk_tb
from types import TracebackType
from typing import Any, Final, TypeAlias, TypeGuard, TypeVar

Frame: TypeAlias = tuple[str, int, str]
"""A file, a line, and the function there."""

E = TypeVar("E", bound=BaseException)

_LONGEST: Final = 1000
_CAUSE: Final[Any] = BaseException.__dict__["__cause__"]
_CONTEXT: Final[Any] = BaseException.__dict__["__context__"]
_HAS_NO_CONTEXT: Final[Any] = BaseException.__dict__["__suppress_context__"]
_TRACEBACK: Final[Any] = BaseException.__dict__["__traceback__"]
_EXCEPTIONS: Final[Any] = BaseExceptionGroup.__dict__["exceptions"]
_NAME: Final[Any] = type.__dict__["__name__"]


def is_a(error: BaseException | None, kinds: type[E] | tuple[type[E], ...]) -> TypeGuard[E]:
    """Return whether an exception is of a class, whatever it says of itself."""
    return issubclass(type(error), kinds)


def trace_of(error: BaseException) -> TracebackType | None:
    """Return the traceback of an exception."""
    trace: TracebackType | None = _TRACEBACK.__get__(error)
    return trace


def cause_of(error: BaseException) -> BaseException | None:
    """Return what an exception was raised from, or while it was handled."""
    hides = _HAS_NO_CONTEXT.__get__(error)
    cause: BaseException | None = _CAUSE.__get__(error)
    return _CONTEXT.__get__(error) if cause is None and not hides else cause


def described(error: BaseException) -> str:
    """Return an exception's class and text; any text can be kept, whatever `str` makes of it."""
    try:
        text = str(error)
    except BaseException as raised:  # noqa: BLE001 - it is the exception's own code
        text = f"(its text cannot be had: {kind_of(raised)})"
    start = str.__getitem__(text, slice(_LONGEST))  # the whole may be large
    return f"{kind_of(error)}: {writable(start)}"[:_LONGEST]


def kind_of(error: BaseException) -> str:
    """Return the name of an exception's class."""
    return writable(_NAME.__get__(type(error)))


def writable(text: str) -> str:
    """Escape what no UTF-8 can hold, as file names that are no UTF-8 become in Python."""
    return str.encode(text, "utf-8", "backslashreplace").decode()


def raised_at(error: BaseException) -> str | None:
    """Return the innermost line that raised, and none of the values there."""
    frames = frames_of(error)
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames else None


def frames_of(error: BaseException, since: TracebackType | None = None) -> list[Frame]:
    """Return the frames that an exception came through, all or those `since` one of them.

    Of a group, those of its first exception follow.
    """
    frames: list[Frame] = []
    while True:
        frames += [
            (frame.f_code.co_filename, line, frame.f_code.co_qualname)
            for frame, line in walk_tb(since or trace_of(error))
        ]
        if not is_a(error, BaseExceptionGroup):
            return frames
        error, since = _EXCEPTIONS.__get__(error)[0], None
