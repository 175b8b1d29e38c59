"""Reads one document of settings, and gathers everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
from cattrs.errors import BaseValidationError

from bridge.errors import ConfigurationError, Problem
from bridge.settings import toml
from bridge.settings.references import referenced, resolve
from bridge.settings.structure import faults, structure
from bridge.settings.wording import mismatch

T = TypeVar("T")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")


def text_of(path: Path) -> str:
    """Return a file's text. Raises `ConfigurationError`."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "not text in UTF-8"
    raise ConfigurationError((Problem("", f"cannot be read: {reason}", file=str(path)),))


def keys_of(cls: type[attrs.AttrsInstance]) -> tuple[str, ...]:
    """Return the keys of a class's table."""
    return tuple(field.name for field in attrs.fields(cls))


class Reader:
    """Reads one document into attrs classes, and gathers everything that is wrong with it."""

    def __init__(
        self, document: toml.Document, environ: Mapping[str, str], directory: Path
    ) -> None:
        self.document = document
        self.directory = directory
        self.values, self._unusable = resolve(document, environ, directory)
        self._problems = [document.problem(*fault) for fault in self._unusable.items()]

    def report(self, path: toml.Path, message: str, below: str = "") -> None:
        """Note what is wrong with a key, or with one `below` it.

        Values from outside the document are not shown: a class's own check may quote them.
        """
        if toml.dotted(path) in self._unusable:
            return
        for text in sorted(referenced(toml.at(self.values, path)), key=len, reverse=True):
            message = message.replace(text, "********") if text else message
        key = ".".join(filter(None, (toml.dotted(path), below)))
        self._problems.append(self.document.problem(key, message))

    def finish(self) -> None:
        """Raise `ConfigurationError` if anything was wrong, in the order of the document."""
        if self._problems:
            problems = sorted(self._problems, key=lambda problem: (problem.line or 0, problem.key))
            raise ConfigurationError(tuple(problems))

    def tables(
        self, name: str, common: type[attrs.AttrsInstance]
    ) -> Iterator[tuple[tuple[str, str], dict[str, Any], dict[str, Any]]]:
        """Yield each table within a table of the root: its path, its `common` keys and the rest."""
        for key, value in self.table(self.values.get(name, {}), (name,)).items():
            # A name stands in a URL's path, in metrics and in the journal.
            if not _NAME.fullmatch(key):
                told = 'expected a name of a-z, 0-9, "_" and "-", beginning with a-z or 0-9'
                self.report((name, key), told)
            rest = dict(self.table(value, (name, key)))
            yield (name, key), {k: rest.pop(k) for k in keys_of(common) if k in rest}, rest

    def table(self, value: object, path: toml.Path) -> dict[str, Any]:
        """Return a value that has to be a table, or report it and return an empty one."""
        if isinstance(value, dict):
            return value
        self.report(path, mismatch(value, "a table"))
        return {}

    def section(self, name: str, cls: type[T]) -> T:
        """Read a table of the root; where it is wrong, reading goes on with the defaults."""
        return self.placed(self.read(self.values.get(name, {}), cls, (name,)) or cls())

    def placed(self, settings: T) -> T:
        """Return the settings with their paths as seen from the directory of the document."""
        values = attrs.asdict(settings, recurse=False)  # type: ignore[arg-type]  # attrs classes
        paths = {k: self.directory / v for k, v in values.items() if isinstance(v, Path)}
        return attrs.evolve(settings, **paths) if paths else settings  # type: ignore[misc]

    def read(
        self, table: object, cls: type[T], path: toml.Path, beside: Sequence[str] = ()
    ) -> T | None:
        """Structure the table at a path, or report what is wrong with it and return None.

        `beside` names the keys that the same table may hold for other classes.
        """
        try:
            return structure(table, cls)
        except (BaseValidationError, ConfigurationError) as error:
            for fault in faults(error, path, beside):
                self.report(*fault)
            return None
