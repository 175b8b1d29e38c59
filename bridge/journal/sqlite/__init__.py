"""The default journal: one SQLite file, one writer, group commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.journal.sqlite import inspection
from bridge.process.lazy import lazily
from bridge.settings import NoSettings as Settings

if TYPE_CHECKING:
    from bridge.errors import Problem
    from bridge.journal.sqlite.journal import SqliteJournal
    from bridge.settings import JournalSettings
else:
    __getattr__, __dir__ = lazily(__name__, "journal")

__all__ = ["Settings", "SqliteJournal", "check"]


def check(settings: JournalSettings, /, **_local: object) -> Sequence[Problem]:
    """See `EngineModule.check`."""
    return inspection.check(settings.path, settings.min_free_space)
