"""`bridge serve` as a process of its own, to be killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent.parent
TOKEN = "a-token-for-the-promises"
_LISTENING = re.compile(r"http://127\.0\.0\.1:\d+")

CONFIG = f"""
[server]
port = 0

[admin]
port = 0

[journal]
path = "journal.db"

[log]
format = "json"

[adapters.incs]
tokens = ["{TOKEN}"]

[subscribers.collector]
use = "tests.promises.collecting:collect"
events = ["message"]
"""

COLLECTOR = """
[subscribers.collector]
use = "tests.promises.collecting:collect"
events = ["message"]
start = "beginning"
"""


def shared(engine: str, settings: str, subscribers: str = COLLECTOR) -> str:
    """Return the configuration of bridges that share a journal, from that engine's settings."""
    return f"""
[server]
port = 0

[admin]
enabled = false

[journal]
engine = "{engine}"

[journal.{engine}]
{settings}

[log]
format = "json"

[adapters.incs]
tokens = ["{TOKEN}"]
{subscribers}"""


class Server:
    """A server on a folder of its own; it may be started, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.seconds_to_serve: list[float] = []
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None
        (folder / "config.toml").write_text(CONFIG)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def journal(self) -> Path:
        return self.folder / "journal.db"

    def collected(self) -> list[list[tuple[str, str]]]:
        """Return (conversation, message id) in the order taken, for each life of the server."""
        lives: list[list[tuple[str, str]]] = []
        path = self.folder / "collected"
        for line in path.read_text().splitlines() if path.exists() else ():
            if line == "started":
                lives.append([])
            else:
                conversation, _, message_id = line.rpartition(" ")
                lives[-1].append((conversation, message_id))
        return lives

    async def start(self) -> None:
        began = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bridge",
            "serve",
            "--config",
            str(self.folder / "config.toml"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "COLLECTED": str(self.folder / "collected"),
                "PYTHONPATH": str(ROOT),
            },
        )
        said = b""
        assert self._process.stderr is not None
        while True:
            line = await self._process.stderr.readline()
            assert line, said.decode()
            said += line
            if found := _LISTENING.search(line.decode()):
                break
        self.url = found[0]
        self.seconds_to_serve.append(time.monotonic() - began)
        self._log = asyncio.create_task(self._drain(self._process.stderr))

    async def _drain(self, stream: asyncio.StreamReader) -> None:
        with (self.folder / "log").open("ab", buffering=0) as log:
            while line := await stream.readline():
                log.write(line)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(ProcessLookupError):
            process.send_signal(number)
        code = await process.wait()
        if self._log is not None:
            await self._log
        return code


class Bridges:
    """Two bridges with one configuration, whose subscribers write into one file.

    What is left of them is killed in the end, whatever became of the test.
    """

    def __init__(self, folder: Path, configuration: str) -> None:
        self.collected = folder / "collected"
        self.collected.touch()
        self.servers = [self._place(folder / name, configuration) for name in ("one", "two")]

    def _place(self, folder: Path, configuration: str) -> Server:
        folder.mkdir()
        server = Server(folder)
        (folder / "config.toml").write_text(configuration)
        (folder / "collected").symlink_to(self.collected)
        return server

    def lines(self) -> list[str]:
        """Return what subscribers wrote, in that order."""
        return [line for line in self.collected.read_text().splitlines() if line != "started"]

    def taken(self) -> list[str]:
        """Return the ids of the messages that subscribers took, in the order of taking."""
        return [line.rpartition(" ")[2] for line in self.lines()]

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(server.start() for server in self.servers))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(server.end(signal.SIGKILL) for server in self.servers))

    async def end(self) -> None:
        codes = await asyncio.gather(*(server.end(signal.SIGTERM) for server in self.servers))
        assert codes == [0, 0]
