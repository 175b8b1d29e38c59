"""The signals, and who listens to what."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from bridge.delivery.bus import Bus, Subscriber, as_async, is_async, name_of, raised_at
from bridge.errors import ConfigurationError
from bridge.model import (
    Direction,
    Event,
    Location,
    Media,
    MediaKind,
    Message,
    Notice,
    StatusChange,
    Text,
)
from tests.bridge.events import message, notice, sent, status


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def subscriber(name: str = "crm", **filters: object) -> Subscriber:
    return Subscriber(name=name, function=lambda event: event, **filters)


class TestListens:
    def test_a_subscriber_gets_the_classes_it_asks_for_and_no_others(self):
        """A subscriber to messages and statuses gets both and no notice."""
        bus = Bus()
        crm = subscriber(events=(Message, StatusChange))
        bus.add(crm)
        assert bus.listens(crm, message())
        assert bus.listens(crm, status())
        assert not bus.listens(crm, notice())

    def test_the_event_class_itself_means_every_event(self):
        """A subscriber to Event gets an event of every class."""
        bus = Bus()
        crm = subscriber()
        bus.add(crm)
        assert all(bus.listens(crm, event) for event in (message(), status(), notice()))

    @pytest.mark.parametrize(
        ("filters", "event", "wanted"),
        [
            ({"channel": "whatsapp"}, message(), True),
            ({"channel": "rcs"}, message(), False),
            ({"channel": "rcs"}, message(channel="rcs"), True),
            ({"account": "30058"}, notice(), True),
            ({"account": "30059"}, notice(), False),
            ({"direction": Direction.OUTBOUND}, sent(), True),
            ({"direction": Direction.OUTBOUND}, message(), False),
            ({"direction": Direction.OUTBOUND}, status(), False),
            ({"content": (Text,)}, message(), True),
            ({"content": (Media, Location)}, message(), False),
            (
                {"content": (Media, Location)},
                message(content=Media(media=MediaKind.IMAGE)),
                True,
            ),
            ({"content": (Text,)}, status(), False),
        ],
    )
    def test_filters_let_through_what_they_name(self, filters, event, wanted):
        """Channel, account, direction and content each leave out what they do not name."""
        bus = Bus()
        crm = subscriber(**filters)
        bus.add(crm)
        assert bus.listens(crm, event) is wanted

    def test_whoever_subscribes_later_is_heard_of(self):
        """Who listens is not remembered beyond the next change of it."""
        bus = Bus()
        first, second = subscriber("first"), subscriber("second")
        bus.add(first)
        assert bus.listens(first, message())
        bus.add(second)
        assert bus.listens(second, message())
        bus.remove("first")
        bus.remove("first")
        assert not bus.listens(first, message())
        assert bus.subscribers == (second,)

    def test_a_name_is_taken_once(self):
        """Two subscribers of one name would share their progress, so the second is refused."""
        bus = Bus()
        bus.add(subscriber())
        with pytest.raises(ConfigurationError, match="'crm'"):
            bus.add(subscriber())


class TestPlainReceivers:
    async def test_a_plain_connect_gets_the_channel_and_the_event(self, threads):
        """Somebody who knows blinker connects to a signal and is called its way."""
        got = []

        def receive(channel, *, event):
            got.append((channel, event))

        bus = Bus()
        bus.signal(Message).connect(receive, sender="whatsapp")
        assert bus.heard(message())
        assert not bus.heard(message(channel="rcs"))
        assert not bus.heard(notice())
        await bus.publish(message(), threads)
        await bus.publish(message(channel="rcs"), threads)
        assert got == [("whatsapp", message())]

    async def test_async_receivers_and_those_of_every_event_are_called(self, threads):
        """An async receiver on the signal of Event is awaited for a notice."""
        got = []

        async def receive(channel, *, event):
            got.append((channel, event))

        bus = Bus()
        bus.signal(Event).connect(receive)
        await bus.publish(notice(), threads)
        assert got == [("whatsapp", notice())]

    async def test_a_failing_receiver_does_not_keep_the_event_from_the_others(
        self, threads, caplog
    ):
        """One receiver raises; the other is called, and the log names key and place, no text."""
        got = []

        def broken(channel, *, event):
            raise RuntimeError(event.content.text)

        def receive(channel, *, event):
            got.append(event)

        bus = Bus()
        bus.signal(Message).connect(broken)
        bus.signal(Message).connect(receive)
        with caplog.at_level(logging.ERROR):
            await bus.publish(message(content=Text(text="a secret word")), threads)
        assert len(got) == 1
        (record,) = caplog.records
        assert record.key == "message/whatsapp/wamid.1"
        assert "test_bus.py" in record.where
        assert "secret word" not in caplog.text

    async def test_a_named_subscriber_is_not_a_plain_receiver(self, threads):
        """What the delivery serves from the journal is not called by the signal as well."""
        got = []
        bus = Bus()
        bus.add(Subscriber(name="crm", function=got.append))
        await bus.publish(message(), threads)
        assert got == []
        assert not bus.heard(message())

    def test_sending_by_hand_reaches_named_subscribers_through_their_filters(self):
        """Whoever sends through the signal itself reaches the subscribers that want the event."""
        got = []
        bus = Bus()
        bus.add(Subscriber(name="crm", function=got.append, content=(Text,), events=(Message,)))
        bus.signal(Message).send("whatsapp", event=message())
        bus.signal(Message).send(
            "whatsapp", event=message(content=Location(latitude=0, longitude=0))
        )
        assert got == [message()]


class _Object:
    async def __call__(self, event):
        return event

    def plain(self, event):
        return event


class TestFunctions:
    def test_async_functions_are_told_from_plain_ones(self):
        """Functions, partials of them, methods and objects are looked through."""

        async def function(event): ...

        assert is_async(function)
        assert is_async(partial(partial(function), 1))
        assert is_async(_Object())
        assert not is_async(_Object().plain)
        assert not is_async(print)

    async def test_a_plain_function_runs_in_a_thread(self, threads):
        """A plain function may block, so it does not run on the event loop."""
        ran = []
        await as_async(lambda: ran.append(threading.current_thread()), threads)()
        assert ran != [threading.main_thread()]

    async def test_what_a_plain_function_returns_is_awaited(self, threads):
        """A lambda around an async function works as that function does."""

        async def double(number):
            return 2 * number

        assert await as_async(lambda: double(21), threads)() == 42

    def test_a_function_is_named_as_it_is_in_the_settings(self):
        """The default name of a subscriber is module:name, also of objects and partials."""
        assert name_of(partial(subscriber)) == "tests.bridge.delivery.test_bus:subscriber"
        assert name_of(_Object()) == "tests.bridge.delivery.test_bus:_Object"

    def test_an_exception_that_was_never_raised_has_no_place(self):
        """There is nothing to say about an error without a traceback."""
        assert raised_at(ValueError()) is None


def test_notices_are_heard_by_class():
    """The signal of a class is the one that its events are sent through."""
    bus = Bus()
    bus.signal(Notice).connect(lambda channel, event: None, weak=False)
    assert bus.heard(notice())
