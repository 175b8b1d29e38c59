"""Without a token operators come by a Unix socket, which is its owner's alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError
from bridge.journal.memory import MemoryJournal
from bridge.ops.admin import listening
from bridge.ops.admin.socket import bound
from bridge.ops.metrics import Metrics
from bridge.runtime import Bridge
from bridge.settings import AdminSettings

TOKEN = Secret("a-token-that-nobody-guesses")

LEFT_BEHIND = """
import os, signal, sys
from pathlib import Path
from bridge.ops.admin.socket import bound
with bound(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def administered(settings: AdminSettings, **options):
    return listening(Bridge(journal=MemoryJournal()).operators, Metrics(), settings, **options)


async def status_of(path: Path, what: str = "/healthz", **headers: str) -> int:
    async with (
        ClientSession(connector=UnixConnector(str(path))) as session,
        session.get(f"http://localhost{what}", headers=headers) as response,
    ):
        return response.status


async def test_without_a_token_there_is_no_port(tmp_path: Path):
    """No port is listened at; the socket has mode 0600, answers, and is gone in the end."""
    path = tmp_path / "bridge.sock"
    async with administered(AdminSettings(port=0, socket=path)) as place:
        assert place == f"unix:{path}"
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert await status_of(path) == 200
        assert await status_of(path, "/subscribers") == 200
        assert [each.name for each in os.scandir(tmp_path)] == [path.name]
    assert not any(os.scandir(tmp_path))


async def test_the_mode_does_not_hang_on_the_umask(tmp_path: Path):
    """Whatever the process lets others do with its files, the socket is its owner's."""
    path = tmp_path / "bridge.sock"
    before = os.umask(0)
    try:
        async with administered(AdminSettings(socket=path)):
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_with_a_token_there_is_no_socket(tmp_path: Path):
    """A token, of whatever kind, opens the port and closes the socket."""
    path = tmp_path / "bridge.sock"
    for settings in (
        AdminSettings(port=0, socket=path, token=TOKEN),
        AdminSettings(port=0, socket=path, readers={"wall": TOKEN}),
    ):
        async with administered(settings) as place:
            assert place.startswith("http://127.0.0.1:")
            assert not path.exists()


async def test_a_browser_finds_a_port_while_somebody_develops(tmp_path: Path):
    """In development there are both: a URL for the inspector, and the socket for commands."""
    path = tmp_path / "bridge.sock"
    settings = AdminSettings(port=0, socket=path)
    async with administered(settings, developing=True) as url, ClientSession() as session:
        async with session.get(url) as response:
            assert (response.status, response.content_type) == (200, "text/html")
        assert await status_of(path) == 200


async def test_other_sites_are_refused_by_the_socket_too(tmp_path: Path):
    """Something that forwards a browser to the socket lets no other site's page in."""
    path = tmp_path / "bridge.sock"
    async with administered(AdminSettings(socket=path)):
        assert await status_of(path, "/subscribers", Origin="https://evil.example") == 403
        assert await status_of(path, "/subscribers", Host="evil.example") == 403


async def test_half_open_connections_make_room_at_the_socket(tmp_path: Path):
    """Of 260 that send nothing, 128 stay, and operators are answered meanwhile."""
    path = tmp_path / "bridge.sock"
    async with administered(AdminSettings(socket=path)), asyncio.timeout(30):
        idle = [await asyncio.open_unix_connection(path) for _ in range(260)]
        for reader, _ in idle[: 260 - 128]:
            assert await reader.read() == b""
        assert await status_of(path) == 200
        for _, writer in idle:
            writer.close()


def test_what_a_killed_server_left_behind_is_replaced(tmp_path: Path):
    """A socket at which nobody answers is no hindrance, and no other process's is taken away."""
    path = tmp_path / "bridge.sock"
    killed = subprocess.run([sys.executable, "-c", LEFT_BEHIND, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.is_socket()
    with bound(path):
        with pytest.raises(ConfigurationError, match=r"admin.socket: .*another server answers"):
            bound(path).__enter__()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        path.unlink()
        with bound(path):  # another server's, after somebody removed ours
            pass
    assert list(tmp_path.iterdir()) == []


def test_another_servers_socket_is_left_alone(tmp_path: Path):
    """A server that ends takes away its own socket, and not one that came in its place."""
    path = tmp_path / "bridge.sock"
    first, second = bound(path), bound(path)
    first.__enter__()
    path.unlink()
    second.__enter__()
    first.__exit__(None, None, None)
    assert path.is_socket()
    second.__exit__(None, None, None)
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("taken", "there is something else"),
        ("no/such/directory", "No such file or directory"),
        (f"{'long' * 40}/bridge.sock", "path too long"),
    ],
)
def test_a_socket_that_cannot_be_says_what_to_do(tmp_path: Path, name: str, reason: str):
    """Where there can be no socket, the mistake names the key, the reason and the way out."""
    (tmp_path / "taken").write_text("what somebody needs")
    path = tmp_path / name
    if "long" in name:
        path.parent.mkdir()
    with pytest.raises(ConfigurationError) as caught:
        bound(path).__enter__()
    (problem,) = caught.value.problems
    assert problem.key == "admin.socket"
    assert reason in problem.message
    assert problem.message.endswith("; or set admin.token")
    assert (tmp_path / "taken").read_text() == "what somebody needs"


def test_a_long_path_is_reached_from_nearby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From within the directory a socket is found whose whole path no system would take."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.chdir(folder)
    with bound(folder / "bridge.sock"):
        assert Path("bridge.sock").is_socket()


def test_a_token_to_send_goes_with_an_operators():
    """What may send comes by the port, which is open with an operator's token only."""
    with pytest.raises(ConfigurationError, match="token: is required beside send_token"):
        AdminSettings(send_token=TOKEN)
    assert AdminSettings(send_token=TOKEN, token=Secret("other")).own_socket is None
