"""A journal in memory, for tests and for bridges whose provider may send everything again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.process.lazy import lazily
from bridge.settings import NoSettings as Settings

if TYPE_CHECKING:
    from bridge.errors import Problem
    from bridge.journal.memory.journal import MemoryJournal
    from bridge.settings import JournalSettings
else:
    __getattr__, __dir__ = lazily(__name__, "journal")

__all__ = ["MemoryJournal", "Settings", "check"]


def check(_: JournalSettings, /, **_local: object) -> Sequence[Problem]:
    """See `EngineModule.check`; opening always succeeds."""
    return ()
