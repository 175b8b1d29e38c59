"""The servers to measure: started in a process of their own, on one core, and looked at."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import attrs

from benchmarks.bodies import APP_SECRET
from benchmarks.counting import VARIABLE, Counts
from benchmarks.figures import Faulty

ROOT = Path(__file__).parents[1]
ADMIN_TOKEN = "the-operators-token-of-the-benchmarks"
_START = 60.0  # seconds; a journal of many millions is looked over first
_given: set[int] = set()  # ports


@attrs.frozen(kw_only=True)
class Contender:
    """A server to measure; `journal` names the bridge's engine, None is a server without one."""

    title: str
    program: tuple[str, ...] = ("bridge", "serve")
    """The module to run and what it is told first; the bridge's settings or the port follow."""
    journal: str | None = None
    subscribers: int = 1
    subscriber: str = "s"
    """What the subscribers are called, before their number."""
    function: str = "subscriber"
    """The function in `benchmarks.subscribers`, before the number."""
    options: str = ""
    """More lines for the table of each subscriber."""
    start: str = "end"
    settings: str = ""
    """More lines for the table [journal], and tables below it."""
    path: Path | None = None
    """The journal's file, where it is to outlive the server."""
    admin: bool = False
    """Whether it takes the commands of operators."""


class Server:
    """A running server, and what its subscribers got; it starts on one of the cores."""

    def __init__(self, contender: Contender, folder: Path, core: int = 0) -> None:
        self.contender = contender
        self.folder = folder
        self.config = folder / "config.toml"
        self.port = free_port()
        self.admin_port = free_port()
        self.fastest: dict[int, float] = {}
        """Requests per second with so many messages each, as far as is known."""
        self.started_in = 0.0
        self._counts = Counts.create(folder / "counts")
        environment = {
            **os.environ,
            VARIABLE: str(folder / "counts"),
            "PYTHONPATH": str(ROOT),
        }
        self._began = time.perf_counter()
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*pinned(core), sys.executable, "-m", *contender.program, *self._arguments()],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def _arguments(self) -> list[str]:
        contender = self.contender
        if contender.journal is None:
            return [str(self.port)]
        subscribers = "".join(
            f"[subscribers.{contender.subscriber}{number}]\n"
            f'use = "benchmarks.subscribers:{contender.function}{number}"\n'
            f'start = "{contender.start}"\n{contender.options}\n'
            for number in range(contender.subscribers)
        )
        path = contender.path or self.folder / "bridge.db"
        self.config.write_text(
            f"[server]\nport = {self.port}\n"
            f"[admin]\nenabled = {str(contender.admin).lower()}\nport = {self.admin_port}\n"
            f'token = "{ADMIN_TOKEN}"\n'
            f'[adapters.whatsapp]\napp_secrets = ["{APP_SECRET}"]\n{subscribers}'
            f'[journal]\nengine = "{contender.journal}"\npath = "{path}"\n{contender.settings}\n'
        )
        return ["--config", str(self.config)]

    def wait_until_started(self) -> None:
        """Return once it listens. Raises `Faulty`."""
        while time.perf_counter() - self._began < _START:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    self.started_in = time.perf_counter() - self._began
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.005)
        said = (self.folder / "log").read_text().splitlines()
        raise Faulty(f"{self.contender.title} did not start: {said[-1] if said else 'no word'}")

    def stay_on(self, core: int) -> None:
        """Move to one of the cores with all threads; what they start later begins there."""
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            with suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(thread.name), {_core(core)})

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def memory(self) -> float:
        """Return the resident mebibytes."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise Faulty(f"{self.contender.title} has ended")

    def processor_time(self) -> float:
        """Return the seconds of processor time used so far, by all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def handled(self) -> list[int]:
        """Return how many events each subscriber has had; also after the server has ended."""
        return list(self._counts.numbers[: self.contender.subscribers])


Servers: TypeAlias = Mapping[Contender, Server | Faulty]
"""Servers that run, or why they do not."""


@contextmanager
def running(contender: Contender, directory: Path) -> Iterator[Server]:
    """Run a server in a folder of its own below the directory. Raises `Faulty`."""
    with _process(contender, directory) as server:
        server.wait_until_started()
        yield server


@contextmanager
def all_running(contenders: Sequence[Contender], directory: Path) -> Iterator[Servers]:
    """Run servers side by side, so that they can take turns: one that waits costs nothing.

    They start at the same time and on every core, which takes half as long, and then share one.
    """
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        starting = {
            contender: stack.enter_context(_process(contender, directory, place % cores))
            for place, contender in enumerate(contenders)
        }
        servers: dict[Contender, Server | Faulty] = {}
        for contender, server in starting.items():
            try:
                server.wait_until_started()
            except Faulty as fault:
                server.stop()
                servers[contender] = fault
            else:
                server.stay_on(0)
                servers[contender] = server
        yield servers


@contextmanager
def _process(contender: Contender, directory: Path, core: int = 0) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(dir=directory, prefix="journal-") as folder:
        server = Server(contender, Path(folder), core)
        try:
            yield server
        finally:
            server.stop()


def pinned(core: int) -> list[str]:
    """Return what makes a command stay on one of the cores, where there are several."""
    return ["taskset", "-c", str(_core(core))] if len(os.sched_getaffinity(0)) > 1 else []


@contextmanager
def staying_on(core: int) -> Iterator[None]:
    """Keep this very process on one of the cores meanwhile."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_core(core)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _core(place: int) -> int:
    """Return one of the cores that this process may use; the only one, if there is just one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[place] if len(cores) > 1 else cores[0]


def free_port() -> int:
    """Return a port that nobody uses, and that was not given out: its user may not listen yet."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port
