"""From TOML to settings: every table read, every mistake told."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from bridge.errors import BridgeError, ConfigurationError, Problem
from bridge.settings import toml
from bridge.settings.reader import Reader
from bridge.settings.tables import (
    AdapterEntry,
    AdapterTable,
    AdminSettings,
    DeliverySettings,
    JournalSettings,
    LogSettings,
    ServerSettings,
    Settings,
    SubscriberEntry,
    SubscriberTable,
    TracingSettings,
)
from bridge.settings.wording import unknown

T = TypeVar("T")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_TABLES: Final = frozenset(
    {"server", "admin", "journal", "log", "tracing", "delivery", "adapters", "subscribers"}
)


def load(
    path: Path | str,
    adapter_settings: Callable[[str], type | None],
    environ: Mapping[str, str] = os.environ,
    *,
    installed: Iterable[str] = (),
) -> Settings:
    """Read the settings from a file.

    `adapter_settings` gives the settings class of an adapter by its type, or None where no such
    adapter is installed; `installed` names those that are. Relative paths in the file start
    from its directory. Raises `ConfigurationError` with everything that is wrong.
    """
    path = Path(path)
    return loads(_text(path), adapter_settings, environ, installed=installed, path=path)


def load_admin(path: Path, environ: Mapping[str, str] = os.environ) -> AdminSettings:
    """Read nothing but `[admin]`: who talks to a server needs none of its other secrets.

    Raises `ConfigurationError`, as `load` does.
    """
    document = toml.parse(_text(path), file=str(path))
    only = {key: value for key, value in document.value.items() if key == "admin"}
    reader = Reader(attrs.evolve(document, value=only), environ, path.parent)
    settings = _section(reader, "admin", AdminSettings)
    reader.finish()
    return settings


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = Problem("", f"cannot be read: {error.strerror}", file=str(path))
        raise ConfigurationError((problem,)) from error
    except UnicodeDecodeError:
        problem = Problem("", "cannot be read: not text in UTF-8", file=str(path))
        raise ConfigurationError((problem,)) from None


def loads(
    text: str,
    adapter_settings: Callable[[str], type | None],
    environ: Mapping[str, str] = os.environ,
    *,
    installed: Iterable[str] = (),
    path: Path | None = None,
) -> Settings:
    """Read the settings from a text, as `load` does; `path` says which file it came from."""
    document = toml.parse(text, file=None if path is None else str(path))
    directory = Path() if path is None else path.parent
    reader = Reader(document, environ, directory)
    for key in reader.values.keys() - _TABLES:
        reader.report((key,), unknown("key", key, _TABLES))
    journal = _section(reader, "journal", JournalSettings)
    delivery = _section(reader, "delivery", DeliverySettings)
    settings = Settings(
        server=_section(reader, "server", ServerSettings),
        admin=_section(reader, "admin", AdminSettings),
        journal=_placed(journal, directory),
        log=_section(reader, "log", LogSettings),
        tracing=_section(reader, "tracing", TracingSettings),
        delivery=delivery,
        adapters=_adapters(reader, adapter_settings, tuple(installed)),
        subscribers=_subscribers(reader, delivery),
        path=path,
        document=document,
    )
    reader.finish()
    return settings


def _placed(journal: JournalSettings, directory: Path) -> JournalSettings:
    """Return the settings with their paths as seen from the directory of their file."""
    nats = journal.nats
    credentials = None if nats.credentials is None else directory / nats.credentials
    return attrs.evolve(
        journal,
        path=directory / journal.path,
        nats=attrs.evolve(nats, credentials=credentials, spool_path=directory / nats.spool_path),
    )


def _section(reader: Reader, name: str, cls: type[T]) -> T:
    """Read a table of the root; the defaults stand in for one that is wrong, to go on reading."""
    return reader.read(reader.table(name), cls, (name,)) or cls()


def _adapters(
    reader: Reader, adapter_settings: Callable[[str], type | None], installed: tuple[str, ...]
) -> dict[str, AdapterEntry]:
    entries = {}
    for name, values in reader.tables("adapters"):
        path = ("adapters", name)
        _check_name(reader, path)
        common, own = _split(values, _keys(AdapterTable))
        table = reader.read(common, AdapterTable, path)
        if table is None:
            continue
        type_name = table.type or name
        try:
            cls = adapter_settings(type_name)
        except BridgeError as error:
            reader.report(path, str(error))
            continue
        if cls is None:
            key = path if table.type is None else (*path, "type")
            reader.report(key, unknown("adapter", type_name, installed))
            continue
        settings = reader.read(own, cls, path, beside=_keys(AdapterTable))
        entries[name] = AdapterEntry(
            name=name,
            type=type_name,
            allow_networks=table.allow_networks,
            settings=settings,
        )
    return entries


def _subscribers(reader: Reader, defaults: DeliverySettings) -> dict[str, SubscriberEntry]:
    entries = {}
    for name, values in reader.tables("subscribers"):
        path = ("subscribers", name)
        _check_name(reader, path)
        overrides, own = _split(values, _keys(DeliverySettings))
        table = reader.read(own, SubscriberTable, path, beside=_keys(DeliverySettings))
        delivery = reader.read(overrides, DeliverySettings, path)
        if table is None or delivery is None:
            continue
        entries[name] = SubscriberEntry(
            **attrs.asdict(table, recurse=False),
            name=name,
            delivery=attrs.evolve(defaults, **{key: getattr(delivery, key) for key in overrides}),
        )
    return entries


def _check_name(reader: Reader, path: tuple[str, str]) -> None:
    # A name stands in a URL's path, in metrics and in the journal.
    if not _NAME.fullmatch(path[1]):
        reader.report(path, 'expected a name of a-z, 0-9, "_" and "-", beginning with a-z or 0-9')


def _keys(cls: type[attrs.AttrsInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


def _split(
    table: Mapping[str, Any], keys: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the part of a table that has these keys, and the rest."""
    part = {key: value for key, value in table.items() if key in keys}
    return part, {key: value for key, value in table.items() if key not in keys}
