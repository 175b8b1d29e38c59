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
    "bridge.model.content",
    "bridge.model.events",
    "http.client",
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
ENGINES = ("memory", "nats", "sqlite")
CHECKED = [("check", "--config", f"{engine}.toml") for engine in ENGINES]
SAMPLES = [
    ("trigger", *arguments, "--config", "sqlite.toml")
    for arguments in (("--list",), ("--list", "--json"), ("incs/whatsapp-text", "--print"))
]

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
    for engine in ENGINES:
        (folder / f"{engine}.toml").write_text(
            "[adapters.incs]\ninsecure = true\n[subscribers.console]\nuse = 'console'\n"
            f"[journal]\nengine = '{engine}'\n"
        )
        (folder / f"{engine}.toml").chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        input=orjson.dumps([*COMMANDS, *EXPLAINED, *TEXTS, *OF_FILES, *CHECKED, *SAMPLES]),
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
    assert loaded.isdisjoint(SERVER | LIBRARIES | WORK)


@pytest.mark.parametrize("arguments", OF_FILES, ids=" ".join)
def test_what_needs_no_server_starts_without_it(loaded_by, arguments):
    """What works on files and on what is installed loads neither server nor client."""
    assert loaded_by(*arguments).isdisjoint(SERVER | LIBRARIES)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_configuration_is_checked_without_the_bridge(loaded_by, engine):
    """To look at adapters, subscribers and the journal takes neither a server nor an engine."""
    loaded = loaded_by("check", "--config", f"{engine}.toml")
    assert {"bridge.assembly", "bridge.adapters.incs", f"bridge.journal.{engine}"} <= loaded
    assert loaded.isdisjoint(LIBRARIES - {"blinker"} | SERVER - {"bridge.ingress"})
    assert loaded.isdisjoint({"bridge.ingress.intake", "bridge.journal.protocol", "asyncio"})
    assert loaded.isdisjoint({"cattrs", "rich.console", "vobject"})
    assert f"bridge.journal.{engine}.journal" not in loaded


@pytest.mark.parametrize("arguments", SAMPLES, ids=" ".join)
def test_samples_are_told_without_a_journal(loaded_by, arguments):
    """To list and to print samples takes their adapter alone, and nothing that draws."""
    loaded = loaded_by(*arguments)
    assert "bridge.adapters.incs" in loaded
    assert loaded.isdisjoint(LIBRARIES | SERVER | {"bridge.assembly", "cattrs", "rich.console"})
    assert loaded.isdisjoint({"bridge.journal.protocol", "bridge.journal.sqlite.journal"})


def test_a_program_of_a_bridge_is_imported_without_http():
    """Whoever imports a bot, to test it or to check its configuration, waits for no HTTP."""
    names = "Bridge, Choice, Menu, Message, Option, StatusChange, Text, decode"
    listing = f"from bridge import {names}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", listing],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    loaded = set(done.stdout.decode().split())
    assert "bridge.runtime" in loaded
    assert loaded.isdisjoint({"aiohttp", "hypothesis", "prometheus_client", "rich.console"})
