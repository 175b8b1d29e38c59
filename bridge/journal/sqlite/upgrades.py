"""From one format of the file to the next, at the start, in a transaction and after a backup.

A new format is one more step here, its number in `formats.py`, and the tables in `schema.py` as
a new file has them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

import apsw

from bridge.journal.hindsight import note_terms
from bridge.journal.sqlite.backup import copy
from bridge.journal.sqlite.domains import into_domains
from bridge.journal.sqlite.files import Files, sibling
from bridge.journal.sqlite.formats import FORMAT

_LOG: Final = logging.getLogger("bridge.journal")


def _note_terms(connection: apsw.Connection) -> None:
    def write(records: Mapping[bytes, bytes]) -> None:
        for name, data in records.items():
            connection.execute("UPDATE tracks SET track = ? WHERE key = ?", (data, name))
            if not connection.changes():
                connection.execute(
                    "INSERT INTO tracks (key, at, track) VALUES (?, ?, ?)",
                    (name, int(time.time()), data),
                )

    connection.execute("CREATE INDEX tracks_by_key ON tracks (key)")
    note_terms(
        lambda statement: connection.execute(statement).fetchall(),
        lambda name: connection.execute("SELECT tied_to, track FROM tracks WHERE key = ?", (name,)),
        write,
    )
    connection.execute("DROP INDEX tracks_by_key")


STEPS: Final[Mapping[int, str | Callable[[apsw.Connection], None]]] = {
    # What is known of tries is one value, the JSON of a `Retry`; events may wait to be told whole.
    3: """
    CREATE TABLE queues (lane TEXT PRIMARY KEY, items BLOB NOT NULL) STRICT, WITHOUT ROWID;
    ALTER TABLE held ADD COLUMN retry BLOB NOT NULL DEFAULT x'';
    UPDATE held SET retry = CAST(json_object(
        'tries', tries, 'due_at', due_at, 'first_failed_at', first_failed_at, 'error', error,
        'replayed', json(iif(replayed, 'true', 'false'))) AS BLOB);
    ALTER TABLE held DROP COLUMN tries;
    ALTER TABLE held DROP COLUMN first_failed_at;
    ALTER TABLE held DROP COLUMN error;
    ALTER TABLE held DROP COLUMN replayed;
    ALTER TABLE dead ADD COLUMN retry BLOB NOT NULL DEFAULT x'';
    UPDATE dead SET retry = CAST(json_object(
        'tries', tries, 'first_failed_at', first_failed_at, 'failed_at', failed_at, 'error', error
        ) AS BLOB);
    ALTER TABLE dead DROP COLUMN tries;
    ALTER TABLE dead DROP COLUMN first_failed_at;
    ALTER TABLE dead DROP COLUMN failed_at;
    ALTER TABLE dead DROP COLUMN error;
    """,
    # Events, keys and what is remembered are of trust domains.
    4: into_domains,
    # What subscribers remember of conversations.
    5: """
    CREATE TABLE states (
        id INTEGER PRIMARY KEY,
        conversation TEXT NOT NULL,
        name TEXT NOT NULL,
        expires_at REAL NOT NULL,
        value BLOB NOT NULL,
        UNIQUE (conversation, name)
    ) STRICT;
    CREATE INDEX states_by_expiry ON states (expires_at);
    """,
    # The names of records have an index like the keys of entries.
    6: """
    ALTER TABLE tracks RENAME TO old_tracks;
    CREATE TABLE tracks (
        position INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        at INTEGER NOT NULL,
        tied_to BLOB,
        track BLOB
    ) STRICT;
    CREATE TABLE names (
        key BLOB PRIMARY KEY,
        position INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO tracks (position, key, at, tied_to, track)
        SELECT id, name, at, tied_to, track FROM old_tracks ORDER BY id;
    INSERT INTO names (key, position) SELECT name, id FROM old_tracks ORDER BY name;
    DROP TABLE old_tracks;
    ALTER TABLE merged RENAME TO old_merged;
    CREATE TABLE merged (
        name TEXT PRIMARY KEY,
        position INTEGER NOT NULL,
        merging_up_to INTEGER NOT NULL,
        part INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO merged (name, position, merging_up_to, part)
        SELECT 'keys', position, merging_up_to, part FROM old_merged
        UNION ALL
        SELECT 'names', max(position), max(position), 256 FROM tracks HAVING count(*);
    DROP TABLE old_merged;
    """,
    # Records of users tell on what terms to write to them.
    7: _note_terms,
    # Windows are written to users some time after the entries from which they follow.
    8: """
    REPLACE INTO merged (name, position, merging_up_to, part)
        SELECT 'windows', max(position), max(position), 0 FROM entries HAVING count(*);
    """,
}
"""What leads from each format to the next."""


def upgrade(connection: apsw.Connection, files: Files, found: int) -> None:
    """Bring a file up to date, keeping a copy of what it was. Raises `JournalError`."""
    kept = sibling(files.database, f".format-{found}")
    if not kept.exists():
        copy(connection, kept, check="quick_check")
    with connection:
        for step in range(found, FORMAT):
            step_up = STEPS[step]
            if isinstance(step_up, str):
                connection.execute(step_up)
            else:
                step_up(connection)
        connection.pragma("user_version", FORMAT)
    _LOG.warning(
        "%s has been upgraded from format %d to %d; as it was, it is kept in %s",
        files.path,
        found,
        FORMAT,
        kept.name,
    )
