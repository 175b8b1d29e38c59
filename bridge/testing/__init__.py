"""Testing subscribers, contract suites for adapters and journals, simulated providers.

::

    from bridge.testing import TestBridge

    async with TestBridge(bridge) as test:
        await test.say("hello", name="Maya")

`pytest_plugins = ["bridge.testing.fixtures"]` in a `conftest.py` offers it as a fixture. Authors
of adapters and journals subclass a suite::

    from bridge.testing import AdapterContract, JournalContract

    class TestMine(JournalContract):
        def make_journal(self, place):
            return MyJournal(place / "journal")

The suites need what `pip install incs-bridge[test]` brings: pytest and hypothesis, and for
journals an asyncio plugin in automatic mode. `TestBridge`, `sample` and `bridge.testing.providers`
need none of these.
"""

from typing import TYPE_CHECKING

from bridge.lazy import lazily

if TYPE_CHECKING:
    from bridge.testing.adapter import AdapterContract
    from bridge.testing.bodies import disturbed, json_objects, json_values
    from bridge.testing.journal import JournalContract
    from bridge.testing.rehearsal import TestBridge
    from bridge.testing.samples import sample
else:
    __getattr__, __dir__ = lazily(__name__, "samples rehearsal bodies adapter journal")

__all__ = [
    "AdapterContract",
    "JournalContract",
    "TestBridge",
    "disturbed",
    "json_objects",
    "json_values",
    "sample",
]
