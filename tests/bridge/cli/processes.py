"""The command as processes: any command, and a server that a test looks at from outside."""

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

import bridge
from tests.callbacks import new_message

ROOT = Path(bridge.__file__).parents[1]
TOKEN = "0123456789abcdef0123456789abcdef"
ADMIN = "the-operators-token-of-the-tests"
PATIENCE = 60  # seconds until a test gives up; nothing depends on how long it really takes


def spawn(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.Popen:
    """Start `bridge` with these arguments, by default in the current directory."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "bridge", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=os.environ | counted() | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environ,
    )


def counted() -> dict[str, str]:
    """Return what makes a process count for coverage, where this run is counted.

    Only commands do: serving and stopping run in no test's own process, as what other processes
    run does. Counting makes a start half as long again.
    """
    if "coverage" not in sys.modules or sys.modules["coverage"].Coverage.current() is None:
        return {}
    return {
        "COVERAGE_PROCESS_START": f"{ROOT}/pyproject.toml",
        "COVERAGE_FILE": f"{ROOT}/.coverage",
    }


def end(process: subprocess.Popen) -> int:
    """Tell a process to end, if it still runs; return its exit code."""
    process.terminate()
    code = process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        with suppress(BrokenPipeError):
            stream.close()
    return code


class Served:
    """`bridge serve` in a folder of its own; what it writes is collected as it comes."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.out: list[str] = []
        self.log: list[str] = []
        self._text = text
        self.process: subprocess.Popen | None = None
        self._readers: list[threading.Thread] = []

    def start(self, port: int = 0) -> None:
        """Start it; the configuration then names the port for operators, and a token."""
        self._write_config(port)
        self.process = spawn("serve", "--port", "0", cwd=self.folder)
        for line in self.process.stderr:
            self.log.append(line.decode())
            if b"listening on " in line:
                said = orjson.loads(line)
                self.url = said["event"].removeprefix("listening on ")
                self.port = int(said["admin"].rsplit(":", 1)[1])
                break
        else:
            pytest.fail("".join(self.log))
        pairs = ((self.process.stdout, self.out), (self.process.stderr, self.log))
        self._readers = [threading.Thread(target=self._read, args=pair) for pair in pairs]
        for reader in self._readers:
            reader.start()
        self._write_config(self.port)

    def _write_config(self, port: int) -> None:
        self.config.write_text(self._text.replace("ADMIN_PORT", f'{port}\ntoken = "{ADMIN}"'))

    def _read(self, stream, lines: list[str]) -> None:
        while line := stream.readline():
            lines.append(line.decode())

    def stop(self) -> None:
        """Tell it to end, and see that it ends well."""
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            for reader in self._readers:
                reader.join()
            assert end(process) == 0, "".join(self.log)

    def post(self, body: dict, path: str = f"incs/{TOKEN}") -> None:
        """Post any body, and see it accepted."""
        url = f"{self.url}/callbacks/{path}"
        with urllib.request.urlopen(url, orjson.dumps(body)) as response:
            assert response.status == 200

    def ask(self, path: str) -> dict:
        status, body = self.get(path)
        assert status == 200
        return orjson.loads(body)

    def get(self, path: str, data: bytes | None = None) -> tuple[int, str]:
        """Ask the admin listener; return the status and the body, whatever they are."""
        headers = {"Authorization": f"Bearer {ADMIN}"}
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def logged(self, words: str) -> int:
        """Return how many lines of the log hold these words; after its end, it is complete."""
        return sum(words in line for line in self.log)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        give_up = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < give_up, "".join(self.log)
            time.sleep(0.01)

    def settled(self) -> None:
        """Wait until whoever runs has looked at everything, and holds nothing."""
        self.until(
            lambda: not any(s["running"] and (s["lag"] or s["held"]) for s in self.subscribers())
        )

    def subscribers(self) -> list[dict]:
        return self.ask("/subscribers")["subscribers"]


class Operated(Served):
    """A server with the subscriber `crm`, which fails while the file `broken` exists.

    Several tests may use it one after another: each is somebody else, whose phones and message
    ids are nobody else's.
    """

    def __init__(self, folder: Path, journal: str) -> None:
        super().__init__(folder, OPERATED.replace("JOURNAL", journal))
        self._user = 1
        (folder / "crm.py").write_text(CRM)
        (folder / "fickle.py").write_text(FICKLE)
        info = folder / "fickle_bridge-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fickle-bridge\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[bridge.adapters]\nfickle = fickle:Fickle\n")

    @property
    def phone(self) -> str:
        """The number, without its plus, that this test's messages come from."""
        return f"6281500{self._user:03}001"

    @property
    def other_phone(self) -> str:
        """Another one of the same test."""
        return f"6281500{self._user:03}002"

    @property
    def own(self) -> tuple[str, str]:
        """The filter for what this test's phone has sent."""
        return "--conversation", f"incs/whatsapp:+6281519236680:+{self.phone}"

    def id(self, name: str) -> str:
        """Return the message id that a short name of this test stands for."""
        return f"{name}.{self._user}"

    def key(self, name: str) -> str:
        return f"incs/message/whatsapp/{self.id(name)}"

    def leave(self) -> None:
        """Let the next test find nothing broken and no dead letters, and be somebody else."""
        self.mend_crm()
        self.settled()
        assert self.get("/dead/drop", b'{"ids":null,"subscriber":null}')[0] == 200
        self._user += 1

    def rename(self, subscriber: str, name: str) -> None:
        """Let the subscriber go by another name from the next start on."""
        self._text = self._text.replace(f"subscribers.{subscriber}", f"subscribers.{name}")

    def break_crm(self, error: str = "") -> None:
        (self.folder / "broken").write_text(error)

    def mend_crm(self) -> None:
        (self.folder / "broken").unlink(missing_ok=True)

    def receive(self, *names: str, phone: str | None = None, text: str = "hello") -> None:
        """Post a callback for each message, all of one user, and see it accepted."""
        for name in names:
            self.post(new_message(self.id(name), phone or self.phone, text))

    def receive_together(self, names: list[str]) -> None:
        """Post one callback with a message for each name."""
        body = new_message("", self.phone, "hello")
        (first,) = body["message"]["messages"]
        body["message"]["messages"] = [{**first, "id": self.id(name)} for name in names]
        self.post(body)

    def taken(self) -> list[list[str]]:
        """Return name, tries and whether it was a replay, of each of this test's that crm took."""
        path = self.folder / "taken"
        lines = path.read_text().splitlines() if path.exists() else ()
        _, suffix = self.key("").rsplit(".", 1)
        return [
            [key.rpartition("/")[2].removesuffix(f".{suffix}"), *rest]
            for key, *rest in map(str.split, lines)
            if key.endswith(f".{suffix}")
        ]


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
timeout = "3s"
"""

POSTGRES = """\
[journal]
engine = "postgres"

[journal.postgres]
dsn = "{dsn}"
schema = "{schema}"
partitions = 2
"""

CRM = """\
import os
from bridge.delivery import current

async def take(event):
    if os.path.exists("broken"):
        with open("broken") as file:
            text = file.read()
        if text == "unknown":
            raise LookupError(text)
        raise ValueError(text or "the database of +6281519236680 is away")
    with open("taken", "a") as file:
        file.write(f"{event.key} {current().tries} {current().replayed}\\n")
"""

# An adapter that the file `mended` mends.
FICKLE = """\
import os
import attrs, orjson
from bridge.adapter import Parsed, Scope, Verified
from bridge.errors import Unreadable
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
        scope = Scope(
            source=self.name, channel="whatsapp", received_at=verified.received_at, body=body
        )
        if not os.path.exists("mended"):
            return Parsed(events=(scope.unrecognized(Unreadable("", "no idea")),))
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
            sender=scope.business,
            recipient=scope.business,
            content=Text(text="hello"),
        ),))
"""

OPERATED = f"""\
[admin]
port = ADMIN_PORT

JOURNAL

[log]
format = "json"

[adapters.incs]
tokens = ["{TOKEN}"]

[adapters.fickle]

[subscribers.crm]
use = "crm:take"
events = ["message", "status_change"]
tries = 2
first_delay = 0.0
"""
