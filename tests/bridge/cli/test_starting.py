"""Commands are there at once, since each loads what it needs itself and no more."""

import os
import subprocess
import sys

import pytest

from tests.bridge.cli.processes import ROOT
from tests.bridge.cli.test_operators import COMMANDS

SERVER = {"bridge.runtime", "bridge.ingress", "bridge.ops.admin", "bridge.outbox.client"}
LIBRARIES = {"aiohttp", "apsw", "blinker", "nats", "prometheus_client", "psycopg", "structlog"}


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bridge", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "bridge.cli.main" in loaded
    return loaded


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_each_starts_without_the_server(workplace, arguments):
    """A command that asks a server loads neither the server nor a journal."""
    loaded = loaded_by(*arguments)
    assert "bridge.cli.client" in loaded
    assert loaded.isdisjoint(SERVER | LIBRARIES | {"bridge.assembly", "bridge.journal"})


@pytest.mark.parametrize(
    "arguments",
    [
        *("", "--help", "--version", "init --help", "config", "schema --format openapi"),
        *("adapters", "normalize incs nothing.json", "backup --help", "export --help"),
        "import --help",
    ],
)
def test_what_needs_no_server_starts_without_it(workplace, arguments):
    """Neither does what explains itself, or works on files."""
    assert loaded_by(*arguments.split()).isdisjoint(SERVER | LIBRARIES)
