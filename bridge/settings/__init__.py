"""The settings, and how they are read from TOML.

`tables` holds the classes; `loading` reads them with `toml` (the line of each key), `references`
(`${NAME}`, `file:PATH`) and `structure` (values to classes). `wording` builds the messages.
"""

from typing import TYPE_CHECKING

from bridge.lazy import lazily

if TYPE_CHECKING:
    from bridge.settings.admin import AdminSettings, load_admin
    from bridge.settings.loading import load, loads
    from bridge.settings.structure import Duration, Size, seconds
    from bridge.settings.tables import (
        CONSOLE,
        AdapterEntry,
        AdapterTable,
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
else:
    __getattr__, __dir__ = lazily(
        __name__,
        (
            "bridge.settings.admin",
            "bridge.settings.structure",
            "bridge.settings.tables",
            "bridge.settings.loading",
        ),
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
