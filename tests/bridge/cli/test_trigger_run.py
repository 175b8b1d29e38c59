"""What `bridge trigger` does to a running server: repeated, late, forged and altered callbacks."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.bridge.cli.conftest import CONFIG
from tests.bridge.cli.processes import TOKEN, Served
from tests.callbacks import NOW

THREE = """\
[admin]
port = ADMIN_PORT

[journal]
engine = "memory"

[adapters.incs]
tokens = ["0123456789abcdef0123456789abcdef"]
settle = 0

[adapters.whatsapp]
app_secrets = ["0123456789abcdef0123456789abcdef"]

[adapters.rcs]
client_tokens = ["0123456789abcdef0123456789abcdef"]

[subscribers.console]
use = "console"
show_personal_data = true
"""
TEXT = {
    "event": "new_message",
    "business_phone": "6281519236680",
    "message": {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "6281519236680", "phone_number_id": "1"},
        "contacts": [{"profile": {"name": "A"}, "wa_id": "85268415026"}],
        "messages": [
            {
                "from": "85268415026",
                "id": "wamid.MINE",
                "timestamp": NOW,
                "type": "text",
                "text": {"body": "my own words"},
            }
        ],
    },
}


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Iterator[Served]:
    """Keep a server of all three adapters running, which shows what it is sent."""
    server = Served(tmp_path_factory.mktemp("three"), THREE)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def shown(three, monkeypatch) -> tuple[str, Callable[[], list[str]]]:
    """Return the server's address, and what tells the lines it has shown in this test."""
    monkeypatch.chdir(three.folder)

    def all_lines() -> list[str]:
        three.settled()
        _, metrics = three.get("/metrics")
        handed_over = re.findall(
            r'^bridge_delivery_tries_total\{.*"console"\} (\S+)$', metrics, re.MULTILINE
        )
        three.until(lambda: len(three.out) == sum(map(float, handed_over)))
        return three.out

    before = len(all_lines())
    return three.url, lambda: all_lines()[before:]


def test_every_sample_of_every_adapter_is_accepted(command, shown):
    """Each of the three providers' samples, signed as theirs, is answered with 200."""
    url, lines = shown
    outcome = command("trigger", "--all", "--url", url)
    assert outcome.code == 0, outcome.out
    assert {line.split("\t")[1] for line in outcome.lines} == {"200 OK"}
    assert {line.split("/")[0] for line in outcome.lines} == {"incs", "whatsapp", "rcs"}
    total = len(outcome.lines)
    assert re.fullmatch(
        rf"{total} sent, {total} accepted, 0 refused, \d+ per second\n", outcome.err
    )
    assert len(lines()) >= total


def test_each_round_is_new_and_each_duplicate_is_not(command, shown):
    """Three rounds of one message, each sent twice over, are six requests and three events."""
    url, lines = shown
    outcome = command(
        *("trigger", "whatsapp/text", "--url", url, "--count", "3", "--duplicate", "1")
    )
    assert outcome.out == "whatsapp/text\t200 OK\n" * 6
    assert outcome.err.startswith("6 sent, 6 accepted, 0 refused, ")
    assert len(lines()) == 3


def test_each_run_is_new_unless_the_ids_are_kept(command, shown):
    """Fresh ids make new events each time; with --keep-ids the second time changes nothing."""
    url, lines = shown
    for options in ((), (), ("--keep-ids",), ("--keep-ids",)):
        outcome = command("trigger", "incs/whatsapp-text", "--url", url + "/", *options)
        assert outcome.out == "incs/whatsapp-text\t200 OK\n"
    assert len(lines()) == 3


def test_a_refusal_fails_the_command(command, shown, workplace):
    """A wrong token is answered with 401: the line says so, and the exit code is 1."""
    url, _ = shown
    other = workplace / "other.toml"
    other.write_text(CONFIG.replace(TOKEN, "f" * 32))
    outcome = command("trigger", "status-read", "--url", url, "--config", str(other))
    assert outcome.out == "incs/status-read\t401 Unauthorized\tthe callback is not authentic\n"
    assert outcome.code == 1


class Strange(BaseHTTPRequestHandler):
    """Answers as no bridge does."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/")
            self.end_headers()
        else:
            self.send_response(500)
            self.send_header("Content-Type", "application/problem+json")
            self.end_headers()
            self.wfile.write(b"{")

    def log_message(self, *_):
        """Say nothing."""


@pytest.mark.parametrize(
    ("path", "line"), [("/moved", "302 Found"), ("/broken", "500 Internal Server Error")]
)
def test_strange_answers_are_refusals(command, config, path, line):
    """A redirect is not followed, and an answer that makes no sense is shown by its status."""
    with HTTPServer(("127.0.0.1", 0), Strange) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}{path}"
        outcome = command("trigger", "status-read", "--url", url)
        server.shutdown()
        thread.join()
    assert outcome.out == f"incs/status-read\t{line}\n"
    assert outcome.code == 1


def test_a_changed_body_is_signed_as_it_is_then(command, shown):
    """What --set changed is what arrives, under a signature that fits."""
    url, lines = shown
    place = "entry[0].changes[0].value.messages[0].text.body"
    outcome = command("trigger", "whatsapp/text", "--url", url, "--set", f"{place}=quite different")
    assert outcome.code == 0
    assert outcome.err == ""
    [line] = lines()
    assert "quite different" in line


def test_a_forged_callback_is_refused_and_that_succeeds(command, shown):
    """With --bad-signature a 401 for each of the three proofs is what is wanted."""
    url, lines = shown
    outcome = command(
        *("trigger", "incs/status-read", "whatsapp/text", "rcs/text"),
        *("--url", url, "--bad-signature", "--quiet"),
    )
    assert outcome.out == ""
    assert outcome.err.startswith("3 sent, 0 accepted, 3 refused, ")
    assert outcome.code == 0
    assert lines() == []


def test_a_forgery_that_gets_in_fails(command, server, config):
    """Where anybody is let in, --bad-signature fails and shows what was accepted."""
    config.write_text(
        '[admin]\nport = 0\n[adapters.whatsapp]\ninsecure = true\n[journal]\nengine = "memory"\n'
    )
    _, url, _ = server()
    outcome = command("trigger", "whatsapp/text", "--url", url, "--bad-signature", "--quiet")
    assert outcome.out == "whatsapp/text\t200 OK\n"
    assert outcome.code == 1


def test_a_shuffled_run_can_be_repeated(command, shown):
    """The same seed gives the same order; without one, a seed is drawn and told."""
    url, _ = shown
    run = ("trigger", "--all", "--adapter", "rcs", "--url", url, "--shuffle")
    in_order = command(*run[:-1]).lines
    first = command(*run, "--seed", "7").lines
    again = command(*run, "--seed", "7").lines
    assert first == again != in_order
    assert sorted(first) == sorted(in_order)
    told = command(*run)
    seed = re.match(r"note: --seed (\d+) repeats this order\n", told.err)[1]
    assert command(*run, "--seed", seed).lines == told.lines


def test_bodies_of_a_file_are_sent_as_they_stand(command, shown):
    """Each body of --from is posted byte for byte; only with --new-ids does it become another."""
    url, lines = shown
    file = Path("mine.json")
    file.write_text(json.dumps(TEXT, indent=1) + "\n{\n")
    run = ("trigger", "--from", "mine.json", "--adapter", "incs", "--url", url)
    outcome = command(*run)
    first, second = outcome.lines
    assert first == "incs/mine.json:1\t200 OK"
    assert second.startswith(f"incs/mine.json:{len(json.dumps(TEXT, indent=1).splitlines()) + 1}\t")
    assert "\t400 Bad Request\t" in second
    assert outcome.code == 1
    file.write_text(json.dumps([TEXT]))
    assert command(*run).code == 0
    assert command(*run, "--new-ids").code == 0
    first, second = lines()
    assert "my own words" in first
    assert "my own words" in second
    assert "wamid.MINE" in first


def test_the_only_adapter_needs_no_name(command, server, config, workplace):
    """With one adapter configured, --from is for that one."""
    (workplace / "mine.json").write_text(json.dumps(TEXT))
    _, url, _ = server()
    outcome = command("trigger", "--from", "mine.json", "--url", url)
    assert outcome.out == "incs/mine.json:1\t200 OK\n"


def test_a_rate_is_kept_and_a_bar_shown(start, shown):
    """With a rate, requests are spread; with a person watching, a bar runs on standard error."""
    url, lines = shown
    process = start(
        *("trigger", "rcs/text", "--url", url, "--count", "40", "--rate", "400"),
        FORCE_COLOR="1",
        TERM="xterm",
    )
    out, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert out == b"rcs/text\t200 OK\n" * 40
    assert b"posting" in err
    per_second = int(re.search(rb"40 sent, 40 accepted, 0 refused, (\d+) per second", err)[1])
    assert per_second <= 410  # the last of 40 is not due before 39/400 of a second
    assert len(lines()) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("status-read", "--from", "x"), "give the names of samples, or --all"),
        (("--from", "missing.json"), "missing.json: cannot be read: No such file"),
        (("status-read", "--seed", "1"), "--seed goes with --shuffle"),
        (("status-read", "--set", "x"), "expected path=value"),
        (("status-read", "--set", "event.x=1"), "--set event.x: no object: x"),
        (("status-read", "--count", "0"), "Must be >= 1"),
        (("status-read", "--rate", "0"), "Must be > 0"),
    ],
)
def test_what_makes_no_sense_is_a_wrong_call(command, config, arguments, message):
    """Each exits with 2 before anything is sent, and says why."""
    outcome = command("trigger", *arguments)
    assert message in outcome.err
    assert outcome.code == 2


def test_a_broken_body_cannot_be_changed(command, config, workplace):
    """--set on what is no JSON is a wrong call that says where it breaks."""
    (workplace / "broken.json").write_text("{")
    outcome = command("trigger", "--from", "broken.json", "--set", "a=1")
    assert "incs/broken.json:1: not JSON" in outcome.err
    assert outcome.code == 2


def test_whom_the_bodies_are_for_must_be_clear(command, config, workplace):
    """With several adapters --from wants --adapter, one that can sign."""
    (workplace / "mine.json").write_text("{}")
    config.write_text(CONFIG + "\n[adapters.rcs]\ninsecure = true\n")
    outcome = command("trigger", "--from", "mine.json")
    assert "say with --adapter whom the bodies are for: incs, rcs" in outcome.err
    assert outcome.code == 2


def test_an_adapter_without_samples_cannot_sign(command, config, install, workplace):
    """Somebody's adapter that brings no samples says so."""
    install("acme", WITHOUT_SAMPLES)
    config.write_text("[adapters.acme]\n")
    (workplace / "mine.json").write_text("{}")
    outcome = command("trigger", "--from", "mine.json")
    assert "adapter acme cannot sign bodies as its provider does" in outcome.err
    assert outcome.code == 2


WITHOUT_SAMPLES = """
import attrs
from bridge.adapter import Parsed, Verified

@attrs.frozen
class Nothing:
    pass

class Adapter:
    Settings = Nothing
    methods = frozenset({"POST"})

    def __init__(self, name, settings):
        pass

    def verify(self, callback, /):
        return Verified(payload=callback.body, received_at=callback.received_at)

    def parse(self, verified, /):
        return Parsed()
"""
