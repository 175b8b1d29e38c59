"""Keeps the write-ahead log short without keeping an append waiting.

Copying the log into the database takes long, so a thread of its own does it, beside the writer.
Under load the log has grown again by the time it is done, and an SQLite log starts over only
when all of it has been copied: the writer copies that short rest itself, between two groups.
SQLite syncs the database only then, for which the writer would wait for several milliseconds if
this thread had not synced what it has copied.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

import apsw

from bridge.journal.sqlite.writer import Chore, Writer

_LOG: Final = logging.getLogger("bridge.journal")

_ROUNDS: Final = 2  # in the second there is less to copy, and in the writer's least


class Checkpointer:
    """The thread that owns the connection for checkpoints.

    `sync` makes durable what has been written into the database.
    """

    def __init__(
        self, connection: apsw.Connection, writer: Writer, *, sync: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._writer = writer
        self._sync = sync
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-checkpoint", daemon=True)

    def start(self) -> None:
        """Begin to wait for the log to grow."""
        self._thread.start()

    def stop(self) -> None:
        """Return when the thread has ended, which needs the writer; blocks."""
        self._stopping.set()
        self._writer.checkpoint_due.set()
        self._thread.join()

    def _run(self) -> None:
        due = self._writer.checkpoint_due
        while not self._stopping.is_set():
            due.wait()
            if self._stopping.is_set():
                break  # SQLite does the rest when it closes, where it may
            # The log is locked for a moment where a commit is under way, or the writer empties it.
            with _failures_told(), suppress(apsw.BusyError):
                for _ in range(_ROUNDS):
                    _copy(self._connection)
                    # Each descriptor is told of a failure: this one now, SQLite's at its next sync.
                    self._sync()
            rest_copied = threading.Event()
            self._writer.put(Chore(partial(self._copy_rest, done=rest_copied)))
            rest_copied.wait()

    def _copy_rest(self, connection: apsw.Connection, done: threading.Event) -> None:
        # Cleared by the writer, so that a log which is about to start over is not due again.
        self._writer.checkpoint_due.clear()
        try:
            with _failures_told():
                _copy(connection)
        finally:
            done.set()


@contextmanager
def _failures_told() -> Iterator[None]:
    """Say what fails; the log only grows meanwhile, appends do not fail, and it is tried again."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the threads outlive whatever the disk does
        _LOG.warning("a checkpoint failed: %s: %s", type(error).__name__, error)


def _copy(connection: apsw.Connection) -> None:
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
