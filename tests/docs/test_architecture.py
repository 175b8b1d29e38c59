"""The checklists of docs/architecture.md, followed in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import orjson
import pytest

from tests.docs.test_write_an_adapter import FILE, PAGE, ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "bridge").is_dir(), reason="needs the sources")

CHECKLIST = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(
    r'^( *)```toml title="(?P<name>[^"]+)"\n(?P<content>.*?)^\1```$', re.MULTILINE | re.DOTALL
)
COPIED = ("bridge", "adapters", "pyproject.toml", "README.md", "LICENSE", "config.example.toml")


def added(name: str) -> str:
    """Return what the checklist adds to a file."""
    (block,) = [
        textwrap.dedent(match["content"])
        for match in BLOCK.finditer(CHECKLIST.read_text("utf-8"))
        if match["name"] == name
    ]
    return block


class Copy:
    """The project with one channel more, installed without a network beside everything else."""

    def __init__(self, folder: Path) -> None:
        self._project = folder / "project"
        self._site = folder / "site"
        self.folder = folder
        self._project.mkdir()
        for name in COPIED:
            source, target = ROOT / name, self._project / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, target, symlinks=True, ignore=ignored)
            else:
                shutil.copy(source, target)
        self._follow()
        done = self._run(
            *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"),
            *("--no-deps", "--no-build-isolation", "--target", str(self._site)),
            str(self._project),
        )
        assert done.returncode == 0, done.stderr

    def _follow(self) -> None:
        """Do what the checklist says, with the adapter of the other page."""
        adapter = self._project / "adapters" / "telegram"
        adapter.mkdir()
        for block in FILE.finditer(PAGE.read_text("utf-8")):
            name = Path(block["name"])
            if name.parent.name == "bridge_telegram":
                code = block["content"].replace("bridge_telegram", "bridge.adapters.telegram")
                (adapter / name.name).write_text(code, "utf-8")
        header, line = added("pyproject.toml").strip().split("\n")
        pyproject = self._project / "pyproject.toml"
        text = pyproject.read_text("utf-8")
        assert text.count(header + "\n") == 1
        pyproject.write_text(text.replace(header + "\n", f"{header}\n{line}\n"), "utf-8")
        example = self._project / "config.example.toml"
        with example.open("a", encoding="utf-8") as file:
            file.write(added("config.example.toml"))

    def bridge(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command of the copy."""
        return self._run("-P", "-m", "bridge", *arguments, PYTHONPATH=str(self._site))

    def _run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, **environ},
            capture_output=True,
            check=False,
            text=True,
        )

    def uncommented(self) -> Path:
        """Write the example configuration with every setting in force."""
        text = (self._project / "config.example.toml").read_text("utf-8")
        target = self.folder / "every.toml"
        target.write_text(re.sub(r"(?m)^#(?=[^ #\n])", "", text), "utf-8")
        return target


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Copy:
    pytest.importorskip("hatchling", reason="builds the copy without a network")
    return Copy(tmp_path_factory.mktemp("built-in"))


def test_a_new_channel_is_one_of_the_bridges_own(copy):
    """After the three steps the adapter is listed as part of the bridge, and can be made."""
    done = copy.bridge("adapters", "--json")
    rows = {row["name"]: row for row in map(orjson.loads, done.stdout.splitlines())}
    assert rows["telegram"]["version"] == rows["incs"]["version"]
    assert rows["telegram"]["fault"] is None


def test_a_new_channel_can_be_set_up(copy):
    """`bridge init` writes a configuration of it that `bridge check` finds good."""
    done = copy.bridge("init", "--adapter", "telegram", "--yes")
    assert done.stdout == "telegram\thttps://YOUR-HOST/callbacks/telegram\n"
    assert copy.bridge("check").stderr == "config.toml: good\n"


def test_a_new_channel_stands_in_the_example(copy):
    """With every setting of the example in force, `bridge normalize` reads the page's update."""
    (update,) = [
        block["content"]
        for block in FILE.finditer(PAGE.read_text("utf-8"))
        if block["name"] == "update.json"
    ]
    (copy.folder / "update.json").write_text(update, "utf-8")
    config = str(copy.uncommented())
    done = copy.bridge("normalize", "telegram", "update.json", "--config", config)
    event = orjson.loads(done.stdout)
    assert (event["key"], event["account"]) == ("message/telegram/1111%2F1365", "42")
