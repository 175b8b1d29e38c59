"""The suites that this project holds itself to, and simulated providers.

::

    from bridge.testing import AdapterContract, JournalContract

    class TestMine(JournalContract):
        def make_journal(self, place):
            return MyJournal(place / "journal")

The suites need what `pip install incs-bridge[test]` brings: pytest and hypothesis, and for
journals an asyncio plugin in automatic mode. They are imported when they are asked for, so that
`bridge.testing.providers` needs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.testing.adapter import AdapterContract
    from bridge.testing.bodies import disturbed, json_objects, json_values
    from bridge.testing.journal import JournalContract

__all__ = ["AdapterContract", "JournalContract", "disturbed", "json_objects", "json_values"]

_MODULES = {
    "AdapterContract": "adapter",
    "JournalContract": "journal",
    "disturbed": "bodies",
    "json_objects": "bodies",
    "json_values": "bodies",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
