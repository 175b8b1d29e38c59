"""`bridge subscribers held`: what a subscriber tries again."""

from __future__ import annotations

import asyncio
import threading

import pytest

from bridge.adapter.signing import Secret
from bridge.journal.memory import MemoryJournal
from bridge.model import Message, StatusChange
from bridge.ops.admin import listening
from bridge.ops.metrics import Metrics
from bridge.runtime import Bridge
from bridge.settings import AdminSettings, DeliverySettings
from tests.bridge.cli.processes import ADMIN
from tests.bridge.events import message


@pytest.fixture
def failing(workplace):
    """Run a bridge whose subscriber `crm` fails for long, and configure commands for it."""
    running, done = threading.Event(), []

    async def run() -> None:
        bridge = Bridge(journal=MemoryJournal())

        @bridge.on(StatusChange, name="idle")
        async def idle(event: StatusChange) -> None: ...

        @bridge.on(Message, name="crm", policy=DeliverySettings(first_delay=600))
        async def crm(event: Message) -> None:
            raise ValueError("the database of +6281519236680 is away")

        end = asyncio.Event()
        done.append((asyncio.get_running_loop(), end))
        admin = listening(bridge.operators, Metrics(), AdminSettings(port=0, token=Secret(ADMIN)))
        async with bridge, admin as url:
            port = url.rpartition(":")[2]
            config = f'[admin]\nport = {port}\ntoken = "{ADMIN}"\n'
            (workplace / "config.toml").write_text(config)
            await bridge.journal.append([message("slow"), message("behind"), message("other")])
            while not any(state.held == 3 for state in await bridge.journal.subscribers()):
                await asyncio.sleep(0.001)
            running.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    running.wait()
    yield
    loop, end = done[0]
    loop.call_soon_threadsafe(end.set)
    thread.join()


def test_what_is_tried_again(failing, command):
    """The event that blocks its conversation is told, and not what waits behind it."""
    done = command("subscribers", "held", "crm")
    assert done.code == 0
    (line,) = done.lines
    key, tries, _, error = line.split("\t")
    assert (key, tries) == ("message/whatsapp/slow", "1")
    assert error == "ValueError: the database of +****80 is away"
    (row,) = command("subscribers", "held", "crm", "--json").events
    assert row["key"] == "message/whatsapp/slow"


def test_nothing_that_is_tried_again(failing, command):
    """Of a subscriber that has nothing to try again that is said, and --json prints nothing."""
    done = command("subscribers", "held", "idle")
    assert (done.code, done.out, done.err) == (0, "", "nothing is to be tried again\n")
    done = command("subscribers", "held", "idle", "--json")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("subscribers", "held", "cmr"),
        ("dead", "list", "--subscriber", "cmr"),
        ("replay", "message/whatsapp/slow", "--subscriber", "cmr"),
    ],
    ids=" ".join,
)
def test_a_subscriber_that_nobody_knows(failing, start, arguments):
    """A name that nobody goes by is told as such, with the one that was probably meant."""
    process = start(*arguments)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert b'did you mean "crm"' in err
