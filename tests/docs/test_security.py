"""The page on security names the test of each thing it says, and each of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::([\w:]+))?`")
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith("|--") and not line.endswith("tried by |")
]


def names_in(path: Path) -> set[str]:
    """Return the tests of a file, also as `Class::test`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_names_its_test(row):
    """The last column of each table names tests that are there."""
    named = NAMED.findall(row.rstrip("| ").rpartition("|")[2])
    assert named
    for path, test in named:
        found = names_in(ROOT / path)
        assert found
        assert not test or test in found


def test_there_are_tables():
    """The rows above are those of the page's tables."""
    assert len(ROWS) > 40
    assert all(len(row.strip("| ").split(" | ")) in {3, 4} for row in ROWS)
