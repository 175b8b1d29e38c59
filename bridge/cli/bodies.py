"""Where one request body ends and the next begins, in files that hold several."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import attrs

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_SEPARATORS: Final = re.compile(r"[ \t\r\n,]*")
# Only where a value ends is asked; numbers stay text, since some are too long to be converted.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)


@attrs.frozen(kw_only=True)
class Body:
    """One body out of a file, and where in it the body begins (both counted from 1)."""

    content: bytes = attrs.field(repr=False)
    line: int = 1
    column: int = 1

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Return a place in the body as a place in the file."""
        if line > 1:
            return self.line + line - 1, column
        return self.line, self.column + column - 1


def bodies(content: bytes) -> Iterator[Body]:
    """Split a file's content into request bodies, each exactly as it is written there.

    Text that is not JSON becomes one body up to the next line that begins with a brace, so that
    the adapter reports the error and its position.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield Body(content=content)
        return
    line, line_start, seen = 1, 0, 0
    for start, end in _spans(text):
        if start < seen:  # back to the beginning of an array that does not end
            line, line_start, seen = 1, 0, 0
        breaks = text.count("\n", seen, start)
        if breaks:
            line += breaks
            line_start = text.rindex("\n", seen, start) + 1
        seen = start
        yield Body(content=text[start:end].encode(), line=line, column=start - line_start + 1)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Return where each value begins and ends; of an array, each of its elements."""
    position = _skip(_BLANK, text, 0)
    if position == len(text):
        yield position, position  # nothing at all is no body
    array: int | None = None
    while position < len(text):
        end = position + 1
        if array is None and text[position] == "[":
            array = position
        elif array is not None and text[position] == "]":
            array = None
        else:
            try:
                end = _DECODER.raw_decode(text, position)[1]
            except (ValueError, RecursionError):
                end = text.find("\n{", position) + 1 or len(text)
                if end == len(text):
                    array = None  # one report of a broken end is enough
            yield position, end
        position = _skip(_BLANK if array is None else _SEPARATORS, text, end)
    if array is not None:
        yield array, len(text)  # its end is missing


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()
