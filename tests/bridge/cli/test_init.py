"""`bridge init` writes a configuration that works, keeps its secrets, and says where it belongs."""

import os
import pty
import re
import stat
import subprocess
import sys

import pytest

from bridge import installed
from tests.bridge.cli.processes import ROOT

TOKEN = r"[A-Za-z0-9_-]{43}"  # 32 random bytes in base64


def test_what_it_writes_passes_the_check(command, workplace):
    """A configuration of all three adapters has neither mistakes nor warnings, untouched."""
    outcome = command(
        *("init", "--adapter", "incs", "--adapter", "whatsapp", "--adapter", "rcs", "--yes"),
        *("--channel", "30058:whatsapp:6281519236680", "--channel", "7:rcs"),
    )
    assert outcome.code == 0, outcome.err
    checked = command("check")
    assert checked.err.splitlines() == ["config.toml: good"]
    assert checked.out == ""
    assert checked.code == 0


def test_the_address_is_exact(command, workplace):
    """On standard output stands one address for each adapter, and INCS's ends in its token."""
    outcome = command(
        *("init", "--adapter", "incs", "--adapter", "rcs", "--host", "bridge.example.com")
    )
    incs, rcs = outcome.lines
    found = re.fullmatch(rf"incs\thttps://bridge\.example\.com/callbacks/incs/({TOKEN})", incs)
    assert found
    assert rcs == "rcs\thttps://bridge.example.com/callbacks/rcs"
    written = (workplace / "config.toml").read_text()
    assert f'tokens = ["{found[1]}"]' in written
    assert found[1] not in outcome.err
    assert outcome.err.splitlines()[-1] == "Next: bridge serve bot:bridge --dev"


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("https://b.example.com/", "https://b.example.com"),
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
        (None, "https://YOUR-HOST"),
    ],
)
def test_a_host_may_be_a_whole_address(command, host, base):
    """A scheme and a port are kept; without any host a place is left for it."""
    options = () if host is None else ("--host", host)
    assert command("init", "--yes", *options).out.startswith(f"incs\t{base}/callbacks/incs/")


def test_only_the_owner_can_read_it(command, workplace):
    """The file's mode is 0600, whatever the umask allows."""
    before = os.umask(0)
    try:
        command("init", "--yes")
    finally:
        os.umask(before)
    assert stat.S_IMODE((workplace / "config.toml").stat().st_mode) == 0o600
    assert {path.name for path in workplace.iterdir()} == {"config.toml", "bot.py", ".gitignore"}


def test_a_file_is_never_overwritten_without_force(command, workplace):
    """An existing file stays as it is and the exit code is 2; --force replaces it, secrets too."""
    file = workplace / "config.toml"
    file.write_text("precious")
    refused = command("init", "--yes")
    assert refused.code == 2
    assert "config.toml exists already; --force overwrites it" in refused.err
    assert file.read_text() == "precious"
    assert command("init", "--yes", "--force").code == 0
    first = file.read_text()
    assert command("init", "--yes", "--force").code == 0
    assert file.read_text() != first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_it_goes_where_the_configuration_is_looked_for(command, workplace, monkeypatch):
    """--config, or else $BRIDGE_CONFIG, names the file, and the next command names it too."""
    outcome = command("init", "--yes", "--config", "one.toml")
    assert outcome.err.endswith("Next: bridge serve --config one.toml\n")
    monkeypatch.setenv("BRIDGE_CONFIG", "two.toml")
    assert command("init", "--yes").code == 0
    assert {path.name for path in workplace.iterdir()} == {"one.toml", "two.toml"}


def test_what_only_the_provider_knows_is_told(command):
    """Meta's and Google's own secrets are random at first, and the command says where they go."""
    outcome = command("init", "--adapter", "whatsapp", "--adapter", "rcs", "--yes")
    assert (
        'to do: put the app\'s secret, in its "App settings, Basic" at Meta, '
        "into config.toml at app_secrets" in outcome.err
    )
    assert "into config.toml at client_tokens" in outcome.err
    assert "whatsapp: the token to verify with is in config.toml, at verify_tokens" in outcome.err


def test_a_person_is_asked(command, workplace):
    """In a terminal it asks for adapters, callbacks, channel and host, and uses the answers."""
    answers = (
        b"incs\nnew_message, message_status_update\n30058\n6281519236680\n\nbridge.example.com\n"
    )
    outcome = command("init", stdin=answers, typed=True)
    assert outcome.code == 0, outcome.err
    assert re.fullmatch(
        rf"incs\thttps://bridge\.example\.com/callbacks/incs/{TOKEN}\n", outcome.out
    )
    settings = installed.loads((workplace / "config.toml").read_text())
    [channel] = settings.adapters["incs"].settings.channels
    assert (channel.id, channel.kind) == (30058, "whatsapp")
    assert channel.business_phone == "6281519236680"
    callbacks = settings.adapters["incs"].settings.callbacks
    assert callbacks == ("new_message", "message_status_update")


def test_a_callback_that_does_not_exist_is_refused(command, workplace):
    """A word that is not offered is told with the nearest one, and nothing is written."""
    outcome = command("init", stdin=b"incs\nnew_mesage\n", typed=True)
    assert (outcome.code, outcome.out) == (2, "")
    assert 'unknown word "new_mesage"; did you mean "new_message"' in outcome.err
    assert not (workplace / "config.toml").exists()


def test_empty_answers_take_the_first_way(command, workplace):
    """Somebody who only presses Enter, or ends the input, gets INCS and can fill in the rest."""
    assert "https://YOUR-HOST/callbacks/incs/" in command("init", stdin=b"\n\n", typed=True).out
    written = (workplace / "config.toml").read_text()
    assert "channels" not in written
    assert "callbacks =" not in written


def test_a_secret_does_not_show_as_it_is_typed(workplace):
    """In a real terminal the app's secret is asked for, taken over, and echoed nowhere."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "init", "--adapter", "whatsapp", "--host", "h.example"],
        cwd=workplace,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb"},
    )
    os.close(theirs)
    shown = b""
    while not shown.endswith(b"> "):
        shown += os.read(ours, 1024)
    os.write(ours, b'pa"ss${word}\\\n')
    try:
        while chunk := os.read(ours, 1024):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    assert process.wait() == 0, shown.decode()
    os.close(ours)
    assert b'pa"ss' not in shown
    assert b"to do" not in shown
    written = (workplace / "config.toml").read_text()
    assert 'app_secrets = ["pa\\"ss$${word}\\\\"]' in written


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--adapter", "inc"), 2, 'did you mean "incs"?'),
        (("--channel", "x"), 2, "--channel: expected ID:KIND:PHONE"),
        (("--adapter", "rcs", "--channel", "1:rcs"), 2, "--channel goes with --adapter incs"),
        (("--host", "ftp://x"), 2, "--host: expected a name such as bridge.example.com"),
        (("--channel", "1:pigeon"), 3, "kind"),
        (("--config", "missing/config.toml"), 3, "missing/config.toml: cannot be written"),
    ],
)
def test_what_makes_no_sense_writes_nothing(command, workplace, arguments, code, message):
    """A wrong answer is explained, and no file is left behind."""
    outcome = command("init", "--yes", *arguments)
    assert message in outcome.err
    assert outcome.code == code
    assert list(workplace.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_kept(command, workplace):
    """A link that leads nowhere is no file yet, and still is not replaced."""
    (workplace / "config.toml").symlink_to("nowhere")
    outcome = command("init", "--yes")
    assert "config.toml: cannot be written: File exists" in outcome.err
    assert outcome.code == 3


OTHERS = """
import attrs
from bridge.adapter import Parsed, Verified
from bridge.adapter.signing import Secret

@attrs.frozen(kw_only=True)
class Settings:
    key: Secret
    tokens: tuple[Secret, ...]
    size: int = 5

class Adapter:
    Settings = Settings
    methods = frozenset({"POST"})

    def __init__(self, name, settings):
        pass

    def verify(self, callback, /):
        return Verified(payload=callback.body, received_at=callback.received_at)

    def parse(self, verified, /):
        return Parsed()
"""


def test_somebody_elses_adapter_gets_its_secrets_too(command, install, workplace):
    """Each setting that holds secrets gets a random one, in the form its class wants."""
    install("acme", OTHERS)
    outcome = command("init", "--adapter", "acme", "--yes")
    assert outcome.out == "acme\thttps://YOUR-HOST/callbacks/acme\n"
    written = (workplace / "config.toml").read_text()
    assert re.search(rf'^key = "{TOKEN}"$', written, re.MULTILINE)
    assert re.search(rf'^tokens = \["{TOKEN}"\]$', written, re.MULTILINE)
    assert command("check").code == 0


def test_the_operators_listener_has_a_token(command, workplace):
    """What `init` writes has a fresh token for [admin], in a file that nobody else reads."""
    tokens = set()
    for _ in range(2):
        assert command("init", "--yes", "--force").code == 0
        written = workplace / "config.toml"
        found = re.search(rf'\[admin\]\ntoken = "({TOKEN})"', written.read_text())
        assert found is not None
        tokens.add(found[1])
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert len(tokens) == 2
