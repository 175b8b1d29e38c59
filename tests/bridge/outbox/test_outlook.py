"""How sending stands, as operators see it: on the inspector's page, and with `bridge outbox`."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from aiohttp import ClientSession
from playwright.async_api import expect

from bridge.cli.main import app as command
from bridge.errors import KeyConflict, OptedOut, WindowClosed
from bridge.journal.memory import MemoryJournal
from bridge.model import ProviderError, Status
from bridge.ops.admin import listening
from bridge.ops.metrics import Metrics
from bridge.outbox.failures import failures
from bridge.outbox.ways import Ways
from bridge.runtime import Bridge
from bridge.settings import AdminSettings, OutboxSettings
from bridge.testing.providers import Trouble
from tests.bridge.events import status
from tests.bridge.ops.browser import PATIENCE, Tab, chromium
from tests.bridge.outbox.test_consent import PROMOTION, choose
from tests.bridge.outbox.trips import USER, planned, told, under_way

NOBODY, DOUBTFUL, LATER = "+16505550001", "+16505550002", "+16505550003"


@asynccontextmanager
async def sending():
    """Send through a provider that fails in every way; give the trip and the listener's URL."""
    async with planned("whatsapp", outbox=OutboxSettings(doubt=600.0)) as trip:
        metrics = Metrics()
        trip.bridge.observe(metrics)
        trip.provider.rules.window = None
        listener = listening(
            trip.bridge.operators, metrics, AdminSettings(port=0, socket=None), developing=True
        )
        async with under_way(trip), listener as url:
            await fail(trip)
            yield trip, url


async def fail(trip) -> None:
    """Send what fails for good, what is in doubt, what is not due yet, and what is refused."""
    bridge, provider = trip.bridge, trip.provider
    provider.clock = lambda: datetime.now(UTC) - timedelta(hours=25)
    await trip.say("long ago")
    await trip.until(lambda: trip.events)
    provider.clock = lambda: datetime.now(UTC)
    with pytest.raises(WindowClosed):
        await bridge.reply(trip.events[0], "hello?")
    with pytest.raises(KeyConflict):
        for words in ("perhaps", "certainly"):
            await bridge.send(LATER, words, via="whatsapp", key="k", not_before=timedelta(hours=1))
    provider.rules.unreachable.add(NOBODY)
    for words in ("one", "two"):
        failing = await bridge.send(NOBODY, words, via="whatsapp")
        assert (await failing.outcome(PATIENCE, until=Status.FAILED)).status is Status.FAILED
    provider.callbacks.loss = 1.0
    provider.troubles.append(Trouble.LOST)
    await bridge.send(DOUBTFUL, "perhaps", via="whatsapp")
    async with asyncio.timeout(PATIENCE):
        while not any(
            one.retry.begun and one.retry.error
            for one in await bridge.operators.held("outbox", limit=9)
        ):
            await asyncio.sleep(0.001)


async def test_everything_is_told_with_what_to_do():
    """What is put off, in doubt, refused and failed is counted; a code comes with its remedy."""
    async with sending() as (_, url), ClientSession(url) as session:
        async with session.get("/outbox", params={"masked": "true"}) as response:
            text = await response.text()
        found = orjson.loads(text)
        assert "6505550" not in text
        assert found["sending"]["waiting"] == 2
        assert (found["put_off"], found["under_way"], found["in_doubt"]) == (1, 0, 1)
        assert [each["begun"] for each in found["held"]] == [False, True]
        assert found["refusals"] == {"window": 1, "key": 1}
        (failure,) = found["failures"]
        assert (failure["code"], failure["count"]) == ("131026", 2)
        assert failure["remedy"] == "unreachable"
        assert failure["advice"] == "The user cannot be reached on this channel: try the next one."
        async with session.get("/outbox", params={"limit": "1"}) as response:
            assert len((await response.json())["held"]) == 1


@pytest.fixture
def printed(tmp_path, capsys):
    """Return what `bridge outbox` prints of the bridge at a URL."""
    config = tmp_path / "config.toml"

    async def run(url: str, *arguments: str) -> str:
        port = url.rpartition(":")[2]
        config.write_text(f'[admin]\nport = {port}\ntoken = "which-nobody-asks-for"\n')
        words = ["outbox", "--config", str(config), *arguments]
        await asyncio.to_thread(command, words, result_action="return_value")
        return capsys.readouterr().out

    return run


async def test_the_command_tells_the_same(printed):
    """`bridge outbox` prints what the page shows, and as JSON what the server says."""
    async with sending() as (_, url):
        text = await printed(url)
        assert "put off\t1 message\nunder way\t0 messages\nin doubt\t1 message\n" in text
        assert "refused\t1 by window, 1 by key\n" in text
        assert "\tin doubt\t" in text
        failed = next(line for line in text.splitlines() if "131026" in line).split("\t")
        assert failed[:3] == ["whatsapp", "failed", "131026"]
        assert failed[-1] == "The user cannot be reached on this channel: try the next one."
        assert orjson.loads(await printed(url, "--json"))["in_doubt"] == 1


async def test_the_page_tells_the_same():
    """In the browser a failure stands beside what to do about it, and leads to the last one."""
    async with chromium() as browser, sending() as (_, url):
        context = await browser.new_context()
        tab = Tab(await context.new_page(), url)
        page = await tab.open("#/outbox")
        facts = page.locator("dl.facts div")
        await expect(facts.filter(has_text="Put off")).to_have_text("Put off1")
        await expect(facts.filter(has_text="In doubt")).to_have_text("In doubt1")
        await expect(page.locator("td", has_text="in doubt")).to_have_count(1)
        await expect(page.locator("li", has_text="1: window")).to_be_visible()
        row = page.get_by_role("region", name="Failures").locator("tbody tr")
        await expect(row).to_contain_text("131026")
        await expect(row).to_contain_text("try the next one")
        await row.get_by_role("link").click()
        await expect(page.locator("h1")).to_contain_text("failed")
        tab.check()
        await context.close()


async def test_nothing_can_be_sent(printed):
    """Without a way out the interface and the command say so."""
    bridge = Bridge(journal=MemoryJournal())
    async with (
        bridge,
        listening(bridge.operators, Metrics(), AdminSettings(port=0, socket=None)) as url,
        ClientSession(url) as session,
        session.get("/outbox") as response,
    ):
        found = await response.json()
        said = await printed(url)
    assert said.startswith("sending\tnothing can be sent")
    assert found["sending"] is None
    assert found["failures"] == []


async def test_who_opted_out_is_refused_by_consent():
    """A refusal by the user's own choice is counted as such."""
    async with told() as bridge:
        await choose(bridge, "stop")
        with pytest.raises(OptedOut):
            await bridge.trip.bridge.send(USER, PROMOTION, via="whatsapp")
        assert bridge.trip.bridge.operators.outbox.refusals == {"consent": 1}


async def test_failures_of_our_own_and_of_an_adapter_that_is_gone():
    """The bridge's own codes have advice of their own; who sends no more has none."""
    own = ProviderError(code="in_doubt", title="+16505550009 may have it")
    async with MemoryJournal() as journal:
        await journal.append(
            [
                status(Status.FAILED, "a", error=ProviderError(code="1")),
                status(Status.EXPIRED, "b"),
                status(Status.FAILED, "c", error=own),
                status(Status.READ, "d"),
            ]
        )
        found = await failures(journal, Ways(time.monotonic))
    assert [(each.status, each.code) for each in found] == [
        (Status.FAILED, "in_doubt"),
        (Status.EXPIRED, None),
        (Status.FAILED, "1"),
    ]
    assert [bool(each.advice) for each in found] == [True, False, False]
    assert found[0].title == "+****09 may have it"
