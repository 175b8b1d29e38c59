"""Plain blinker receivers."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from contextlib import asynccontextmanager

import pytest

from bridge.delivery.bus import Bus
from bridge.delivery.delivery import Delivery
from bridge.delivery.receivers import Receivers
from bridge.errors import ConfigurationError
from bridge.journal.memory import MemoryJournal
from bridge.model import Event, Message, Text
from bridge.settings import DeliverySettings
from tests.bridge.events import message, notice

WITHIN = 10.0  # seconds; only a test that fails ever takes that long
ONCE = DeliverySettings(tries=1)


class Got:
    """A receiver that collects events and tells when so many have come."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    async def __call__(self, channel: str, *, event: Event) -> None:
        self.events.append((channel, event.key))
        self._news.set()

    async def until(self, count: int) -> None:
        while len(self.events) < count:
            self._news.clear()
            await self._news.wait()


@pytest.fixture
async def journal():
    async with MemoryJournal() as journal:
        yield journal


@asynccontextmanager
async def serving(journal, bus):
    """Serve whoever connects, and at the end let all of them have everything."""

    async def deliver(name, function, wants):
        return Delivery(name, function, await journal.follow(), wants=wants, policy=ONCE)

    async with Receivers(bus, deliver) as receivers, asyncio.timeout(WITHIN):
        yield receivers
        end = (await journal.follow()).position
        for delivery in receivers.deliveries:
            await delivery.drain(up_to=end)


@pytest.fixture
def bus() -> Bus:
    return Bus()


async def test_a_receiver_gets_the_events_of_its_class_and_channel(journal, bus):
    """Somebody who knows blinker connects to a signal and is called in its way."""
    got = []

    def receive(channel, *, event):
        got.append((channel, event))

    bus.signal(Message).connect(receive, sender="whatsapp")
    async with serving(journal, bus):
        await journal.append([message(), message(channel="rcs"), notice()])
    assert got == [("whatsapp", message())]


@pytest.mark.parametrize("cls", ["message", Text, []])
def test_signals_are_of_event_classes(bus, cls):
    """A word or another class in the place of an event's is told."""
    with pytest.raises(ConfigurationError, match="a signal is of an event class, not "):
        bus.signal(cls)


async def test_the_signal_of_event_carries_every_event(journal, bus):
    """An async receiver connected to the signal of Event is awaited for whatever comes."""
    got = Got()
    bus.signal(Event).connect(got)
    async with serving(journal, bus):
        await journal.append([message("1"), notice("2")])
        await got.until(2)
    assert {channel for channel, _ in got.events} == {"whatsapp"}


async def test_without_receivers_nothing_reads_the_journal(journal, bus):
    """No delivery runs before somebody connects, and none is left when all have gone."""
    got = Got()
    async with serving(journal, bus) as receivers:
        assert receivers.deliveries == ()
        bus.signal(Message).connect(got)
        await receivers.opened()
        assert len(receivers.deliveries) == 1
        bus.signal(Message).disconnect(got)
        assert receivers.deliveries == ()
        await journal.append([message()])
    assert got.events == []


async def test_whoever_connects_while_it_runs_gets_what_comes_next(journal, bus):
    """The first to connect gets the next event and none from before."""
    got = Got()
    async with serving(journal, bus) as receivers:
        await journal.append([message("before")])
        bus.signal(Message).connect(got)
        await receivers.opened()
        await journal.append([message("after")])
        await got.until(1)
    assert got.events == [("whatsapp", message("after").key)]


async def test_a_thread_may_connect(journal, bus):
    """A plain subscriber runs in a thread, and may connect a receiver from there."""
    got = Got()
    async with serving(journal, bus) as receivers:
        await asyncio.to_thread(bus.signal(Message).connect, got)
        await asyncio.sleep(0)
        await receivers.opened()
        await journal.append([message()])
        await got.until(1)


async def test_a_receiver_that_is_held_weakly_goes_with_its_owner(journal, bus):
    """Blinker holds receivers weakly: one that nobody keeps is served no longer."""
    got, kept = Got(), Got()
    bus.signal(Message).connect(got)
    async with serving(journal, bus) as receivers:
        assert len(receivers.deliveries) == 1
        del got
        gc.collect()
        bus.signal(Message).connect(kept)
        await receivers.opened()
        await journal.append([message()])
        await kept.until(1)
        assert len(receivers.deliveries) == 1


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, asyncio.CancelledError])
async def test_one_that_raises_does_not_keep_events_from_the_others(journal, bus, caplog, error):
    """Whatever a receiver raises, the others get everything, and the log names it, no text."""
    got = Got()

    async def broken(channel, *, event):
        raise error(event.content.text)

    bus.signal(Message).connect(broken)
    bus.signal(Message).connect(got)
    with caplog.at_level(logging.WARNING):
        async with serving(journal, bus):
            for n in range(3):
                await journal.append([message(str(n), content=Text(text="a secret word"))])
            await got.until(3)
    assert {record.key for record in caplog.records} == {message(str(n)).key for n in range(3)}
    assert all("broken" in record.subscriber for record in caplog.records)
    assert not any("secret word" in record.getMessage() for record in caplog.records)


async def test_one_that_blocks_does_not_keep_events_from_the_others(journal, bus):
    """A plain receiver hangs in its first event; the others get all of the conversation."""
    release, got = threading.Event(), Got()

    def hang(channel, *, event):
        release.wait(WITHIN)

    bus.signal(Message).connect(hang)
    bus.signal(Message).connect(got)
    async with serving(journal, bus):
        await journal.append([message(str(n)) for n in range(50)])
        await got.until(50)
        release.set()
