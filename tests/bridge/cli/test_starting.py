"""Commands are there at once, since each loads what it needs itself and no more."""

import os
import subprocess
import sys

import pytest

from bridge.cli.main import app
from tests.bridge.cli.processes import ROOT
from tests.bridge.cli.test_operators import COMMANDS

SERVER = {"bridge.runtime", "bridge.ingress", "bridge.ops.admin", "bridge.outbox.client"}
LIBRARIES = {"aiohttp", "apsw", "blinker", "hypothesis", "nats", "psycopg", "structlog"}
LIBRARIES |= {"opentelemetry.sdk", "prometheus_client", "sqlite3", "watchfiles"}
# A command that is only explained does neither read a configuration nor make an event.
WORK = {
    "bridge.assembly",
    "bridge.journal",
    "bridge.model.codec",
    "bridge.settings.reader",
    "cattrs",
}
EVERY_COMMAND = [name for name in app if not name.startswith("-")]

LISTING = """
import atexit, sys
from bridge.cli.main import main
atexit.register(lambda: print("loaded:", *sys.modules, file=sys.stderr))
main()
"""


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules that are there when a command ends."""
    done = subprocess.run(
        [sys.executable, "-c", LISTING, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )
    loaded = set(done.stderr.rpartition("loaded: ")[2].split())
    assert "bridge.cli.main" in loaded
    return loaded


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_each_starts_without_the_server(workplace, arguments):
    """A command that asks a server loads neither the server nor a journal."""
    loaded = loaded_by(*arguments)
    assert "bridge.cli.client" in loaded
    assert loaded.isdisjoint(SERVER | LIBRARIES | {"bridge.assembly", "bridge.journal", "cattrs"})


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_each_is_explained_at_once(workplace, command):
    """A command's `--help` loads nothing of what the command does."""
    assert loaded_by(command, "--help").isdisjoint(SERVER | LIBRARIES | WORK)


@pytest.mark.parametrize("arguments", ["", "--help", "--version", "config"])
def test_what_prints_a_text_loads_nothing_else(workplace, arguments):
    """Neither does what prints a text of ours."""
    loaded = loaded_by(*arguments.split())
    assert loaded.isdisjoint(SERVER | LIBRARIES | WORK | {"bridge.model.events"})


@pytest.mark.parametrize(
    "arguments",
    ["schema --format openapi", "adapters", "normalize incs nothing.json", "trigger --list"],
)
def test_what_needs_no_server_starts_without_it(workplace, arguments):
    """What works on files and on what is installed loads neither server nor client."""
    assert loaded_by(*arguments.split()).isdisjoint(SERVER | LIBRARIES)


def test_a_configuration_is_checked_without_http(workplace):
    """To look at adapters, subscribers and the journal takes no server and no client of HTTP."""
    (workplace / "config.toml").write_text(
        "[adapters.incs]\ninsecure = true\n[subscribers.console]\nuse = 'console'\n"
    )
    loaded = loaded_by("check")
    assert {"bridge.runtime", "bridge.adapters.incs", "bridge.journal.sqlite"} <= loaded
    assert loaded.isdisjoint(LIBRARIES - {"apsw", "blinker"} | {"vobject"})
