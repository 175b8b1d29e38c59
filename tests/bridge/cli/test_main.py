"""The command as a whole: help, version, exit codes, and no traceback for anybody."""

import os
import re
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.cli.main import main as command_line
from bridge.cli.terminal import Exit
from tests.bridge.cli.processes import PATIENCE, ROOT, spawn

FAILING = """
import attrs
from tests_error import error

@attrs.frozen
class Settings:
    insecure: bool = False

class Adapter:
    Settings = Settings
    methods = frozenset({"POST"})

    def __init__(self, name, settings): ...
    def verify(self, callback): ...
    def parse(self, verified): ...
    def freshen(self, body, nonce, now): ...
    def authenticate(self, body): ...

    def samples(self):
        raise error
"""


def failing(error):
    return FAILING.replace("from tests_error import error", f"error = {error}")


def test_the_version_is_the_distributions(command):
    """`--version` prints what is installed."""
    outcome = command("--version")
    assert outcome.out == f"incs-bridge {metadata.version('incs-bridge')}\n"
    assert outcome.code == 0


def test_an_interruption_while_it_loads(monkeypatch):
    """Ctrl-C before the command line is there is exit code 130, without a traceback."""

    class Interrupting:
        def find_spec(self, name, *_):
            if name == "bridge.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "bridge.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


@pytest.mark.parametrize("arguments", [("config",), ("adapters", "--json"), ("export",)])
def test_a_full_disk_under_the_output(arguments, workplace, monkeypatch, capsys):
    """What cannot be printed is told as that, and not as a bug."""
    (workplace / "config.toml").write_text("[admin]\nenabled = false\n[journal]\npath = 'a.db'\n")
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as ended:
            command_line(arguments)
    assert ended.value.code == Exit.FAILURE
    told = capsys.readouterr().err
    assert told == "error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serv",), "serve"),
        (("check", "--confg", "x"), "--config"),
        (("serve", "--port", "many"), "--port"),
        (("serve", "--port", "65536"), "65535"),
        (("normalize",), "ADAPTER"),
        (("--debug=maybe", "adapters"), "--debug"),
    ],
)
def test_a_wrong_call_exits_with_2(command, arguments, words):
    """A misspelt command or option and a bad value are explained on standard error."""
    outcome = command(*arguments)
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.out == ""


def test_a_bug_shows_no_traceback_unless_asked(command, install):
    """An unexpected exception is a short message; its traceback comes with --debug only."""
    install("acme", failing("RuntimeError('inside')"))
    outcome = command("trigger", "--list", "--adapter", "acme")
    assert outcome.err.splitlines() == [
        "error: this is a bug: RuntimeError",
        "Please report it; `--debug` shows where it happened.",
    ]
    assert outcome.code == 1
    outcome = command("trigger", "--list", "--adapter", "acme", "--debug")
    assert "Traceback" in outcome.err
    assert "RuntimeError: inside" in outcome.err
    assert outcome.code == 1


def test_an_error_of_ours_is_one_message(command, install):
    """An error that bridge raises on purpose is its own words, with exit code 1."""
    install("acme", failing("__import__('bridge.errors').errors.JournalError('the disk is full')"))
    outcome = command("trigger", "--list", "--adapter", "acme")
    assert outcome.err == "error: the disk is full\n"
    assert outcome.code == 1


def test_an_interrupt_exits_with_130(command, install):
    """Ctrl-C says nothing and exits as a shell expects."""
    install("acme", failing("KeyboardInterrupt()"))
    outcome = command("trigger", "--list", "--adapter", "acme")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "")


def test_colours_are_for_terminals(start, workplace):
    """In a pipe there are no colours, unless FORCE_COLOR wants them and NO_COLOR does not."""
    (workplace / "config.toml").write_text("[servr]\n")
    colour = re.compile(rb"\x1b\[[\d;]*3\dm")
    started = [
        (start("check", **environ), is_coloured)
        for environ, is_coloured in (
            ({}, False),
            ({"FORCE_COLOR": "1", "TERM": "xterm"}, True),
            ({"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}, False),
        )
    ]
    for process, is_coloured in started:
        out, err = process.communicate()
        assert process.returncode == 3
        assert bool(colour.search(out)) is is_coloured
        assert bool(colour.search(err)) is is_coloured


@pytest.mark.parametrize(("name", "code"), [("INT", 130), ("TERM", 143)])
def test_a_shell_sees_which_signal_ended_a_command(operated, name, code):
    """A command that waits and is ended by Ctrl-C or SIGTERM says nothing but its exit code."""
    operated.receive("a")
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "tail", "--beginning"],
        cwd=operated.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    newest = operated.key("a").encode()
    assert any(newest in line for line in process.stdout)  # others may stand before it
    process.send_signal(getattr(signal, f"SIG{name}"))
    _, err = process.communicate()  # the events of other tests may come out, too
    assert err == b""
    # What a shell makes of the number of a signal: 128 and the number.
    assert code == (process.returncode if process.returncode >= 0 else 128 - process.returncode)


def test_a_word_that_nothing_takes_is_told(start):
    """An argument too many is told as such, and the exit code is 2."""
    process = start("subscribers", "crm")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert 'Unexpected argument "crm": see --help.' in err.decode()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("tial",), "tail"),
        (("subscriber",), "subscribers"),
        (("dead", "lst"), "list"),
        (("dead", "discard"), "drop"),
        (("run",), "serve"),
        (("events", "--kindd", "message"), "--kind"),
    ],
)
def test_a_misspelt_command_is_answered_with_a_suggestion(start, arguments, meant):
    """The command or option that was probably meant is named, and the exit code is 2."""
    process = start(*arguments)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert f"Did you mean {meant}?" in err.decode().replace('"', "")


@pytest.mark.parametrize(
    "call",
    [
        "replay key --subscriber cmr",
        "replay --since 1h --subscriber cmr",
        "dead list --subscriber cmr",
        "dead retry --all --subscriber cmr",
        "dead drop --all --yes --subscriber cmr",
        "subscribers held cmr",
        "subscribers forget cmr",
        "events --kind massage",
        "events --content txt",
        "tail --kind massage",
        "trigger incs/whatsapp-txt",
        "trigger --list --adapter insc",
        "trigger --from none.json",
        "normalize insc none.json",
        "normalize incs none.json",
        "import none.ndjson",
        "completion tcsh",
        "send +6281500000001 hello --via nobody",
        "purge --yes --subject 0815",
    ],
)
def test_a_wrong_name_is_a_wrong_call(operated, command, call):
    """Whatever has no such name, a command or the server: it is told, and the exit code is 2."""
    outcome = command(*call.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err != ""


@pytest.mark.parametrize("call", ["show {}", "replay {}", "dead show 999999", "dead drop 999999"])
def test_what_the_journal_keeps_not_is_no_wrong_call(operated, command, call):
    """A key or a number may have been there an hour ago: the exit code is 1."""
    outcome = command(*call.format(operated.key("none")).split())
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err != ""


def test_every_exit_code_is_in_the_manual():
    """The manual's table lists each exit code that a command may have."""
    manual = (Path(__file__).parents[3] / "docs" / "operate.md").read_text("utf-8")
    assert set(map(int, re.findall(r"(?m)^\| (\d+) \|", manual))) == {*Exit, 143}


def test_streams_that_were_closed_lead_nowhere(workplace):
    """No file of the command gets the number of a standard stream, and what it does it does."""
    (workplace / "crm.py").write_text(
        "import os\n"
        "open('seen', 'w').write(' '.join(os.readlink(f'/proc/self/fd/{n}') for n in range(3)))\n"
        "def take(event): ...\n"
    )
    (workplace / "config.toml").write_text("[subscribers.crm]\nuse = 'crm:take'\n")
    command = f"exec {sys.executable} -m bridge check <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False, timeout=PATIENCE).returncode == 0
    assert (workplace / "seen").read_text() == "/dev/null /dev/null /dev/null"


def test_a_command_ends_whatever_it_imported(workplace):
    """Threads of a subscriber's module, which never end, keep no command from ending."""
    (workplace / "crm.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "def take(event): ...\n"
    )
    (workplace / "config.toml").write_text("[subscribers.crm]\nuse = 'crm:nothing'\n")
    process = spawn("check")
    told, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, told.split()[-1]) == (3, b"'nothing'")
