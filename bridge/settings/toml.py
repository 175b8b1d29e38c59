"""TOML with line numbers: what a document says, and on which line it says it.

The standard library's reader judges the syntax and reads the values, but keeps no positions
(https://github.com/python/cpython/issues/115516). A second pass finds the line of each key, and
may rely on the text being valid. Specification: https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final, TypeAlias

import attrs

from bridge.errors import ConfigurationError, Problem

Path: TypeAlias = tuple[str | int, ...]
"""Leads from the root to a value: keys of tables, and indexes of arrays from 0."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_POSITION: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TOKEN: Final = re.compile(
    # Up to two quotes may stand right before the three that end a multi-line string.
    r'(?s:"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5})'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'"
    r"|(?P<blank>[ \t\r]+|#[^\n]*)"
    r"|[\[\]{},=\n]"
    r"|[^\"'# \t\r\[\]{},=\n]+(?: \d\d:[\d:.Z+-]+)?"  # a time may follow a date and a space
)


@attrs.frozen(kw_only=True)
class Document:
    """A TOML document as parsed; `file` is how its problems name it."""

    value: dict[str, Any] = attrs.field(repr=False)
    text: str = attrs.field(repr=False)
    file: str | None = None

    def problem(self, key: str, message: str) -> Problem:
        """Return what is wrong with a key, with the place where the document says it."""
        return Problem(key, message, self.file, self.line(key))

    def line(self, key: str) -> int | None:
        """Return the line of a key that is written as `dotted` writes it.

        A key that is missing has the line of the innermost table around it that is there.
        """
        while key and key not in self._lines:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self._lines.get(key)

    @cached_property
    def _lines(self) -> Mapping[str, int]:
        return {dotted(path): line for path, line in _Locator(self.text).lines.items()}


def parse(text: str, file: str | None = None) -> Document:
    """Read a document. Raises `ConfigurationError`."""
    try:
        return Document(value=tomllib.loads(text), text=text, file=file)
    except ValueError as error:  # tomllib's own, or that of a number with too many digits
        message = str(error)
        position = _POSITION.search(message)
        line = position and int(position[1] or text.count("\n") + 1)
        message = f"not valid TOML: {_POSITION.sub('', message)}"
    except RecursionError:
        message, line = "not usable: values nest too deeply", None
    # The caught error holds the whole document, secrets included, so it is not the cause.
    raise ConfigurationError((Problem("", message, file, line),))


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


def at(values: Any, path: Path) -> Any:  # noqa: ANN401 - whatever a document holds
    """Return what stands at a path, or None where nothing does."""
    for part in path:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return None
    return values


class _Locator:
    """Finds the line of each key and array item of a valid document."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        # The index of the last table so far in each array of tables.
        self._last_tables: dict[Path, int] = {}
        self._tokens = _tokens(text)
        table: Path = ()
        for mark, line in self._tokens:
            if mark == "[":
                table = self._read_header(line)
            elif mark != "\n":
                self._read_pair(mark, line, table)

    def _read_key(self, first: str, end: str) -> list[str]:
        """Return the parts of a dotted key that begins with a token and ends at another."""
        text = first + "".join(iter(lambda: next(self._tokens)[0], end))
        parts, table = [], tomllib.loads(f"{text} = 0")
        while table:
            ((part, table),) = table.items()
            parts.append(part)
        return parts

    def _read_header(self, line: int) -> Path:
        """Read `[a.b]` or `[[a.b]]`, and return the path of the table that it opens."""
        first, _ = next(self._tokens)
        is_array = first == "["
        *outer, name = self._read_key("" if is_array else first, "]")
        path: Path = ()
        for part in outer:
            path = self._last((*path, part))
            self.lines.setdefault(path, line)
        path = (*path, name)
        if is_array:
            next(self._tokens)
            self.lines.setdefault(path, line)
            self._last_tables[path] = self._last_tables.get(path, -1) + 1
            path = self._last(path)
        # `[a.b]` may have named `a` before; its own header is its place.
        self.lines[path] = line
        return path

    def _last(self, path: Path) -> Path:
        """Return the path itself, or that of its last table where it is an array of tables."""
        return (*path, self._last_tables[path]) if path in self._last_tables else path

    def _read_pair(self, first: str, line: int, path: Path) -> None:
        """Read `key = value` in the table of a path."""
        for part in self._read_key(first, "="):
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._read_value(*next(self._tokens), path)

    def _read_value(self, mark: str, line: int, path: Path) -> None:
        """Read a value that begins with a token."""
        self.lines.setdefault(path, line)
        index = 0
        while mark in "[{":
            first, line = next(self._tokens)
            if first in "]}":
                break
            if first in ",\n":
                continue
            if mark == "{":
                self._read_pair(first, line, path)
            else:
                self._read_value(first, line, (*path, index))
                index += 1


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Yield the tokens of a document with their lines, without blanks and comments."""
    line = 1
    for token in _TOKEN.finditer(text):
        if token.lastgroup is None:
            yield token[0], line
        line += token[0].count("\n")
