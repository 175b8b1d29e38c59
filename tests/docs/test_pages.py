"""What the pages show works: their Python runs, their commands and settings exist."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import tomllib
from pathlib import Path
from types import CodeType

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser

from bridge.cli.main import app

ROOT = Path(__file__).parents[2]
# The adapter's page is followed as a whole by a test of its own.
PAGES = [
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "write-an-adapter.md"),
]
COMMAND = re.compile(r"(?:^|&& |[\w.]/)bridge (?P<words>[a-z].*)")
ENDS = re.compile(r"\s*(?:\|\|?|&&|;|\d?>>?|<|&|\)|#)(?:\s|$)")


def run(example: Example) -> None:
    """Run a block of Python, which may await."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    code = compile(source, example.path, "exec", flags=flags, dont_inherit=True)
    assert isinstance(code, CodeType)
    running = eval(code, example.namespace)
    if inspect.isawaitable(running):
        asyncio.run(awaited(running))


async def awaited(running):
    await running


def read_toml(example: Example) -> None:
    """Read a block of TOML."""
    tomllib.loads(example.parsed)


def blocks(page: Path) -> list[Example]:
    """Return what is to be run on a page, invisible set-up included."""
    languages = {"python": run, "toml": read_toml}
    parsers = [CodeBlockParser(language, evaluator) for language, evaluator in languages.items()]
    return list(Sybil(parsers=parsers, path=str(ROOT)).parse(page).examples())


def commands(page: Path) -> list[list[str]]:
    """Return the words of each call of our command in a page's terminals."""
    found = []
    for language, text in re.findall(
        r"^ *```(sh|console)\n(.*?)^ *```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
        for line in text.replace("\\\n", " ").splitlines():
            if language == "console" and not line.lstrip().startswith("$ "):
                continue
            called = COMMAND.search(line.strip().removeprefix("$ "))
            if called is not None:
                found.append(shlex.split(ENDS.split(called["words"])[0]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_blocks_run(page, tmp_path, monkeypatch):
    """Each block of Python on a page runs, in order, and each block of TOML can be read."""
    (tmp_path / "config.toml").write_bytes((ROOT / "config.example.toml").read_bytes())
    monkeypatch.chdir(tmp_path)
    for example in blocks(page):
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_commands_exist(page):
    """Each command that a page shows is understood, with its options."""
    for words in commands(page):
        app.parse_args(words, exit_on_error=False, print_error=False)
