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
from bridge.settings.reader import Reader, keys_of, text_of
from bridge.settings.tables import (
    AdapterEntry,
    DeliverySettings,
    JournalSettings,
    NoSettings,
    Settings,
    SubscriberEntry,
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
    reader, tables = Reader(text, path, environ), keys_of(Settings)
    for key in reader.values.keys() - tables.keys():
        reader.report((key,), unknown("key", key, tables))
    sections: dict[str, Any] = {
        name: reader.section(name, field.type)
        for name, field in tables.items()
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


def load_journal(path: Path, *, engines: Mapping[str, Importer]) -> JournalSettings:
    """Read `[journal]` alone, so that copying a journal needs no secret of an adapter.

    Otherwise as `loads`.
    """
    reader = Reader(text_of(path), path, os.environ, only="journal")
    settings = _journal(reader, engines)
    reader.finish()
    return settings


def _journal(reader: Reader, engines: Mapping[str, Importer]) -> JournalSettings:
    """Read `[journal]`, and in it the tables of the engines."""
    path: toml.Path = ("journal",)
    table = dict(reader.table(reader.values.get("journal", {}), path))
    tables = {name: table.pop(name) for name in engines if isinstance(table.get(name), dict)}
    common = reader.read(table, JournalSettings, path, engines) or JournalSettings()
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
    return attrs.evolve(common, own=own)


def _adapters(
    reader: Reader, adapters: Mapping[str, Importer]
) -> Iterator[tuple[str, AdapterEntry]]:
    for path, common, own in _tables(reader, "adapters", AdapterEntry):
        name = path[1]
        entry = reader.read({"type": name, **common}, AdapterEntry, path, name=name, settings=None)
        if entry is None:
            continue
        try:
            cls = adapters[entry.type]()
        except KeyError:
            key = (*path, "type") if "type" in common else path
            reader.report(key, unknown("adapter", entry.type, adapters))
        except BridgeError as error:
            reader.report(path, str(error))
        else:
            settings = reader.read(own, cls, path, keys_of(AdapterEntry))
            yield name, attrs.evolve(entry, settings=settings)


def _subscribers(
    reader: Reader, defaults: DeliverySettings
) -> Iterator[tuple[str, SubscriberEntry]]:
    for path, overrides, own in _tables(reader, "subscribers", DeliverySettings):
        name = path[1]
        entry = reader.read(own, SubscriberEntry, path, keys_of(DeliverySettings), name=name)
        delivery = reader.read(overrides, DeliverySettings, path)
        if entry is not None and delivery is not None:
            changed = {key: getattr(delivery, key) for key in overrides}
            yield name, attrs.evolve(entry, delivery=attrs.evolve(defaults, **changed))


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
