"""Start a server on one core, load it from another, and say what came of it.

A figure counts only if every request was answered with 200 and every answered message reached
every subscriber; `Faulty` says what is missing, and then there is no figure.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import orjson

from benchmarks.bodies import APP_SECRET, Batch, write
from benchmarks.counting import VARIABLE, Counts

ROOT = Path(__file__).parents[1]
_FASTEST = 45_000  # requests per second to prepare, while nothing is known of a server
_MARGIN = 2.0  # how much faster than in its first second a server might become
_START = 20.0  # seconds
_PATIENCE = 30.0  # seconds without an event before what is missing counts as lost


class Faulty(Exception):
    """A measurement that proves nothing: requests failed or events went missing."""


@attrs.frozen(kw_only=True)
class Contender:
    """A server to measure; `journal` names the bridge's, None is a server of `servers.py`."""

    title: str
    name: str = "bridge"
    journal: str | None = None
    subscribers: int = 1
    start: str = "end"
    settings: str = ""
    """More lines for the table [journal]."""
    filled: Path | None = None
    """A journal to begin with."""


@attrs.frozen(kw_only=True)
class Result:
    """What a load brought: requests per second, milliseconds, mebibytes."""

    rate: float
    cpu: float
    """Microseconds of the server's processor time for each request, which a busy machine disturbs
    least."""
    events: int
    p50: float
    p99: float
    p999: float
    memory: float
    catch_up: float
    """Seconds from the last answer until every subscriber had everything."""


class Server:
    """A running server, and what its subscribers got."""

    def __init__(self, contender: Contender, folder: Path, port: int) -> None:
        self.contender = contender
        self.folder = folder
        self.port = port
        self.counts = Counts.create(folder / "counts")
        self.process: subprocess.Popen[bytes] | None = None
        self.started_in = 0.0

    def start(self) -> None:
        if self.contender.filled is not None:
            shutil.copy(self.contender.filled, self.folder / "bridge.db")
        environment = {
            **os.environ,
            VARIABLE: str(self.folder / "counts"),
            "PYTHONPATH": str(ROOT),
        }
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [*_pinned(0), sys.executable, "-m", *self._command()],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
        )
        while time.perf_counter() - began < _START:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    self.started_in = time.perf_counter() - began
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        said = (self.folder / "log").read_text().splitlines()
        raise Faulty(f"{self.contender.title} did not start: {said[-1] if said else 'no word'}")

    def _command(self) -> list[str]:
        if self.contender.journal is None:
            return ["benchmarks.servers", self.contender.name, str(self.port)]
        subscribers = "".join(
            f'[subscribers.s{n}]\nuse = "benchmarks.subscribers:subscriber{n}"\n'
            f'start = "{self.contender.start}"\n'
            for n in range(self.contender.subscribers)
        )
        (self.folder / "config.toml").write_text(
            f'[server]\nport = {self.port}\n[journal]\nengine = "{self.contender.journal}"\n'
            f"{self.contender.settings}\n"
            "[admin]\nenabled = false\n"
            f'[adapters.whatsapp]\napp_secrets = ["{APP_SECRET}"]\n{subscribers}'
        )
        return ["bridge", "serve", "--config", str(self.folder / "config.toml")]

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def memory(self) -> float:
        """Return the resident mebibytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise Faulty("the server is gone")

    def processor_time(self) -> float:
        """Return the seconds of processor time used so far, by all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def handled(self) -> list[int]:
        return list(self.counts.numbers[: self.contender.subscribers])


def _pinned(core: int) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core])] if len(cores) > 1 else []


def check_tools() -> None:
    """Say how to get what is missing. Raises `SystemExit`."""
    for tool, how in (("wrk", "apt-get install wrk"), ("taskset", "apt-get install util-linux")):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is needed to measure over HTTP: {how}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(contender: Contender, directory: Path) -> Iterator[Server]:
    """Run a server in a folder of its own below the directory."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="journal-") as folder:
        server = Server(contender, Path(folder), free_port())
        try:
            server.start()
            yield server
        finally:
            server.stop()


def put_load(
    server: Server,
    *,
    seconds: int,
    connections: int = 64,
    items: int = 1,
    users: int = 5000,
    pause: float = 0.0,
    warm_up: int = 1,
) -> Result:
    """Load a server, as fast as it answers or with a pause (in milliseconds) on each connection.

    Wait until everything has been handled, and check that. Raises `Faulty`.
    """
    fastest = _FASTEST / max(1.0, items / 8)
    if warm_up:
        warm = put_load(
            server,
            seconds=warm_up,
            connections=connections,
            items=items,
            users=users,
            pause=pause,
            warm_up=0,
        )
        fastest = min(fastest, warm.rate * _MARGIN)
    requests = server.folder / "requests"
    prepared = int(fastest * seconds) + connections
    write(Batch(requests=prepared, items=items, port=server.port, users=users), requests)
    before, busy = server.handled(), server.processor_time()
    output = subprocess.run(
        [
            *_pinned(1),
            *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"),
            *("-s", str(ROOT / "benchmarks" / "load.lua"), f"http://127.0.0.1:{server.port}"),
            *("--", str(requests), str(pause)),
        ],
        capture_output=True,
        check=True,
    )
    ended = time.perf_counter()
    requests.unlink()
    told = orjson.loads(output.stdout.splitlines()[-1])
    title = server.contender.title
    if told["refused"] or told["broken"]:
        raise Faulty(f"{title}: {told['refused']} requests refused, {told['broken']} broken")
    expected = told["requests"] * items
    catch_up = _await(server, before, expected) - ended
    busy = server.processor_time() - busy
    return Result(
        rate=told["requests"] / told["microseconds"] * 1e6,
        cpu=busy / told["requests"] * 1e6,
        events=min(now - then for now, then in zip(server.handled(), before, strict=True)),
        p50=told["p50"] / 1000,
        p99=told["p99"] / 1000,
        p999=told["p999"] / 1000,
        memory=server.memory(),
        catch_up=max(0.0, catch_up),
    )


def _await(server: Server, before: list[int], expected: int) -> float:
    """Return when every subscriber had got what was answered."""
    last, since = server.handled(), time.perf_counter()
    while True:
        now = server.handled()
        least = min(n - b for n, b in zip(now, before, strict=True))
        if least >= expected:
            return time.perf_counter()
        if now != last:
            last, since = now, time.perf_counter()
        elif time.perf_counter() - since > _PATIENCE:
            missing = expected - least
            raise Faulty(f"{server.contender.title}: {missing} of {expected} events went missing")
        time.sleep(0.002)
