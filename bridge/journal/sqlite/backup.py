"""Copies of a journal: whole, consistent, checked, and never seen half-written under their name."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

from bridge.errors import JournalError
from bridge.journal.sqlite.files import PRIVATE, sibling, sync_folder

_UNFINISHED: Final = ".part"


def copy(source: apsw.Connection, target: Path, *, check: str) -> None:
    """Write the database of a connection to a new file, in one reading transaction.

    Others may write meanwhile. `check` is the pragma that the copy has to pass: `quick_check` or
    `integrity_check`. Raises `JournalError`, and then there is no file.
    """
    if target.exists():
        raise JournalError(f"{target} exists already, and is not overwritten")
    part = sibling(target, _UNFINISHED)
    try:
        part.unlink(missing_ok=True)  # of an attempt that was cut short
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
        _write(source, part, check)
        descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.rename(target)
        sync_folder(target)
    except (apsw.Error, OSError) as error:
        # SQLite has no text for what went wrong with the file that it copied to.
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        if isinstance(error, apsw.FullError):
            reason = "the disk is full"
        elif isinstance(error, apsw.CorruptError):
            reason = str(error)
        raise JournalError(f"{target} cannot be written: {reason}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write(source: apsw.Connection, part: Path, check: str) -> None:
    connection = apsw.Connection(str(part))
    try:
        connection.pragma("journal_mode", "off")  # what is cut short is thrown away
        connection.pragma("synchronous", "off")  # synced once, at the end
        with connection.backup("main", source, "main") as backup:
            backup.step(-1)
        connection.pragma("journal_mode", "delete")  # one file, whatever opens it
        found = connection.execute(f"PRAGMA {check}(1)").get
        if found != "ok":
            raise apsw.CorruptError(" ".join(str(found).split()))
    finally:
        connection.close()
