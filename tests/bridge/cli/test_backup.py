"""`bridge backup`, `export` and `import`: the journal in another place."""

import re
import shutil
import signal
import socket
import subprocess
import sys

import orjson
import pytest

from tests.bridge.cli.conftest import on_every_engine
from tests.bridge.cli.processes import ADMIN, spawn

PATIENCE = 60.0

OTHER = """\
[admin]
enabled = false

[journal]
path = "other.db"

[adapters.incs]
tokens = ["0123456789abcdef0123456789abcdef"]

[subscribers.crm]
use = "crm:take"
"""


def keys(lines: list[dict]) -> list[str]:
    return [line["event"]["key"] for line in lines if "event" in line]


def test_a_backup_is_a_journal(alone, command, workplace):
    """A copy that is made while the server runs holds everything, and can be served from."""
    alone.receive("a", "b")
    alone.settled()
    outcome = command("backup", "copy.db")
    assert (outcome.code, outcome.out) == (0, "")
    assert "to copy.db: " in outcome.err
    assert (workplace / "copy.db").stat().st_mode & 0o777 == 0o600
    alone.receive("c")
    alone.stop()
    shutil.copy(workplace / "copy.db", workplace / "journal.db")
    alone.start()
    assert command("events", "--json").lines != []
    found = [event["message_id"] for event in command("events", "--json").events]
    assert found == [alone.id("a"), alone.id("b")]
    assert [line.split("\t")[3] for line in command("subscribers").lines] == ["0"]


def test_a_copy_takes_no_secret_of_an_adapters(alone, command, workplace):
    """A user who may read the journal, and no adapter's token, can copy it and move it."""
    alone.receive("a")
    alone.settled()
    alone.stop()
    for name, text in (("mine", (workplace / "config.toml").read_text()), ("other", OTHER)):
        hidden, tokens = re.subn(r"tokens = .*", 'tokens = ["file:not/for/me"]', text)
        assert tokens
        (workplace / f"{name}.toml").write_text(hidden)
    assert command("backup", "copy.db", "--config", "mine.toml").code == 0
    assert command("export", "export.ndjson", "--config", "mine.toml").code == 0
    outcome = command("import", "export.ndjson", "--config", "other.toml")
    assert outcome.err.startswith("imported 1 event of 1; ")


def test_a_backup_overwrites_nothing(alone, command, workplace):
    """A file that exists is left alone, and a folder that does not is told."""
    (workplace / "mine.db").write_text("mine")
    outcome = command("backup", "mine.db")
    assert (outcome.code, outcome.err) == (
        2,
        "error: mine.db exists already, and is not overwritten\n",
    )
    assert (workplace / "mine.db").read_text() == "mine"
    for place, reason in (
        ("nowhere/copy.db", "No such file or directory"),
        ("mine.db/copy.db", "Not a directory"),
    ):
        outcome = command("backup", place)
        told = f"error: {place} cannot be written: {reason}\n"
        assert (outcome.code, outcome.err) == (1, told)


def test_a_journal_that_is_no_file(command, config):
    """A journal without a file here cannot be copied, and the exit code is that of the settings."""
    outcome = command("backup", "copy.db")
    assert outcome.code == 3
    assert "journal.engine: memory keeps the journal in no file here" in outcome.err


def test_a_journal_that_is_not_there(command, workplace):
    """Where no journal is, nothing is made."""
    (workplace / "config.toml").write_text('[journal]\npath = "none.db"\n')
    outcome = command("backup", "copy.db")
    assert (outcome.code, outcome.err) == (1, "error: none.db does not exist\n")
    assert [each.name for each in workplace.iterdir()] == ["config.toml"]


@on_every_engine
def test_an_export_is_the_same_with_and_without_a_server(alone, command, workplace):
    """A running server is asked, and without one the journal is opened; both tell everything."""
    alone.receive("a", "b")
    alone.settled()
    alone.break_crm()
    alone.receive("c")
    alone.settled()
    asked = command("export")
    assert (asked.code, asked.err) == (0, "exported\n")
    assert keys(asked.events) == [alone.key("a"), alone.key("b"), alone.key("c")]
    assert [line["dead"] for line in asked.events if "dead" in line] == [alone.key("c")]
    outcome = command("export", "export.ndjson")
    assert (outcome.code, outcome.err) == (0, "exported to export.ndjson\n")
    alone.stop()
    opened = command("export")
    assert sorted(opened.lines) == sorted(asked.lines)
    assert (workplace / "export.ndjson").read_text() == asked.out
    outcome = command("export", "export.ndjson")
    assert outcome.code == 2
    assert outcome.err.startswith("error: export.ndjson exists already, and is not overwritten")


def test_an_export_that_fails_leaves_nothing(alone, workplace):
    """Where not all of it can be written, that is told, and no file looks like an export."""
    alone.receive_together([f"m{number}" for number in range(20)])
    alone.settled()
    before = {each.name for each in workplace.iterdir()}
    command = f"ulimit -f 8; exec {sys.executable} -m bridge export export.ndjson"  # 4 KiB
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: export.ndjson cannot be written: File too large\n",
    )
    assert {each.name for each in workplace.iterdir()} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_export_that_is_ended_leaves_nothing(workplace, number):
    """A signal that ends it in the midst leaves no part of it, which would hold personal data."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        admin = f'[admin]\nport = {port}\ntoken = "{ADMIN}"\n'
        (workplace / "config.toml").write_text(admin)
        export = spawn("export", "export.ndjson", cwd=workplace)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(PATIENCE)
            assert connection.recv(1 << 16).startswith(b"GET /export")
            assert [each.suffix for each in sorted(workplace.iterdir())] == [".part", ".toml"]
            export.send_signal(number)
            _, told = export.communicate(timeout=PATIENCE)
    assert (export.returncode, told) == (128 + number, b"")
    assert [each.name for each in workplace.iterdir()] == ["config.toml"]


@on_every_engine
def test_a_move_to_another_journal(alone, command, workplace):
    """After a move everything is there, nothing comes twice, and what was dead can be retried."""
    alone.receive("a")
    alone.settled()
    alone.break_crm()
    alone.receive("b")
    alone.settled()
    alone.mend_crm()
    alone.stop()
    command("export", "export.ndjson")
    (workplace / "other.toml").write_text(OTHER)
    outcome = command("import", "export.ndjson", "--config", "other.toml")
    assert (outcome.code, outcome.err) == (
        0,
        "imported 2 events of 2; subscribers have 0 to take, and 1 dead letter\n",
    )
    data = (workplace / "export.ndjson").read_bytes()
    outcome = command("import", "--config", "other.toml", stdin=data)
    assert outcome.err.startswith("imported 0 events of 2; ")
    outcome = command("export", "--config", "other.toml")
    lines = [orjson.loads(line) for line in data.splitlines()]
    assert keys(outcome.events) == keys(lines) == [alone.key("a"), alone.key("b")]
    assert [each["dead"] for each in outcome.events if "dead" in each] == [alone.key("b")]


def test_an_import_needs_a_journal_of_its_own(alone, command, workplace):
    """While a server has the journal, nothing can be imported into it; nor into memory."""
    (workplace / "export.ndjson").write_text('{"bridge_export":2}\n{"end":{}}\n')
    outcome = command("import", "export.ndjson")
    assert outcome.code == 1
    assert "is open in another journal or process (process " in outcome.err
    assert "a server that has this journal open has to be stopped first" in outcome.err
    (workplace / "memory.toml").write_text('[journal]\nengine = "memory"\n')
    outcome = command("import", "export.ndjson", "--config", "memory.toml")
    assert outcome.code == 3
    assert "would be gone with this command" in outcome.err
    outcome = command("import", "nothing.ndjson", "--config", "memory.toml")
    assert outcome.code == 3


def test_something_else_is_no_export(command, workplace):
    """A file that is no export, or that is cut short, is told with its line."""
    (workplace / "config.toml").write_text('[journal]\npath = "new.db"\n')
    outcome = command("import", stdin=b"hello\n")
    assert outcome.code == 1
    assert outcome.err.startswith("error: line 1 is no line of an export: ")
    outcome = command("import", stdin=b'{"bridge_export":2}\n')
    assert (outcome.code, outcome.err) == (
        1,
        "error: the export is cut short: its last line is missing\n",
    )
    outcome = command("import", "none.ndjson")
    assert (outcome.code, outcome.err) == (
        2,
        "error: none.ndjson cannot be read: No such file or directory\n",
    )
