"""A bridge whose event loop was closed before it, as where `asyncio.run` ends without leaving it.

Each test runs a program, since what such a loop leaves behind warns for the rest of its process.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bridge.journal.nats_servers import NatsServer

PATIENCE = 60.0
START = """
import asyncio
import logging
import sys

from bridge.errors import NotRunning
from bridge.journal.memory import MemoryJournal
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Event
from tests.bridge.test_life import Crm, bridge_of
from tests.bridge.test_runtime import callback

logging.basicConfig(stream=sys.stdout, format="%(name)s: %(message)s", level=logging.CRITICAL)


async def enter():
    await bridge.__aenter__()
    await bridge.receive("plain", callback("1"))
    await crm.until(1)


async def run():
    async with bridge:
        await bridge.receive("plain", callback("2"))
        while "2" not in crm.got:
            await asyncio.sleep(0.001)
"""
AGAIN = """
async def ask():
    print((await bridge.health()).reason)
    for use in (bridge.receive("plain", callback("2")), bridge.send("+1", "hi", via="plain")):
        try:
            await use
        except NotRunning as error:
            print(error)


asyncio.run(enter())
asyncio.run(ask())
bridge.on(Event, name="late")(Crm())
asyncio.run(run())
assert crm.got in (["1", "2"], ["1", "1", "2"]), crm.got  # progress is saved a little later
print("ended")
"""
LEAVING = """
entered = asyncio.Event()


@bridge.on(Event, name="hanging")
async def hang(event):
    entered.set()
    await asyncio.Event().wait()


async def leave():
    await bridge.__aexit__(None, None, None)


loop = asyncio.new_event_loop()
loop.run_until_complete(enter())
loop.run_until_complete(entered.wait())
loop.close()
asyncio.run(leave())
print("left")
"""


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory):
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "nats"])
def journal(request, tmp_path) -> str:
    """Return how a program makes a journal of each engine."""
    match request.param:
        case "memory":
            return "MemoryJournal()"
        case "sqlite":
            return f"SqliteJournal({str(tmp_path / 'journal.db')!r})"
    url = request.getfixturevalue("nats_server").url
    return f"NatsJournal(NatsSettings(servers=({url!r},), stream='again', partitions=2))"


def lines_of(journal: str, program: str, **server: float) -> list[str]:
    """Run a program with a bridge, and return what it says."""
    made = f"bridge, crm = bridge_of({journal}, **{server})\n"
    done = subprocess.run(
        [sys.executable, "-c", START + made + program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_it_runs_in_the_next_one(journal):
    """It does not run, and says so; entered again it says what happened, and takes and delivers."""
    lines = lines_of(journal, AGAIN)
    told = "bridge.runtime: the bridge's event loop was closed before it, which now begins anew"
    assert lines.count(told) == 1
    assert lines[-1] == "ended"
    assert [line for line in lines if line.startswith(("the bridge", "enter"))] == [
        "the bridge is not running",
        "enter the bridge (`async with bridge:`) before it receives",
        "enter the bridge (`async with bridge:`) before it is used",
    ]


def test_it_can_be_left():
    """To leave it afterwards, in another loop, waits for nobody who was at work in the first."""
    assert lines_of("MemoryJournal()", LEAVING, drain_timeout=10 * PATIENCE) == ["left"]
