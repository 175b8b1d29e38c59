"""A subscriber that is a URL: what it gets, how it is signed, and what its answers mean."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
from aiohttp import web
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from bridge import Bridge, MemoryJournal, Message, SqliteJournal
from bridge.assembly import subscriber_of
from bridge.errors import ConfigurationError
from bridge.model.codec import decode
from bridge.settings import DeliverySettings, SubscriberEntry
from bridge.testing import sample

SECRET = "whsec_" + base64.b64encode(b"a secret that is long enough 123").decode()
OTHER = base64.b64encode(b"another one, that is long enough").decode()
PATIENCE = 30


class Shop:
    """A receiver on loopback, which answers as it is told to."""

    def __init__(self) -> None:
        self.got: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.answers: list[web.Response] = []
        self.came = asyncio.Event()

    async def receive(self, request: web.Request) -> web.Response:
        self.got.append(request)
        self.bodies.append(await request.read())
        self.came.set()
        return self.answers.pop(0) if self.answers else web.Response(status=204)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.got) < count:
                self.came.clear()
                await self.came.wait()

    def events(self) -> list:
        return [decode(orjson.dumps(orjson.loads(body)["data"])) for body in self.bodies]


@pytest.fixture
async def shop():
    shop = Shop()
    application = web.Application()
    application.router.add_post("/events", shop.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    yield shop
    await runner.cleanup()


@asynccontextmanager
async def posting(shop, *, journal=None, secret=(SECRET,), **policy):
    entry = SubscriberEntry(name="shop", use="webhook", url=shop.url, secret=secret)
    bridge = Bridge(journal=journal or MemoryJournal())
    settings = DeliverySettings(**{"first_delay": 0.01, "jitter": 0, **policy})
    bridge.subscribe(subscriber_of(entry, bridge.media_keeper), policy=settings)
    async with bridge:
        yield bridge


def texts(*words: str) -> list[Message]:
    return [sample("incs/whatsapp-text", text=each) for each in words]


class TestWhatItGets:
    async def test_a_cloud_event(self, shop):
        """An event comes as a CloudEvent in JSON, and its data is the event itself."""
        (event,) = texts("hi")
        async with posting(shop) as bridge:
            await bridge.journal.append([event])
            await shop.until(1)
        told = orjson.loads(shop.bodies[0])
        assert shop.got[0].headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
        assert shop.events() == [event]
        assert {key: told[key] for key in told if key != "data"} == {
            "specversion": "1.0",
            "id": event.key,
            "source": "incs",
            "type": "bridge.message",
            "subject": event.conversation.id,
            "time": event.occurred_at.isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
        }

    async def test_it_is_signed(self, shop):
        """The library of Standard Webhooks accepts it by the secret, and by no other."""
        async with posting(shop) as bridge:
            await bridge.journal.append(texts("hi"))
            await shop.until(1)
        headers = dict(shop.got[0].headers)
        assert Receiver(SECRET).verify(shop.bodies[0], headers)["specversion"] == "1.0"
        with pytest.raises(WebhookVerificationError):
            Receiver(OTHER).verify(shop.bodies[0], headers)
        with pytest.raises(WebhookVerificationError):
            Receiver(SECRET).verify(shop.bodies[0] + b" ", headers)

    async def test_two_secrets(self, shop):
        """While a secret is replaced, a receiver that has either of them accepts it."""
        async with posting(shop, secret=(SECRET, OTHER)) as bridge:
            await bridge.journal.append(texts("hi"))
            await shop.until(1)
        for secret in (SECRET, OTHER):
            Receiver(secret).verify(shop.bodies[0], dict(shop.got[0].headers))

    async def test_each_try_has_the_same_id(self, shop):
        """A receiver recognises a repetition by `webhook-id`; the signature is a new one's."""
        shop.answers = [web.Response(status=500)]
        async with posting(shop) as bridge:
            await bridge.journal.append(texts("hi", "ho"))
            await shop.until(3)
        ids = [request.headers["webhook-id"] for request in shop.got]
        assert ids[0] == ids[1] != ids[2]
        assert all(len(each) == 36 for each in ids)

    async def test_order_and_retries(self, shop):
        """A message that is refused comes again before the one that followed it."""
        shop.answers = [web.Response(status=500), web.Response(status=302), web.Response()]
        async with posting(shop) as bridge:
            await bridge.journal.append(texts("one", "two"))
            await shop.until(4)
        assert [event.content.text for event in shop.events()] == ["one", "one", "one", "two"]


class TestAnswers:
    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    async def test_the_last_try(self, shop, status, caplog):
        """What is refused to the end is a dead letter that names the status, as the log does."""
        shop.answers = [web.Response(status=status) for _ in range(2)]
        async with posting(shop, tries=2) as bridge:
            await bridge.journal.append(texts("one"))
            await shop.until(2)
            async with asyncio.timeout(PATIENCE):
                while not (letters := await bridge.journal.dead_letters()):
                    await asyncio.sleep(0.001)
        assert letters[0].retry.error == f"NotTaken: the receiver answers {status}"
        assert f"NotTaken (the receiver answers {status}) at " in caplog.messages[-1]

    @pytest.mark.parametrize("form", ["seconds", "date"])
    async def test_retry_after(self, shop, form):
        """A receiver that asks for time gets it, in seconds or until a date."""
        due = datetime.now(UTC) + timedelta(hours=1)
        told = "3600" if form == "seconds" else format_datetime(due, usegmt=True)
        shop.answers = [web.Response(status=429, headers={"Retry-After": told})]
        async with posting(shop, max_delay=86400) as bridge:
            await bridge.journal.append(texts("one"))
            await shop.until(1)
            async with asyncio.timeout(PATIENCE):
                while not (held := await self.held(bridge)):
                    await asyncio.sleep(0.001)
        assert abs(held[0].retry.due_at - due.timestamp()) < 60

    @staticmethod
    async def held(bridge):
        return [
            each
            async for page in bridge.journal.unsettled("shop")
            for each in page
            if each.retry.tries
        ]

    async def test_a_retry_after_that_says_nothing(self, shop):
        """A header that is neither is a refusal like any other."""
        shop.answers = [web.Response(status=503, headers={"Retry-After": "soon"})]
        async with posting(shop) as bridge:
            await bridge.journal.append(texts("one"))
            await shop.until(2)

    async def test_gone(self, shop, tmp_path, caplog):
        """After 410 nothing more is posted; at the next start everything comes, in order."""
        journal = SqliteJournal(tmp_path / "bridge.db")
        shop.answers = [web.Response(status=410)]
        async with posting(shop, journal=journal) as bridge:
            await bridge.journal.append(texts("one", "two"))
            await shop.until(1)
            async with asyncio.timeout(PATIENCE):
                while "given nothing more" not in caplog.text:
                    await asyncio.sleep(0.001)
            await bridge.journal.append(texts("three"))
        assert len(shop.got) == 1
        async with posting(shop, journal=journal):
            await shop.until(4)
        words = [event.content.text for event in shop.events()]
        assert words == ["one", "one", "two", "three"]
        assert "the receiver answers 410" in caplog.text

    async def test_nobody_is_there(self, shop, caplog):
        """Where nobody listens the log says so, and names neither path nor secret."""
        entry = SubscriberEntry(
            name="shop", use="webhook", url="http://127.0.0.1:9/hidden", secret=SECRET
        )
        bridge = Bridge(journal=MemoryJournal())
        bridge.subscribe(
            subscriber_of(entry, bridge.media_keeper), policy=DeliverySettings(tries=1)
        )
        async with bridge:
            await bridge.journal.append(texts("one"))
            async with asyncio.timeout(PATIENCE):
                while not await bridge.journal.dead_letters():
                    await asyncio.sleep(0.001)
        assert "Unanswered (no connection to 127.0.0.1:9: " in caplog.text
        assert "hidden" not in caplog.text
        assert SECRET not in caplog.text


class TestSettings:
    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"use": "webhook", "secret": SECRET}, "where a webhook posts to"),
            ({"use": "webhook", "url": "https://a/"}, "what a webhook is signed with"),
            ({"use": "webhook", "url": "ftp://a", "secret": SECRET}, "expected an address"),
            ({"use": "webhook", "url": "https://a/", "secret": "c2hvcnQ="}, "24 to 64"),
            ({"use": "webhook", "url": "https://a/", "secret": "not base64!"}, "24 to 64"),
            ({"use": "console", "url": "https://a/"}, 'url is for use = "webhook"'),
            ({"use": "console", "secret": SECRET}, 'secret is for use = "webhook"'),
        ],
    )
    def test_mistakes(self, fields, told):
        """What a webhook lacks, and what only a webhook has, is told; no secret is quoted."""
        with pytest.raises(ConfigurationError, match=told) as caught:
            SubscriberEntry(name="shop", **fields)
        assert SECRET not in str(caught.value)
