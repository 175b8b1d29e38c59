"""One id runs from a callback to every subscriber's log lines, and to nobody else's."""

import asyncio
import io
import json
import logging
from ipaddress import ip_network

import pytest
from aiohttp import ClientSession

from bridge.adapter import Callback
from bridge.errors import NotAuthentic
from bridge.ingress import request_id
from bridge.journal.memory import MemoryJournal
from bridge.model import Event
from bridge.ops import log
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings, LogSettings, ServerSettings
from tests.bridge.events import NOON, message
from tests.bridge.fakes import TOKEN, Plain
from tests.bridge.serving import PATIENCE, serving

LOCAL = (ip_network("127.0.0.0/8"),)
_log = logging.getLogger("somebodys.bot")


@pytest.fixture
def lines(own_log):
    """Write the log as `bridge serve` does; give the records with an id, by their words."""
    stream = io.StringIO()
    log.configure(LogSettings(format="json", level="debug"), stream=stream)

    def ids(words):
        log.flush(PATIENCE)
        records = map(json.loads, stream.getvalue().splitlines())
        return [r.get("request_id") for r in records if words in r["event"]]

    return ids


class Bot:
    """Subscribers that log: async, plain, and one that fails the first time."""

    def __init__(self, events):
        self.expected = events
        self.done = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.failed = False
        self.seen = []

    def _saw(self, words):
        _log.info(words)
        self.seen.append(request_id.current())
        if len(self.seen) == self.expected:
            self.loop.call_soon_threadsafe(self.done.set)

    async def coroutine(self, event):
        self._saw("in a coroutine")

    def thread(self, event):
        self._saw("in a thread")

    async def fragile(self, event):
        if not self.failed:
            self.failed = True
            raise ValueError("once")
        self._saw("in the end")


def callback(*numbers, tail=TOKEN):
    body = {"messages": [{"id": number, "text": "hello"} for number in numbers or ("1",)]}
    return Callback(body=json.dumps(body).encode(), tail=tail, received_at=NOON)


def bridge_of(*functions, **server):
    bridge = Bridge(
        journal=MemoryJournal(),
        policy=DeliverySettings(first_delay=0.0),
        server=ServerSettings(**server),
    )
    bridge.add_adapter("plain", Plain())
    for function in functions:
        bridge.on(Event)(function)
    return bridge


async def test_every_line_of_a_callback_has_one_id(lines):
    """The callback, its deliveries, retries, and what subscribers log share an id."""
    bot = Bot(events=3)
    async with bridge_of(bot.coroutine, bot.thread, bot.fragile) as bridge:
        await bridge.receive("plain", callback())
        await bot.done.wait()
    [one] = lines("callback accepted")
    assert one.startswith("r")
    assert len(one) == 11
    for words in ("in a coroutine", "in a thread", "in the end", " failed on "):
        assert lines(words) == [one]
    assert set(lines("delivered")) == {one}


async def test_two_callbacks_of_one_task_have_two_ids(lines):
    """An id ends with its callback, and what comes next gets another."""
    bot = Bot(events=2)
    async with bridge_of(bot.coroutine) as bridge:
        for number in ("1", "2"):
            await bridge.receive("plain", callback(number))
            assert request_id.current() is None
        await bot.done.wait()
    accepted = lines("callback accepted")
    assert len(set(accepted)) == 2
    assert sorted(lines("in a coroutine")) == sorted(accepted)


async def test_an_id_of_ones_own_is_kept(lines):
    """Whoever takes requests with another framework can name them."""
    bot = Bot(events=1)
    async with bridge_of(bot.coroutine) as bridge:
        with request_id.using("mine-1"):
            await bridge.receive("plain", callback())
        await bot.done.wait()
    assert lines("callback accepted") == lines("in a coroutine") == ["mine-1"]


async def test_a_refused_callback_has_an_id_too(lines):
    """A refusal is logged with the reason, under the id of its request."""
    async with bridge_of() as bridge:
        with pytest.raises(NotAuthentic, match="wrong token"):
            await bridge.receive("plain", callback(tail="forged"))
    [one] = lines("callback refused")
    assert one.startswith("r")


async def test_a_line_of_nobodys_request_has_no_id(lines):
    """Outside of a callback there is no id, and a field of that name is masked like any other."""
    _log.info("alone")
    _log.info("claimed", extra={"request_id": "\x1b[31m+85268415026"})
    assert lines("alone") == [None]
    assert lines("claimed") == ["\\x1b[31m+****26"]


@pytest.mark.parametrize(
    ("trusted", "headers", "is_taken"),
    [
        (LOCAL, [("X-Request-Id", "550e8400-e29b-41d4-a716-446655440000")], True),
        ((), [("X-Request-Id", "from-a-stranger")], False),
        ((ip_network("10.0.0.0/8"),), [("X-Request-Id", "from-a-stranger")], False),
        (LOCAL, [("X-Request-Id", "one"), ("X-Request-Id", "two")], False),
        (LOCAL, [("X-Request-Id", "")], False),
        (LOCAL, [("X-Request-Id", "x" * 65)], False),
        (LOCAL, [("X-Request-Id", "with space")], False),
        (LOCAL, [("X-Request-Id", "é")], False),
        (LOCAL, [], False),
    ],
)
async def test_a_trusted_proxy_names_its_requests(lines, trusted, headers, is_taken):
    """X-Request-Id is believed once, if it is sane, and only from a trusted proxy."""
    bot = Bot(events=1)
    bridge = bridge_of(bot.coroutine, trusted_proxies=trusted)
    async with serving(bridge) as url, ClientSession() as session:
        async with session.post(
            f"{url}/callbacks/plain/{TOKEN}", data=callback().body, headers=headers
        ) as response:
            assert response.status == 200
        await bot.done.wait()
    [one] = bot.seen
    assert (one in [value for _, value in headers]) is is_taken
    assert lines("in a coroutine") == [one]


async def test_what_is_remembered_is_bounded():
    """However many events come, of so many is it remembered which callback told them."""
    async with bridge_of() as bridge:
        for first in range(0, 3 * request_id.RECENT, 64):
            numbers = [str(number) for number in range(first, first + 64)]
            await bridge.receive("plain", callback(*numbers))
        remembered = bridge.intake.request_ids
        assert request_id.RECENT // 2 <= len(remembered) <= request_id.RECENT
        assert next(reversed(remembered)).endswith(f"/{numbers[-1]}")


async def test_a_repeated_event_stays_with_its_first_request(lines):
    """A duplicate that arrives before the delivery does not take it over."""
    bot = Bot(events=1)
    bridge = bridge_of(bot.coroutine)
    async with bridge:
        for name in ("first", "second"):
            with request_id.using(name):
                await bridge.receive("plain", callback())
        await bot.done.wait()
    assert bot.seen == ["first"]


async def test_what_is_delivered_without_a_callback_has_no_id(lines):
    """An event that no callback of this process told has no id, whoever is named meanwhile."""
    bot = Bot(events=1)
    with request_id.using("another"):
        async with bridge_of(bot.coroutine) as bridge:
            await bridge.journal.append([message()])
            await bot.done.wait()
    assert bot.seen == [None]


async def test_a_callback_that_a_subscriber_gives_on_keeps_the_id(lines):
    """What a subscriber takes for another adapter is of the request that led to it."""
    bot = Bot(events=2)
    bridge = bridge_of(bot.coroutine)
    bridge.add_adapter("other", Plain())

    @bridge.on(Event, domain="plain")
    async def give_on(_):
        await bridge.receive("other", callback("2"))

    async with bridge:
        await bridge.receive("plain", callback("1"))
        await bot.done.wait()
    assert len(lines("callback accepted")) == 2
    assert len(set(lines("callback accepted") + bot.seen)) == 1
