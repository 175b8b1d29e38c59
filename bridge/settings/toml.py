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
    r"|[^\"'# \t\r\[\]{},=\n]+"
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
        locator = _Locator()
        locator.read(self.text)
        return {dotted(path): line for path, line in locator.lines.items()}


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


@attrs.frozen
class _Locator:
    """Finds the line of each key and array item of a valid document."""

    lines: dict[Path, int] = attrs.field(factory=dict)
    _last_tables: dict[Path, int] = attrs.field(factory=dict)
    """The index of the last table so far in each array of tables."""

    def read(self, document: str) -> None:
        """Read every statement."""
        table: Path = ()
        for line, statement in _split(document, "\n", 1):
            if statement.startswith("["):
                table = self._read_header(statement, line)
            else:
                self._read_pair(statement, line, table)

    def _read_header(self, text: str, line: int) -> Path:
        """Read `[a.b]` or `[[a.b]]`, and return the path of the table that it opens."""
        *outer, name = _key(text.strip("[]"))
        path: Path = ()
        for part in outer:
            path = self._last((*path, part))
            self.lines.setdefault(path, line)
        path = (*path, name)
        if text.startswith("[["):
            self.lines.setdefault(path, line)
            self._last_tables[path] = self._last_tables.get(path, -1) + 1
            path = self._last(path)
        # `[a.b]` may have named `a` before; its own header is its place.
        self.lines[path] = line
        return path

    def _last(self, path: Path) -> Path:
        """Return the path itself, or that of its last table where it is an array of tables."""
        return (*path, self._last_tables[path]) if path in self._last_tables else path

    def _read_pair(self, text: str, line: int, path: Path) -> None:
        """Read `key = value` in the table of a path."""
        equals = next(token for token in _TOKEN.finditer(text) if token[0] == "=")
        for part in _key(text[: equals.start()]):
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._read_value(text[equals.end() :].lstrip(" \t"), line, path)

    def _read_value(self, text: str, line: int, path: Path) -> None:
        if text.startswith("["):
            for index, (below, item) in enumerate(_split(text[1:-1], ",", line)):
                self.lines[(*path, index)] = below
                self._read_value(item, below, (*path, index))
        elif text.startswith("{"):
            for below, pair in _split(text[1:-1], ",", line):
                self._read_pair(pair, below, path)


def _key(text: str) -> list[str]:
    """Return the parts of a dotted key."""
    parts = []
    table: Any = tomllib.loads(f"{text} = 0")
    while table:
        ((part, table),) = table.items()
        parts.append(part)
    return parts


def _split(text: str, separator: str, line: int) -> Iterator[tuple[int, str]]:
    """Yield what stands between separators, without blanks and comments around it.

    `line` is where the text begins; each part comes with the line where it begins.
    """
    depth = counted = 0
    start = end = None
    for token in _TOKEN.finditer(text + separator):
        mark = token[0]
        if mark == separator and not depth:
            if start is not None:
                yield line, text[start:end]
            start = None
        elif mark != "\n" and token.lastgroup is None:
            if start is None:
                start = token.start()
                line += text.count("\n", counted, start)
                counted = start
            end = token.end()
            depth += (mark in "[{") - (mark in "]}")
