"""Real NATS servers for the tests, each a process with JetStream in a folder of its own."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Self
from urllib.request import urlopen

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
        self.urls = [self.url]
        self.monitoring = free_port()
        self.store = folder / "store"
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "server.conf"
        lines = [
            f'server_name: "{name}"',
            f'listen: "127.0.0.1:{self.port}"',
            f'http: "127.0.0.1:{self.monitoring}"',
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

    async def until_healthy(self) -> None:
        """Wait until it has caught up with the others of its cluster."""
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(self._is_healthy):
                await asyncio.sleep(0.05)

    def _is_healthy(self) -> bool:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{self.monitoring}/healthz") as answer:
            return bool(answer.status == HTTPStatus.OK)
        return False

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End, by default as by a loss of power to the process alone."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait()

    def hang_up(self) -> None:
        """Have it read its configuration again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

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


class Fuse:
    """A way to a server, which breaks when it is to let certain words through.

    What was on its way then is lost. `blown` counts how often that happened.
    """

    def __init__(self, server: NatsServer) -> None:
        self.blown = 0
        self._is_blown = False
        self._server = server
        self._word = b""
        self._times = 0
        self._last_words = b""

    def blow(self, word: bytes, *, times: int = 1, last_words: bytes = b"") -> None:
        """Break the next so many times that this word comes, in either direction.

        With last words, the client hears them first, as of a server that cuts it off.
        """
        self._word = word
        self._times = times
        self._last_words = last_words

    @property
    def urls(self) -> list[str]:
        """Return two names of it: a client goes to another server at once, not to the same."""
        return [f"nats://127.0.0.1:{self._port}", f"nats://localhost:{self._port}"]

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self._port: int = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        await self._listening.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._server.port)
            with closing(ours):
                directions = [self._copy(reader, ours), self._copy(theirs, writer)]
                tasks = [asyncio.create_task(each) for each in directions]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if self._is_blown:
                    self._is_blown = False
                    writer.write(self._last_words)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _copy(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            if self._times and self._word in data:
                self._times -= 1
                self.blown += 1
                self._is_blown = True
                return
            to.write(data)
            await to.drain()


@asynccontextmanager
async def running(servers: list[NatsServer]) -> AsyncIterator[list[NatsServer]]:
    """Have the servers of a cluster run and know each other, until the end of the context."""
    try:
        for server in servers:
            server.launch()
        for server in servers:
            await server.until_healthy()
        yield servers
    finally:
        for server in servers:
            server.end()
