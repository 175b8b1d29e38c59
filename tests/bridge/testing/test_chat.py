"""Talking to one's own bot in a browser, with no account anywhere."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from datetime import UTC, datetime
from io import BytesIO

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from playwright.async_api import expect

from bridge.adapter.signing import Secret
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.errors import Unsendable
from bridge.journal.memory import MemoryJournal
from bridge.model import (
    Choice,
    Location,
    Media,
    MediaKind,
    Menu,
    Message,
    Option,
    ProviderError,
    Status,
    StatusChange,
    Text,
)
from bridge.ops.admin import listening
from bridge.ops.metrics import Metrics
from bridge.runtime import Bridge
from bridge.settings import AdminSettings
from bridge.testing.chat import rehearsing
from bridge.testing.providers import SimulatedProvider, Trouble
from bridge.testing.samples import find
from tests.bridge.events import status
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


async def test_it_begins_without_scrolling(browser):
    """On a phone the field to write in is on the first screen, also once something was said."""
    async with served(a_bridge(whatsapp=whatsapp())) as one:
        context = await browser.new_context(viewport={"width": 390, "height": 844})
        tab = Tab(await context.new_page(), one.url)
        page = await tab.open("#/chat", heading="Chat")
        field = page.get_by_label("Message")
        await expect(field).to_be_in_viewport(ratio=1)
        await field.fill("hello")
        await page.keyboard.press("Enter")
        await expect(page.locator(".bubble")).to_have_count(2)
        await expect(field).to_be_in_viewport(ratio=1)
        await context.close()


async def test_own_words_are_no_secret(browser, caplog):
    """Who chats with a bot of their own leaves no line in the log about personal data."""
    caplog.set_level(logging.INFO, "bridge.ops")
    async with served(a_bridge(whatsapp=whatsapp())) as one:
        context = await browser.new_context()
        tab = Tab(await context.new_page(), one.url)
        page = await tab.open("#/chat", heading="Chat")
        await page.get_by_label("Message").fill("hello")
        await page.keyboard.press("Enter")
        await expect(page.locator(".bubble").nth(0).locator("p")).to_have_text("hello")
        await context.close()
    assert "personal data is shown" not in caplog.text


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
        await expect(bubbles.nth(4).locator("p")).to_have_text("52.5219, 13.4132")
        await expect(bubbles.nth(5).locator("p")).to_have_text("You are at 52.52 degrees.")
        picture = {"name": "cat.png", "mimeType": "image/png", "buffer": b"meow"}
        await page.get_by_label("Attach").set_input_files(picture)
        await expect(bubbles.nth(7).locator("p")).to_have_text("A nice image.")
        drawer = page.locator(".drawer")
        await drawer.get_by_text("Request 1: /106540352242922/messages", exact=True).click()
        request = drawer.locator("[data-name='request 1'] pre")
        await expect(request).to_contain_text('"Track my order"')
        await drawer.get_by_text("Callback 1: message, text", exact=True).click()
        callback = drawer.locator("[data-name='callback 1'] pre")
        await expect(callback).to_contain_text('"body": "hello"')
        tab.check()
        await context.close()


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.hacked = 1"><script/></svg>'


def a_bridge_that_fetches(name: str, adapter) -> Bridge:
    """Return a bridge with a bot that fetches each file, says its digest, and sends it back."""
    bridge = Bridge(journal=MemoryJournal())
    bridge.add_adapter(name, adapter)

    @bridge.on(Message, content=Media, direction="inbound", name="files")
    async def files(message: Message[Media]) -> None:
        file = await bridge.fetch(message)
        await bridge.reply(message, f"{file.size} {file.sha256}")
        await bridge.reply(message, message.content)

    return bridge


@pytest.mark.parametrize(
    ("name", "make"),
    [("whatsapp", whatsapp), ("rcs", rcs), ("incs", incs)],
    ids=["whatsapp", "rcs", "incs"],
)
async def test_the_bytes_of_a_file(browser, name, make):
    """What one attaches is the file that the bot fetches, and what the bot sends is shown."""
    async with served(a_bridge_that_fetches(name, make())) as one:
        context = await browser.new_context()
        tab = Tab(await context.new_page(), one.url)
        page = await tab.open("#/chat", heading="Chat")
        bubbles = page.locator(".bubble")
        picture = {"name": "dot.png", "mimeType": "image/png", "buffer": PNG}
        await page.get_by_label("Attach").set_input_files(picture)
        told = f"{len(PNG)} {hashlib.sha256(PNG).hexdigest()}"
        await expect(bubbles.nth(1).locator("p")).to_have_text(told)
        for number in (0, 2):
            canvas = bubbles.nth(number).locator("canvas")
            await expect(canvas).to_be_visible()
            assert await canvas.evaluate("({width, height}) => [width, height]") == [1, 1]
        drawing = {"name": "evil.svg", "mimeType": "image/svg+xml", "buffer": SVG}
        await page.get_by_label("Attach").set_input_files(drawing)
        await expect(bubbles).to_have_count(6)
        async with page.expect_download() as saving:
            await bubbles.nth(5).get_by_role("button", name="Save").click()
        saved = await (await saving.value).path()
        assert await asyncio.to_thread(saved.read_bytes) == SVG
        assert await page.evaluate("window.hacked === undefined")
        tab.check()
        await context.close()


@pytest.mark.parametrize(
    ("name", "make"), [("whatsapp", whatsapp), ("rcs", rcs)], ids=["whatsapp", "rcs"]
)
async def test_a_file_of_the_bots_own(browser, name, make):
    """A file that the bot uploads is in its bubble."""
    bridge = Bridge(journal=MemoryJournal())
    bridge.add_adapter(name, make())

    @bridge.on(Message, content=Text, direction="inbound", name="painter")
    async def painter(message: Message[Text]) -> None:
        await bridge.reply(message, await bridge.upload(PNG, via=message, mime_type="image/png"))

    async with served(bridge) as one:
        context = await browser.new_context()
        tab = Tab(await context.new_page(), one.url)
        page = await tab.open("#/chat", heading="Chat")
        await page.get_by_label("Message").fill("paint")
        await page.keyboard.press("Enter")
        await expect(page.locator(".bubble").nth(1).locator("canvas")).to_be_visible()
        tab.check()
        await context.close()


async def test_no_file_where_the_provider_takes_none():
    """Where a provider documents no way to upload, the chat's does not either."""
    bridge = a_bridge(incs=incs())
    async with served(bridge) as one:
        with pytest.raises(Unsendable, match="needs a url"):
            await bridge.upload(PNG, via="incs", mime_type="image/png")
        with pytest.raises(Unsendable, match="send a link"):
            one.chat.senders["incs"].upload(Media(media=MediaKind.IMAGE), "whatsapp", None)


async def test_a_file_that_nobody_has(browser):
    """Of a file that cannot be fetched the bubble says why, and so does a wrong request."""
    bridge = a_bridge(whatsapp=whatsapp())
    async with served(bridge) as one:
        for url in ("http://127.0.0.1:1/cat.png", "http://localhost:1/cat.png"):
            card = Menu("What next?", options=OPTIONS, media=Media(media=MediaKind.IMAGE, url=url))
            await bridge.send(USER, card, via="whatsapp")
        context = await browser.new_context()
        tab = Tab(await context.new_page(), one.url)
        tab.allowed = ("404",)  # browsers write it into the console by themselves
        page = await tab.open("#/chat", heading="Chat")
        said = "the file cannot be fetched: its link leads to an address that is not public"
        await expect(page.locator(".bubble .file")).to_have_text([said, said])
        text = {"kind": "text", "text": "hello"}
        await one.post("/chat/say", adapter="whatsapp", user=USER, content=text)
        for query, detail in (
            ("position=1&card=1", None),
            ("position=999", "position: no message is there"),
            ("position=2", None),
        ):
            async with ClientSession() as session:
                response = await session.get(f"{one.url}/chat/file?{query}")
                told = (await response.json(content_type=None))["detail"]
            assert response.status in (400, 404)
            assert detail in (None, told)
        content = {"kind": "media", "media": "image"}
        refused = await one.post(
            "/chat/say", 400, adapter="whatsapp", user=USER, content=content, file="1"
        )
        assert refused["detail"] == "file: the provider keeps none of this id"
        tab.check()
        await context.close()


async def test_a_file_that_is_too_large():
    """A file has a bound, and what goes beyond it is not kept."""
    async with served(a_bridge(whatsapp=whatsapp())) as one, ClientSession() as session:
        large = (16 << 20) + 1
        address = f"{one.url}/chat/file?adapter=whatsapp"
        async with session.post(address, data=BytesIO(bytes(large))) as response:
            assert (await response.json(content_type=None))["detail"] == "a file may have 16 MiB"
        files = one.chat.providers["whatsapp"].simulation.files
        assert files == {}
        for _ in range(5):
            async with session.post(address, data=BytesIO(bytes(large - 1))) as response:
                last = (await response.json())["file"]
        assert len(files) == 4
        assert last in files


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


async def test_the_page_stays_where_it_is(browser):
    """What is said shows at the conversation's end, and moves no link from under a pointer."""
    async with served(a_bridge(whatsapp=whatsapp())) as one:
        context = await browser.new_context(viewport={"width": 360, "height": 500})
        tab = Tab(await context.new_page(), one.url)
        page = await tab.open("#/chat", heading="Chat")
        await page.get_by_label("Message").wait_for()
        for said in range(6):
            await page.evaluate(
                "scrollTo(0, 0); document.getElementById('words').value = 'hello';"
                "document.querySelector('form.composer').requestSubmit()"
            )
            await expect(page.locator(".bubble")).to_have_count(2 * said + 2)
        assert await page.evaluate("scrollY") == 0
        box = (
            "(({scrollTop, clientHeight, scrollHeight}) => scrollHeight - clientHeight - scrollTop)"
        )
        assert await page.evaluate(f"{box}(document.querySelector('.bubbles'))") <= 1
        tab.check()
        await context.close()


async def test_hostile_words_harm_nothing(browser):
    """Whatever a user says, a bot echoes or a provider's failure tells is text in every view."""
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
        one.chat.providers["whatsapp"].trouble = Trouble.DOWN
        await one.bridge.send(USER, HOSTILE, via="whatsapp")
        error = ProviderError(code=HOSTILE, title=HOSTILE)
        failed = status(Status.FAILED, "x", source="whatsapp", error=error)
        await one.bridge.journal.append([failed])
        for view in ("#/chat", "#/outbox"):
            await tab.open(view)
            await page.get_by_label("Personal data").check()
            if view == "#/outbox":
                table = page.get_by_role("region", name="Held events")
                await expect(table.locator("tbody")).to_contain_text("<script>")
                failures = page.get_by_role("region", name="Failures")
                await expect(failures.locator("tbody")).to_contain_text("<script>")
            assert await page.locator("main :is(script, img, svg, iframe)").count() == 0
            assert await page.evaluate("window.hacked === undefined")
            assert "\u202e" not in await page.locator("main").inner_text()
            assert await page.locator("main a:not([href^='#/'])").count() == 0
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
            await page.get_by_label("Personal data").uncheck()
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
