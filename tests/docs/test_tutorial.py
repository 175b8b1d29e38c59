"""The tutorial can be followed to the letter, from an empty folder to a bot that was mended."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

ROOT = Path(__file__).parents[2]
PAGE = re.sub(r"<!---.*?-->", "", (ROOT / "docs/tutorial.md").read_text("utf-8"), flags=re.DOTALL)
PATIENCE = 120.0  # seconds; only a test that fails ever takes that long

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # some twenty processes, one after another
    pytest.mark.skipif(
        not Path(sys.prefix, "bin", "bridge").exists(), reason="bridge is not in this environment"
    ),
]


def shown(language: str, heading: str) -> list[str]:
    """Return the blocks of a section of the page."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


class Evening:
    """A folder of its own in which somebody does what the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "incs-bridge").symlink_to(ROOT)

    def run(self, line: str, *, codes: Sequence[int] = (0,)) -> str:
        """Run one line of a terminal; return what it printed."""
        done = subprocess.run(
            shlex.split(line),
            cwd=self.folder,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode in codes, (line, done.stdout, done.stderr)
        return done.stdout

    def run_all(self, heading: str) -> None:
        """Run each line of a section, but for those that install and those that serve."""
        for block in shown("sh", heading):
            for line in block.splitlines():
                if " venv " not in line and "pip install" not in line and " serve " not in line:
                    self.run(line)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, "utf-8")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text("utf-8")

    def move_ports(self) -> None:
        """Let it listen where nobody else does."""
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
            callbacks, self.port = (each.getsockname()[1] for each in (one, two))
        text = self.read("config.toml").replace("[admin]", f"[admin]\nport = {self.port}")
        self.write("config.toml", f"{text}\n[server]\nport = {callbacks}\n")
        self.token = tomllib.loads(text)["admin"]["token"]

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[str]]:
        """Run the line that serves, until the block ends."""
        (line,) = shown("sh", "Chat with it")[0].splitlines()
        with (self.folder / "log").open("w") as log:
            process = subprocess.Popen(shlex.split(line), cwd=self.folder, stderr=log, text=True)
        try:
            self.until(lambda: "is listening on" in self.read("log"))
            yield process
        finally:
            process.terminate()
            process.wait()

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask the server."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else orjson.dumps(body),
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request) as answer:
            return orjson.loads(answer.read())

    def say(self, **content: str) -> None:
        """Write in the browser's chat."""
        self.ask("/chat/say", {"adapter": "whatsapp", "user": "+16505557777", "content": content})

    def answers(self) -> list[str]:
        """Return what the bot has said, or nothing while the server starts again."""
        try:
            entries = self.ask("/events?kind=message&masked=false")["entries"]
        except (urllib.error.URLError, ConnectionError):
            return []
        said = [each["event"] for each in entries if each["event"]["direction"] == "outbound"]
        return [each["content"]["text"] for each in said]

    def until(self, is_so: Any) -> None:
        ends = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < ends, self.read("log")
            time.sleep(0.1)


@pytest.fixture
def evening(tmp_path) -> Evening:
    return Evening(tmp_path)


def test_it_can_be_followed(evening):
    """Each step does what the page says: written, tested, chatted with, broken, mended, checked."""
    evening.run_all("Install")
    evening.move_ports()
    evening.write("bot.py", shown("python", "Write it")[0])
    evening.write("test_bot.py", shown("python", "Test it")[0])
    evening.run_all("Test it")
    with evening.serving():
        evening.say(kind="text", text="hello")
        evening.until(lambda: evening.answers() == ["What next?"])
        evening.say(kind="choice", source="button", id="track", title="Track my order")
        evening.until(lambda: evening.answers()[-1:] == ["Which order?"])
        for line in shown("sh", "Chat with it")[1].splitlines():
            evening.run(line)
        evening.say(kind="text", text="Z-9")
        evening.until(lambda: "subscriber bot failed" in evening.read("log"))
        assert re.search(r"KeyError at \S+/bot.py:\d+", evening.read("log"))
        evening.run_all("Break it")
        test, mended = shown("python", "Mend it")
        evening.write("test_bot.py", f"{evening.read('test_bot.py')}\n\n{test}")
        evening.run(shown("sh", "Test it")[0], codes=(1,))
        broken = re.compile(r"def standing.*?\n\n\n", re.DOTALL)
        evening.write("bot.py", broken.sub(f"{mended}\n\n", evening.read("bot.py")))
        evening.until(lambda: "Order Z-9 is not known to us." in evening.answers())
        evening.run_all("Test it")
    evening.run_all("Deploy it")
