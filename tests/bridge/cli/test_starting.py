"""Commands are there at once, since each loads what it needs itself and no more."""

import os
import subprocess
import sys

import pytest

from tests.bridge.cli.processes import ROOT
from tests.bridge.cli.test_operators import COMMANDS


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_each_starts_without_the_server(workplace, arguments):
    """A command loads neither the server nor a journal, so that it is there at once."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bridge", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "bridge.cli.client" in loaded
    server = {"bridge.runtime", "bridge.assembly", "bridge.ingress", "bridge.journal", "bridge.ops"}
    libraries = {"aiohttp", "apsw", "blinker", "nats", "prometheus_client", "structlog"}
    assert loaded.isdisjoint(server | libraries)
