"""A subscriber for server processes that fails while the file `broken` lies in its folder."""

from __future__ import annotations

import os
from pathlib import Path

from bridge import Message

_folder = Path(os.environ["COLLECTED"]).parent
_broken = _folder / "broken"
_file = os.open(_folder / "crm", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


async def take(message: Message) -> None:
    """Write the id down, or fail before anything was done."""
    if _broken.exists():
        raise ConnectionError("the database is away")
    os.write(_file, f"{message.message_id}\n".encode())
