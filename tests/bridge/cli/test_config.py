"""Every command finds its configuration in the same places."""

import os
from pathlib import Path

import pytest

from bridge.cli.config import find
from bridge.errors import ConfigurationError
from tests.bridge.cli.conftest import CONFIG
from tests.bridge.settings.test_config_example import EXAMPLE

MISTAKE = "[servr]\n"


def test_the_option_comes_before_the_variable_and_that_before_the_file(
    command, workplace, monkeypatch
):
    """--config wins over $BRIDGE_CONFIG, which wins over ./config.toml."""
    for name in ("option.toml", "variable.toml", "config.toml", "config.example.toml"):
        (workplace / name).write_text(MISTAKE)
    monkeypatch.setenv("BRIDGE_CONFIG", "variable.toml")
    assert command("check", "--config", "option.toml").out.startswith("option.toml:1: ")
    assert command("check").out.startswith("variable.toml:1: ")
    monkeypatch.delenv("BRIDGE_CONFIG")
    assert command("check").out.startswith("config.toml:1: ")
    (workplace / "config.toml").unlink()
    outcome = command("check")
    assert outcome.out.startswith("config.example.toml:1: ")
    assert "note: there is no config.toml, so config.example.toml is used" in outcome.err


@pytest.mark.parametrize("name", ["config.toml", "config.example.toml"])
def test_what_belongs_to_somebody_else_has_to_be_named(tmp_path, monkeypatch, name):
    """A configuration that is found, and that another user has put there, is not used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BRIDGE_CONFIG", raising=False)
    path = tmp_path / name
    path.write_text(CONFIG)
    assert find(None, or_example=True) == Path(name)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        find(None, or_example=True)
    assert find(path, or_example=True) == path


@pytest.mark.parametrize("arguments", [("check",), ("serve",), ("trigger", "--all")])
def test_without_any_configuration_it_says_how_to_make_one(command, arguments):
    """No configuration at all exits with 3 and names the ways to one."""
    outcome = command(*arguments)
    assert outcome.code == 3
    assert "make one with `bridge init`" in outcome.err
    assert "BRIDGE_CONFIG" in outcome.err


def test_the_server_never_runs_on_the_example_by_itself(command, workplace):
    """`serve` wants a configuration of the user's own, or the example by name."""
    (workplace / "config.example.toml").write_text(CONFIG)
    outcome = command("serve")
    assert outcome.code == 3
    assert "there is no configuration" in outcome.err


def test_a_file_that_is_not_there_is_a_configuration_error(command):
    """A missing file named on the command line is told by its name."""
    outcome = command("trigger", "--all", "--config", "nowhere.toml")
    assert outcome.code == 3
    assert outcome.err == "error: nowhere.toml: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("arguments", [("check",), ("serve",), ("trigger", "text")])
def test_a_file_called_bridge(command, config, workplace, arguments):
    """A program that has the package's own name is told to rename itself, before it is searched."""
    (workplace / "bridge.py").write_text("raise AssertionError('nothing is run')\n")
    outcome = command(*arguments)
    assert outcome.code == 3
    told = f"{workplace}/bridge.py: hidden by the package `bridge` of incs-bridge, so rename this"
    assert told in outcome.out + outcome.err


def test_the_example_comes_with_the_command(start, command, workplace):
    """`bridge config` prints the example, whole, and `bridge check` finds no mistake in it."""
    process = start("config")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out == EXAMPLE.read_bytes()
    (workplace / "config.toml").write_bytes(out)
    assert command("check").code == 0
