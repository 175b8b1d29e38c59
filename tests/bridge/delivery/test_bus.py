"""Which events a named subscriber gets."""

from __future__ import annotations

import pytest

from bridge.delivery.bus import Bus
from bridge.delivery.subscriber import Subscriber
from bridge.errors import ConfigurationError
from bridge.model import Direction, Location, Media, MediaKind, Message, StatusChange, Text
from tests.bridge.events import message, notice, sent, status


def subscriber(name: str = "crm", **filters: object) -> Subscriber:
    return Subscriber(name=name, function=lambda event: event, **filters)


class TestWants:
    def test_a_subscriber_gets_the_classes_it_asks_for_and_no_others(self):
        """A subscriber to messages and statuses gets both and no notice."""
        crm = subscriber(events=(Message, StatusChange))
        assert crm.wants(message())
        assert crm.wants(status())
        assert not crm.wants(notice())

    def test_the_event_class_itself_means_every_event(self):
        """A subscriber to Event gets an event of every class."""
        crm = subscriber()
        assert all(crm.wants(event) for event in (message(), status(), notice()))

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
        assert subscriber(**filters).wants(event) is wanted


class TestBus:
    def test_a_name_is_taken_once(self):
        """Two subscribers of one name would share their progress, so the second is refused."""
        bus = Bus()
        bus.add(subscriber())
        with pytest.raises(ConfigurationError, match="'crm'"):
            bus.add(subscriber())

    def test_a_named_subscriber_is_not_connected_to_the_signals(self):
        """Its delivery serves it from the journal; whoever sends a signal does not reach it."""
        bus = Bus()
        bus.add(subscriber())
        assert not any(signal.receivers for signal in bus.signals.values())
        assert [each.name for each in bus.subscribers] == ["crm"]
