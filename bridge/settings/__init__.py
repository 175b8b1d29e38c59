"""The settings, and how they are read from TOML.

`tables` holds the classes; `loading` reads them with `toml` (the line of each key), `references`
(`${NAME}`, `file:PATH`) and `structure` (values to classes). `wording` builds the messages.
"""

from typing import TYPE_CHECKING

from bridge.process.lazy import lazily

if TYPE_CHECKING:
    from bridge.settings.admin import *
    from bridge.settings.loading import *
    from bridge.settings.reader import text_of
    from bridge.settings.structure import *
    from bridge.settings.tables import *
else:
    __getattr__, __dir__ = lazily(__name__, "admin structure tables reader loading")

__all__ = [
    "CONSOLE",
    "MEDIA",
    "WEBHOOK",
    "AdapterEntry",
    "AdminSettings",
    "DeliverySettings",
    "Duration",
    "JournalSettings",
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
    "TracingSettings",
    "between",
    "is_loopback",
    "load_admin",
    "load_journal",
    "loads",
    "matching",
    "seconds",
    "text_of",
]
