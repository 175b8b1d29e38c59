"""What settings take from elsewhere: `${NAME}`, `${NAME:-default}` and `file:PATH`.

`${NAME}` may stand anywhere in a string and gives a variable of the environment; after `:-`
stands what is taken where it is unset or empty, as in a shell. `$${` gives a plain `${`.
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

_VARIABLE: Final = re.compile(
    r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-(?:(?!\$\{)[^}])*)?\})?"
)
_FILE: Final = "file:"


class Referenced(str):
    """A string that came from outside the document: perhaps a secret, so never shown."""

    __slots__ = ()


class Unresolved:
    """Stands where a reference leads nowhere; it fits no setting."""


class _Dangling(Exception):
    """A reference leads nowhere; the text says why."""


def resolve(
    document: toml.Document, environ: Mapping[str, str], directory: Path
) -> tuple[dict[str, Any], dict[toml.Path, str]]:
    """Return the document's values with every reference followed, and what is wrong with which.

    `directory` is what the paths of files are relative to.
    """
    faults: dict[toml.Path, str] = {}

    def follow(value: object, path: toml.Path) -> object:
        if isinstance(value, dict):
            return {key: follow(below, (*path, key)) for key, below in value.items()}
        if isinstance(value, list):
            return [follow(below, (*path, index)) for index, below in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            return _follow(value, environ, directory)
        except _Dangling as error:
            faults[path] = str(error)
            return Unresolved()

    return {key: follow(value, (key,)) for key, value in document.value.items()}, faults


def referenced(value: object) -> Iterator[str]:
    """Return every string in a value that came from outside the document."""
    if isinstance(value, Referenced):
        yield value
    elif isinstance(value, dict):
        for below in value.values():
            yield from referenced(below)
    elif isinstance(value, list):
        for below in value:
            yield from referenced(below)


def _follow(text: str, environ: Mapping[str, str], directory: Path) -> str:
    expanded = _VARIABLE.sub(lambda match: _variable(match, environ), text)
    # Only what the document itself says is a file: a variable's content opens none.
    if text.startswith(_FILE):
        return Referenced(_content(directory / expanded.removeprefix(_FILE)))
    is_literal = not any(match["name"] for match in _VARIABLE.finditer(text))
    return expanded if is_literal else Referenced(expanded)


def _variable(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$${":
        return "${"
    name, default = match["name"], match["default"]
    if name is None:
        raise _Dangling("a reference is written ${NAME} or ${NAME:-default}, and a plain ${ as $${")
    value = environ.get(name)
    if value:
        return value
    if default is not None:
        return default.removeprefix(":-")
    if value is None:
        raise _Dangling(f"the environment variable {name} is not set")
    return value


def _content(path: Path) -> str:
    # Whether it is a regular file is asked first: opening a pipe would wait for its writer.
    try:
        if not path.is_file():
            kind = "not a regular file" if path.exists() else "there is no such file"
            raise _Dangling(f"{_FILE}{path} cannot be read: {kind}")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise _Dangling(f"{_FILE}{path} cannot be read: larger than {MAX_FILE_BYTES} bytes")
        return content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise _Dangling(f"{_FILE}{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise _Dangling(f"{_FILE}{path} cannot be read: not text in UTF-8") from None
