"""Subscribers that disrupt the whole process, beside sound ones: nothing is lost, and it stops."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import urllib.error
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bridge.cli.processes import PATIENCE, TOKEN, Served, end
from tests.callbacks import new_message
from tests.promises.disrupting import ENDING, FORKS, KINDS, TOLD

CONFIG = f"""\
[server]
drain_timeout = "0.2s"

[admin]
port = ADMIN_PORT

[journal]
path = "journal.db"

[log]
format = "json"

[delivery]
tries = 2
first_delay = 0.0

[adapters.incs]
tokens = ["{TOKEN}"]

[subscribers.sound]
use = "tests.promises.disrupting:sound"
events = ["message"]

[subscribers.sound_plain]
use = "tests.promises.disrupting:sound_plain"
events = ["message"]
"""
SUBSCRIBER = """
[subscribers.KIND]
use = "tests.promises.disrupting:KIND"
events = ["message"]
"""


class Disrupted(Served):
    """A server with sound subscribers, and one of each of these kinds."""

    def __init__(self, folder: Path, *kinds: str) -> None:
        super().__init__(folder, CONFIG + "".join(SUBSCRIBER.replace("KIND", k) for k in kinds))
        self.acknowledged: list[str] = []

    def try_to_post(self, message_id: str) -> None:
        try:
            self.post(new_message(message_id, "6281519000001"))
        except (urllib.error.URLError, ConnectionError):
            return
        self.acknowledged.append(message_id)

    def taken(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def all_taken(self) -> bool:
        """Return whether both sound subscribers have got all that was acknowledged."""
        wanted = set(self.acknowledged)
        return all(wanted <= set(self.taken(name)) for name in ("async", "plain"))


def disrupted(folder: Path, kinds: list[str]) -> None:
    """Serve with these kinds, stop, and see what the sound subscribers have got."""
    one = Disrupted(folder, *kinds)
    try:
        one.start()
        process = one.process
        for number in range(3):
            one.post(new_message(f"m{number}", "6281519000001"))
            one.acknowledged.append(f"m{number}")
        one.until(one.all_taken)
        told = {TOLD[kind] for kind in kinds if kind in TOLD}
        one.until(lambda: all(one.logged(words) for words in told))
        forked = [kind for kind in kinds if kind in FORKS]
        one.until(lambda: one.logged("has come back into the bridge") >= len(forked))
        one.post(new_message("m3", "6281519000001"))
        one.acknowledged.append("m3")
        one.until(one.all_taken)
        process.send_signal(signal.SIGTERM)
        # Who waits for the end of threads that never end blocks the loop, and is left behind.
        is_stuck = {"ends_the_executor", "fills_the_executor"} <= set(kinds)
        assert process.wait(PATIENCE) in ((0, 1) if is_stuck else (0,)), one.log
        assert one.logged("SIGTERM: stopping") == 1
    finally:
        one.process.kill()
        end(one.process)
    for name in ("async", "plain"):
        assert one.taken(name) == one.acknowledged


def test_all_disruptions_at_once_cost_nobody_an_event(tmp_path):
    """Beside every kind of disruption the sound ones get all once, in order, and it stops well."""
    disrupted(tmp_path, list(KINDS))


@settings(max_examples=3, deadline=None)
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6, unique=True))
def test_some_disruptions_cost_nobody_an_event(kinds):
    """The same with any few of them, in any order."""
    with tempfile.TemporaryDirectory() as folder:
        disrupted(Path(folder), kinds)


@pytest.mark.parametrize("kind", ENDING)
def test_who_ends_the_process_loses_nothing(tmp_path, kind):
    """A process that a subscriber has ended begins again where it was, with all acknowledged."""
    one = Disrupted(tmp_path, kind)
    one.start()
    process = one.process
    for number in range(5):
        one.try_to_post(f"m{number}")
    assert process.wait(PATIENCE) != 0 or kind == "leaves_at_once"
    end(process)
    again = Disrupted(tmp_path)
    again.acknowledged = one.acknowledged
    again.start()
    again.until(again.all_taken)
    again.stop()


def test_a_child_that_stays_has_nothing_of_the_server(tmp_path):
    """A child ends when it is told to, and lets nobody take it for the server, which it outlives.

    It keeps neither the port, nor a connection, nor the lock of the journal.
    """
    one = Disrupted(tmp_path, "forks_and_stays")
    one.start()
    address = urlsplit(one.url)
    with socket.create_connection((address.hostname, address.port)) as client:
        client.settimeout(PATIENCE)
        one.try_to_post("m0")
        one.until((tmp_path / "child").exists)
        one.until((tmp_path / "child").read_text)
        child = int((tmp_path / "child").read_text())
        one.process.kill()
        one.process.wait()
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port))
    again = Disrupted(tmp_path)
    again.acknowledged = one.acknowledged
    again.start()
    again.until(again.all_taken)
    again.stop()
    os.kill(child, signal.SIGTERM)
    end(one.process)  # which reads what it wrote to the end, that of the child
