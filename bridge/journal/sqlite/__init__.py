"""The default journal: one SQLite file, one writer, group commit."""

from bridge.journal.sqlite.journal import SqliteJournal

__all__ = ["SqliteJournal"]
