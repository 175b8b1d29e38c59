"""What can be told of an exception: its class and text, and the lines of code it came through."""

from __future__ import annotations

from traceback import walk_tb
from types import TracebackType
from typing import Final, TypeAlias

Frame: TypeAlias = tuple[str, int, str]
"""A file, a line, and the function there."""

_LONGEST: Final = 1000


def described(error: BaseException) -> str:
    """Return an exception's class and text; any text can be kept, whatever `str` makes of it."""
    try:
        text = str(error)
    except BaseException as raised:  # noqa: BLE001 - it is the exception's own code
        text = f"(its text cannot be had: {type(raised).__name__})"
    return f"{kind_of(error)}: {writable(text)}"[:_LONGEST]


def kind_of(error: BaseException) -> str:
    """Return the name of an exception's class."""
    return writable(type(error).__name__)


def writable(text: str) -> str:
    """Escape what no UTF-8 can hold, as file names that are no UTF-8 become in Python."""
    return text.encode("utf-8", "backslashreplace").decode()


def raised_at(error: BaseException) -> str | None:
    """Return the innermost line that raised, and none of the values there."""
    frames = frames_of(error)
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames else None


def frames_of(error: BaseException, since: TracebackType | None = None) -> list[Frame]:
    """Return the frames that an exception came through, all or those `since` one of them.

    Of a group, those of its first exception follow.
    """
    frames = [
        (frame.f_code.co_filename, line, frame.f_code.co_qualname)
        for frame, line in walk_tb(since or error.__traceback__)
    ]
    if isinstance(error, BaseExceptionGroup):
        frames += frames_of(error.exceptions[0])
    return frames
