"""A look at a journal's file as opening would find it, which changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bridge.errors import ConfigurationError, JournalError, Problem
from bridge.journal.sqlite.files import Damaged, Files
from bridge.journal.sqlite.formats import FORMAT, check_format

_KEY: Final = "path"


def check(path: Path, min_free_space: int) -> Sequence[Problem]:
    """Return what needs attention. Raises `ConfigurationError` where opening would fail."""
    files = Files(path)
    try:
        return [Problem(_KEY, told) for told in _doubts(files, min_free_space)]
    except JournalError as error:
        raise ConfigurationError((Problem(_KEY, str(error)),)) from error


def _doubts(files: Files, min_free_space: int) -> Iterator[str]:
    """Yield what needs attention. Raises `JournalError`."""
    folder = files.database.parent
    if not folder.is_dir():
        raise JournalError(f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise JournalError(f"the folder {folder} cannot be written by this user")
    user = files.user()
    if user is not None:
        yield f"{files.path} is open in {user}: another `bridge serve` would be refused"
    else:
        try:
            files.check_kind()
        except Damaged as error:
            yield f"{error}: `bridge serve` sets it aside, and a new journal begins"
    if files.database.exists() and not os.access(files.database, os.R_OK | os.W_OK):
        raise JournalError(f"{files.path} cannot be read and written by this user")
    found = files.format
    if found:
        check_format(files.path, found)
        if found < FORMAT:
            yield (
                f"{files.path} has format {found}: `bridge serve` upgrades it to {FORMAT}, "
                "and keeps a copy as it was"
            )
    if (told := files.readable_by_others()) is not None:
        yield told
    for aside in files.aside():
        yield f"{aside} was set aside: look into it, then move it away"
    free = shutil.disk_usage(folder).free
    if free < min_free_space:
        yield f"only {free} bytes are free on the disk, and min_free_space is {min_free_space}"
