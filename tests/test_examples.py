"""The examples run, as their own words say."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from starlette.testclient import TestClient

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
CASES = ROOT / "tests" / "adapters" / "data" / "incs"
TEXT = (CASES / "quirk-01-channel-id-present" / "request.json").read_bytes()
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
        "starlette_app.py",
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


class TestStarlette:
    @pytest.fixture
    def module(self):
        return example("starlette_app")

    def test_in_another_framework(self, module):
        """Starlette's requests become callbacks, and replies become its responses."""
        with TestClient(module.app) as client:
            response = client.post(f"/callbacks/incs/{module.TOKEN}", content=TEXT)
            assert response.status_code == 200
        assert module.seen == [TEXT_ID]

    def test_errors_are_answered_as_by_our_own_server(self, module):
        """A wrong token, no JSON, a wrong method and too much get the same codes as ever."""
        url = f"/callbacks/incs/{module.TOKEN}"
        with TestClient(module.app) as client:
            assert client.post("/callbacks/incs/wrong", content=TEXT).status_code == 401
            assert client.post(url, content=b"{").status_code == 400
            assert client.put(url, content=TEXT).status_code == 405
            module.MAX_BODY = 10
            assert client.post(url, content=TEXT).status_code == 413
        assert module.seen == []
