"""Every journal keeps the same promises."""

from __future__ import annotations

from pathlib import Path

from bridge.journal.memory import MemoryJournal
from bridge.journal.sqlite import SqliteJournal
from bridge.testing import JournalContract


class TestMemory(JournalContract):
    def make_journal(self, place: Path) -> MemoryJournal:
        return MemoryJournal()


class TestSqlite(JournalContract):
    def make_journal(self, place: Path) -> SqliteJournal:
        return SqliteJournal(place / "journal.db")


class TestSqliteFromDisk(JournalContract):
    """The same with next to nothing in memory: reads and keys are looked for in the file."""

    def make_journal(self, place: Path) -> SqliteJournal:
        return SqliteJournal(place / "journal.db", tail=0, keys_in_memory=1)
