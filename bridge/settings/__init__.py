"""The settings, and how they are read from TOML.

`tables` holds the classes; `loading` reads them with `toml` (the line of each key), `references`
(`${NAME}`, `file:PATH`) and `structure` (values to classes). `wording` builds the messages.
"""

from typing import TYPE_CHECKING

from bridge.lazy import lazily

if TYPE_CHECKING:
    from bridge.settings.admin import AdminSettings, is_loopback, load_admin
    from bridge.settings.loading import load, loads
    from bridge.settings.structure import Duration, Size, between, matching, seconds
    from bridge.settings.tables import (
        CONSOLE,
        MEDIA,
        WEBHOOK,
        AdapterEntry,
        AdapterTable,
        DeliverySettings,
        JournalSettings,
        JournalTable,
        LogSettings,
        NoSettings,
        OutboxSettings,
        PaceSettings,
        SelfCritical,
        ServerSettings,
        Settings,
        Stale,
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
    "MEDIA",
    "WEBHOOK",
    "AdapterEntry",
    "AdapterTable",
    "AdminSettings",
    "DeliverySettings",
    "Duration",
    "JournalSettings",
    "JournalTable",
    "LogSettings",
    "NoSettings",
    "OutboxSettings",
    "PaceSettings",
    "SelfCritical",
    "ServerSettings",
    "Settings",
    "Size",
    "Stale",
    "SubscriberEntry",
    "SubscriberTable",
    "TracingSettings",
    "between",
    "is_loopback",
    "load",
    "load_admin",
    "loads",
    "matching",
    "seconds",
]
