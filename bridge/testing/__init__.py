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

from typing import TYPE_CHECKING

from bridge.lazy import lazily

if TYPE_CHECKING:
    from bridge.testing.adapter import AdapterContract
    from bridge.testing.bodies import disturbed, json_objects, json_values
    from bridge.testing.journal import JournalContract
else:
    __getattr__, __dir__ = lazily(
        __name__,
        (
            "bridge.testing.bodies",
            "bridge.testing.adapter",
            "bridge.testing.journal",
        ),
    )

__all__ = ["AdapterContract", "JournalContract", "disturbed", "json_objects", "json_values"]
