"""`bridge tail`: a server's events as they come, and after it was away."""

import signal
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import orjson
import pytest

from tests.bridge.cli.conftest import on_every_engine
from tests.bridge.cli.processes import ADMIN


class Tail:
    """A `bridge tail` at work; its lines are collected as they come."""

    def __init__(self, process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair)
            for pair in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, lines) -> None:
        while line := stream.readline():
            lines.append(line.decode())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        for reader in self._readers:
            reader.join()
        return self.process.wait()


@pytest.fixture
def tail(start, operated):
    tails = []

    def run(*arguments, **environ) -> Tail:
        tails.append(Tail(start("tail", *arguments, **environ)))
        return tails[-1]

    yield run
    for one in tails:
        one.stop()


@on_every_engine
def test_it_follows_and_masks(operated, tail):
    """New events come as lines without names, numbers or texts; Ctrl-C ends it with 130."""
    operated.receive("before")
    following = tail("--beginning", *operated.own)
    operated.until(lambda: len(following.out) == 1)
    operated.receive("after", text="my secret")
    operated.until(lambda: len(following.out) == 2)
    assert following.stop() == 130
    line = following.out[1]
    assert f"← +****01 text (9 characters)  {operated.key('after')}\n" in line
    assert following.err == []


def test_personal_data_is_shown_to_who_asks(operated, tail):
    """With --show-personal-data the line holds the number, the name and the text."""
    operated.receive("a", text="my secret")
    following = tail("--beginning", "--show-personal-data", *operated.own)
    operated.until(lambda: following.out)
    assert f'← +{operated.phone} "Lessie Laytoya" text "my secret"' in following.out[0]


def test_it_resumes_where_it_was(operated, tail):
    """While the server is away it waits; then it goes on with what it has not shown yet."""
    operated.receive("a")
    following = tail("--beginning", "--json", *operated.own)
    operated.until(lambda: len(following.out) == 1)
    operated.stop()
    operated.until(lambda: following.err)
    operated.start(operated.port)
    operated.receive("b", "c")
    operated.until(lambda: len(following.out) == 3 and len(following.err) == 2)
    ids = [orjson.loads(line)["message_id"] for line in following.out]
    assert ids == [operated.id(name) for name in "abc"]
    assert following.err == [
        "the connection broke: waiting for the server\n",
        "the server is back\n",
    ]


class Scripted(BaseHTTPRequestHandler):
    """Answers as a server that goes away, starts again, and then has another token."""

    script: ClassVar = [
        (200, b'{"position": 1}\n'),
        (503, b'{"detail": "the journal is not open"}'),
        (200, b'{"position": 2}\n'),
        (403, b'{"detail": "this token may only read"}'),
    ]
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        status, body = self.script[len(self.asked)]
        self.asked.append(self.path)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


def test_a_server_that_starts_is_waited_for(command, workplace):
    """While the server cannot answer yet it is waited for; a refusal for good ends the tail."""
    with HTTPServer(("127.0.0.1", 0), Scripted) as server:
        (workplace / "config.toml").write_text(
            f'[admin]\nport = {server.server_port}\ntoken = "{ADMIN}"\n'
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        outcome = command("tail")
        server.shutdown()
        thread.join()
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        "the connection broke: waiting for the server",
        "the server is back",
        "the connection broke: waiting for the server",
        "error: this token may only read",
    ]
    assert Scripted.asked == [
        "/events/follow",
        *["/events/follow?after=1"] * 2,
        "/events/follow?after=2",
    ]


def test_filters_and_the_past(operated, tail):
    """Filters and --since narrow down what is shown."""
    operated.receive("a", phone=operated.other_phone)
    operated.receive("b")
    one = tail("--since", "1h", *operated.own)
    some = tail("--beginning", "--kind", "message", "--channel", "whatsapp", "--content", "text")
    operated.until(lambda: one.out and some.out and some.out[-1].endswith(one.out[-1]))
    assert [line.split("  ")[-1] for line in one.out] == [f"{operated.key('b')}\n"]
    assert some.out[-2].endswith(f"{operated.key('a')}\n")


def test_raw_is_what_the_provider_sent(operated, command, tail):
    """The provider's own item cannot be masked, so it is shown to who asks only."""
    operated.receive("a")
    outcome = command("tail", "--raw")
    assert outcome.code == 2
    assert "--show-personal-data" in outcome.err
    following = tail("--raw", "--beginning", "--show-personal-data", *operated.own)
    operated.until(lambda: following.out)
    assert orjson.loads(following.out[0])["text"] == {"body": "hello"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--beginning", "--since", "1h"), "contradict each other"),
        (("--since", "yesterday"), "--since: expected a time"),
        (("--kind", "massage"), "massage"),
        (("--json", "--raw", "--show-personal-data"), "contradict each other"),
    ],
)
def test_what_makes_no_sense(command, config, arguments, said):
    """Options that cannot be are explained, with exit code 2."""
    outcome = command("tail", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err


def test_in_a_terminal_of_80_columns(operated, tail):
    """A narrow terminal gets each event as one line, which it may wrap itself."""
    operated.receive("wamid." + "x" * 60)
    following = tail("--beginning", *operated.own, FORCE_COLOR="1", TERM="xterm", COLUMNS="80")
    operated.until(lambda: following.out)
    assert len(following.out) == 1
    assert "\x1b[36mmessage" in following.out[0]
    assert "x" * 60 in following.out[0]
