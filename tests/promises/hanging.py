"""A plain subscriber for server processes that hangs with some conversations for a while."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bridge import Message

_file = os.open(os.environ["COLLECTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_hangs = Path(os.environ["COLLECTED"]).resolve().with_name("hangs")


def collect(message: Message) -> None:
    """Append the id, and never return while conversations below ten are to hang."""
    os.write(_file, f"{message.conversation.id} {message.message_id}\n".encode())
    while len(message.message_id.split(".")[1]) == 1 and _hangs.exists():
        time.sleep(0.02)  # what a request without a timeout would be
