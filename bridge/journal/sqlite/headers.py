"""What stands in the headers of SQLite's files.

https://sqlite.org/fileformat.html
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

APPLICATION_ID: Final = 0x494E4353  # "INCS"
MAGIC: Final = b"SQLite format 3\x00"
WAL_HEADER: Final = 32  # bytes, as are the next
FRAME_HEADER: Final = 24

_READ_VERSION_AT: Final = 19
_ROLLBACK: Final = b"\x01"
_VERSION_AT: Final = 60
_APPLICATION_ID_AT: Final = 68


def format_in(head: bytes) -> int:
    """Return which format a database's first page says it has; 0 is none."""
    return int.from_bytes(head[_VERSION_AT : _VERSION_AT + 4])


def has_no_log(head: bytes) -> bool:
    """Return whether a database's first page says that it is written without one, as copies do."""
    return head[_READ_VERSION_AT : _READ_VERSION_AT + 1] == _ROLLBACK


def application_in(head: bytes) -> int:
    """Return the application that a database's first page names; 0 is none."""
    return int.from_bytes(head[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4])


def application_in_log(path: Path) -> int:
    """Return the application that a log's newest first page names; 0 is none."""
    found = 0
    with path.open("rb") as file:
        size = int.from_bytes(file.read(WAL_HEADER)[8:12])
        while header := file.read(FRAME_HEADER):
            if int.from_bytes(header[:4]) == 1:
                found = application_in(file.read(size))
            else:
                file.seek(size, os.SEEK_CUR)
    return found
