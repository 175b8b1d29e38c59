"""The command as its users run it: in this process for speed, or as a process of its own."""

import io
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import orjson
import pytest

from bridge.cli.main import main
from tests.bridge.cli.processes import NATS, POSTGRES, SQLITE, TOKEN, Operated, end, spawn

CONFIG = f"""\
[admin]
port = 0

[journal]
engine = "memory"

[adapters.incs]
tokens = ["{TOKEN}"]

[[adapters.incs.channels]]
id = 30058
kind = "whatsapp"
business_phone = "6281519236680"

[subscribers.console]
use = "console"
"""


@pytest.fixture(autouse=True)
def _log_of_its_own(own_log: None) -> None:
    """Undo what `serve` sets up where it runs in this process."""


@attrs.frozen
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def events(self) -> list[dict]:
        return [orjson.loads(line) for line in self.lines]


class _Typed(io.TextIOWrapper):
    """Standard input where somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Run in an empty directory, with nothing of the caller's environment in the way."""
    monkeypatch.chdir(tmp_path)
    for name in ("BRIDGE_CONFIG", "NO_COLOR", "FORCE_COLOR", "INCS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def command(capsysbinary, monkeypatch) -> Callable[..., Outcome]:
    """Run the command in this process."""

    def run(*arguments: str, stdin: bytes = b"", typed: bool = False) -> Outcome:
        stream = _Typed if typed else io.TextIOWrapper
        monkeypatch.setattr(sys, "stdin", stream(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsysbinary.readouterr()
        return Outcome(ended.value.code, captured.out.decode(), captured.err.decode())

    return run


@pytest.fixture
def start(workplace):
    """Start the command as a process; whatever still runs at the end of a test is ended."""
    started = []

    def run(*arguments: str, **environ: str) -> subprocess.Popen:
        started.append(spawn(*arguments, **environ))
        return started[-1]

    yield run
    for process in started:
        end(process)


@pytest.fixture
def config(workplace) -> Path:
    """Write a configuration that nothing is wrong with."""
    path = workplace / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


@pytest.fixture
def server(start, config):
    """Start a server on a free port; return it and the address it tells."""

    def run(*arguments):
        process = start("serve", "--port", "0", *arguments)
        told = []
        for line in process.stderr:
            told.append(line.decode())
            found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", told[-1])
            if found:
                return process, found[1], told
        pytest.fail("".join(told))

    return run


@pytest.fixture
def install(workplace, monkeypatch):
    """Install somebody's adapter: a module, and the entry point that names it."""

    def add(name: str, source: str, target: str = "Adapter") -> None:
        site = workplace / "site"
        info = site / f"{name}_bridge-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}-bridge\nVersion: 1.2\n"
        )
        (info / "entry_points.txt").write_text(
            f"[bridge.adapters]\n{name} = {name}_adapter:{target}\n"
        )
        (site / f"{name}_adapter.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, f"{name}_adapter", raising=False)  # another test's

    return add


@pytest.fixture(scope="module")
def new_journal(request) -> Callable[[], str]:
    """Return what gives the settings of an empty journal, in SQLite unless a test asks for more."""
    engine = getattr(request, "param", "sqlite")
    if engine == "sqlite":
        return lambda: SQLITE
    if engine == "postgres":
        dsn = request.getfixturevalue("postgres").dsn
        return lambda: POSTGRES.format(dsn=dsn, schema=f"of_{secrets.token_hex(4)}")
    url = request.getfixturevalue("nats").url
    return lambda: NATS.format(url=url, stream=f"of-{secrets.token_hex(4)}")


on_every_engine = pytest.mark.parametrize(
    "new_journal", ["sqlite", "nats", "postgres"], indirect=True
)
"""For what may differ between journals; what each does for operators its own suite proves."""


@pytest.fixture(scope="module")
def running(new_journal, tmp_path_factory) -> Iterator[Operated]:
    """Keep one server running for the tests of a module."""
    server = Operated(tmp_path_factory.mktemp("server"), new_journal())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def operated(running, monkeypatch) -> Iterator[Operated]:
    """Hand out the module's server, in whose folder commands find it."""
    monkeypatch.chdir(running.folder)
    yield running
    running.leave()


@pytest.fixture
def alone(new_journal, workplace) -> Iterator[Operated]:
    """Start a server of the test's own, which it may stop and start again."""
    server = Operated(workplace, new_journal())
    server.start()
    yield server
    server.stop()
