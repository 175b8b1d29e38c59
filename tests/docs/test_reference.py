"""The pages of the reference hold everything that they are the reference of."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from bridge.cli.main import app
from bridge.model import CONTENT_CLASSES, EVENT_CLASSES
from bridge.observer import ACTIONS
from bridge.ops.openapi import openapi

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "operate.md").read_text("utf-8")


@pytest.fixture(scope="module", name="reference")
def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(page: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one."""
    return re.split(r"^#+ ", page.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_event_and_content_has_an_example(reference):
    """Each has its fields and JSON from a sample, or as a program sends it."""
    page = reference.events()
    for cls in (*EVENT_CLASSES, *CONTENT_CLASSES):
        told = section(page, cls.__name__)
        assert f'"kind": "{cls.kind}"' in told, cls
        assert "| field |" in told, cls


def test_every_command_is_there(reference):
    """With its options."""
    page = reference.commands()
    for name in app:
        if not name.startswith("-"):
            assert f"bridge {name}" in page


def test_every_operation_is_there(reference):
    """With each parameter and field of its document."""
    page = reference.http()
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            told = section(page, f"{method.upper()} {path}")
            assert operation["summary"] in told
            for parameter in operation.get("parameters", ()):
                assert f"| `{parameter['name']}` |" in told


def test_no_link_of_it_leads_nowhere(reference):
    """Those within the page of operations are to its own headings."""
    page = reference.http()
    headings = {line.lstrip("# ").lower() for line in page.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= headings


def test_every_metric_is_there(reference):
    """Those that the manual for operating names, with type, meaning and labels."""
    page = reference.metrics()
    named = set(re.findall(r"^\| `(bridge_\w+)`", MANUAL, re.MULTILINE))
    assert len(named) > 10
    assert set(re.findall(r"^\| `(bridge_\w+)`", page, re.MULTILINE)) == named


def test_every_metric_that_a_page_names_exists():
    """Operators copy them into rules: one that is misspelt never fires."""
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "docs" / "grafana.json"]
    told = "\n".join(page.read_text("utf-8") for page in pages if page.stem != "write-an-adapter")
    named = set(re.findall(r"\bbridge_[a-z_]+", told))
    table = set(re.findall(r"^\| `(bridge_\w+)`", MANUAL, re.MULTILINE))
    assert {name.removesuffix("_bucket") for name in named} == table


def test_every_action_of_operators_is_told_with_its_metric():
    """The row names what `action` may be, beside the `request` that is refused."""
    (row,) = re.findall(r"^\| `bridge_operations_total`.*", MANUAL, re.MULTILINE)
    assert set(ACTIONS) <= set(re.findall(r"`(\w+)`", row))
