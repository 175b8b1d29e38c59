"""Reads one document of settings, and gathers everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
from cattrs.errors import (
    BaseValidationError,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    StructureHandlerNotFoundError,
)

from bridge.errors import BridgeError, ConfigurationError, Problem
from bridge.settings import toml
from bridge.settings.references import referenced, resolve
from bridge.settings.structure import expectation, structure
from bridge.settings.wording import mismatch, unknown

T = TypeVar("T")


class Reader:
    """Reads one document into attrs classes, and gathers everything that is wrong with it."""

    def __init__(
        self, document: toml.Document, environ: Mapping[str, str], directory: Path
    ) -> None:
        self._document = document
        self.values, self._dangling = resolve(document, environ, directory)
        self._problems: list[Problem] = []
        for path, fault in self._dangling.items():
            self._add(toml.dotted(path), fault)

    def report(self, path: toml.Path, message: str, *, below: str = "") -> None:
        """Note what is wrong with a key, or with what is written `below` it.

        Of a key whose reference leads nowhere, that is enough.
        """
        if path not in self._dangling:
            key = ".".join(filter(None, (toml.dotted(path), below)))
            self._add(key, self._masked(message, path))

    def finish(self) -> None:
        """Raise `ConfigurationError` if anything was wrong, in the order of the document."""
        if self._problems:
            problems = sorted(self._problems, key=lambda problem: (problem.line or 0, problem.key))
            raise ConfigurationError(tuple(problems))

    def table(self, name: str) -> dict[str, Any]:
        """Return a table of the root, an empty one where there is none."""
        value = self.values.get(name, {})
        if isinstance(value, dict):
            return value
        self.report((name,), mismatch(value, "a table"))
        return {}

    def tables(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return the tables within a table of the root, each with its name."""
        for key, value in self.table(name).items():
            if isinstance(value, dict):
                yield key, value
            else:
                self.report((name, key), mismatch(value, "a table"))

    def read(
        self, table: dict[str, Any], cls: type[T], path: toml.Path, *, beside: Iterable[str] = ()
    ) -> T | None:
        """Structure the table at a path, or report what is wrong with it and return None.

        `beside` names the keys that the same table may hold for others than `cls`.
        """
        try:
            return structure(table, cls)
        except BaseValidationError as error:
            self._explain(error, path, tuple(beside))
        except (StructureHandlerNotFoundError, NameError, TypeError) as error:
            self.report(path, f"{cls.__qualname__} has fields that no settings can be: {error}")
        return None

    def _add(self, key: str, message: str) -> None:
        line = self._document.line_of(key)
        self._problems.append(Problem(key, message, self._document.file, line))

    def _explain(self, error: Exception, path: toml.Path, beside: tuple[str, ...]) -> None:
        if isinstance(error, ClassValidationError):
            fields = attrs.fields_dict(error.cl)
            noted, others = error.group_exceptions()
            for inner, note in noted:
                below = (*path, fields[note.name].alias or note.name)
                if isinstance(inner, KeyError):  # the rest of our hooks raise what is ours
                    self.report(below, f"is required: {expectation(note.type)}")
                else:
                    self._explain(inner, below, ())
            for inner in others:
                self._explain(inner, path, beside)
        elif isinstance(error, IterableValidationError):
            items, _ = error.group_exceptions()
            for inner, item in items:
                self._explain(inner, (*path, item.index), ())
        elif isinstance(error, ForbiddenExtraKeysError):
            allowed = [field.alias for field in attrs.fields(error.cl) if field.init]
            for key in error.extra_fields:
                self.report((*path, key), unknown("key", key, [*allowed, *beside]))
        elif isinstance(error, ConfigurationError):
            for problem in error.problems:
                self.report(path, problem.message, below=problem.key)
        else:
            self.report(path, _told(error))

    def _masked(self, message: str, path: toml.Path) -> str:
        """Hide what came from outside: a class's own check may quote what it refuses."""
        texts = filter(None, referenced(self._value(path)))
        for text in sorted(texts, key=len, reverse=True):
            message = message.replace(text, "********")
        return message

    def _value(self, path: toml.Path) -> Any:  # noqa: ANN401 - whatever the document holds
        value: Any = self.values
        for part in path:
            value = value[part] if isinstance(part, int) else value.get(part)
        return value


def _told(error: Exception) -> str:
    if isinstance(error, ValueError | TypeError | BridgeError) and error.args:
        return str(error.args[0])  # attrs puts the field and the value after its message
    return f"its check failed with {type(error).__name__}"
