"""The adapter of docs/write-an-adapter.md: installed as anybody would, and tried as it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

import bridge

ROOT = Path(__file__).parents[2]
INSTALLED = Path(bridge.__file__).parents[1]
PAGE = ROOT / "docs" / "write-an-adapter.md"
FILE = re.compile(
    r'^```\w+ title="(?P<name>[^"]+)"\n(?P<content>.*?)^```$', re.MULTILINE | re.DOTALL
)
COMMAND = re.compile(r"^```sh\n(bridge .+?)\n```$", re.MULTILINE)


class Project:
    """The page's package in a folder, and beside it what an installation made of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._site = folder / "site"
        for block in FILE.finditer(PAGE.read_text("utf-8")):
            path = folder / block["name"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(block["content"], "utf-8")
        done = self._run(
            *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"),
            *("--no-deps", "--no-build-isolation", "--target", str(self._site), str(folder)),
        )
        assert done.returncode == 0, done.stderr

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the package installed, out of reach of its sources."""
        environ = {
            "PYTHONPATH": os.pathsep.join(map(str, (self._site, INSTALLED, ROOT))),
            "TELEGRAM_SECRET_TOKEN": "x" * 32,
            # Hypothesis works out the categories of Unicode once for each directory.
            "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis"),
        }
        return self._run("-P", *arguments, **environ)

    def _run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, **environ},
            capture_output=True,
            check=False,
            text=True,
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    pytest.importorskip("hatchling", reason="builds the page's package without a network")
    return Project(tmp_path_factory.mktemp("bridge-telegram"))


def test_the_page_shows_every_file(project):
    """The files in the page's drawing of the folder are all there, and named as drawn."""
    drawn = set(re.findall(r"── ([\w.]+\.\w+)", PAGE.read_text("utf-8")))
    written = {path.name for path in project.folder.rglob("*") if path.is_file()}
    assert drawn
    assert drawn <= written


def test_the_adapter_keeps_the_contract(project):
    """The page's own tests pass, `AdapterContract` among them."""
    few_examples = ("-p", "tests.conftest")
    done = project.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *few_examples, "tests")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 20


def test_the_adapter_is_found_by_its_entry_point(project):
    """`bridge adapters` lists it with its distribution, beside the built-in ones."""
    done = project.python("-m", "bridge", "adapters", "--json")
    rows = {row["name"]: row for row in map(orjson.loads, done.stdout.splitlines())}
    assert rows["telegram"]["version"] == "bridge-telegram 1.0"
    assert rows["telegram"]["fault"] is None
    assert "whatsapp" in rows


def test_the_command_prints_what_the_page_shows(project):
    """`bridge normalize telegram` makes the shown event of the shown update."""
    (command,) = COMMAND.findall(PAGE.read_text("utf-8"))
    done = project.python("-m", *command.split())
    assert done.stderr == ""
    expected = orjson.loads((project.folder / "expected.json").read_bytes())
    assert orjson.loads(done.stdout) == expected


def test_the_configuration_is_right(project):
    """`bridge check` finds no mistake and no doubt in the page's configuration."""
    done = project.python("-m", "bridge", "check", "--config", "config.toml")
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (
        0,
        "",
        "config.toml: good",
    )


def test_the_code_is_typed_and_tidy(project):
    """What people copy is as strict as our own code."""
    pytest.importorskip("mypy")
    done = project.python(
        *("-m", "mypy", "--strict", "--no-incremental", "--cache-dir", os.devnull),
        "bridge_telegram",
    )
    assert done.returncode == 0, done.stdout
