"""Talking to one's own bot in a browser, with no account anywhere."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from playwright.async_api import expect

from bridge.adapter.signing import Secret
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.journal.memory import MemoryJournal
from bridge.model import Choice, Location, Media, Menu, Message, Option, Status, StatusChange, Text
from bridge.ops.admin import listening
from bridge.ops.metrics import Metrics
from bridge.runtime import Bridge
from bridge.settings import AdminSettings
from bridge.testing.chat import rehearsing
from bridge.testing.providers import SimulatedProvider
from bridge.testing.samples import find
from tests.bridge.ops.browser import HOSTILE, PATIENCE, WORD, Tab, chromium
from tests.bridge.serving import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

USER = "+16505550101"
OPTIONS = (Option("track", "Track my order"), Option("agent", "Talk to us"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser():
    async with chromium() as found:
        yield found


def a_bridge(**adapters) -> Bridge:
    """Return a bridge with a bot, which answers whatever a user says."""
    bridge = Bridge(journal=MemoryJournal())
    for name, adapter in adapters.items():
        bridge.add_adapter(name, adapter)

    @bridge.on(Message, direction="inbound", name="bot")
    async def bot(message: Message) -> None:
        match message.content:
            case Text():
                answer = Menu("What next?", options=OPTIONS)
            case Choice(id=picked):
                answer = f"You picked {picked}."
            case Media(media=media):
                answer = f"A nice {media}."
            case Location(latitude=latitude):
                answer = f"You are at {latitude:.2f} degrees."
        await bridge.reply(message, answer)

    return bridge


class Served:
    """A bridge that is developed on: its listeners, and what it published."""

    def __init__(self, bridge: Bridge, chat, url: str) -> None:
        self.bridge = bridge
        self.chat = chat
        self.url = url

    async def post(self, path: str, status: int = 200, **body) -> dict:
        async with (
            ClientSession() as session,
            session.post(self.url + path, data=orjson.dumps(body)) as response,
        ):
            assert response.status == status, await response.text()
            return await response.json(content_type=None)

    async def get(self, path: str) -> dict:
        async with ClientSession() as session, session.get(self.url + path) as response:
            return await response.json()


class served:  # noqa: N801 - a context manager
    """Serve a bridge as `bridge serve --dev` does."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    async def __aenter__(self) -> Served:
        bridge = self._bridge
        metrics = Metrics()
        bridge.observe(metrics)
        self._chat = rehearsing(bridge)
        chat = await self._chat.__aenter__()
        settings = AdminSettings(port=0, socket=None)
        self._admin = listening(
            bridge.operators, metrics, settings, developing=True, chat=chat.routes()
        )
        url = await self._admin.__aenter__()
        self._public = serving(bridge)
        chat.direct(bridge.adapters, f"{await self._public.__aenter__()}/callbacks")
        return Served(bridge, chat, url)

    async def __aexit__(self, *error) -> None:
        await self._public.__aexit__(*error)
        await self._admin.__aexit__(*error)
        await self._chat.__aexit__(*error)


def whatsapp(**settings) -> WhatsApp:
    return WhatsApp("whatsapp", WhatsAppSettings(app_secrets=(Secret("s"),), **settings))


def rcs() -> Rcs:
    return Rcs("rcs", RcsSettings(client_tokens=(Secret("s"),)))


def incs(*channels: Channel) -> Incs:
    return Incs("incs", IncsSettings(tokens=(Secret("t"),), channels=channels))


async def test_a_conversation_by_hand(browser):
    """One writes, presses a button, sends a place and a picture, and the bot answers each."""
    async with served(a_bridge(whatsapp=whatsapp())) as one:
        context = await browser.new_context()
        tab = Tab(await context.new_page(), one.url)
        page = await tab.open("#/events")
        await page.get_by_role("link", name="Chat").click()
        await page.get_by_label("Message").fill("hello")
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Track my order").click()
        bubbles = page.locator(".bubble")
        await expect(bubbles.nth(3).locator("p")).to_have_text("You picked track.")
        await expect(bubbles.nth(3).locator(".ticks .heard")).to_have_text("read")
        await page.get_by_role("button", name="Location").click()
        await expect(bubbles.nth(5).locator("p")).to_have_text("You are at 52.52 degrees.")
        picture = {"name": "cat.png", "mimeType": "image/png", "buffer": b"meow"}
        await page.get_by_label("Attach").set_input_files(picture)
        await expect(bubbles.nth(7).locator("p")).to_have_text("A nice image.")
        drawer = page.locator(".drawer")
        await drawer.get_by_text("Request 1", exact=True).click()
        request = drawer.locator("[data-name='request 1'] pre")
        await expect(request).to_contain_text('"Track my order"')
        await drawer.get_by_text("Callback 1", exact=True).click()
        callback = drawer.locator("[data-name='callback 1'] pre")
        await expect(callback).to_contain_text('"body": "hello"')
        tab.check()
        await context.close()


async def test_several_users_and_a_provider_in_a_mood(browser):
    """Each user has a conversation of their own; what cannot reach one of them fails."""
    async with served(a_bridge(whatsapp=whatsapp())) as one:
        context = await browser.new_context(viewport={"width": 360, "height": 740})
        tab = Tab(await context.new_page(), one.url)
        page = await tab.open("#/chat", heading="Chat")
        bubbles = page.locator(".bubble")
        await page.get_by_label("Message").fill("hello")
        await page.keyboard.press("Enter")
        await expect(bubbles).to_have_count(2)
        await page.get_by_label("You are").select_option("somebody who hides their phone")
        await expect(bubbles).to_have_count(0)
        await page.get_by_label("Message").fill("hello")
        await page.keyboard.press("Enter")
        await expect(bubbles).to_have_count(2)
        await page.get_by_label("Somebody else").fill("+49 30 901820")
        await page.get_by_role("button", name="Be them").click()
        await expect(bubbles).to_have_count(0)
        await page.get_by_label("Nothing reaches this user").check()
        await page.get_by_label("Message").fill("hello")
        await page.keyboard.press("Enter")
        await expect(bubbles.nth(1).locator(".ticks .heard")).to_have_text("failed")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await page.get_by_role("link", name="Outbox").click()
        await expect(page.locator("tbody tr td").first).to_contain_text("failed · 131026")
        tab.check()
        await context.close()


async def test_hostile_words_harm_nothing(browser):
    """Whatever a user says, a bot echoes or a menu offers is text in the chat too."""
    bridge = Bridge(journal=MemoryJournal())
    bridge.add_adapter("whatsapp", whatsapp())

    @bridge.on(Message, direction="inbound", name="echo")
    async def echo(message: Message) -> None:
        words = message.content.text
        await bridge.reply(message, Menu(words, options=(Option("<b>", "<img src=x>\u202e"),)))

    async with served(bridge) as one:
        context = await browser.new_context(viewport={"width": 360, "height": 740})
        tab = Tab(await context.new_page(), one.url)
        page = await tab.open("#/chat", heading="Chat")
        for words in (HOSTILE, WORD[:4000]):
            content = {"kind": "text", "text": words}
            await one.post("/chat/say", adapter="whatsapp", user=USER, content=content)
        bubbles = page.locator(".bubble")
        await expect(bubbles).to_have_count(4)
        assert await page.locator("main :is(script, img, svg, iframe)").count() == 0
        assert await page.evaluate("window.hacked === undefined")
        assert "\u202e" not in await page.locator("main").inner_text()
        assert await page.locator("main a:not([href^='#/'])").count() == 0
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        tab.check()
        await context.close()


@pytest.mark.parametrize(
    ("name", "make", "channels"),
    [
        ("whatsapp", whatsapp, ["whatsapp"]),
        ("rcs", rcs, ["rcs"]),
        ("incs", incs, ["whatsapp"]),
        (
            "incs",
            lambda: incs(
                Channel(id=1, kind="whatsapp", business_phone="6281519236680"),
                Channel(id=2, kind="rcs", agent_id="agent"),
                Channel(id=3, kind="viber"),
            ),
            ["whatsapp", "rcs", "viber"],
        ),
    ],
    ids=["whatsapp", "rcs", "incs", "incs with channels"],
)
async def test_every_provider_plays(name, make, channels):
    """Without any credentials a bot is asked and answers on every channel of every adapter."""
    contents = (
        {"kind": "text", "text": "hello"},
        {"kind": "choice", "source": "list", "id": "track", "title": "Track my order"},
        {"kind": "location", "latitude": 1, "longitude": 2.5},
        {"kind": "media", "media": "document", "filename": "a.pdf", "mime_type": "application/pdf"},
    )
    async with served(a_bridge(**{name: make()})) as one:
        phones = (await one.get("/chat"))["phones"]
        assert [phone["channel"] for phone in phones] == channels
        for phone in phones:
            for content in contents:
                said = await one.post(
                    "/chat/say", adapter=name, account=phone["account"], user=USER, content=content
                )
                assert said == {"acknowledged": True}
        cursor = await one.bridge.journal.follow(start="beginning")
        wanted = len(phones) * len(contents)
        accepted: set[str] = set()
        async with asyncio.timeout(PATIENCE):
            while len(accepted) < wanted:
                accepted |= {
                    entry.event.correlation
                    for entry in await cursor.read(100)
                    if isinstance(entry.event, StatusChange)
                    and entry.event.status is Status.ACCEPTED
                }
        assert len(one.chat.providers[name].arrived) == wanted


async def test_only_simulated_users_are_simulated():
    """With credentials, what goes to anybody else goes where it always does."""
    async with SimulatedProvider() as real:
        adapter = whatsapp(access_token="token", phone_number_id="1", base_url=real.url)
        real.play(adapter)
        bridge = a_bridge(whatsapp=adapter)
        async with served(bridge) as one:
            real.rules.window = None
            for user in (USER, "+4930901820"):
                sending = await bridge.send(user, "hello", via="whatsapp")
                assert (await sending.outcome(PATIENCE)).status in (Status.ACCEPTED, Status.SENT)
            assert [each.user for each in real.arrived] == ["4930901820"]
            assert len(one.chat.providers["whatsapp"].requests) == 1


async def test_who_wrote_before_the_start_is_answered():
    """An answer to a message that the simulated provider has not brought is delivered too."""
    async with served(a_bridge(whatsapp=whatsapp())) as one:
        callback = find("text", one.bridge.adapters)
        await one.bridge.receive("whatsapp", callback.made({}, datetime.now(UTC)))
        cursor = await one.bridge.journal.follow(start="beginning")
        statuses: list[Status] = []
        async with asyncio.timeout(PATIENCE):
            while not {Status.READ, Status.FAILED} & {*statuses}:
                statuses += [
                    entry.event.status
                    for entry in await cursor.read(100)
                    if isinstance(entry.event, StatusChange)
                ]
        assert Status.FAILED not in statuses


async def test_it_says_that_nothing_really_goes_out(caplog):
    """Without credentials the log says that what is sent reaches nobody."""
    caplog.set_level("INFO", "bridge")
    async with served(a_bridge(whatsapp=whatsapp())):
        pass
    said = "adapter whatsapp has no credentials: all that it sends is simulated"
    assert said in caplog.messages


async def test_what_makes_no_sense_is_refused():
    """A wrong request gets a problem that says what was expected."""
    text = {"kind": "text", "text": "hello"}
    async with served(a_bridge(whatsapp=whatsapp())) as one:
        for body, said in (
            ({"adapter": "viber", "user": USER, "content": text}, "adapter: expected"),
            ({"adapter": "whatsapp", "user": "me", "content": text}, "user: expected"),
            ({"adapter": "whatsapp", "user": USER, "content": {"kind": "order"}}, "content: "),
            ({"adapter": "whatsapp", "user": USER, "content": {"kind": "text"}}, "content: "),
        ):
            assert (await one.post("/chat/say", status=400, **body))["detail"].startswith(said)
        behaved = {"adapter": "whatsapp", "user": USER, "late": 5, "repeats": 1, "fails": True}
        await one.post("/chat/behave", **behaved)
        provider = one.chat.providers["whatsapp"]
        assert (provider.callbacks.delay, provider.callbacks.repeats) == (5, 1)
        assert provider.rules.cannot_reach(USER)
        await one.post("/chat/behave", adapter="whatsapp", user=USER)
        assert (provider.callbacks.delay, provider.callbacks.repeats) == (0, 0)
        assert not provider.rules.cannot_reach(USER)
