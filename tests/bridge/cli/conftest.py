"""The command as its users run it: in this process for speed, or as a process of its own."""

import io
import os
import re
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import orjson
import pytest

import bridge
from bridge.cli.main import main
from tests.bridge.journal.nats_servers import NatsServer
from tests.callbacks import new_message

ROOT = Path(bridge.__file__).parents[1]

CONFIG = """\
[admin]
port = 0

[journal]
engine = "memory"

[adapters.incs]
tokens = ["0123456789abcdef0123456789abcdef"]

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
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=workplace,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environ,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.terminate()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


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


SQLITE = """\
[journal]
path = "journal.db"
"""

NATS = """\
[journal]
engine = "nats"

[journal.nats]
servers = ["{url}"]
stream = "{stream}"
partitions = 2
timeout = "1s"
"""


class Operated:
    """A server process with the subscriber `crm`, which fails while the file `broken` exists."""

    def __init__(
        self, folder: Path, start: Callable[..., subprocess.Popen], journal: str = SQLITE
    ) -> None:
        self.folder = folder
        self.process: subprocess.Popen | None = None
        self._start = start
        self._log: list[str] = []
        self._text = OPERATED.replace("JOURNAL", journal)
        (folder / "crm.py").write_text(CRM)
        self.config = folder / "config.toml"

    def start(self, port: int = 0) -> None:
        """Start it; the configuration then names the port that operators find it at."""
        self._write_config(port)
        self.process = self._start("serve", "--port", "0")
        for line in self.process.stderr:
            self._log.append(line.decode())
            if b"listening on " in line:
                said = orjson.loads(line)
                self.url = said["event"].removeprefix("listening on ")
                self.port = int(said["admin"].rsplit(":", 1)[1])
                break
        else:
            pytest.fail("".join(self._log))
        threading.Thread(target=self._read_log, args=(self.process.stderr,), daemon=True).start()
        self._write_config(self.port)

    def _write_config(self, port: int) -> None:
        self.config.write_text(self._text.replace("PORT", str(port)))

    def _read_log(self, stream) -> None:
        with suppress(ValueError):  # closed at the end of the test
            self._log += (line.decode() for line in stream)

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait() == 0

    def rename(self, subscriber: str, name: str) -> None:
        """Let the subscriber go by another name from the next start on."""
        self._text = self._text.replace(f"subscribers.{subscriber}", f"subscribers.{name}")

    def add_fickle(self) -> None:
        """Let there be an adapter, from the next start on, that the file `mended` mends."""
        info = self.folder / "fickle_bridge-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fickle-bridge\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[bridge.adapters]\nfickle = fickle:Fickle\n")
        (self.folder / "fickle.py").write_text(FICKLE)
        self._text += "\n[adapters.fickle]\n"

    def break_crm(self) -> None:
        (self.folder / "broken").touch()

    def mend_crm(self) -> None:
        (self.folder / "broken").unlink()

    def receive(self, *ids: str, phone: str = "6281500000001", text: str = "hello") -> None:
        """Post a callback for each message id, all of one user, and see it accepted."""
        for message_id in ids:
            self.post(new_message(message_id, phone, text))

    def receive_together(self, ids: list[str], phone: str = "6281500000001") -> None:
        """Post one callback with a message for each id."""
        body = new_message(ids[0], phone, "hello")
        (first,) = body["message"]["messages"]
        body["message"]["messages"] = [{**first, "id": message_id} for message_id in ids]
        self.post(body)

    def post(self, body: dict, path: str = f"incs/{'0123456789abcdef' * 2}") -> None:
        """Post any body, and see it accepted."""
        url = f"{self.url}/callbacks/{path}"
        with urllib.request.urlopen(url, orjson.dumps(body)) as response:
            assert response.status == 200

    def taken(self) -> list[list[str]]:
        """Return key, tries and whether it was a replay, of each event that crm took."""
        path = self.folder / "taken"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def ask(self, path: str) -> dict:
        status, body = self.get(path)
        assert status == 200
        return orjson.loads(body)

    def get(self, path: str) -> tuple[int, str]:
        """Ask the admin listener; return the status and the body, whatever they are."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def logged(self, word: str) -> int:
        """Return how many lines of the log hold these words."""
        return sum(word in line for line in self._log)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        give_up = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < give_up, "".join(self._log)
            time.sleep(0.01)

    def settled(self) -> None:
        """Wait until whoever runs has looked at everything, and holds nothing."""
        self.until(
            lambda: not any(s["running"] and (s["lag"] or s["held"]) for s in self.subscribers())
        )

    def subscribers(self) -> list[dict]:
        return self.ask("/subscribers")["subscribers"]


CRM = """\
import os
from bridge.delivery import current

async def take(event):
    if os.path.exists("broken"):
        with open("broken") as file:
            raise ValueError(file.read() or "the database of +6281519236680 is away")
    with open("taken", "a") as file:
        file.write(f"{event.key} {current().tries} {current().replayed}\\n")
"""

FICKLE = """\
import os
import attrs, orjson
from bridge.adapter import Parsed, Scope, Verified
from bridge.model.keys import message_key
from bridge.model import Direction, Message, Origin, Text

@attrs.frozen
class Settings: ...

class Fickle:
    Settings = Settings
    methods = frozenset({"POST"})

    def __init__(self, name, settings):
        self.name = name

    def verify(self, callback):
        return Verified(payload=callback.body, received_at=callback.received_at)

    def parse(self, verified):
        body = orjson.loads(verified.payload)
        scope = Scope(source=self.name, channel="whatsapp", received_at=verified.received_at)
        if not os.path.exists("mended"):
            return Parsed(events=(scope.unrecognized(body, "no idea"),))
        return Parsed(events=(Message(
            key=message_key("whatsapp", body["id"]),
            source=self.name,
            channel="whatsapp",
            occurred_at=verified.received_at,
            received_at=verified.received_at,
            raw=body,
            message_id=body["id"],
            direction=Direction.INBOUND,
            origin=Origin.USER,
            conversation=scope.conversation("somebody"),
            sender=scope.business(),
            recipient=scope.business(),
            content=Text(text="hello"),
        ),))
"""

OPERATED = """\
[admin]
port = PORT

JOURNAL

[log]
format = "json"

[adapters.incs]
tokens = ["0123456789abcdef0123456789abcdef"]

[subscribers.crm]
use = "crm:take"
events = ["message", "status_change"]
tries = 2
first_delay = 0.0
"""


@pytest.fixture(scope="session")
def nats(tmp_path_factory) -> Iterator[NatsServer]:
    """Start a NATS server, which every test uses with a stream of its own."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["sqlite", "nats"])
def operated(request, start, workplace) -> Operated:
    """Start a server for operators to look at, on each of the durable journals."""
    journal = SQLITE
    if request.param == "nats":
        url = request.getfixturevalue("nats").url
        journal = NATS.format(url=url, stream=f"of-{secrets.token_hex(4)}")
    server = Operated(workplace, start, journal)
    server.start()
    return server
