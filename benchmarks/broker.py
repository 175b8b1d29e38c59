"""Servers of our own, for as long as they are measured: NATS with JetStream, and PostgreSQL."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.contenders import free_port
from benchmarks.figures import Faulty
from tests.bridge.journal.postgres_servers import PostgresServer

_START = 20.0  # seconds


@contextmanager
def broker(folder: Path, *, sync: str) -> Iterator[str]:
    """Run a server that syncs to disk as often as is said; give its address. Raises `Faulty`."""
    binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which(
        "nats-server"
    )
    if binary is None:
        raise Faulty("nats-server is not installed")
    port = free_port()
    folder.mkdir()
    configuration = folder / "server.conf"
    configuration.write_text(
        f'listen: "127.0.0.1:{port}"\nmax_payload: 8MB\nlog_file: "{folder / "log"}"\n'
        f'jetstream {{ store_dir: "{folder}", sync_interval: "{sync}" }}\n'
    )
    with subprocess.Popen([binary, "-c", configuration]) as process:
        try:
            _wait_until_listening(port, process)
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    began = time.perf_counter()
    while time.perf_counter() - began < _START and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise Faulty("nats-server did not start")


@contextmanager
def cluster(_: Path) -> Iterator[str]:
    """Run a PostgreSQL server with its defaults, as durable as they make it; give its address."""
    with PostgresServer(synced=True) as server:
        yield f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
