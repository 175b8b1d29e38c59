"""From TOML to settings: every table is read, and every mistake reported at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from bridge.errors import BridgeError, ConfigurationError
from bridge.settings import toml
from bridge.settings.reader import Reader, keys_of
from bridge.settings.tables import (
    AdapterEntry,
    AdapterTable,
    DeliverySettings,
    JournalSettings,
    JournalTable,
    NoSettings,
    Settings,
    SubscriberEntry,
    SubscriberTable,
)
from bridge.settings.wording import unknown

Engine: TypeAlias = Callable[[], type[attrs.AttrsInstance]]
"""Imports an engine and returns its settings class. Raises `ConfigurationError`."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")


def loads(
    text: str,
    adapter_settings: Callable[[str], type | None],
    environ: Mapping[str, str] = os.environ,
    *,
    installed: Iterable[str] = (),
    engines: Mapping[str, Engine] | None = None,
    path: Path | None = None,
) -> Settings:
    """Read the settings from a text; `path` is the file that it came from.

    `adapter_settings` gives the settings class of an adapter by its type, or None where no such
    adapter is installed; `installed` names those that are. `engines` gives those of the installed
    journals by name; without it, no engine's own table is read. Relative paths start from the
    directory of the file. Raises `ConfigurationError` with everything that is wrong.
    """
    directory = Path() if path is None else path.parent
    reader = Reader(toml.parse(text, None if path is None else str(path)), environ, directory)
    tables = keys_of(Settings).keys() - {"path", "document"}
    for key in reader.values.keys() - tables:
        reader.report((key,), unknown("key", key, tables))
    sections: dict[str, Any] = {
        name: reader.section(name, field.type)
        for name, field in keys_of(Settings).items()
        if field.type is not None and attrs.has(field.type) and name != "journal"
    }
    settings = Settings(
        **sections,
        journal=_journal(reader, engines),
        adapters=dict(_adapters(reader, adapter_settings, tuple(installed))),
        subscribers=dict(_subscribers(reader, sections["delivery"])),
        path=path,
        document=reader.document,
    )
    reader.finish()
    return settings


def _journal(reader: Reader, engines: Mapping[str, Engine] | None) -> JournalSettings:
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
    return JournalSettings(**attrs.asdict(common, recurse=False), own=own)


def _adapters(
    reader: Reader, adapter_settings: Callable[[str], type | None], installed: tuple[str, ...]
) -> Iterator[tuple[str, AdapterEntry]]:
    for path, common, own in _tables(reader, "adapters", AdapterTable):
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
            key = (*path, "type") if table.type else path
            reader.report(key, unknown("adapter", kind, installed))
            continue
        settings = reader.read(own, cls, path, tuple(keys_of(AdapterTable)))
        values = attrs.asdict(table, recurse=False) | {"type": kind}
        yield path[1], AdapterEntry(**values, name=path[1], settings=settings)


def _subscribers(
    reader: Reader, defaults: DeliverySettings
) -> Iterator[tuple[str, SubscriberEntry]]:
    for path, overrides, own in _tables(reader, "subscribers", DeliverySettings):
        table = reader.read(own, SubscriberTable, path, tuple(keys_of(DeliverySettings)))
        delivery = reader.read(overrides, DeliverySettings, path)
        if table is not None and delivery is not None:
            changed = {key: getattr(delivery, key) for key in overrides}
            delivery = attrs.evolve(defaults, **changed)
            values = attrs.asdict(table, recurse=False)
            yield path[1], SubscriberEntry(**values, name=path[1], delivery=delivery)


def _tables(
    reader: Reader, name: str, common: type[attrs.AttrsInstance]
) -> Iterator[tuple[tuple[str, str], dict[str, Any], dict[str, Any]]]:
    """Yield each table within a table of the root: its path, its `common` keys and the rest."""
    for key, value in reader.table(reader.values.get(name, {}), (name,)).items():
        # A name stands in a URL's path, in metrics and in the journal.
        if not _NAME.fullmatch(key):
            told = 'expected a name of a-z, 0-9, "_" and "-", beginning with a-z or 0-9'
            reader.report((name, key), told)
        rest = dict(reader.table(value, (name, key)))
        yield (name, key), {k: rest.pop(k) for k in keys_of(common) if k in rest}, rest
