"""Load: no figure unless every request was answered and every event arrived."""

from __future__ import annotations

import sys
import textwrap

import attrs
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
    likely_rate,
    put_load,
    told_of_generator,
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


def test_what_wrk_prints():
    """The last line says what came of the load; whatever stands before it does not matter."""
    assert Told.read(printed()) == Told(
        requests=8000,
        microseconds=1_600_000,
        refused=0,
        broken=0,
        exhausted=False,
        busy=0.345,
        p50=6250,
        p99=12_890,
        p999=42_860,
    )


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


@pytest.mark.parametrize(
    "output",
    [b"", WORDS, b"Transfer/sec: 1.2MB\n", b"[]\n", b'{"requests": 1}\n'],
    ids=["nothing", "words", "its own report", "another shape", "too little"],
)
def test_words_that_say_nothing_of_the_load(output):
    """A generator whose script failed has measured nothing."""
    with pytest.raises(Faulty, match="did not say what came of the load"):
        Told.read(output)


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


def test_patience_begins_again_with_each_event():
    """A subscriber that is slow loses nothing, as long as something still comes."""
    handled = counts([0], [1], [2], [3])
    await_events(handled, [0], 3, patience=0.0)


# --- how much to prepare -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "fastest", "rate"),
    [
        (Load(), None, 30_000),
        (Load(items=100), None, 300),
        (Load(), 8000.0, 12_000),
        (Load(rate=1000), 8000.0, 1100),
        (Load(rate=1000), None, 1100),
    ],
    ids=["unknown", "unknown, of batches", "known", "paced", "paced and unknown"],
)
def test_how_much_may_be_asked_for(load, fastest, rate):
    """Half as much again as was ever answered, a tenth more than what is due by chance."""
    assert likely_rate(load, fastest) == pytest.approx(rate)


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
def test_more_is_prepared_where_it_was_too_little(generator, tmp_path, monkeypatch):
    """A server that answers more than was prepared is asked again with twice as much, and again."""
    monkeypatch.setenv("ENOUGH", "100")
    with running(BARE, tmp_path) as server:
        result = put_load(server, Load(rate=30, connections=1))
    assert result.events == 1
    assert generator.read_text().split() == ["34", "67", "133"]  # 33, 66, 132 and a connection


@needs_cores
def test_a_load_with_a_refused_request(generator, tmp_path, monkeypatch):
    """The fault says which server it was, and nothing is learnt of how fast that is."""
    monkeypatch.setenv("TOLD", orjson.dumps({**LINE, "refused": 3}).decode())
    with running(BARE, tmp_path) as server:
        with pytest.raises(Faulty, match=r"^bare aiohttp: 3 requests refused, 0 broken$"):
            put_load(server, Load(connections=1))
        assert server.fastest == {}


# --- the generator itself ------------------------------------------------------------------------


def test_a_generator_with_time_to_spare():
    """How busy it was at most is told, in the busiest of the turns."""
    result = Told.read(printed()).result(catch_up=0, processor_time=1, events=1, memory=1)
    results = [attrs.evolve(result, generator=share) for share in (0.2, 0.34, 0.1)]
    assert told_of_generator("bare", results) == (
        "Against bare, the load generator used 34% of its core at most."
    )


def test_a_generator_at_its_limit():
    """A figure that says more of the generator than of the server says so."""
    result = Told.read(printed(busy=0.97)).result(catch_up=0, processor_time=1, events=1, memory=1)
    assert told_of_generator("bare", [result]).endswith(
        "97% of its core at most: that figure is the generator's limit and not the server's."
    )
