"""The README says what is true."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from bridge import Bridge, Text
from bridge.model import EVENT_CLASSES
from bridge.testing.providers import SimulatedProvider
from tests.bridge.outbox.keys import service_account
from tests.bridge.outbox.providers import TABLES
from tests.bridge.serving import PATIENCE, serving

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_it_is_short():
    """It stays under 120 lines."""
    assert len(README.splitlines()) < 120


def test_its_first_example_runs(tmp_path, monkeypatch):
    """The code at its top works with a copy of the example configuration."""
    shutil.copy(ROOT / "config.example.toml", tmp_path / "config.toml")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(blocks("python")[0], names)
    assert {subscriber.name for subscriber in names["bridge"].bus.subscribers} >= {"crm"}


def test_its_body_becomes_an_event():
    """What is to show what a body becomes needs neither a server nor a configuration."""
    (line,) = (block for block in blocks("sh") if "normalize" in block)
    command = line.replace(".venv/bin/bridge", f"{sys.executable} -m bridge")
    done = subprocess.run(["bash", "-ec", command], cwd=ROOT, capture_output=True, check=True)
    event = orjson.loads(done.stdout)
    assert (event["kind"], event["source"]) == ("message", "incs")


SHOWN: dict[str, tuple[str, object]] = {
    "whatsapp": ("interactive", "button"),
    "rcs": ("contentMessage", ["track", "agent"]),
    "incs": ("interactive", "button"),
}


@pytest.mark.parametrize("name", SHOWN)
async def test_its_bot_speaks_with_any_provider(name, tmp_path, monkeypatch, capsys):
    """From one provider to another the TOML changes, and nothing else.

    The bot answers, and hears what became of it.
    """
    monkeypatch.chdir(tmp_path)
    async with SimulatedProvider() as provider:
        (tmp_path / "key.json").write_text(service_account(f"{provider.url}/token"))
        table = TABLES[name].replace("URL", provider.url)
        (tmp_path / "config.toml").write_text(table)
        names: dict[str, object] = {}
        exec(blocks("python")[0], names)
        bridge = names["bridge"]
        assert isinstance(bridge, Bridge)
        adapter = bridge.adapters[name]
        provider.play(adapter)
        async with serving(bridge) as url:
            provider.callbacks.direct(adapter, f"{url}/callbacks/{name}")
            await provider.say("+16505551234", Text(text="hello"))
            async with asyncio.timeout(PATIENCE):
                while "is now read" not in capsys.readouterr().out:
                    await asyncio.sleep(0.01)
            provider.callbacks.direct(adapter, None)
    (arrived,) = provider.arrived
    field, form = SHOWN[name]
    shown = arrived.body[field]
    if name == "rcs":
        assert [each["reply"]["postbackData"] for each in shown["suggestions"]] == form
    else:
        assert shown["type"] == form


def test_every_event_is_in_it():
    """Each class of the model is explained."""
    assert [cls.__name__ for cls in EVENT_CLASSES if f"`{cls.__name__}`" not in README] == []


@pytest.mark.parametrize("name", re.findall(r"`((?:docs|examples)/[\w.-]*|[\w.]+\.toml)`", README))
def test_what_it_names_exists(name):
    """Each file that it points to is there (`config.toml` is the reader's own)."""
    assert name == "config.toml" or (ROOT / name).exists()


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
)
def test_one_sentence_a_line(page):
    """In every page, a line of prose holds one sentence."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    prose = [line for line in text.splitlines() if not line.startswith(("|", "    ", "- ", "  "))]
    assert [line for line in prose if re.search(r"[a-z)`]\. [A-Z]", line)] == []


@pytest.mark.parametrize("language", ["id", "zh-CN"])
def test_a_translation_shows_the_same(language):
    """A translation has the README's code and commands, to the letter and in their order."""
    page = (ROOT / "docs" / f"README.{language}.md").read_text("utf-8")
    shown = re.compile(r"```\w+\n.*?```", re.DOTALL)
    assert shown.findall(page) == shown.findall(README)
