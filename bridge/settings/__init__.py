"""The settings, and how they are read from TOML.

`tables` says what there is; `loading` reads it, with `toml` (where each key stands), `references`
(`${NAME}`, `file:PATH`), `structure` (values to classes) and `reader` (every misfit told).
"""

from bridge.settings.loading import load, loads
from bridge.settings.structure import Duration, Size
from bridge.settings.tables import (
    CONSOLE,
    AdapterEntry,
    AdapterTable,
    ContentKind,
    DeliverySettings,
    EventKind,
    JournalSettings,
    LogSettings,
    ServerSettings,
    Settings,
    SubscriberEntry,
    SubscriberTable,
)

__all__ = [
    "CONSOLE",
    "AdapterEntry",
    "AdapterTable",
    "ContentKind",
    "DeliverySettings",
    "Duration",
    "EventKind",
    "JournalSettings",
    "LogSettings",
    "ServerSettings",
    "Settings",
    "Size",
    "SubscriberEntry",
    "SubscriberTable",
    "load",
    "loads",
]
