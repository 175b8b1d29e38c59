"""The suites that this project holds itself to, for authors of journals.

::

    from bridge.testing import JournalContract

    class TestMine(JournalContract):
        def make_journal(self, place):
            return MyJournal(place / "journal")

Needs pytest with an asyncio plugin in automatic mode, and installs neither.
"""

from bridge.testing.journal import JournalContract

__all__ = ["JournalContract"]
