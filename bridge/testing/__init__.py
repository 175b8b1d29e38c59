"""The suites that this project holds itself to, for authors of adapters and of journals.

::

    from bridge.testing import AdapterContract, JournalContract

    class TestMine(JournalContract):
        def make_journal(self, place):
            return MyJournal(place / "journal")

Needs what `pip install incs-bridge[test]` brings: pytest and hypothesis, and for journals an
asyncio plugin in automatic mode.
"""

from bridge.testing.adapter import AdapterContract
from bridge.testing.bodies import disturbed, json_objects, json_values
from bridge.testing.journal import JournalContract

__all__ = ["AdapterContract", "JournalContract", "disturbed", "json_objects", "json_values"]
