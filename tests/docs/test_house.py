"""The page about the house says what is there, and how far a callback goes through it."""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

import bridge as package
from bridge import Bridge, Callback, Message
from tests.callbacks import NOW

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
INSIDE = (str(Path(package.__file__).parent), str(ROOT / "adapters"))
CONFIG = """
[journal]
path = "{folder}/bridge.db"
[admin]
enabled = false
[adapters.whatsapp]
insecure = true
"""


def body(message_id: str) -> bytes:
    """Return a WhatsApp text, as the documentation has it.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/text
    """
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"},
        "contacts": [{"profile": {"name": "Sheena Nelson"}, "wa_id": "16505551234"}],
        "messages": [
            {
                "from": "16505551234",
                "id": message_id,
                "timestamp": NOW,
                "type": "text",
                "text": {"body": "Does it come in another color?"},
            }
        ],
    }
    change = {"field": "messages", "value": value}
    entry = {"id": "102290129340398", "changes": [change]}
    return orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})


def moves_in(threads: list[list[str]]) -> int:
    """Return how often the way goes from one file to another."""
    return sum(one != other for calls in threads for one, other in itertools.pairwise(calls))


async def way_of_a_callback(folder: Path) -> list[list[str]]:
    """Return the files whose functions are called for one callback, thread by thread.

    What else happens meanwhile, such as saving progress, comes in between and only adds: so it is
    the shortest way of many callbacks.
    """
    calls: dict[int, list[str]] = {}
    ways: list[list[list[str]]] = []
    is_on = False

    def note(frame: object, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if is_on and event == "call" and name.startswith(INSIDE):
            calls.setdefault(threading.get_ident(), []).append(name)

    config = folder / "config.toml"
    config.write_text(CONFIG.format(folder=folder))
    bridge = Bridge.from_toml(config)
    arrived: asyncio.Queue[str] = asyncio.Queue()

    @bridge.on(Message, name="crm")
    async def take(message: Message) -> None:
        arrived.put_nowait(message.message_id)

    async def receive(callback: Callback) -> None:
        await bridge.receive("whatsapp", callback)
        await arrived.get()

    first, *others = (
        Callback(body=body(f"wamid.{number}"), received_at=datetime.now(UTC))
        for number in range(200)
    )
    threading.setprofile(note)
    try:
        async with bridge:
            await receive(first)  # what is made once is made now
            sys.setprofile(note)
            for callback in others:
                is_on = True
                await receive(callback)
                is_on = False
                ways.append(list(calls.values()))
                calls.clear()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return min(ways, key=moves_in)


async def test_the_way_of_a_callback_is_short(tmp_path):
    """From `receive` to the subscriber, a callback goes no further than the page says."""
    threads = await way_of_a_callback(tmp_path)
    files = {name for calls in threads for name in calls}
    moves = moves_in(threads)
    most_files, most_moves = map(
        int, re.search(r"at most (\d+) files and (\d+) moves", PAGE.read_text("utf-8")).groups()
    )
    assert len(files) <= most_files, sorted(files)
    assert moves <= most_moves, moves


@pytest.mark.skipif(not (ROOT / "bridge").is_dir(), reason="needs the sources")
def test_every_room_has_its_reason():
    """The table of rooms names each folder and module at the top of the package, and no other."""
    told = set(
        re.findall(
            r"^\| `(?:bridge/)?([a-z_]+)(?:/|\.py)` \|", PAGE.read_text("utf-8"), re.MULTILINE
        )
    )
    there = {
        path.stem
        for path in (ROOT / "bridge").iterdir()
        if (path.is_dir() and (path / "__init__.py").exists())
        or (path.suffix == ".py" and not path.stem.startswith("__"))
    }
    assert told == there
