"""A real browser that looks at a real listener; both live in the test's own event loop."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import attrs
import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from bridge.journal.memory import MemoryJournal
from bridge.model import Event, Message, StatusChange
from bridge.ops.admin import listening
from bridge.ops.metrics import Metrics
from bridge.runtime import Bridge
from bridge.settings import AdminSettings, DeliverySettings
from tests.bridge.fakes import Plain

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0  # seconds; only a test that fails ever takes that long
HOSTILE = (
    "<script>window.hacked = 1</script>"
    '<img src=x onerror="window.hacked = 1">'
    '<svg onload="window.hacked = 1"><a href="javascript:window.hacked = 1">x</a></svg>'
    "javascript:window.hacked=1 https://attacker.example/"
    "\u202egnp.exe\u2066\u0000\u0007\u001b[31m\u2028\u00ad</pre></main>"
)
WORD = "w" * 100_000

expect.set_options(timeout=PATIENCE * 1000)


@asynccontextmanager
async def chromium():
    """Give the system's Chromium; in CI its absence is a failure."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing = pytest.fail if "CI" in os.environ else pytest.skip
        missing(f"no browser is installed: none of {', '.join(NAMES)}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found)
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """A page of the browser's, and what it did that a page must not do."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.addresses: list[str] = []
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        self.allowed: tuple[str, ...] = ()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("request", lambda request: self.addresses.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)
        page.on("dialog", lambda dialog: self.dialogs.append(dialog.message))

    def _said(self, message) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    async def open(self, view: str = "#/events", heading: str | None = None) -> Page:
        """Show a view, and wait until it is there."""
        await self.page.goto(f"{self.url}/{view}")
        await self.page.locator("main h1").wait_for()
        if heading:
            await expect(self.page.locator("main h1")).to_have_text(heading)
        return self.page

    def check(self) -> None:
        """Assert that nothing went wrong, and that nobody else was asked for anything."""
        unexpected = [e for e in self.errors if not any(word in e for word in self.allowed)]
        assert unexpected == []
        assert self.dialogs == []
        assert {urlsplit(each).netloc for each in self.addresses} <= {urlsplit(self.url).netloc}


class Looked:
    """A bridge with the subscriber `crm`, which refuses what it is told to, and its listener."""

    def __init__(
        self, browser: Browser, settings: AdminSettings, *, developing: bool, tries: int
    ) -> None:
        self.bridge = Bridge(journal=MemoryJournal())
        self.bridge.add_adapter("plain", Plain())
        self.refused: dict[str, str | Exception] = {}
        self.taken: list[str] = []
        self.metrics = Metrics()
        self.bridge.observe(self.metrics)
        self._settings = settings
        self._developing = developing
        self._browser = browser
        self._listener = AsyncExitStack()
        self.url = ""
        policy = DeliverySettings(tries=tries, first_delay=PATIENCE)

        @self.bridge.on(Message, StatusChange, name="crm", policy=policy, owned=None)
        async def crm(event: Event) -> None:
            if event.key in self.refused:
                why = self.refused[event.key]
                raise ValueError(why) if isinstance(why, str) else why
            self.taken.append(event.key)

    async def listen(self) -> None:
        """Answer at the same place as before."""
        self.url = await self._listener.enter_async_context(
            listening(
                self.bridge.operators, self.metrics, self._settings, developing=self._developing
            )
        )
        port = urlsplit(self.url).port
        self._settings = attrs.evolve(self._settings, port=port)

    async def go_away(self) -> None:
        await self._listener.aclose()

    async def publish(self, *events: Event) -> None:
        """Append events, and wait until the subscriber is done with them."""
        await self.bridge.journal.append(events)
        async with asyncio.timeout(PATIENCE):
            while any(s.lag or s.held for s in await self.bridge.journal.subscribers()):
                await asyncio.sleep(0.001)

    async def position(self, key: str) -> int:
        return (await self.bridge.journal.find(key)).position

    @asynccontextmanager
    async def tab(self, **options):
        """Open a tab of its own, and check in the end that it behaved."""
        context = await self._browser.new_context(**options)
        try:
            tab = Tab(await context.new_page(), self.url)
            yield tab
            tab.check()
        finally:
            await context.close()


@asynccontextmanager
async def looked_at(browser: Browser, *, token=None, developing: bool = True, tries: int = 1):
    """Run a bridge and its listener; its subscriber gives up after so many tries."""
    settings = AdminSettings(port=0, socket=None, token=token)
    looked = Looked(browser, settings, developing=developing, tries=tries)
    async with looked.bridge:
        await looked.listen()
        try:
            yield looked
        finally:
            await looked.go_away()
