"""`bridge check --online` asks each provider whether the credentials work, and sends nothing."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import orjson
import pytest

from bridge.testing.providers import SimulatedProvider, Trouble
from tests.bridge.outbox.keys import service_account
from tests.bridge.outbox.providers import ADAPTERS

TOKEN = "0123456789abcdef0123456789abcdef"


@contextmanager
def playing(name: str, trouble: Trouble | None = None):
    """Run a simulated provider in a thread: the command runs a loop of its own."""
    begun, ended = threading.Event(), []

    async def play() -> None:
        async with SimulatedProvider() as provider:
            provider.play(ADAPTERS[name](provider.url))
            provider.trouble = trouble
            until = asyncio.Event()
            ended.extend((provider, asyncio.get_running_loop(), until))
            begun.set()
            await until.wait()

    thread = threading.Thread(target=asyncio.run, args=(play(),))
    thread.start()
    try:
        assert begun.wait(30)
        yield ended[0]
    finally:
        ended[1].call_soon_threadsafe(ended[2].set)
        thread.join(30)


def whatsapp(url: str, token: str = "EAAJB") -> str:
    return f"""
[adapters.whatsapp]
app_secrets = ["{TOKEN}"]
access_token = "{token}"
phone_number_id = "106540352242922"
base_url = "{url}/v26.0"
"""


def rcs(url: str, token_uri: str = "/token") -> str:
    key = orjson.dumps(service_account(f"{url}{token_uri}")).decode()
    return f"""
[adapters.rcs]
client_tokens = ["{TOKEN}"]
service_account = {key}
agent_id = "example_agent"
base_url = "{url}"
"""


def incs(url: str, code: str = "w") -> str:
    return f"""
[adapters.incs]
tokens = ["{TOKEN}"]
base_url = "{url}"

[[adapters.incs.channels]]
id = 30058
kind = "whatsapp"
business_phone = "6281519236680"
certification_code = "{code}"
"""


@pytest.mark.parametrize(
    ("name", "settings", "account"),
    [
        ("whatsapp", whatsapp, "106540352242922"),
        ("rcs", rcs, "example_agent@rbm.goog"),
        ("incs", incs, "30058"),
    ],
)
def test_credentials_that_work_are_said_to(name, settings, account, command, workplace):
    """Each is named by its account, and nobody gets a message."""
    with playing(name) as provider:
        (workplace / "config.toml").write_text(settings(provider.url))
        outcome = command("check", "--online")
        assert provider.requests
        assert provider.arrived == []
    assert outcome.code == 0
    assert f"adapters.{name}: the credentials of {account} work\n" in outcome.err


@pytest.mark.parametrize(
    ("name", "settings", "place", "words"),
    [
        (
            "whatsapp",
            whatsapp,
            "config.toml:4: adapters.whatsapp.access_token: ",
            "Invalid OAuth access token",
        ),
        ("incs", incs, "config.toml:", "10001: "),
    ],
)
def test_credentials_that_do_not_work_are_a_mistake(  # noqa: PLR0917 - cases and fixtures
    name, settings, place, words, command, workplace
):
    """With the place in the file and the provider's own words, and without the secret."""
    with playing(name) as provider:
        (workplace / "config.toml").write_text(settings(provider.url, "not-the-one"))
        outcome = command("check", "--online")
    assert outcome.code == 3
    line = next(each for each in outcome.lines if "confirm" in each)
    assert line.startswith(place)
    assert words in line
    assert "not-the-one" not in outcome.out + outcome.err
    assert outcome.err.endswith("config.toml: 1 mistake\n")


@pytest.mark.parametrize("trouble", [Trouble.DOWN, Trouble.HTML])
@pytest.mark.parametrize(
    ("name", "settings"), [("whatsapp", whatsapp), ("rcs", rcs), ("incs", incs)]
)
def test_a_provider_that_cannot_be_asked(name, settings, trouble, command, workplace):
    """Nothing is known then: it is told, and the exit code is another one."""
    with playing(name, trouble) as provider:
        (workplace / "config.toml").write_text(settings(provider.url))
        outcome = command("check", "--online")
    assert outcome.code == 1
    assert "the provider does not confirm the credentials" in outcome.out


def test_without_credentials_there_is_nothing_to_ask(command, config):
    """Who only receives is told so, and that the configuration is good."""
    outcome = command("check", "--online")
    assert outcome.code == 0
    assert "no adapter has credentials that a provider could be asked about" in outcome.err


def test_nobody_is_asked_without_the_option(command, workplace):
    """`bridge check` alone contacts no server."""
    with playing("whatsapp") as provider:
        (workplace / "config.toml").write_text(whatsapp(provider.url))
        assert command("check").code == 0
        assert provider.requests == []
