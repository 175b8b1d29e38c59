"""The settings, and how they are read from TOML.

`tables` holds the classes; `loading` reads them with `toml` (the line of each key), `references`
(`${NAME}`, `file:PATH`) and `structure` (values to classes). `wording` builds the messages.
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
    JournalTable,
    LogSettings,
    NoSettings,
    ServerSettings,
    Settings,
    SubscriberEntry,
    SubscriberTable,
    TracingSettings,
    between,
    matching,
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
    "JournalTable",
    "LogSettings",
    "NoSettings",
    "ServerSettings",
    "Settings",
    "Size",
    "SubscriberEntry",
    "SubscriberTable",
    "TracingSettings",
    "between",
    "load",
    "load_admin",
    "loads",
    "matching",
    "seconds",
]
