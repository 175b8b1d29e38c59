"""The journal of several machines in PostgreSQL: one schema, any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.journal.postgres.settings import PostgresSettings as Settings
from bridge.process.lazy import lazily, required

if TYPE_CHECKING:
    from bridge.errors import Problem
    from bridge.journal.postgres.journal import PostgresJournal
    from bridge.settings import JournalSettings
else:
    __getattr__, __dir__ = lazily(__name__, "journal")

__all__ = ["PostgresJournal", "Settings", "check"]

required("psycopg")


def check(settings: JournalSettings, /, **_local: object) -> Sequence[Problem]:
    """See `EngineModule.check`; asks the server."""
    from bridge.journal.postgres import schema  # noqa: PLC0415 - the client of the database

    return schema.check(settings.own)
