"""The examples run, as their own words say."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp import ClientSession

from bridge import Bridge, MemoryJournal
from bridge.assembly import subscriber_of
from bridge.settings import SubscriberEntry
from bridge.testing import sample

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
CASES = ROOT / "tests" / "adapters" / "data" / "incs"
OLD = (CASES / "quirk-01-channel-id-present" / "request.json").read_bytes()
TEXT = OLD.replace(b'"1756109460"', b'"%d"' % time.time())  # what is old is not taken
TEXT_ID = "wamid.HBgLODUyNjg0MTUwMjYVAgASGBQzQUY1Qjc4MUQzNjM3OTk1QUVENQA="


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run_here():
    """No example stands in the folder without a test below."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "aiohttp_app.py",
        "asyncio_app.py",
        "django_app.py",
        "exactly_once.py",
        "fastapi_app.py",
        "webhook_receiver.py",
    }


async def test_in_an_aiohttp_application(tmp_path, aiohttp_client, capsys):
    """The application's own page and the bridge's callbacks are served side by side."""
    config = Path(shutil.copy(ROOT / "config.example.toml", tmp_path))
    client = await aiohttp_client(example("aiohttp_app").make_app(config))
    assert (await client.get("/")).status == 200
    url = "/callbacks/incs/example-token-replace-me"
    assert (await client.post(url, data=TEXT)).status == 200
    await client.close()
    assert "said something in 5 letters" in capsys.readouterr().out


def test_in_any_asyncio_program():
    """The command that it tells acknowledges a callback, and the subscriber prints its event."""
    told = re.search(r"`python (.*)`", example("asyncio_app").__doc__ or "")
    assert told is not None
    done = subprocess.run(
        [sys.executable, *told[1].split()],
        capture_output=True,
        check=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert set(done.stdout.splitlines()) == {"acknowledged with 200", f"message {TEXT_ID}"}


@pytest.mark.parametrize(("name", "app"), [("fastapi_app", "app"), ("django_app", "application")])
async def test_in_a_framework(name, app, tmp_path):
    """The command that it tells serves both its own page and callbacks, kept in a SQLite file."""
    config = Path(shutil.copy(ROOT / "config.example.toml", tmp_path / "config.toml"))
    told = f"uvicorn {name}:{app} --app-dir examples"
    assert f"`{told}`" in (EXAMPLES / f"{name}.py").read_text()
    command = [sys.executable, "-m", *told.split(), "--port=0"]
    server = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=os.environ | {"BRIDGE_CONFIG": str(config)}, stderr=PIPE
    )
    try:
        async with asyncio.timeout(60):
            url = await listening_at(server)
        async with ClientSession(url) as client:
            address = "/callbacks/incs/example-token-replace-me"
            async with client.post(address, data=TEXT) as response:
                assert response.status == 200
            async with client.post("/callbacks/incs/wrong", data=TEXT) as response:
                assert response.status == 401
            async with asyncio.timeout(60):
                while (page := await page_of(client)) == {"messages": 0}:
                    pass
            assert page == {"messages": 1}
    finally:
        server.terminate()
        await server.communicate()
    assert (tmp_path / "bridge.db").exists()


async def page_of(client: ClientSession) -> dict[str, int]:
    async with client.get("/") as page:
        return await page.json()


async def listening_at(server: asyncio.subprocess.Process) -> str:
    assert server.stderr is not None
    lines = []
    async for line in server.stderr:
        lines.append(line.decode())
        found = re.search(r"running on (http://[\d.:]+)", lines[-1])
        if found is not None:
            return found[1]
    raise AssertionError("".join(lines))


async def test_two_workers_are_told_what_to_do(tmp_path):
    """A second process on the same journal ends with the first one's number and the ways out."""
    config = shutil.copy(ROOT / "config.example.toml", tmp_path / "config.toml")
    command = [sys.executable, "-m", "uvicorn", "fastapi_app:app", "--app-dir=examples", "--port=0"]
    env = os.environ | {"BRIDGE_CONFIG": str(config)}
    first = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=env, stderr=PIPE)
    try:
        async with asyncio.timeout(60):
            await listening_at(first)
            second = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=env, stderr=PIPE)
            _, said = await second.communicate()
    finally:
        first.terminate()
        await first.communicate()
    assert second.returncode == 3
    assert f"(process {first.pid})" in said.decode()
    for way in ("run one worker", "`bridge serve`", "several processes share"):
        assert way in said.decode()


async def test_a_webhook_receiver(tmp_path, unused_tcp_port):
    """It takes what a bridge posts with its secret, and refuses everything else."""
    secret = base64.b64encode(b"thirty-two bytes of randomness!!").decode()
    env = os.environ | {"WEBHOOK_SECRET": secret, "PORT": str(unused_tcp_port)}
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    command = [sys.executable, "-u", "examples/webhook_receiver.py"]
    receiver = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=env, stdout=PIPE)
    assert receiver.stdout is not None
    try:
        assert b"Running on" in await receiver.stdout.readline()
        await receiver.stdout.readline()
        bridge = Bridge(journal=MemoryJournal())
        entry = SubscriberEntry(name="shop", use="webhook", url=url, secret=secret)
        bridge.subscribe(subscriber_of(entry, bridge.media_keeper))
        event = sample("incs/whatsapp-text")
        async with bridge, ClientSession() as client, asyncio.timeout(60):
            await bridge.journal.append([event])
            told = await receiver.stdout.readline()
            async with client.post(url, json={}) as response:
                assert response.status == 401
        assert told.decode() == f"bridge.message {event.key}\n"
    finally:
        receiver.terminate()
        await receiver.communicate()
