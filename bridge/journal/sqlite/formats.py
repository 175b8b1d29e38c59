"""The formats of the file: which ones this version of bridge knows."""

from __future__ import annotations

from typing import Final

from bridge.errors import JournalError

FORMAT: Final = 9
"""What this version writes."""
OLDEST: Final = 3
"""What this version can upgrade; formats before it were never released."""


def check_format(path: object, found: int) -> None:
    """Raise `JournalError` where this version of bridge cannot read a file of that format."""
    if found > FORMAT:
        raise JournalError(
            f"{path} has format {found}, and this version of bridge knows up to {FORMAT}: "
            "install the version that wrote it, or restore a backup from before the upgrade"
        )
    if found < OLDEST:
        raise JournalError(
            f"{path} has format {found}, of an unreleased version of bridge, and this one reads "
            f"{OLDEST} to {FORMAT}: move the file away, and a new journal begins"
        )
