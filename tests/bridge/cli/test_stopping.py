"""`bridge serve` ends when it is told to, whatever its subscribers do."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from tests.bridge.cli.processes import PATIENCE, ROOT, TOKEN, Served, end, spawn
from tests.callbacks import new_message

CONFIG = f"""\
[server]
drain_timeout = "DRAIN"

[admin]
port = ADMIN_PORT

[journal]
path = "journal.db"

[log]
format = "json"

[adapters.incs]
tokens = ["{TOKEN}"]

"""

SUBSCRIBER = """\

[subscribers.{name}]
use = "shop:{use}"
events = ["message"]
"""

SHOP = """\
import asyncio, logging, os, threading, time

log = logging.getLogger("shop")


def begun():
    open("begun", "a").write(".")  # one letter for each


async def waits(event):
    begun()
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)


async def swallows(event):
    begun()
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass


async def converts(event):
    begun()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise RuntimeError("interrupted") from None


async def returns(event):
    begun()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return


def plain(event):
    begun()
    threading.Event().wait()


def prints(event):
    begun()
    while True:
        print("x" * 1000, flush=True)  # nobody reads it


async def in_executor(event):
    begun()
    await asyncio.to_thread(threading.Event().wait)


strays = set()


async def leaves_a_task(event):
    strays.add(asyncio.create_task(swallows(event)))


async def blocks(event):
    begun()
    time.sleep(3600)


async def spins(event):
    begun()
    while True:
        pass


async def cancels(event):
    if event.message_id == "wamid.A":
        for task in asyncio.all_tasks():
            task.cancel()
    begun()


async def stops(event):
    asyncio.get_running_loop().stop()
    begun()


async def leaves(event):
    asyncio.get_running_loop().call_soon(exit, 7)
    begun()


async def floods(event):
    if event.message_id != "wamid.A":
        return
    for number in range(10_000):
        log.info("line %d of many", number)
    begun()
"""


class Shop(Served):
    """A server with subscribers of some kinds, of which the first is `crm`."""

    def __init__(self, folder: Path, *uses: str, drain: str = "0.2s") -> None:
        names = ["crm", *uses[1:]]
        subscribers = [
            SUBSCRIBER.format(name=name, use=use) for name, use in zip(names, uses, strict=True)
        ]
        super().__init__(folder, CONFIG.replace("DRAIN", drain) + "".join(subscribers))
        (folder / "shop.py").write_text(SHOP)
        (folder / "begun").touch()
        self._begin = sum(use != "leaves_a_task" for use in uses)

    def begin(self) -> subprocess.Popen:
        """Start, post a message, and return the process once each subscriber has it."""
        self.start()
        self.post(new_message("wamid.A", "6281519000001"))
        self.until(lambda: (self.folder / "begun").stat().st_size >= self._begin)
        return self.process

    def ended(self) -> int:
        """Return the exit code, when the process has ended by itself."""
        return self.process.wait(PATIENCE)

    def said(self) -> list[str]:
        """Return the messages of the log, after the end."""
        for reader in self._readers:
            reader.join()
        return [orjson.loads(line)["event"] for line in self.log]


@pytest.fixture
def shop(tmp_path):
    """Make a server, which is killed in the end if it still runs."""
    shops = []

    def make(*uses: str, drain: str = "0.2s") -> Shop:
        shops.append(Shop(tmp_path, *uses, drain=drain))
        return shops[-1]

    yield make
    for one in shops:
        one.process.kill()
        end(one.process)


def test_it_ends_after_the_drain_whatever_is_at_work(shop):
    """Cancellation swallowed, turned into something else, a thread that never returns: it ends."""
    at_work = ["waits", "swallows", "converts", "returns", "plain", "prints", "in_executor"]
    one = shop("leaves_a_task", *at_work)
    one.begin().send_signal(signal.SIGTERM)
    assert one.ended() == 0
    said = one.said()
    assert any(line.startswith("SIGTERM: stopping") for line in said)
    (late,) = [line for line in said if line.startswith("not finished after 0.2 seconds: ")]
    assert all(name in late for name in at_work)
    assert "wamid.A" in late


@pytest.mark.parametrize("use", ["blocks", "spins"])
def test_it_ends_although_the_event_loop_is_blocked(shop, use):
    """A subscriber that lets nobody else run is named by its line, and the process is gone."""
    one = shop(use)
    one.begin().send_signal(signal.SIGTERM)
    assert one.ended() == 1
    (last,) = [line for line in one.said() if line.startswith("ended without waiting any longer")]
    assert f"the main thread was at {one.folder / 'shop.py'}:" in last


def test_what_is_awaited_is_told_and_then_finished(shop):
    """The first signal names what the end waits for and how long, and the end waits for it."""
    one = shop("waits", drain="3600s")
    one.begin().send_signal(signal.SIGTERM)
    one.until(lambda: one.logged("SIGTERM: stopping"))
    (one.folder / "go").touch()
    assert one.ended() == 0
    said = one.said()
    expected = "SIGTERM: stopping, after at most 3600 seconds for crm at work on incs/message/"
    assert any(line.startswith(expected) for line in said)
    assert said[-1] == "stopped"


def test_where_nothing_is_awaited_it_just_stops(shop):
    """Without anything under way the first signal's line says no more than that."""
    one = shop("waits", drain="3600s")
    one.start()
    one.process.send_signal(signal.SIGINT)
    assert one.ended() == 0
    assert one.said()[-2:] == ["SIGINT: stopping", "stopped"]


@pytest.mark.parametrize(("second", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_it_at_once(shop, second, code):
    """Whoever signals twice waits no longer; one line says what was cut off."""
    one = shop("waits", "swallows", "plain", drain="3600s")
    one.begin().send_signal(signal.SIGTERM)
    one.until(lambda: one.logged("SIGTERM: stopping"))
    one.process.send_signal(second)
    assert one.ended() == code
    (last,) = [line for line in one.said() if line.startswith("ended at once")]
    assert last.startswith(f"ended at once by a second signal, {second.name}: ")
    assert all(f"{name} at work on " in last for name in ("crm", "swallows", "plain"))


@pytest.mark.parametrize("use", ["blocks", "spins"])
def test_a_second_signal_reaches_a_blocked_event_loop(shop, use):
    """Even where nothing of the server runs any more, the second signal ends it."""
    one = shop(use, drain="3600s")
    process = one.begin()
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)  # two at once would be one
    assert one.ended() == 130


def test_two_signals_at_once_are_one(shop):
    """A terminal and a parent that both pass on a Ctrl-C do not cut anything off."""
    one = shop("waits", drain="3600s")
    process = one.begin()
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    one.until(lambda: one.logged(": stopping, after at most"))
    (one.folder / "go").touch()
    assert one.ended() == 0
    assert not one.logged("ended at once")


def test_a_hangup_is_a_graceful_stop_and_says_so(shop):
    """SIGHUP finishes what is under way, and nobody takes it for a reload."""
    one = shop("waits", drain="3600s")
    one.begin().send_signal(signal.SIGHUP)
    expected = "SIGHUP (which does not read the configuration again): stopping, after at most"
    one.until(lambda: one.logged(expected))
    (one.folder / "go").touch()
    assert one.ended() == 0


def test_who_ignores_hangups_is_not_stopped_by_one(shop):
    """With `nohup`, a terminal that closes stops nothing; SIGTERM does."""
    one = shop("waits", drain="3600s")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        one.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    one.process.send_signal(signal.SIGHUP)
    assert one.ask("/subscribers")
    one.process.send_signal(signal.SIGTERM)
    assert one.ended() == 0
    assert not one.logged("SIGHUP")


def test_an_interrupt_works_where_it_was_ignored(shop):
    """A shell without job control starts background jobs with SIGINT ignored."""
    one = shop("waits", drain="3600s")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        one.start()
    finally:
        signal.signal(signal.SIGINT, before)
    one.process.send_signal(signal.SIGINT)
    assert one.ended() == 0


@pytest.mark.parametrize(
    ("use", "told"),
    [
        ("cancels", "the server's task was cancelled without a signal, and goes on"),
        ("stops", "the event loop was stopped from within, and goes on"),
        ("leaves", "would have ended the server, which goes on"),
    ],
)
def test_only_a_signal_ends_it(shop, use, told):
    """Who cancels every task, stops the loop or exits within it is told of and changes nothing."""
    one = shop(use)
    process = one.begin()
    one.until(lambda: one.logged(told))
    one.post(new_message("wamid.B", "6281519000001"))
    one.settled()
    process.send_signal(signal.SIGTERM)
    assert one.ended() == 0
    assert one.said()[-2:] == ["SIGTERM: stopping", "stopped"]


STARTING = """
import asyncio, os, signal
from bridge.cli.stopping import Stopping

async def start():
    with Stopping(3600.0, str):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()  # a start that takes for ever

try:
    asyncio.run(start())
except asyncio.CancelledError:
    print("cancelled")
"""


def test_a_signal_during_the_start_cancels_it():
    """Who is told to stop before it has started does not start first."""
    done = subprocess.run(
        [sys.executable, "-c", STARTING],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "cancelled\n"


def test_a_start_under_a_lock_ends(tmp_path):
    """Where another program keeps the journal's file locked, that is told, and nothing listens."""
    (tmp_path / "config.toml").write_text("[server]\nport = 0\n[admin]\nenabled = false\n")
    other = sqlite3.connect(tmp_path / "bridge.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    process = spawn("serve", cwd=tmp_path)
    _, told = process.communicate(timeout=PATIENCE)
    other.close()
    assert process.returncode == 1
    assert f"error: {tmp_path}/bridge.db is locked by another program: " in told.decode()


# --- a log that nobody reads ---------------------------------------------------------------


class Unread(Shop):
    """A server whose standard error is read only up to where it listens."""

    def _read(self, stream, lines):
        if stream is not self.process.stderr:
            super()._read(stream, lines)


def test_a_log_that_nobody_reads_holds_up_nobody(tmp_path):
    """Callbacks are answered while the log is stuck, and what it lost is told once it is read."""
    one = Unread(tmp_path, "floods")
    process = one.begin()
    for number in range(20):
        one.post(new_message(f"wamid.{number}", "6281519000002"))
    assert one.ask("/subscribers")
    dropped, lines = 0, iter(process.stderr.readline, b"")
    while dropped <= 1000:  # in one piece, or in several where the log caught up in between
        told = next(line for line in lines if b"lines of the log were dropped here" in line)
        dropped += int(orjson.loads(told)["event"].split()[0])
    process.kill()
    end(process)


def test_a_log_that_nobody_reads_does_not_hold_up_the_end(tmp_path):
    """The process ends although nobody ever takes its last lines."""
    one = Unread(tmp_path, "floods")
    one.begin().send_signal(signal.SIGTERM)
    assert one.ended() == 0
    end(one.process)
