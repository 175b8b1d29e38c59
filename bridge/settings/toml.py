"""TOML with places: what a document says, and on which line it says it.

The standard library's reader tells no lines. Here it reads the values and judges the syntax;
a second pass only looks for where each key stands, and may rely on the text being valid.
Specification: https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs

from bridge.errors import ConfigurationError, Problem

Path: TypeAlias = tuple[str | int, ...]
"""Leads from the root to a value: keys of tables, and indexes of arrays from 0."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SPACE: Final = " \t"
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_MAX_NUMBER: Final = 1000
_STRING_END: Final = {
    '"': re.compile(r'(?:[^"\\]|\\.)*"'),
    "'": re.compile(r"[^']*'"),
    # As many as two quotes may stand right before the three that end a long string.
    '"""': re.compile(r'(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL),
    "'''": re.compile(r"(?:[^']|'{1,2}(?!'))*'{3,5}"),
}


@attrs.frozen(kw_only=True)
class Document:
    """A TOML document as parsed; `places` holds the line of every key and array item."""

    value: dict[str, Any] = attrs.field(repr=False)
    places: Mapping[Path, int] = attrs.field(repr=False)
    file: str | None = None

    def line(self, path: Path) -> int | None:
        """Return the line of a path, or of the innermost table around it that has one.

        A key that is missing is thus looked for below its table's header.
        """
        while path:
            line = self.places.get(path)
            if line is not None:
                return line
            path = path[:-1]
        return None

    def line_of(self, key: str) -> int | None:
        """Return the same for a key that is written as `dotted` does."""
        lines = {dotted(path): line for path, line in self.places.items()}
        while key and key not in lines:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return lines.get(key)


def parse(text: str, file: str | None = None) -> Document:
    """Read a document; `file` is how the faults name it. Raises `ConfigurationError`."""
    try:
        value = tomllib.loads(text)
        places = _Locator(text).locate()
    except ValueError as error:  # tomllib's own, and that of a number with too many digits
        message = str(error)
        place = _PLACE.search(message)
        line = place and int(place[1] or text.count("\n") + 1)
        message = _PLACE.sub("", message)
        problem = Problem(key="", message=f"not valid TOML: {message}", file=file, line=line)
        # The error holds the whole document, secrets included: it goes no further.
        raise ConfigurationError((problem,)) from None
    except RecursionError:
        problem = Problem(key="", message="not usable: values nest too deeply", file=file)
        raise ConfigurationError((problem,)) from None
    return Document(value=value, places=places, file=file)


def dotted(path: Path) -> str:
    """Write a path as a reader of the document knows it: `adapters.incs.channels[1].kind`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        if not _BARE_KEY.fullmatch(part):
            part = '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'  # noqa: PLW2901
        text += f".{part}" if text else part
    return text


class _Locator:
    """Finds where each key of a valid document stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._places: dict[Path, int] = {}
        self._tables_so_far: dict[Path, int] = {}

    def locate(self) -> Mapping[Path, int]:
        """Walk the whole document once."""
        table: Path = ()
        while not self._at_end():
            if self._text.startswith("[", self._position):
                table = self._header()
            else:
                self._pair(table)
        return self._places

    def _at_end(self) -> bool:
        self._skip_blank()
        return self._position == len(self._text)

    def _line(self) -> int:
        return bisect_right(self._line_starts, self._position)

    def _next(self) -> str:
        return self._text[self._position]

    def _skip_blank(self) -> None:
        """Skip white space, line ends and comments."""
        text = self._text
        while self._position < len(text):
            if text[self._position] == "#":
                end = text.find("\n", self._position)
                self._position = len(text) if end < 0 else end
            elif text[self._position] in " \t\r\n":
                self._position += 1
            else:
                return

    def _skip_space(self) -> None:
        while self._next() in _SPACE:
            self._position += 1

    def _header(self) -> Path:
        """Read `[a.b]` or `[[a.b]]`, and return the path of the table it opens."""
        line = self._line()
        is_item = self._text.startswith("[[", self._position)
        self._position += 2 if is_item else 1
        *outer, name = self._key()
        self._position += 2 if is_item else 1
        path: Path = ()
        for part in outer:
            path = self._latest((*path, part))
            self._places.setdefault(path, line)
        path = (*path, name)
        if is_item:
            self._places.setdefault(path, line)
            self._tables_so_far[path] = self._tables_so_far.get(path, 0) + 1
            path = self._latest(path)
        # A table may have been spoken of before (`[a.b]` before `[a]`); its header is its place.
        self._places[path] = line
        return path

    def _latest(self, path: Path) -> Path:
        """Return the path itself, or that of its last table where it is an array of tables."""
        count = self._tables_so_far.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self._places.setdefault(path, line)
        self._position += 1  # the equals sign
        self._skip_space()
        self._value(path)

    def _key(self) -> list[str]:
        """Read a dotted key up to what follows it."""
        parts = []
        while True:
            self._skip_space()
            parts.append(self._simple_key())
            self._skip_space()
            if self._next() != ".":
                return parts
            self._position += 1

    def _simple_key(self) -> str:
        start = self._position
        if self._next() in "\"'":
            self._string(self._next())
            (key,) = tomllib.loads(f"{self._text[start : self._position]} = 0")
            return key
        match = _BARE_KEY.match(self._text, start)
        assert match is not None  # noqa: S101 - the document is valid TOML
        self._position = match.end()
        return match[0]

    def _value(self, path: Path) -> None:
        first = self._next()
        if first in "\"'":
            is_long = self._text.startswith(first * 3, self._position)
            self._string(first * 3 if is_long else first)
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            start = self._position
            while self._position < len(self._text) and self._next() not in ",]}#\n":
                self._position += 1
            if self._position - start > _MAX_NUMBER:
                # In hexadecimal the reader takes any, but no message could show it in decimal.
                raise ValueError("a number has too many digits")

    def _string(self, quote: str) -> None:
        match = _STRING_END[quote].match(self._text, self._position + len(quote))
        assert match is not None  # noqa: S101 - the document is valid TOML
        self._position = match.end()

    def _array(self, path: Path) -> None:
        self._position += 1
        index = 0
        while True:
            self._skip_blank()
            if self._next() == "]":
                break
            self._places[(*path, index)] = self._line()
            self._value((*path, index))
            index += 1
            self._skip_comma()
        self._position += 1

    def _inline_table(self, path: Path) -> None:
        self._position += 1
        while True:
            self._skip_blank()  # from TOML 1.1 on, lines may end in here
            if self._next() == "}":
                break
            self._pair(path)
            self._skip_comma()
        self._position += 1

    def _skip_comma(self) -> None:
        self._skip_blank()
        if self._next() == ",":
            self._position += 1
