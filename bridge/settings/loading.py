"""From TOML to settings: every table is read, and every mistake reported at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from bridge.errors import BridgeError
from bridge.settings import toml
from bridge.settings.admin import AdminSettings
from bridge.settings.reader import Reader, keys_of, text_of
from bridge.settings.tables import (
    AdapterEntry,
    AdapterTable,
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

_SECTIONS: Final[Mapping[str, type[Any]]] = {
    "server": ServerSettings,
    "admin": AdminSettings,
    "journal": JournalSettings,
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
) -> Settings:
    """Read the settings from a file.

    `adapter_settings` gives the settings class of an adapter by its type, or None where no such
    adapter is installed; `installed` names those that are. Relative paths in the file start
    from its directory. Raises `ConfigurationError` with everything that is wrong.
    """
    path = Path(path)
    return loads(text_of(path), adapter_settings, environ, installed=installed, path=path)


def loads(
    text: str,
    adapter_settings: Callable[[str], type | None],
    environ: Mapping[str, str] = os.environ,
    *,
    installed: Iterable[str] = (),
    path: Path | None = None,
) -> Settings:
    """Read the settings from a text, as `load` does; `path` is the file that it came from."""
    directory = Path() if path is None else path.parent
    reader = Reader(toml.parse(text, None if path is None else str(path)), environ, directory)
    tables = {*_SECTIONS, "adapters", "subscribers"}
    for key in reader.values.keys() - tables:
        reader.report((key,), unknown("key", key, tables))
    sections: dict[str, Any] = {name: reader.section(name, cls) for name, cls in _SECTIONS.items()}
    settings = Settings(
        **sections | {"journal": _placed(sections["journal"], directory)},
        adapters=dict(_adapters(reader, adapter_settings, tuple(installed))),
        subscribers=dict(_subscribers(reader, sections["delivery"])),
        path=path,
        document=reader.document,
    )
    reader.finish()
    return settings


def _placed(journal: JournalSettings, directory: Path) -> JournalSettings:
    """Return the settings with their paths as seen from the directory of their file."""
    nats = journal.nats
    credentials = nats.credentials and directory / nats.credentials
    return attrs.evolve(
        journal,
        path=directory / journal.path,
        nats=attrs.evolve(nats, credentials=credentials, spool_path=directory / nats.spool_path),
    )


def _adapters(
    reader: Reader, adapter_settings: Callable[[str], type | None], installed: tuple[str, ...]
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
        settings = reader.read(own, cls, path, keys_of(AdapterTable))
        values = attrs.asdict(table, recurse=False) | {"type": kind}
        yield path[1], AdapterEntry(**values, name=path[1], settings=settings)


def _subscribers(
    reader: Reader, defaults: DeliverySettings
) -> Iterator[tuple[str, SubscriberEntry]]:
    for path, overrides, own in reader.tables("subscribers", DeliverySettings):
        table = reader.read(own, SubscriberTable, path, keys_of(DeliverySettings))
        delivery = reader.read(overrides, DeliverySettings, path)
        if table is not None and delivery is not None:
            values = attrs.asdict(table, recurse=False)
            changed = {key: getattr(delivery, key) for key in overrides}
            delivery = attrs.evolve(defaults, **changed)
            yield path[1], SubscriberEntry(**values, name=path[1], delivery=delivery)
