"""Values that come from outside the document: `${NAME}`, `${NAME:-default}` and `file:PATH`.

`${NAME}` may stand anywhere in a string and gives a variable of the environment; the text after
`:-` replaces one that is unset or empty, as in a shell. `$${` gives a plain `${`.
A string that begins with `file:` is the content of that file, without its last line end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bridge.settings import toml

MAX_FILE_BYTES: Final = 64 * 1024
"""How large a file behind `file:` may be: it holds a secret, not a data set."""

_MAX_DEPTH: Final = 50
_MAX_INTEGER_BITS: Final = 64
_FILE: Final = "file:"
_REFERENCE: Final = re.compile(
    r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:(?!\$\{)[^}])*))?\})?"
)


class Referenced(str):
    """A string that came from outside the document: perhaps a secret, so never shown."""

    __slots__ = ()


UNUSABLE: Final = object()
"""Replaces a value that cannot be used; it fits no setting."""


class _Fault(Exception):
    """Why a value cannot be used."""


def resolve(
    document: toml.Document, environ: Mapping[str, str], directory: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the document's values with every reference resolved, and the faults by key.

    Relative paths of files start from `directory`.
    """
    faults: dict[str, str] = {}

    def follow(value: object, path: toml.Path) -> object:
        try:
            if len(path) > _MAX_DEPTH:
                raise _Fault("values nest too deeply")  # noqa: TRY301 - reported like the others
            if isinstance(value, dict):
                return {key: follow(below, (*path, key)) for key, below in value.items()}
            if isinstance(value, list):
                return [follow(below, (*path, index)) for index, below in enumerate(value)]
            # https://toml.io/en/v1.0.0#integer; Python would not even print a much longer one.
            if isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
                raise _Fault("an integer has at most 64 bits")  # noqa: TRY301
            return _follow(value, environ, directory) if isinstance(value, str) else value
        except _Fault as fault:
            faults[toml.dotted(path)] = str(fault)
            return UNUSABLE

    return {key: follow(value, (key,)) for key, value in document.value.items()}, faults


def referenced(value: object) -> Iterator[str]:
    """Return every string in a value that came from outside the document."""
    return (text for _, text in _strings(value) if isinstance(text, Referenced))


def defaults(value: object) -> Iterator[str]:
    """Yield what stands after `:-` in a string of the document."""
    for match in _REFERENCE.finditer(value) if isinstance(value, str) else ():
        if match["default"] is not None:
            yield match["default"]


def files(
    document: toml.Document, environ: Mapping[str, str], directory: Path
) -> Iterator[tuple[str, Path]]:
    """Yield each file that the document's strings are read from, with the key of the string."""
    for path, text in _strings(document.value):
        if text.startswith(_FILE):
            name = _REFERENCE.sub(lambda match: _variable(match, environ), text)
            yield toml.dotted(path), directory / name.removeprefix(_FILE)


def _strings(value: object, path: toml.Path = ()) -> Iterator[tuple[toml.Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _strings(below, (*path, key))


def _follow(text: str, environ: Mapping[str, str], directory: Path) -> str:
    expanded = _REFERENCE.sub(lambda match: _variable(match, environ), text)
    # Only the document itself names files: the content of a variable opens none.
    if text.startswith(_FILE):
        return Referenced(_content(directory / expanded.removeprefix(_FILE)))
    is_literal = not any(match["name"] for match in _REFERENCE.finditer(text))
    return expanded if is_literal else Referenced(expanded)


def _variable(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$${":
        return "${"
    name, default = match["name"], match["default"]
    if name is None:
        raise _Fault("a reference is written ${NAME} or ${NAME:-default}, and a plain ${ as $${")
    if name not in environ and default is None:
        raise _Fault(f"the environment variable {name} is not set")
    return environ.get(name) or default or ""


def _content(path: Path) -> str:
    try:
        # Opening a pipe would wait for its writer.
        if path.exists() and not path.is_file():
            raise OSError(None, "not a regular file")  # noqa: TRY301 - reported like the others
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise OSError(None, f"larger than {MAX_FILE_BYTES} bytes")  # noqa: TRY301
        return content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        reason = error.strerror
    except ValueError:
        reason = "not text in UTF-8"
    raise _Fault(f"{_FILE}{path} cannot be read: {reason}")
