"""What subscribers remember of conversations, as the file keeps it.

Functions that change something run inside the writer's transaction, the others on the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import apsw

from bridge.journal.erasure import Subject
from bridge.journal.sqlite.retention import used_size
from bridge.journal.states import State

_Row: TypeAlias = tuple[int, str, str, float, bytes]

_SELECT: Final = "SELECT id, conversation, name, expires_at, value FROM states WHERE"


def read(connection: apsw.Connection, conversation: str, name: str) -> State | None:
    """Return what is remembered of a conversation under a name."""
    found = _rows(connection, "conversation = ? AND name = ?", (conversation, name))
    return found[0][1] if found else None


def write(connection: apsw.Connection, state: State, max_size: int) -> bool:
    """Keep a state in the place of an earlier one; return False where the journal is full."""
    if max_size and used_size(connection) > max_size:
        return False
    connection.execute(
        "REPLACE INTO states (conversation, name, expires_at, value) VALUES (?, ?, ?, ?)",
        (state.conversation, state.name, state.expires_at, state.value),
    )
    return True


def erase(connection: apsw.Connection, conversation: str, name: str) -> None:
    """Forget what is remembered of a conversation under a name."""
    connection.execute(
        "DELETE FROM states WHERE conversation = ? AND name = ?", (conversation, name)
    )


def page(
    connection: apsw.Connection, name: str | None, after: int, limit: int
) -> Sequence[tuple[int, State]]:
    """Return states, or those of one name, with the numbers of their rows, beyond one."""
    if name is None:
        return _rows(connection, "id > ? ORDER BY id LIMIT ?", (after, limit))
    return _rows(connection, "id > ? AND name = ? ORDER BY id LIMIT ?", (after, name, limit))


def purge(connection: apsw.Connection, subject: Subject) -> None:
    """Forget what is remembered of somebody's conversations."""
    # Conversations alone: whatever is remembered of them stays on disk.
    rows: Iterable[tuple[int, str]] = connection.execute("SELECT id, conversation FROM states")
    gone = [(row,) for row, conversation in rows if subject.owns(conversation)]
    connection.executemany("DELETE FROM states WHERE id = ?", gone)


def _rows(
    connection: apsw.Connection, condition: str, values: tuple[int | str, ...]
) -> Sequence[tuple[int, State]]:
    rows: Iterable[_Row] = connection.execute(f"{_SELECT} {condition}", values)
    return [
        (
            row,
            State(conversation=conversation, name=name, expires_at=expires_at, value=value),
        )
        for row, conversation, name, expires_at, value in rows
    ]
