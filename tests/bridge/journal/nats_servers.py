"""Real NATS servers for the tests, each a process with JetStream in a folder of its own."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Self

BINARY = Path(sys.executable).with_name("nats-server")
STARTS_WITHIN = 15.0


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class NatsServer:
    """A server that may be killed, and started again with or without what it stored.

    With `routes` it is one of a cluster.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "single",
        cluster_port: int | None = None,
        routes: tuple[str, ...] = (),
        sync: str = "2m",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.store = folder / "store"
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "server.conf"
        lines = [
            f'server_name: "{name}"',
            f'listen: "127.0.0.1:{self.port}"',
            "max_payload: 8MB",
            f'log_file: "{folder / "log"}"',
            f'jetstream {{ store_dir: "{self.store}", sync_interval: "{sync}" }}',
        ]
        if cluster_port is not None:
            peers = ", ".join(f'"{route}"' for route in routes)
            lines.append(
                f'cluster {{ name: "tests", listen: "127.0.0.1:{cluster_port}", '
                f"routes: [{peers}] }}"
            )
        self._config.write_text("\n".join(lines))

    def start(self) -> None:
        """Start, and return when clients are let in."""
        self.launch()
        self.until_open()

    def launch(self) -> None:
        """Start; one of a cluster waits for the others before it lets anybody in."""
        self._process = subprocess.Popen([BINARY, "-c", self._config])

    def until_open(self) -> None:
        """Wait until clients are let in."""
        end = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    assert probe.recv(4) == b"INFO"
                    return
            except OSError:
                assert time.monotonic() < end, "the NATS server does not start"
                assert self._process is not None
                assert self._process.poll() is None, "the NATS server has ended"
                time.sleep(0.02)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End, by default as by a loss of power to the process alone."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def cluster(folder: Path) -> list[NatsServer]:
    """Return three servers that know each other, not started."""
    ports = [free_port() for _ in range(3)]
    routes = tuple(f"nats://127.0.0.1:{port}" for port in ports)
    return [
        NatsServer(folder / f"n{number}", name=f"n{number}", cluster_port=port, routes=routes)
        for number, port in enumerate(ports)
    ]


async def until(condition: object, *, within: float = 30.0) -> None:
    """Yield to the loop until something has come to be."""
    assert callable(condition)
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
