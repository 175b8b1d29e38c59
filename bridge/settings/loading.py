"""From TOML to settings: every table is read, and every mistake reported at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import attrs
from cattrs.errors import BaseValidationError

from bridge.errors import BridgeError, ConfigurationError, Problem
from bridge.settings import toml
from bridge.settings.references import referenced, resolve
from bridge.settings.structure import faults, structure
from bridge.settings.tables import (
    AdapterEntry,
    AdapterTable,
    AdminSettings,
    DeliverySettings,
    JournalSettings,
    JournalTable,
    LogSettings,
    NoSettings,
    ServerSettings,
    Settings,
    SubscriberEntry,
    SubscriberTable,
    TracingSettings,
)
from bridge.settings.wording import mismatch, unknown

T = TypeVar("T")

Engine: TypeAlias = Callable[[], type[attrs.AttrsInstance]]
"""Imports an engine and returns its settings class. Raises `ConfigurationError`."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SECTIONS: Final[Mapping[str, type[Any]]] = {
    "server": ServerSettings,
    "admin": AdminSettings,
    "log": LogSettings,
    "tracing": TracingSettings,
    "delivery": DeliverySettings,
}


def load(
    path: Path | str,
    adapter_settings: Callable[[str], type | None],
    environ: Mapping[str, str] = os.environ,
    *,
    installed: Iterable[str] = (),
    engines: Mapping[str, Engine] | None = None,
) -> Settings:
    """Read the settings from a file.

    `adapter_settings` gives the settings class of an adapter by its type, or None where no such
    adapter is installed; `installed` names those that are. `engines` gives those of the installed
    journals by name; without it, no engine's own table is read. Relative paths in the file start
    from its directory. Raises `ConfigurationError` with everything that is wrong.
    """
    path = Path(path)
    return loads(
        _text(path), adapter_settings, environ, installed=installed, engines=engines, path=path
    )


def loads(
    text: str,
    adapter_settings: Callable[[str], type | None],
    environ: Mapping[str, str] = os.environ,
    *,
    installed: Iterable[str] = (),
    engines: Mapping[str, Engine] | None = None,
    path: Path | None = None,
) -> Settings:
    """Read the settings from a text, as `load` does; `path` is the file that it came from."""
    directory = Path() if path is None else path.parent
    reader = _Reader(toml.parse(text, None if path is None else str(path)), environ, directory)
    tables = {*_SECTIONS, "journal", "adapters", "subscribers"}
    for key in reader.values.keys() - tables:
        reader.report((key,), unknown("key", key, tables))
    sections = {name: reader.section(name) for name in _SECTIONS}
    settings = Settings(
        **sections,
        journal=_journal(reader, engines, directory),
        adapters=dict(_adapters(reader, adapter_settings, tuple(installed))),
        subscribers=dict(_subscribers(reader, sections["delivery"])),
        path=path,
        document=reader.document,
    )
    reader.finish()
    return settings


def _journal(
    reader: _Reader, engines: Mapping[str, Engine] | None, directory: Path
) -> JournalSettings:
    """Read `[journal]`, and in it the tables of the engines."""
    path: toml.Path = ("journal",)
    table = dict(reader.table(reader.values.get("journal", {}), path))
    names = tuple(table if engines is None else engines)
    tables = {name: table.pop(name) for name in names if isinstance(table.get(name), dict)}
    common = reader.read(table, JournalTable, path, names) or JournalTable()
    own: attrs.AttrsInstance = NoSettings()
    known = {} if engines is None else engines
    for name in {common.engine: None, **tables} if engines is not None else ():
        is_chosen = name == common.engine
        try:
            cls = known[name]() if is_chosen or tables[name] else NoSettings
        except KeyError:
            reader.report((*path, "engine"), unknown("engine", name, names))
        except ConfigurationError as error:
            if is_chosen:  # else an extra may be missing that nobody needs
                reader.report((*path, "engine"), str(error))
        else:
            settings = reader.read(tables.get(name, {}), cls, (*path, name))
            own = settings if is_chosen and settings is not None else own
    values = attrs.asdict(_placed(common, directory), recurse=False)
    return JournalSettings(**values, own=_placed(own, directory))


def _placed(settings: Any, directory: Path) -> Any:  # noqa: ANN401 - of the same class
    """Return the settings with their paths as seen from the directory of their file."""
    values = attrs.asdict(settings, recurse=False)
    paths = {name: directory / value for name, value in values.items() if isinstance(value, Path)}
    return attrs.evolve(settings, **paths)


def _adapters(
    reader: _Reader, adapter_settings: Callable[[str], type | None], installed: tuple[str, ...]
) -> Iterator[tuple[str, AdapterEntry]]:
    for path, common, own in reader.tables("adapters", AdapterTable):
        table = reader.read(common, AdapterTable, path)
        if table is None:
            continue
        kind = table.type or path[1]
        try:
            cls = adapter_settings(kind)
        except BridgeError as error:
            reader.report(path, str(error))
            continue
        if cls is None:
            reader.report(
                (*path, "type") if table.type else path, unknown("adapter", kind, installed)
            )
            continue
        settings = reader.read(own, cls, path, _keys(AdapterTable))
        values = attrs.asdict(table, recurse=False) | {"type": kind}
        yield path[1], AdapterEntry(**values, name=path[1], settings=settings)


def _subscribers(
    reader: _Reader, defaults: DeliverySettings
) -> Iterator[tuple[str, SubscriberEntry]]:
    for path, overrides, own in reader.tables("subscribers", DeliverySettings):
        table = reader.read(own, SubscriberTable, path, _keys(DeliverySettings))
        delivery = reader.read(overrides, DeliverySettings, path)
        if table is not None and delivery is not None:
            values = attrs.asdict(table, recurse=False)
            changed = {key: getattr(delivery, key) for key in overrides}
            delivery = attrs.evolve(defaults, **changed)
            yield path[1], SubscriberEntry(**values, name=path[1], delivery=delivery)


def _keys(cls: type[attrs.AttrsInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


def load_admin(path: Path, environ: Mapping[str, str] = os.environ) -> AdminSettings:
    """Read `[admin]` alone: a client of the server needs none of its other secrets.

    Raises `ConfigurationError`, as `load` does.
    """
    document = toml.parse(_text(path), str(path))
    only = {key: value for key, value in document.value.items() if key == "admin"}
    reader = _Reader(attrs.evolve(document, value=only), environ, path.parent)
    settings: AdminSettings = reader.section("admin")
    reader.finish()
    return settings


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "not text in UTF-8"
    raise ConfigurationError((Problem("", f"cannot be read: {reason}", file=str(path)),))


class _Reader:
    """Reads one document into attrs classes, and gathers everything that is wrong with it."""

    def __init__(
        self, document: toml.Document, environ: Mapping[str, str], directory: Path
    ) -> None:
        self.document = document
        self.values, self._unusable = resolve(document, environ, directory)
        self._problems = [document.problem(*fault) for fault in self._unusable.items()]

    def report(self, path: toml.Path, message: str, below: str = "") -> None:
        """Note what is wrong with a key, or with one `below` it.

        What came from outside the document is not shown: a class's own check may quote it.
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
            yield (name, key), {k: rest.pop(k) for k in _keys(common) if k in rest}, rest

    def table(self, value: object, path: toml.Path) -> dict[str, Any]:
        """Return a value that has to be a table, or report it and return an empty one."""
        if isinstance(value, dict):
            return value
        self.report(path, mismatch(value, "a table"))
        return {}

    def section(self, name: str) -> Any:  # noqa: ANN401 - of the section's class
        """Read a table of the root; where it is wrong, reading goes on with the defaults."""
        cls = _SECTIONS[name]
        return self.read(self.values.get(name, {}), cls, (name,)) or cls()

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
