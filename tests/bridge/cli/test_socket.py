"""The commands find a server without a token by its socket."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.bridge.cli.processes import TOKEN

CONFIG = f"""\
[server]
port = 0

[journal]
engine = "memory"

[adapters.incs]
tokens = ["{TOKEN}"]
"""


def configured(folder: Path) -> Path:
    path = folder / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


def started(process, words: bytes = b"listening on") -> str:
    told = []
    for line in process.stderr:
        told.append(line.decode())
        if words in line:
            return "".join(told)
    return pytest.fail("".join(told))


def test_a_command_finds_the_server_by_its_socket(command, start, workplace):
    """Without any setting a command reaches the server, whose banner names the socket."""
    config = configured(workplace)
    process = start("serve", "--log-format", "console")
    assert re.search(r"admin       unix:\S*bridge\.sock", started(process, b"admin  "))
    assert command("subscribers").code == 0
    assert command("subscribers", "--config", str(config)).code == 0  # by its whole path
    process.terminate()
    assert process.wait() == 0
    outcome = command("subscribers")
    assert outcome.code == 1
    assert outcome.err.startswith("error: no server answers at unix:")


def test_a_second_server_is_told(start, workplace):
    """Two servers at one socket are a mistake in the settings, told with its key."""
    configured(workplace)
    started(start("serve"))
    second = start("serve")
    assert second.wait() == 3
    assert b"admin.socket: cannot listen on bridge.sock: another server answers there" in (
        second.stderr.read()
    )


def test_commands_reach_a_server_in_development(command, start, workplace):
    """`serve --dev` without a token has a page for the browser, and the socket for commands."""
    configured(workplace).write_text(CONFIG + "[admin]\nport = 0\n")
    process = start("serve", "--dev")
    assert "http://127.0.0.1:" in started(process, b"admin  ")
    assert command("subscribers").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_socket_is_not_told_anything(command, workplace, monkeypatch):
    """A socket that is somebody else's, in a place where others may write, is not spoken to."""
    configured(workplace)
    path = workplace / "bridge.sock"
    path.touch()
    os.chown(path, 12345, 12345)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("bridge.cli.config._check_owner", lambda _: None)
    outcome = command("subscribers")
    assert outcome.code == 1
    assert "bridge.sock is for the user alone that the server runs as" in outcome.err


def test_a_port_that_is_not_listened_at_is_told(command, workplace):
    """`bridge check` says of a port without a token that only development has it."""
    configured(workplace).write_text(CONFIG + "[admin]\nport = 9000\n")
    outcome = command("check")
    assert (
        "admin.port: warning: for `serve --dev` alone without a token: else it is bridge.sock"
        in outcome.out
    )
