"""Reads a document's tables into attrs classes, and gathers everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs

from bridge.adapter.signing import Secret
from bridge.errors import BridgeError, ConfigurationError, Problem
from bridge.settings import toml
from bridge.settings.references import UNUSABLE, referenced, resolve
from bridge.settings.structure import ARRAYS, GIVEN, TABLES, arms, expected, kind_of, misfit, read
from bridge.settings.wording import mismatch, unknown

T = TypeVar("T")


def text_of(path: Path) -> str:
    """Return a file's text. Raises `ConfigurationError`."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "not text in UTF-8"
    raise ConfigurationError((Problem("", f"cannot be read: {reason}", file=str(path)),))


def keys_of(cls: type[attrs.AttrsInstance]) -> dict[str, attrs.Attribute[Any]]:
    """Return the fields of a class by their keys in a table."""
    attrs.resolve_types(cls)
    return {
        field.alias or field.name: field
        for field in attrs.fields(cls)
        if field.init and not GIVEN.keys() <= field.metadata.keys()
    }


class Reader:
    """Reads one document; `finish` raises everything that was wrong, in the document's order.

    Where a value is wrong, that is noted and `UNUSABLE` is read in its place, so that reading goes
    on. Paths, defaults too, are relative to the folder of the file at `path` that the text is from.
    With `only`, one table is read: no secret of another is asked for.
    """

    def __init__(
        self, text: str, path: Path | None, environ: Mapping[str, str], only: str | None = None
    ) -> None:
        document = toml.parse(text, None if path is None else str(path))
        if only is not None:
            table = {key: value for key, value in document.value.items() if key == only}
            document = attrs.evolve(document, value=table)
        self.document = document
        self.directory = Path() if path is None else path.parent
        self.values, self._unusable = resolve(document, environ, self.directory)
        self._problems = [document.problem(*fault) for fault in self._unusable.items()]

    def report(self, path: toml.Path, message: str, below: str = "") -> object:
        """Note what is wrong with a key, or with one `below` it, and return `UNUSABLE`.

        Values from outside the document are not shown: a class's own check may quote them.
        """
        if toml.dotted(path) not in self._unusable:
            for text in sorted(referenced(toml.at(self.values, path)), key=len, reverse=True):
                message = message.replace(text, "********") if text else message
            key = ".".join(filter(None, (toml.dotted(path), below)))
            self._problems.append(self.document.problem(key, message))
        return UNUSABLE

    def finish(self) -> None:
        """Raise `ConfigurationError` if anything was wrong, in the order of the document."""
        if self._problems:
            problems = sorted(self._problems, key=lambda problem: (problem.line or 0, problem.key))
            raise ConfigurationError(tuple(problems))

    def section(self, name: str, cls: type[T]) -> T:
        """Read a table of the root; where it is wrong, reading goes on with the defaults."""
        return self.read(self.values.get(name, {}), cls, (name,)) or cls()

    def table(self, value: object, path: toml.Path) -> dict[str, Any]:
        """Return a value that has to be a table, or report it and return an empty one."""
        if isinstance(value, dict):
            return value
        self.report(path, mismatch(value, "a table"))
        return {}

    def read(
        self,
        table: object,
        cls: type[T],
        path: toml.Path,
        beside: Iterable[str] = (),
        **given: object,
    ) -> T | None:
        """Read the table at a path, or report everything that is wrong with it and return None.

        `beside` names the keys that the same table may hold for other classes; `given` fields of
        the class are no keys of it.
        """
        try:
            result = self._instance(table, cls, path, beside, given)
        except (NameError, TypeError) as error:
            told = f"{cls.__qualname__} has fields that no settings can be: {error}"
            result = self.report(path, told)
        return result if isinstance(result, cls) else None

    def _instance(
        self,
        table: object,
        cls: type[Any],
        path: toml.Path,
        beside: Iterable[str] = (),
        given: Mapping[str, object] = MappingProxyType({}),
    ) -> object:
        if not isinstance(table, dict):
            return self._refuse(path, misfit(table, cls))
        fields, values = keys_of(cls), dict(given)
        for key, field in fields.items():
            if key in table:
                values[key] = self._field(table[key], cls, field, (*path, key))
            elif isinstance(field.default, Path):
                values[key] = self.directory / field.default
            elif field.default is attrs.NOTHING:
                told = f"is required: {expected(field.type)}"
                values[key] = self.report((*path, key), told)
        for key in table.keys() - fields.keys():
            told = unknown("key", key, (*fields, *beside))
            values[key] = self.report((*path, key), told)
        if UNUSABLE in values.values():
            return UNUSABLE
        try:
            return cls(**values)
        except Exception as error:  # noqa: BLE001 - whatever the class's own checks raise
            return self._refuse(path, error)

    def _field(
        self, value: object, cls: type[Any], field: attrs.Attribute[Any], path: toml.Path
    ) -> object:
        """Read a field's value and validate it: the class would stop at the first refusal."""
        result = self._value(value, field.type, path)
        if result is not UNUSABLE and field.validator and not field.converter:
            try:
                field.validator(object.__new__(cls), field, result)
            except AttributeError:
                pass  # it looks at other fields: the class asks again when all are known
            except Exception as error:  # noqa: BLE001 - as above
                return self._refuse(path, error)
        return result

    def _value(self, value: object, hint: Any, path: toml.Path) -> object:  # noqa: ANN401
        members = arms(hint)
        parts = get_origin(members[0]), get_args(members[0])[1:]
        if value is UNUSABLE or hint is Any:
            return value
        if kind_of(hint):
            try:
                result = read(value, hint)
            except ConfigurationError as error:
                return self._refuse(path, error)
            return self.directory / result if isinstance(result, Path) else result
        if all(map(attrs.has, members)):
            keys = value if isinstance(value, dict) else {}
            cls = max(members, key=lambda cls: len(keys & keys_of(cls).keys()))
            return self._instance(value, cls, path)
        if len(members) == 1 and parts[0] in ARRAYS and parts[1] in ((), (...,)):
            return self._array(value, members[0], path)
        if len(members) == 1 and parts[0] in TABLES:
            return self._mapping(value, members[0], path)
        raise TypeError(hint)

    def _array(self, value: object, hint: Any, path: toml.Path) -> object:  # noqa: ANN401
        origin, item = get_origin(hint), get_args(hint)[0]
        if isinstance(value, list):
            items = [self._value(each, item, (*path, index)) for index, each in enumerate(value)]
        elif isinstance(value, str) and (item is Secret or get_origin(item) is Literal):
            items = [self._value(value, item, path)]  # a single one needs no brackets
        else:
            return self._refuse(path, misfit(value, hint))
        collect = tuple if origin is Sequence else origin
        return UNUSABLE if UNUSABLE in items else collect(items)

    def _mapping(self, value: object, hint: Any, path: toml.Path) -> object:  # noqa: ANN401
        if not isinstance(value, dict):
            return self._refuse(path, misfit(value, hint))
        item = get_args(hint)[1]
        items = {key: self._value(each, item, (*path, key)) for key, each in value.items()}
        return UNUSABLE if UNUSABLE in items.values() else items

    def _refuse(self, path: toml.Path, error: Exception) -> object:
        """Report what an error says, without the value that it may quote."""
        if isinstance(error, ConfigurationError):
            for problem in error.problems:
                self.report(path, problem.message, problem.key)
        elif isinstance(error, ValueError | TypeError | BridgeError) and error.args:
            message = str(error.args[0])
            if error.args[1:] and isinstance(error.args[-1], str):
                # attrs puts the value behind the message
                message = message.replace(error.args[-1], "********")
            self.report(path, message)
        else:
            self.report(path, f"its check failed with {type(error).__name__}")
        return UNUSABLE
