"""Commands are there at once, since each loads what it needs itself and no more."""

import os
import subprocess
import sys
from collections.abc import Callable

import orjson
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

EXPLAINED = [(command, "--help") for command in EVERY_COMMAND]
TEXTS = [tuple(text.split()) for text in ("", "--help", "--version", "config")]
OF_FILES = [
    ("schema", "--format", "openapi"),
    ("adapters",),
    ("normalize", "incs", "nothing.json"),
    ("trigger", "--list"),
]
CHECK = ("check", "--config", "checked.toml")

# What is the same for all is loaded once, and each command runs in a copy of the process.
LISTING = """
import json, os, sys
from bridge.cli.main import main

for arguments in json.load(sys.stdin):
    told = os.fdopen(os.dup(2), "w")
    if os.fork() == 0:
        sys.stdin, sys.argv[1:] = open(os.devnull), arguments
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        try:
            main()
        finally:
            print(json.dumps([arguments, list(sys.modules)]), file=told, flush=True)
            os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded_by(tmp_path_factory) -> Callable[..., set[str]]:
    """Return what tells which modules are there when a command ends."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "checked.toml").write_text(
        "[adapters.incs]\ninsecure = true\n[subscribers.console]\nuse = 'console'\n"
    )
    (folder / "checked.toml").chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        input=orjson.dumps([*COMMANDS, *EXPLAINED, *TEXTS, *OF_FILES, CHECK]),
        capture_output=True,
        check=True,
    )
    found = {
        tuple(arguments): set(rest)
        for arguments, rest in map(orjson.loads, done.stderr.splitlines())
    }
    assert all("bridge.cli.main" in loaded for loaded in found.values())
    return lambda *arguments: found[arguments]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_each_starts_without_the_server(loaded_by, arguments):
    """A command that asks a server loads neither the server nor a journal."""
    loaded = loaded_by(*arguments)
    assert "bridge.cli.client" in loaded
    assert loaded.isdisjoint(SERVER | LIBRARIES | {"bridge.assembly", "bridge.journal", "cattrs"})


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_each_is_explained_at_once(loaded_by, command):
    """A command's `--help` loads nothing of what the command does."""
    assert loaded_by(command, "--help").isdisjoint(SERVER | LIBRARIES | WORK)


@pytest.mark.parametrize("arguments", TEXTS, ids=" ".join)
def test_what_prints_a_text_loads_nothing_else(loaded_by, arguments):
    """Neither does what prints a text of ours."""
    loaded = loaded_by(*arguments)
    assert loaded.isdisjoint(SERVER | LIBRARIES | WORK | {"bridge.model.events"})


@pytest.mark.parametrize("arguments", OF_FILES, ids=" ".join)
def test_what_needs_no_server_starts_without_it(loaded_by, arguments):
    """What works on files and on what is installed loads neither server nor client."""
    assert loaded_by(*arguments).isdisjoint(SERVER | LIBRARIES)


def test_a_configuration_is_checked_without_http(loaded_by):
    """To look at adapters, subscribers and the journal takes no server and no client of HTTP."""
    loaded = loaded_by(*CHECK)
    assert {"bridge.runtime", "bridge.adapters.incs", "bridge.journal.sqlite"} <= loaded
    assert loaded.isdisjoint(LIBRARIES - {"apsw", "blinker"} | {"vobject"})
