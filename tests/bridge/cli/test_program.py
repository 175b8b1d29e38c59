"""`bridge serve MODULE:NAME`: the bridge of a program, and the first one that `init` writes."""

from __future__ import annotations

import re
import signal
import urllib.request

import orjson
import pytest

from tests.bridge.cli.test_reload import said

BOT = """
from bridge import Bridge, Message, Text

bridge = Bridge.from_toml("config.toml")


@bridge.on(Message, content=Text, name="bot")
def hear(message):
    print("{words}", message.content.text, flush=True)
    {then}
"""
DURABLE = """
[journal]
path = "kept.db"
[delivery]
first_delay = "10m"
[adapters.incs]
tokens = ["a-token-that-is-long-enough"]
"""


@pytest.fixture
def bot(workplace):
    (workplace / "config.toml").write_text(DURABLE)

    def write(words: str, then: str = "") -> None:
        (workplace / "bot.py").write_text(BOT.format(words=words, then=then))

    write("one")
    (workplace / "broken.py").write_text("bridge = (\n")
    (workplace / "nearly.py").write_text("from bridge import Message\nMesage\n")
    return write


def test_a_program_is_served(start, command, bot):
    """Its subscribers get what comes to the server of its configuration, with admin and log."""
    process = start("serve", "bot:bridge", "--port", "0", "--log-format", "console")
    url = said(process, r"listening on (http://127\.0\.0\.1:\d+)")[1]
    said(process, r"subscriber  bot: message text → bot:hear$")
    said(process, r"admin       unix:")
    assert command("trigger", "whatsapp-text", "--url", url).code == 0
    assert process.stdout.readline().decode().startswith("one ")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert "Traceback" not in process.stderr.read().decode()


def test_what_waits_is_tried_at_once_after_a_change(start, command, bot):
    """With --dev a mended subscriber gets what it failed on, and the banner says that it waits."""
    bot("broken", "raise KeyError")
    process = start("serve", "bot", "--dev", "--port", "0")
    url = said(process, r"listening on (http://127\.0\.0\.1:\d+)")[1]
    assert command("trigger", "whatsapp-text", "--url", url).code == 0
    said(process, r"failed on .* try 1; again in ")
    assert process.stdout.readline() == b"broken hello\n"
    bot("mended")
    said(process, "something has changed: starting again")
    said(process, r"subscriber  bot: message text → bot:hear \(1 to be tried again\)$")
    assert process.stdout.readline() == b"mended hello\n"  # ten minutes before its time
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0


@pytest.mark.parametrize(
    ("program", "code", "told"),
    [
        ("bot:brigde", 3, "did you mean bot:bridge?"),
        ("bot:hear", 3, "there is no Bridge of this name; did you mean bot:bridge?"),
        ("nowhere:bridge", 3, "cannot import 'nowhere': ModuleNotFoundError"),
        ("nearly:bridge", 3, "NameError: name 'Mesage' is not defined; did you mean"),
        ("bto:bridge", 3, "did you mean 'bot'?"),
        ("bot.py", 3, "did you mean 'bot'?"),
        ("./bot.py", 2, "expected MODULE:NAME such as bot:bridge"),
        ("broken:bridge", 3, "SyntaxError"),
    ],
)
def test_a_program_that_is_none(command, bot, program, code, told):
    """What is no bridge is told with what may be meant, without a traceback."""
    outcome = command("serve", program)
    assert outcome.code == code
    assert told in outcome.err
    assert "Traceback" not in outcome.err


def test_a_program_has_its_configuration_already(command, bot):
    """A program and --config are two answers to one question."""
    outcome = command("serve", "bot:bridge", "--config", "config.toml")
    assert outcome.code == 2
    assert "--config goes without a program" in outcome.err


def test_a_bridge_that_is_made_in_code(start, workplace):
    """A bridge without a configuration file is served too."""
    (workplace / "bot.py").write_text(
        "from bridge import Bridge, Event, MemoryJournal\n"
        "from bridge.adapters.incs import Incs, IncsSettings\n"
        "bridge = Bridge(journal=MemoryJournal())\n"
        'bridge.add_adapter("incs", Incs("incs", IncsSettings(tokens=("t",))))\n'
        'bridge.on(Event, name="all")(print)\n'
    )
    process = start("serve", "bot", "--port", "0", "--log-format", "console")
    said(process, r"subscriber  all: every event → builtins:print$")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0


class TestTheFirstBot:
    def test_it_runs(self, start, command, workplace):
        """After `init` the command that it tells serves a bot, which hears what is triggered."""
        outcome = command("init", "--yes")
        told = re.search(r"Next: bridge (serve bot:bridge --dev)$", outcome.err, re.MULTILINE)
        assert told is not None
        process = start(*told[1].split(), "--port", "0")
        url = said(process, r"listening on (http://127\.0\.0\.1:\d+)")[1]
        assert command("trigger", "whatsapp-text", "--url", url).code == 0
        # The console prints from another thread: its line may stand amid what `print` writes.
        assert any(b"Lessie Laytoya says hello" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0

    def test_one_can_talk_to_it(self, start, command, workplace):
        """The admin listener has a phone, whose words reach the bot, and which it answers."""
        command("init", "--yes")
        config = workplace / "config.toml"
        config.write_text(config.read_text().replace("[admin]\n", "[admin]\nport = 0\n"))
        process = start("serve", "bot:bridge", "--dev", "--port", "0")
        open_to_all = r"\(.*chat with the bot; it asks nobody on this machine for a token\)"
        url = said(process, rf"admin       (http://127\.0\.0\.1:\d+) {open_to_all}")[1]
        said(process, "^Next")
        with urllib.request.urlopen(f"{url}/chat") as response:
            phone = orjson.loads(response.read())["phones"][0]
        content = {"kind": "text", "text": "hello"}
        words = {"adapter": phone["adapter"], "user": "+16505550101", "content": content}
        with urllib.request.urlopen(f"{url}/chat/say", orjson.dumps(words)) as response:
            assert orjson.loads(response.read()) == {"acknowledged": True}
        stream = urllib.request.urlopen(f"{url}/events/follow?after=0&kind=status_change")
        with stream:
            events = (orjson.loads(line).get("event") for line in stream)
            assert next(event for event in events if event and event["status"] == "read")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0

    def test_git_leaves_secrets_alone(self, command, workplace):
        """What git is to leave alone names the configuration and the journal's files."""
        command("init", "--yes")
        assert (workplace / ".gitignore").read_text().splitlines()[1:] == [
            "config.toml",
            "*.db",
            "*.db-*",
            "*.db.*",
        ]

    def test_what_is_there_stays(self, command, workplace):
        """A program and a .gitignore of one's own are not touched."""
        for name in ("bot.py", ".gitignore"):
            (workplace / name).write_text("mine\n")
        outcome = command("init", "--yes")
        assert outcome.err.splitlines()[-1] == "Next: bridge serve"
        assert (workplace / "bot.py").read_text() == "mine\n"
        assert (workplace / ".gitignore").read_text() == "mine\n"

    def test_a_configuration_that_is_named_is_all(self, command, workplace):
        """With --config that file alone is written."""
        command("init", "--yes", "--config", "etc.toml")
        assert [path.name for path in workplace.iterdir()] == ["etc.toml"]
