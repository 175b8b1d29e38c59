"""The settings, and how they are read from TOML.

`tables` says what there is; `loading` reads it, with `toml` (where each key stands), `references`
(`${NAME}`, `file:PATH`), `structure` (values to classes) and `reader` (every misfit told).
"""

from bridge.settings.loading import load, load_admin, loads
from bridge.settings.structure import Duration, Size, seconds
from bridge.settings.tables import (
    CONSOLE,
    AdapterEntry,
    AdapterTable,
    AdminSettings,
    ContentKind,
    DeliverySettings,
    EventKind,
    JournalSettings,
    LogSettings,
    NatsSettings,
    ServerSettings,
    Settings,
    SubscriberEntry,
    SubscriberTable,
    TracingSettings,
)

__all__ = [
    "CONSOLE",
    "AdapterEntry",
    "AdapterTable",
    "AdminSettings",
    "ContentKind",
    "DeliverySettings",
    "Duration",
    "EventKind",
    "JournalSettings",
    "LogSettings",
    "NatsSettings",
    "ServerSettings",
    "Settings",
    "Size",
    "SubscriberEntry",
    "SubscriberTable",
    "TracingSettings",
    "load",
    "load_admin",
    "loads",
    "seconds",
]
