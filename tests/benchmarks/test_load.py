"""Load: no figure unless every request was answered and every event arrived."""

from __future__ import annotations

import sys
import textwrap

import orjson
import pytest

from benchmarks.contenders import Contender, running
from benchmarks.figures import Faulty
from benchmarks.load import (
    Load,
    Result,
    Told,
    await_events,
    introduce,
    put_load,
)
from tests.benchmarks.cores import needs_cores

# As load.lua prints it, after wrk's own words.
WORDS = b"Running 1s test @ http://127.0.0.1:8080\n  1 threads and 64 connections\n"
LINE = {
    "requests": 8000,
    "microseconds": 1_600_000,
    "refused": 0,
    "broken": 0,
    "exhausted": False,
    "busy": 0.345,
    "p50": 6250,
    "p99": 12_890,
    "p999": 42_860,
}


def printed(**changes) -> bytes:
    return WORDS + orjson.dumps({**LINE, **changes}) + b"\n"


def counts(*moments):
    """Return what tells how many events each subscriber has had, at one moment after the other."""
    return iter(moments).__next__


# --- what wrk says -----------------------------------------------------------------------------


def test_a_refused_request():
    """One answer that is an error, and nothing of the load counts."""
    with pytest.raises(Faulty, match=r"^1 requests refused, 0 broken$"):
        Told.read(printed(refused=1))


def test_a_broken_request():
    """Neither does it where a connection failed or an answer came too late."""
    with pytest.raises(Faulty, match=r"^0 requests refused, 1,200 broken$"):
        Told.read(printed(broken=1200))


def test_no_answer_at_all():
    """A server that answers nothing has no rate, instead of one that nothing can be divided by."""
    with pytest.raises(Faulty, match=r"^no request was answered$"):
        Told.read(printed(requests=0))


def test_what_a_load_was_worth():
    """The rate counts until the last event was handled: 8,000 in 1.6 s and 0.4 s more."""
    result = Told.read(printed()).result(catch_up=0.4, processor_time=0.8, events=8010, memory=98.5)
    assert result == Result(
        rate=pytest.approx(4000),
        asked=pytest.approx(5000),
        cpu=pytest.approx(100),  # microseconds for each of the 8,000
        events=8010,
        p50=6.25,
        p99=12.89,
        p999=42.86,
        memory=98.5,
        catch_up=0.4,
        generator=0.345,
    )


# --- whether everything arrived ------------------------------------------------------------------


def test_every_subscriber_has_everything():
    """Waiting ends when the last of the subscribers has got what was answered, and no sooner."""
    handled = counts([10, 20], [10, 20], [15, 22], [15, 25])
    await_events(handled, [10, 20], 5)
    with pytest.raises(StopIteration):
        handled()


def test_events_that_never_come():
    """What a subscriber is short of when nothing comes any more went missing."""
    handled = counts([10, 20], [14, 25], [14, 25], [14, 25])
    with pytest.raises(Faulty, match=r"^1 of 5 events went missing$"):
        await_events(handled, [10, 20], 5, patience=0.0)


# --- a whole load ------------------------------------------------------------------------------


@pytest.mark.parametrize("put", [lambda it: put_load(it, Load()), lambda it: introduce(it, 100)])
def test_a_server_that_did_not_start(put):
    """It cannot be loaded, and says why it did not start."""
    fault = Faulty("the bridge did not start: no such journal")
    with pytest.raises(Faulty) as raised:
        put(fault)
    assert raised.value is fault


BARE = Contender(title="bare aiohttp", program=("benchmarks.servers", "bare"))
# Stands in for wrk: sends only the first of the requests that were prepared, and says what it is
# told to say of that, with how many there were.
GENERATOR = """
    import json, os, socket, sys, urllib.parse

    port = urllib.parse.urlsplit(next(a for a in sys.argv if a.startswith("http:"))).port
    prepared, requests = 0, sys.argv[sys.argv.index("--") + 1]
    with open(requests, "rb") as file:
        while length := file.read(10):
            request = file.read(int(length))
            if not prepared:
                with socket.create_connection(("127.0.0.1", port)) as server:
                    server.sendall(request)
                    assert server.recv(100).startswith(b"HTTP/1.1 200 ")
            prepared += 1
    with open(os.environ["PREPARED"], "a") as file:
        print(prepared, file=file)
    told = {**json.loads(os.environ["TOLD"]), "requests": 1}
    print(json.dumps({**told, "exhausted": prepared < int(os.environ["ENOUGH"])}))
"""


@pytest.fixture
def generator(tmp_path, monkeypatch):
    """Put a generator in the place of wrk; give where it writes how much was prepared."""
    tools = tmp_path / "tools"
    tools.mkdir()
    wrk = tools / "wrk"
    wrk.write_text(f"#!{sys.executable}\n{textwrap.dedent(GENERATOR)}")
    wrk.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.setenv("PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("TOLD", orjson.dumps(LINE).decode())
    monkeypatch.setenv("ENOUGH", "1")
    return tmp_path / "prepared"


@needs_cores
def test_a_load_with_a_refused_request(generator, tmp_path, monkeypatch):
    """The fault says which server it was, and nothing is learnt of how fast that is."""
    monkeypatch.setenv("TOLD", orjson.dumps({**LINE, "refused": 3}).decode())
    with running(BARE, tmp_path) as server:
        with pytest.raises(Faulty, match=r"^bare aiohttp: 3 requests refused, 0 broken$"):
            put_load(server, Load(connections=1))
        assert server.fastest == {}
