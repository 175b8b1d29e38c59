"""The bridge in any asyncio program, with no HTTP server of ours.

Callbacks may come from wherever you have them: here, from the file that is named on the command
line. Run it with
`python examples/asyncio_app.py tests/adapters/data/incs/quirk-01-channel-id-present/request.json`.
"""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from bridge import Bridge, Callback, MemoryJournal, Message, StatusChange
from bridge.adapters.incs import Incs, IncsSettings

TOKEN = "a token that INCS was told to send"  # noqa: S105 - an example


def make_bridge() -> Bridge:
    """Make a bridge in code rather than from a file, with a journal in memory."""
    bridge = Bridge(journal=MemoryJournal())
    bridge.add_adapter("incs", Incs("incs", IncsSettings(tokens=(TOKEN,))))

    @bridge.on(Message, StatusChange, name="printer")
    async def show(event: Message | StatusChange) -> None:
        print(f"{event.kind} {event.message_id}")

    return bridge


async def main(paths: list[str]) -> None:
    """Hand the callbacks in the files to the bridge."""
    async with make_bridge() as bridge:
        for path in paths:
            body = await asyncio.to_thread(Path(path).read_bytes)
            callback = Callback(body=body, received_at=datetime.now(UTC), tail=TOKEN)
            reply = await bridge.receive("incs", callback)
            print(f"acknowledged with {reply.status}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
