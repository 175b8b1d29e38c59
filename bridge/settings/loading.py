"""From TOML to settings: every table is read, and every mistake reported at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from bridge.errors import BridgeError
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

Importer: TypeAlias = Callable[[], type[attrs.AttrsInstance]]
"""Imports an adapter or an engine, and returns its settings class. Raises `BridgeError`."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")


def loads(
    text: str,
    adapters: Mapping[str, Importer],
    environ: Mapping[str, str] = os.environ,
    *,
    engines: Mapping[str, Importer],
    path: Path | None = None,
) -> Settings:
    """Read the settings from a text; `path` is the file that it came from.

    `adapters` and `engines` are those that are installed, by name. Relative paths start from the
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
        adapters=dict(_adapters(reader, adapters)),
        subscribers=dict(_subscribers(reader, sections["delivery"])),
        path=path,
        document=reader.document,
    )
    reader.finish()
    return settings


def load_journal(
    text: str,
    environ: Mapping[str, str] = os.environ,
    *,
    engines: Mapping[str, Importer],
    path: Path,
) -> JournalSettings:
    """Read `[journal]` alone: a copy of a journal takes no secret of an adapter's.

    Otherwise as for `loads`.
    """
    document = toml.parse(text, str(path))
    only = {key: value for key, value in document.value.items() if key == "journal"}
    reader = Reader(attrs.evolve(document, value=only), environ, path.parent)
    settings = _journal(reader, engines)
    reader.finish()
    return settings


def _journal(reader: Reader, engines: Mapping[str, Importer]) -> JournalSettings:
    """Read `[journal]`, and in it the tables of the engines."""
    path: toml.Path = ("journal",)
    table = dict(reader.table(reader.values.get("journal", {}), path))
    tables = {name: table.pop(name) for name in engines if isinstance(table.get(name), dict)}
    common = reader.read(table, JournalTable, path, tuple(engines)) or JournalTable()
    own: attrs.AttrsInstance = NoSettings()
    for name in {common.engine: None, **tables}:
        is_chosen = name == common.engine
        try:
            cls = engines[name]() if is_chosen or tables[name] else NoSettings
        except KeyError:
            reader.report((*path, "engine"), unknown("engine", name, engines))
        except BridgeError as error:
            if is_chosen:  # else an extra may be missing that nobody needs
                reader.report((*path, "engine"), str(error))
        else:
            settings = reader.read(tables.get(name, {}), cls, (*path, name))
            own = settings if is_chosen and settings is not None else own
    return JournalSettings(**attrs.asdict(common, recurse=False), own=own)


def _adapters(
    reader: Reader, adapters: Mapping[str, Importer]
) -> Iterator[tuple[str, AdapterEntry]]:
    for path, common, own in _tables(reader, "adapters", AdapterTable):
        table = reader.read(common, AdapterTable, path)
        if table is None:
            continue
        kind = table.type or path[1]
        try:
            cls = adapters[kind]()
        except KeyError:
            key = (*path, "type") if table.type else path
            reader.report(key, unknown("adapter", kind, adapters))
            continue
        except BridgeError as error:
            reader.report(path, str(error))
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
