"""Reading `[admin]` alone, as the commands do, and durations by themselves."""

from __future__ import annotations

import pytest

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError
from bridge.settings import AdminSettings, load_admin, seconds


def test_nothing_else_is_looked_at(tmp_path):
    """Adapters that are not installed and variables that are not set are nobody's concern here."""
    path = tmp_path / "config.toml"
    path.write_text(
        """
        [admin]
        port = 9000
        token = "${ADMIN}"

        [adapters.nowhere]
        tokens = ["${NOT_SET}"]
        """
    )
    expected = AdminSettings(
        port=9000, socket=tmp_path / "bridge.sock", token=Secret("from the environment")
    )
    assert load_admin(path, {"ADMIN": "from the environment"}) == expected


def test_without_the_table_the_defaults_hold(tmp_path):
    """A file that says nothing of it means the defaults."""
    path = tmp_path / "config.toml"
    path.write_text("")
    assert load_admin(path, {}) == AdminSettings(socket=tmp_path / "bridge.sock")


def test_its_own_mistakes_are_told(tmp_path):
    """What is wrong within the table is told with its line."""
    path = tmp_path / "config.toml"
    path.write_text("[admin]\nprot = 1\nport = 70000\n")
    with pytest.raises(ConfigurationError) as caught:
        load_admin(path, {})
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (2, "admin.prot"),
        (3, "admin.port"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90.0), ("1.5h", 5400.0), ("2d", 172_800.0), ("500ms", 0.5), ("90", 90.0), ("h", None)],
)
def test_durations(text, expected):
    """A duration is a number with its unit, or of seconds."""
    assert seconds(text) == expected
