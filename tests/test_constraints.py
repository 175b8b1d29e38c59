"""`constraints.txt`: the releases that a deployment takes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"[a-z0-9-]+==[0-9][a-z0-9.]*")
REQUIRED = re.compile(r"([A-Za-z0-9-]+)(?:\[[^]]*\])?>=([0-9.]+)")

pytestmark = pytest.mark.skipif(not (ROOT / "constraints.txt").exists(), reason="needs the sources")


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def test_it_pins_what_runs_and_names_no_address():
    """Each line is a name and a release, and every dependency has one that its floor allows."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert all(PINNED.fullmatch(line) for line in pinned)
    releases = dict(line.split("==") for line in pinned)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    runs = ("service-account", "fsspec", "nats", "postgres", "otel")
    wanted = [*project["dependencies"], *(each for name in runs for each in extras[name])]
    for requirement in wanted:
        found = REQUIRED.match(requirement)
        assert found is not None, requirement
        name, floor = found.groups()
        assert version(releases[name.lower()]) >= version(floor), requirement
