"""The journal of several machines in PostgreSQL: one schema, any number of processes."""

from bridge.journal.postgres.journal import PostgresJournal

__all__ = ["PostgresJournal"]
