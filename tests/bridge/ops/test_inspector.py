"""The inspector in a real browser: what it shows, what it does, and whom it does not obey."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime
from urllib.parse import urlencode

import attrs
import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from playwright.async_api import expect

from bridge.adapter import Callback
from bridge.adapter.signing import Secret
from bridge.errors import NotAuthentic
from bridge.journal.query import Query
from bridge.model import Origin, Party, Status
from bridge.model.codec import to_dict
from tests.bridge.events import ACCOUNT, created, message, notice, sent, status, unrecognized
from tests.bridge.fakes import TOKEN as PLAIN_TOKEN
from tests.bridge.ops.browser import HOSTILE, WORD, chromium, looked_at

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "a-token-that-nobody-guesses"
VIEWS = ("events", "subscribers", "dead", "unrecognized", "outbox", "sources", "playground")
PHONE = "+16505551234"
AWAY = "the database is away"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser():
    async with chromium() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def one(browser):
    async with looked_at(browser) as looked:
        yield looked


@pytest_asyncio.fixture(loop_scope="module")
async def tab(one):
    async with one.tab() as tab:
        yield tab


async def fill(one) -> dict[str, int]:
    """Publish something for every view; return the positions of what has a page of its own."""
    now = datetime.now(UTC)
    lost, odd = message("lost", text="where is my order?"), unrecognized("odd", received_at=now)
    one.refused[lost.key] = AWAY
    ours = sent("ours", text="On its way.")
    await one.publish(
        message("m", text="hello"),
        lost,
        odd,
        ours,
        status(Status.SENT, "ours"),
        status(Status.DELIVERED, "ours"),
        status(Status.READ, "ours"),
    )
    return {each.key: await one.position(each.key) for each in (lost, odd, ours)}


def pages(positions: dict[str, int]) -> list[str]:
    """Return the addresses of all views."""
    lost, odd, ours = positions.values()
    talks = (f"event/{lost}", f"event/{odd}", f"event/{ours}", f"conversation/{lost}")
    return [f"#/{view}" for view in (*VIEWS, *talks)]


class TestSignIn:
    async def test_only_a_sign_in_without_the_token(self, browser):
        """Elsewhere than in development a token is asked for; before it, nothing else is shown."""
        async with (
            looked_at(browser, token=Secret(TOKEN), developing=False) as one,
            one.tab() as tab,
        ):
            tab.allowed = ("401",)  # browsers write refusals into the console by themselves
            await one.publish(message("m", text="hello"))
            page = await tab.open(heading="Sign in")
            await expect(page.locator("header nav")).to_be_hidden()
            shown = await page.locator("body").inner_text()
            assert " ".join(shown.split()) == (
                "Skip to the content incs-bridge Sign in Token "
                "The token of [admin] in the server's configuration. Sign in"
            )
            await page.get_by_label("Token").fill("wrong")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("alert")).to_have_text("This token is not accepted.")
            await page.get_by_label("Token").fill(TOKEN)
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.locator("ol.events li")).to_have_count(1)
            await page.reload()
            await expect(page.locator("ol.events li")).to_have_count(1)
            assert not any(TOKEN in address for address in (*tab.addresses, page.url))
            assert TOKEN not in await page.content()
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.locator("main h1")).to_have_text("Sign in")
            assert await page.evaluate("sessionStorage.length") == 0

    async def test_no_page_where_nobody_asked_for_one(self, browser):
        """Without a token and outside of development there is no page at all."""
        async with looked_at(browser, developing=False) as one, ClientSession() as session:
            for path in ("/", "/inspector/main.js"):
                async with session.get(one.url + path) as response:
                    assert response.status == 404


class TestOtherSites:
    @pytest.mark.parametrize("token", [None, Secret(TOKEN)])
    async def test_requests_of_other_sites_are_refused(self, browser, token):
        """A page of another site, or of another port here, gets and changes nothing."""
        own = {} if token is None else {"Authorization": f"Bearer {TOKEN}"}
        async with looked_at(browser, token=token) as one, ClientSession(headers=own) as session:
            await one.publish(message("m"))
            for site in ("cross-site", "same-site"):
                headers = {"Sec-Fetch-Site": site}
                async with session.get(f"{one.url}/events", headers=headers) as response:
                    assert response.status == 403
                async with session.post(
                    f"{one.url}/purge", headers=headers, json={"subject": PHONE}
                ) as response:
                    assert response.status == 403
            headers = {"Sec-Fetch-Site": "same-origin", "Origin": one.url}
            async with session.post(
                f"{one.url}/purge", headers=headers, json={"subject": PHONE}
            ) as response:
                assert await response.json() == {"erased": 1}

    @pytest.mark.parametrize("origin", ["https://attacker.example", "null", "http://localhost"])
    async def test_an_origin_of_others_is_refused(self, one, origin):
        """Browsers that do not tell the site still tell the origin of what would change things."""
        async with (
            ClientSession(headers={"Origin": origin}) as session,
            session.post(f"{one.url}/purge", json={"subject": PHONE}) as response,
        ):
            assert response.status == 403

    async def test_the_policy(self, one):
        """Every file forbids inline code, other hosts and frames, and is no script of others."""
        async with ClientSession() as session:
            for path in ("/", "/inspector/main.js", "/inspector/inspector.css"):
                async with session.get(one.url + path) as response:
                    headers = response.headers
                    assert headers["Content-Security-Policy"] == (
                        "default-src 'none'; script-src 'self'; style-src 'self'; "
                        "img-src 'self'; connect-src 'self'; base-uri 'none'; "
                        "form-action 'none'; frame-ancestors 'none'"
                    )
                    assert headers["X-Frame-Options"] == "DENY"
                    assert headers["X-Content-Type-Options"] == "nosniff"
                    assert headers["Referrer-Policy"] == "no-referrer"
                    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"

    async def test_a_page_of_another_site_in_a_browser(self, browser, one):
        """It can neither frame the inspector, nor read or change anything with the user's help."""
        await one.publish(message("m"))
        other = one.url.replace("127.0.0.1", "localhost")  # another site to a browser
        context = await browser.new_context()
        try:
            page = await context.new_page()
            await page.goto(f"{other}/healthz")
            tries = """async (url) => {
                const outcome = (ask) => ask.then((r) => r.type + r.status, () => "refused");
                const body = JSON.stringify({ subject: "+16505551234" });
                const simple = { mode: "no-cors", method: "POST", body };
                await outcome(fetch(`${url}/purge`, simple));
                return [await outcome(fetch(`${url}/events`)), await outcome(fetch(`${url}/`))];
            }"""
            assert await page.evaluate(tries, one.url) == ["refused", "refused"]
            assert len(await one.bridge.journal.search(Query())) == 1
            await page.evaluate(
                """(url) => {
                    const frame = document.createElement("iframe");
                    frame.src = url;
                    document.body.append(frame);
                    return new Promise((resolve) => frame.addEventListener("load", resolve));
                }""",
                one.url,
            )
            assert not await page.frames[-1].locator("header").count()
        finally:
            await context.close()


class TestEvents:
    async def test_they_come_live(self, one, tab):
        """What comes stands at the top at once."""
        await one.publish(message("a"))
        page = await tab.open()
        await expect(page.locator(".state")).to_have_text("live")
        await one.publish(message("b"), status(Status.READ, "a"))
        kinds = page.locator("ol.events .kind")
        await expect(kinds).to_have_text(["status change", "message", "message"])

    async def test_filters_are_in_the_address(self, one, tab):
        """A filter narrows what is shown, also live, and a copy of the address shows the same."""
        await fill(one)
        page = await tab.open()
        await expect(page.locator("ol.events li")).to_have_count(7)
        await page.get_by_text("Filters").click()
        await page.get_by_label("Kind").select_option("status_change")
        await page.get_by_label("Channel").fill("whatsapp")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator("ol.events li")).to_have_count(3)
        assert page.url.endswith("#/events?kind=status_change&channel=whatsapp")
        await page.reload()
        await expect(page.get_by_label("Kind")).to_have_value("status_change")
        await expect(page.locator(".state")).to_have_text("live")
        await one.publish(message("other"), status(Status.READ, "other"))
        await expect(page.locator("ol.events li")).to_have_count(4)

    async def test_a_hundred_thousand(self, one, tab):
        """However many there are, a page holds some of them, and one pages back in time."""
        many = [notice(str(number)) for number in range(1000)]
        for part in range(100):
            await one.bridge.journal.append(
                [attrs.evolve(each, key=f"{each.key}/{part}") for each in many]
            )
        page = await tab.open()
        await expect(page.locator("ol.events li")).to_have_count(100)
        first = page.locator("ol.events li").first
        await expect(first).to_have_attribute("data-position", "100000")
        await page.get_by_role("link", name="Older").click()
        await expect(first).to_have_attribute("data-position", "99900")
        await expect(page.locator(".state")).to_have_text("back in time")
        await tab.open("#/events?before=101")
        await expect(first).to_have_attribute("data-position", "100")
        await page.get_by_role("link", name="Newest").click()
        await expect(first).to_have_attribute("data-position", "100000")

    async def test_more_than_one_can_read(self, one, tab):
        """Of a flood the newest are shown, and where the others are."""
        await one.publish(message("first"))
        page = await tab.open()
        await expect(page.locator(".state")).to_have_text("live")
        await one.bridge.journal.append([message(f"m{number}") for number in range(500)])
        rows = page.locator("ol.events li")
        await expect(rows.first).to_have_attribute("data-position", "501")
        await page.get_by_role("link", name="More came than is shown").first.click()
        await expect(page.locator(".state")).to_have_text("back in time")
        await expect(rows).to_have_count(100)

    async def test_no_gap_where_the_server_starts_again(self, one, tab):
        """What came while nobody answered is shown too, once."""
        tab.allowed = ("ERR_",)  # the browser's own lines about the server that is away
        await one.publish(message("a"))
        page = await tab.open()
        await expect(page.locator(".state")).to_have_text("live")
        await one.publish(message("b"))
        await expect(page.locator("ol.events li")).to_have_count(2)
        await one.go_away()
        await expect(page.locator(".state")).to_have_text("waiting for the server")
        await one.publish(message("c"), message("d"))
        await one.listen()
        await expect(page.locator(".state")).to_have_text("live")
        await one.publish(message("e"))
        await expect(page.locator("ol.events li")).to_have_count(5)

    async def test_nothing_twice_where_the_stream_breaks_behind_an_event(self, one, tab):
        """A stream that broke right behind an event goes on after it, and shows it once."""
        tab.allowed = ("ERR_",)
        asked, broken = [], asyncio.Event()

        async def breaking(route):
            asked.append(route.request.url)
            if len(asked) > 1:
                await route.continue_()
                return
            await one.publish(message("b"))
            (entry,) = await one.bridge.journal.search(Query(after=1))
            told = {"position": entry.position, "event": to_dict(entry.event)}
            stream = (
                f'event: position\ndata: {{"position": {entry.position - 1}}}\n\n'
                f"event: entry\ndata: {orjson.dumps(told).decode()}\n\n"
            )
            await route.fulfill(body=stream, content_type="text/event-stream")
            broken.set()

        await one.publish(message("a"))
        await tab.page.route(lambda url: "/events/follow" in url, breaking)
        page = await tab.open()
        async with asyncio.timeout(30):
            await broken.wait()
        await one.publish(message("c"))
        await expect(page.locator("ol.events li")).to_have_count(3)
        assert "after=1&" in asked[0]
        assert "after=2&" in asked[1]

    async def test_paused(self, one, tab):
        """One who reads can hold still what is shown, and loses nothing."""
        page = await tab.open()
        await expect(page.locator(".state")).to_have_text("live")
        await page.get_by_role("button", name="Pause").click()
        await one.publish(message("a"))
        await expect(page.locator(".state")).to_have_text("paused: 1 event more")
        await expect(page.locator("ol.events li")).to_have_count(0)
        await page.get_by_role("button", name="Go on").click()
        await expect(page.locator("ol.events li")).to_have_count(1)


class TestPersonalData:
    async def test_masked_until_one_asks_and_recorded(self, one, tab, caplog):
        """No text and no number reaches the browser before one asks; that one did is recorded."""
        caplog.set_level(logging.INFO, "bridge.ops")
        seen = []

        async def record(route):
            response = await route.fetch()
            seen.append(await response.text())
            await route.fulfill(response=response)

        await tab.page.route(lambda url: "/events/follow" not in url, record)
        positions = await fill(one)
        for view in pages(positions):
            await tab.open(view)
        assert not any("6505551234" in text or "my order" in text for text in seen)
        assert "personal data is shown" not in caplog.text
        lost = next(iter(positions.values()))
        page = await tab.open(f"#/event/{lost}")
        await page.get_by_label("Personal data").check()
        await expect(page.locator("h1")).to_have_text(f"{PHONE}: where is my order?")
        (record,) = [r for r in caplog.records if r.message == "personal data is shown"]
        assert record.path == "/event"


class TestOneEvent:
    async def test_a_dead_letter_is_understood_and_retried(self, one, tab):
        """From the list to the error's frames, and given again once the subscriber is mended."""
        await fill(one)
        page = await tab.open("#/subscribers")
        await page.locator("td a").click()
        group = page.locator("article.group")
        await expect(group.locator("h2")).to_have_text("1 letter of crm")
        await expect(group.locator("p.error")).to_have_text("ValueError: the database is away")
        await expect(group.locator("pre.frames")).to_contain_text("browser.py")
        await group.locator("li a").click()
        await expect(page.locator(".outcome.dead h3")).to_contain_text("crm")
        one.refused.clear()
        await page.get_by_role("button", name="Retry").click()
        await expect(page.locator(".outcome.done h3")).to_contain_text("crm")
        assert "message/whatsapp/lost" in one.taken

    async def test_letters_of_one_fault_are_one_group(self, one, tab):
        """What one line raised is one group, however it is worded; what differs is told."""
        for number in range(3):
            lost = message(f"lost{number}", text=f"order {number}")
            one.refused[lost.key] = f"shelf {number} has no order {number}"  # the user's own words
        other = message("other")
        one.refused[other.key] = KeyError("sku")
        await one.publish(*(message(f"lost{n}", text=f"order {n}") for n in range(3)), other)
        page = await tab.open("#/dead")
        headings = page.locator("article.group h2")
        await expect(headings).to_have_text(["3 letters of crm", "1 letter of crm"])
        group = page.locator("article.group").first
        await expect(group).to_contain_text("In 3 wordings; the oldest letter's stands here.")
        await expect(group.locator("li p.error")).to_have_text(
            [f"ValueError: shelf {number} has no (7 characters)" for number in (1, 2)]
        )
        one.refused.clear()
        await group.get_by_role("button", name="Retry all 3").click()
        await expect(headings).to_have_text(["1 letter of crm"])

    async def test_dropping_asks_first(self, one, tab):
        """A letter is dropped by keyboard, and only after a question."""
        await fill(one)
        page = await tab.open("#/dead")
        await page.get_by_role("button", name="Drop it").focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Escape")
        assert len(await one.bridge.journal.dead_letters()) == 1
        await page.keyboard.press("Enter")
        await page.get_by_role("dialog").get_by_role("button", name="Drop").press("Enter")
        await expect(page.get_by_text("There are no dead letters.")).to_be_visible()
        assert len(await one.bridge.journal.dead_letters()) == 0

    async def test_raw_beside_told_beside_outcomes(self, one, tab):
        """An event's page shows what came, what is told, who took it, and the message's history."""
        positions = await fill(one)
        page = await tab.open(f"#/event/{positions['message/whatsapp/ours']}")
        await page.get_by_label("Personal data").check()
        sections = page.locator(".columns section")
        await expect(sections.nth(0).locator("pre")).to_contain_text('"from": "16505551234"')
        await expect(sections.nth(1).locator("pre")).to_contain_text('"direction": "outbound"')
        await expect(sections.nth(2).locator("h3")).to_contain_text("crm done")
        await expect(page.locator(".timeline .ticks .heard")).to_have_text(
            ["sent", "delivered", "read"]
        )

    async def test_marks_what_only_the_provider_says(self, one, tab):
        """Values of the raw item that the event leaves out are marked; a phone, a time are not."""
        moment = datetime(2026, 11, 27, 20, 0, tzinfo=UTC)
        raw = {
            "id": "m",
            "from": "16505551234",
            "timestamp": "1795809600",  # date -u -d @1795809600
            "text": {"body": "hello"},
            "waba": ["unheard", {"flag": True, "none": None, "empty": ""}],
        }
        await one.publish(message("m", occurred_at=moment, raw=raw))
        page = await tab.open(f"#/event/{await one.position('message/whatsapp/m')}")
        await page.get_by_label("Personal data").check()
        came = page.get_by_role("region", name="As it came").locator("pre")
        await expect(came.locator("mark")).to_have_text(['"unheard"', "true"])
        await expect(page.locator(".compared")).to_have_text(
            "4 of 6 values in the event too; the 2 marked ones stand only here."
        )
        assert orjson.loads(await came.inner_text()) == raw

    async def test_the_send_that_a_status_is_about(self, one, tab):
        """A status leads to our message by the name that both have, or says that none is kept."""
        ours = created("9001", "wamid.9", text="On its way.")
        about = status(Status.READ, "9001", id_space="incs", resolved=False)
        await one.publish(ours, about, status(Status.READ, "nobody"))
        page = await tab.open(f"#/event/{await one.position('status/whatsapp/wamid.9/read')}")
        told = page.get_by_role("list", name="What it belongs to").locator("li")
        await expect(told).to_contain_text("A status of our message")
        await expect(told).to_contain_text("by its name wamid.9")
        await page.get_by_label("Personal data").check()
        await told.get_by_role("link").click()
        await expect(page.locator("h1")).to_contain_text("On its way.")
        lost = await one.bridge.journal.find("status/whatsapp/nobody/read")
        page = await tab.open(f"#/event/{lost.position}")
        await expect(told).to_have_text("The journal keeps no message of this name.")

    async def test_the_callbacks_that_told_of_it(self, one, tab):
        """Each callback stands with its time, and with its headers, of which no secret is shown."""
        body = orjson.dumps({"messages": [{"id": "m", "text": "hello"}]})
        headers = {"User-Agent": "a provider", "X-Signature": "sha256=abcdef", "X-<b>": HOSTILE}
        for _ in range(2):
            moment = datetime.now(UTC)
            come = Callback(body=body, tail=PLAIN_TOKEN, received_at=moment, headers=headers)
            await one.bridge.receive("plain", come)
        page = await tab.open(f"#/event/{await one.position('plain/message/plain/m')}")
        told = page.get_by_role("region", name="Callbacks that told of it").locator("details")
        await expect(told.locator("summary")).to_have_text(
            [
                re.compile("by plain, this event was published for it$"),
                re.compile("by plain, a repetition: nothing was published for it$"),
            ]
        )
        await told.last.locator("summary").press("Enter")
        cells = told.last.locator("dt, dd")
        await expect(cells).to_have_text(
            [
                *("User-Agent", "a provider", "X-Signature", "sha256=… (length 13)"),
                *("X-<b>", f"… (length {len(HOSTILE)})"),
            ]
        )
        assert await page.evaluate("window.hacked === undefined")

    async def test_callbacks_that_nobody_remembers(self, one, tab):
        """Of an event from before the server's start the page says that its callback is unknown."""
        await one.publish(message("m"), sent("ours", origin=Origin.BRIDGE))
        page = await tab.open(f"#/event/{await one.position('message/whatsapp/m')}")
        told = page.get_by_role("region", name="Callbacks that told of it").locator("p")
        await expect(told).to_contain_text("Not known any more: the server remembers the last 500")
        await tab.open(f"#/event/{await one.position('message/whatsapp/ours')}")
        await expect(told).to_have_text("None: the bridge itself made this event.")

    async def test_found_by_any_of_its_names(self, one, tab):
        """A key under another name, or a provider's id, leads to what was published first."""
        await one.publish(created("9001", "wamid.9", text="On its way."))
        page = await tab.open()
        for name in ("message/incs/9001", "wamid.9"):
            await page.get_by_label("Key or message id").fill(name)
            await page.keyboard.press("Enter")
            said = page.get_by_text(f"The first that was published of {name}.")
            await expect(said).to_be_visible()
            assert page.url.endswith(f"#/event?{urlencode({'key': name})}")
            await page.go_back()
        await page.get_by_label("Key or message id").fill("nothing")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text(
            "the journal keeps no event of this key"
        )
        tab.allowed = ("404",)  # browsers write it into the console by themselves

    async def test_what_completes_what(self, one, tab):
        """A fuller account leads to the poorer one that was published before it, and back."""
        poor = created("9001", text="")
        await one.publish(poor)
        await one.publish(created("9001", "wamid.9", text="On its way."))
        entries = await one.bridge.journal.search(Query())
        page = await tab.open(f"#/event/{entries[-1].position}")
        told = page.get_by_role("list", name="What it belongs to").locator("li")
        await expect(told).to_contain_text("It completes")
        await told.get_by_role("link").click()
        await expect(told).to_contain_text("Completed by")

    async def test_replayed(self, one, tab):
        """A replay reaches the subscriber that one chose."""
        positions = await fill(one)
        key = "message/whatsapp/ours"
        page = await tab.open(f"#/event/{positions[key]}")
        await page.get_by_label("Replay to").select_option("crm")
        await page.get_by_role("button", name="Replay").click()
        await page.get_by_role("dialog").get_by_role("button", name="Replay").click()
        await expect(page.get_by_text("Given again to 1 subscriber.")).to_be_visible()
        async with asyncio.timeout(20):
            while one.taken.count(key) < 2:
                await asyncio.sleep(0.001)

    async def test_copies(self, one, tab):
        """What is shown can be had in a shell, and as a test that runs."""
        positions = await fill(one)
        await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        key = "message/whatsapp/ours"
        page = await tab.open(f"#/event/{positions[key]}")

        async def copied(name: str) -> str:
            await page.get_by_role("button", name=f"Copy as {name}").click()
            await expect(page.locator("#said")).to_have_text(f"Copied as {name}.")
            return await page.evaluate("navigator.clipboard.readText()")

        position = positions[key]
        assert await copied("curl") == f"curl '{one.url}/event?position={position}'"
        assert await copied("command") == f"bridge show '{key}'"
        space: dict = {}
        exec(await copied("test"), space)
        assert space["EVENT"] == (await one.bridge.journal.find(key)).event

    async def test_a_conversation_as_bubbles(self, one, tab):
        """Both sides of a conversation, the newest status on ours, and what comes meanwhile."""
        positions = await fill(one)
        page = await tab.open(f"#/event/{positions['message/whatsapp/ours']}")
        await page.get_by_role("link", name="the conversation").click()
        bubbles = page.locator(".bubble")
        await expect(bubbles).to_have_count(3)
        await page.get_by_label("Personal data").check()
        await expect(bubbles.locator("p")).to_have_text(
            ["hello", "where is my order?", "On its way."]
        )
        await expect(bubbles.last.locator(".ticks .heard")).to_have_text("read")
        await one.publish(message("thanks", text="thanks"), message("x", user="+16505550000"))
        await expect(bubbles.last.locator("p")).to_have_text("thanks")
        await expect(bubbles).to_have_count(4)


class TestStanding:
    async def test_what_holds_up_a_conversation(self, browser):
        """Of a subscriber that fails, one sees the event that blocks each conversation, and why."""
        async with looked_at(browser, tries=2) as one, one.tab() as tab:
            one.refused["message/whatsapp/slow"] = AWAY
            await one.bridge.journal.append([message("slow", text="first"), message("behind")])
            page = await tab.open("#/subscribers")
            await page.get_by_role("link", name="2", exact=True).click()
            row = page.locator("tbody tr")
            await expect(row).to_have_count(1)
            await expect(row).to_contain_text("ValueError: the database is away")
            await page.get_by_role("link", name="Dead letters").click()
            await expect(page.locator("main")).to_contain_text("crm fails, and is given 2 events")
            await page.get_by_role("link", name="2 events").click()
            await row.get_by_role("link").click()
            held = page.locator(".outcome.held")
            await expect(held.locator("pre.frames")).to_contain_text("browser.py")
            one.refused.clear()
            await held.get_by_role("button", name="Try now").click()
            await expect(page.locator(".outcome.done h3")).to_contain_text("crm")

    async def test_unrecognized_is_parsed_again(self, one, tab):
        """What the mended adapter can read now leaves the list, and its events are published."""
        body = {"messages": [{"id": "late", "text": "hello"}]}
        odd = unrecognized("odd", source="plain", raw=body)
        await one.publish(odd, unrecognized("gone", source="nobody"))
        page = await tab.open("#/unrecognized")
        await expect(page.locator("tbody tr")).to_have_count(2)
        await page.get_by_role("button", name="Try to read these 2").click()
        await expect(page.locator("#said")).to_have_text(
            "A dry run: 1 of 2 can be read now; 0 new events."
        )
        await page.get_by_role("button", name="Reparse these 2").click()
        await expect(page.locator("tbody tr")).to_have_count(1)
        assert await one.bridge.journal.find("plain/message/plain/late") is not None

    async def test_sources_tell_who_is_refused_and_why(self, one, tab):
        """Each adapter says when something came last, and what was refused for which reason."""
        now = datetime.now(UTC)
        await one.bridge.receive("plain", Callback(body=b"{}", tail=PLAIN_TOKEN, received_at=now))
        for _ in range(2):
            with pytest.raises(NotAuthentic):
                await one.bridge.receive("plain", Callback(body=b"{}", received_at=now))
        page = await tab.open("#/sources")
        cells = page.locator("tbody tr").locator("th, td")
        await expect(cells.nth(0)).to_have_text("plain")
        await expect(cells.nth(1)).to_contain_text("s ago")
        await expect(cells.nth(2)).to_have_text("2: wrong token")
        await expect(page.locator("dd").first).to_have_text("yes")

    async def test_a_source_that_is_quiet(self, one, tab):
        """Whose last callback is more than 20 minutes ago is told; before that, it is not."""
        now = datetime.now(UTC)
        await one.bridge.receive("plain", Callback(body=b"{}", tail=PLAIN_TOKEN, received_at=now))
        one.metrics.source("plain").accepted_at -= 20 * 60 - 60
        page = await tab.open("#/sources")
        cell = page.locator("tbody td").first
        await expect(cell).to_have_text("19 min ago")
        one.metrics.source("plain").accepted_at -= 61
        await expect(cell).to_have_text("20 min ago: nothing for 20 minutes")

    async def test_a_body_is_tried_as_one_types(self, one, tab):
        """The playground shows a body's events, or what is wrong with it, and keeps nothing."""
        page = await tab.open("#/playground")
        body = orjson.dumps({"messages": [{"id": "x", "text": "hello"}]}).decode()
        await page.get_by_label("Body").fill(body)
        await expect(page.locator("pre")).to_contain_text('"key": "plain/message/plain/x"')
        await page.get_by_label("Body").fill(body[:-1])
        await expect(page.locator("p.error")).to_contain_text("line 1")
        assert await one.bridge.journal.find("plain/message/plain/x") is None


REACHABLE = "a, button, input, select, textarea, summary, [tabindex='0']"
FOCUSED = """() => {
    const element = document.activeElement;
    const style = getComputedStyle(element);
    const label = element.labels?.[0]?.textContent;
    const name = element.getAttribute("aria-label") ?? label ?? element.textContent;
    return {
        tag: element.tagName,
        name: name.trim(),
        isSeen: parseFloat(style.outlineWidth) >= 2 && style.outlineStyle !== "none",
    };
}"""

# The contrast of every text with what is behind it (https://www.w3.org/TR/WCAG22/#contrast-minimum).
CONTRAST = """() => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const channels = (color) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = color;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const part = (value) => {
            const share = value / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        };
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const color = channels(getComputedStyle(each).backgroundColor);
            if (color[3] === 255) return color;
        }
        return [255, 255, 255];
    };
    const poor = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
        const lights = [channels(getComputedStyle(element).color), behind(element)].map(light);
        const contrast = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
        if (contrast < 4.5) poor.push(`${element.tagName}.${element.className} ${contrast}`);
    }
    return poor;
}"""


# Texts of no element of their own: what is null would be shown as such a word.
LOOSE = """() => [...document.querySelector(".view").childNodes]
    .filter((each) => each.nodeType === Node.TEXT_NODE)
    .map((each) => each.data)"""


class TestForEverybody:
    async def test_by_keyboard(self, one, tab):
        """In every view the keyboard reaches everything, visibly, and everything has a name."""
        positions = await fill(one)
        for view in pages(positions):
            page = await tab.open(view)
            await page.locator("main").press("Tab")
            names = set()
            for _ in range(await page.locator(REACHABLE).count() + 2):
                focused = await page.evaluate(FOCUSED)
                if focused["tag"] != "BODY":
                    assert focused["isSeen"], (view, focused)
                    assert focused["name"], (view, focused)
                    names.add(focused["name"])
                await page.keyboard.press("Tab")
            assert {"Events", "Sources"} < names

    async def test_the_link_that_skips(self, one, tab):
        """The first stop leads past the navigation."""
        page = await tab.open("#/events")
        await page.keyboard.press("Tab")
        assert (await page.evaluate(FOCUSED))["name"] == "Skip to the content"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await expect(page.locator("main h1")).to_have_text("Events")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    async def test_small_and_in_both_schemes(self, one, scheme):
        """At 360 pixels nothing sticks out, and every text stands out from what is behind it."""
        positions = await fill(one)
        viewport = {"width": 360, "height": 740}
        async with one.tab(viewport=viewport, color_scheme=scheme) as tab:
            for view in pages(positions):
                page = await tab.open(view)
                await page.get_by_label("Personal data").check()
                assert await page.evaluate("document.documentElement.scrollWidth") <= 360, view
                assert await page.evaluate(CONTRAST) == [], view
                assert await page.evaluate(LOOSE) == [], view


class TestHostile:
    @pytest.mark.parametrize("text", [HOSTILE, WORD], ids=["markup", "long"])
    async def test_a_hostile_message_harms_no_view(self, one, text):
        """Whatever somebody writes is text in every view, runs nowhere, and breaks no page."""
        harm = text[:500]
        raw = {"text": text, harm: text[::-1]}  # which stands nowhere in the event
        party = Party(phone=PHONE, name=text)
        bad = message("bad", text=text, sender=party, channel=harm, raw=raw)
        one.refused[bad.key] = AWAY
        odd = unrecognized("odd", reason=harm, path=harm, raw={harm: text})
        ours = status(Status.FAILED, "bad", word=harm, account=ACCOUNT)
        await one.publish(bad, odd, ours)
        body = orjson.dumps({"messages": [{"id": "come", "text": text}]})
        headers = {"User-Agent": text, harm: text, "X-Forwarded-For": text}
        await one.bridge.receive(
            "plain",
            Callback(body=body, tail=PLAIN_TOKEN, received_at=datetime.now(UTC), headers=headers),
        )
        come = await one.position("plain/message/plain/come")
        async with one.tab(viewport={"width": 360, "height": 740}) as tab:
            positions = {each.key: await one.position(each.key) for each in (bad, odd, ours)}
            for view in (*pages(positions), f"#/event/{come}"):
                page = await tab.open(view)
                await page.get_by_label("Personal data").check()
                await page.locator("main h1").wait_for()
                for told in await page.locator("section summary").all():
                    await told.click()
                if view == "#/events":
                    await expect(page.locator(".state")).to_have_text("live")
                    await one.publish(message("live", text=text, channel=harm))
                    await expect(page.locator("ol.events li")).to_have_count(5)
                if view == "#/playground":
                    body = {"messages": [{"id": "x", "text": text}]}
                    await page.get_by_label("Body").fill(orjson.dumps(body).decode())
                    await expect(page.locator("pre")).to_be_visible()
                shown = await page.locator("main").inner_text()
                assert not any(character in shown for character in "\u202e\u2066\u0007\u001b\u2028")
                assert await page.evaluate("window.hacked === undefined"), view
                assert await page.locator("main :is(script, img, svg, iframe)").count() == 0
                links = page.locator("main a:not([href^='#/'])")
                assert await links.count() == 0, view
                assert await page.evaluate("document.documentElement.scrollWidth") <= 360, view
                # A view that froze would not do this.
                await page.get_by_label("Personal data").uncheck()
