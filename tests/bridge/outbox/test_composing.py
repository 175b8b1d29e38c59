"""What callers give is checked before anything is kept, and told in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid5

import pytest

from bridge.errors import ConfigurationError, Unfetchable, Unsendable
from bridge.model import Media, MediaKind, Menu, Native, Option, Party, Reaction, Template
from tests.bridge.outbox.trips import USER, planned, under_way

PNG = "https://example.com/a.png"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (5, "expected a text or a content, found a int"),
        (None, "found a NoneType"),
        ({"text": "hello"}, "found a dict"),
        (Media(media="picture", url=PNG), "expected one of image, audio"),
        (Menu("?", options=["a"]), r"expected an object @ content\.options\[0\]"),
        (Menu("?", options=[Option(1, "A")]), "expected a string"),
        (Reaction(message_id="1", emoji=5), "expected a string"),
        (Native({"type": object()}), "does not fit into JSON"),
        (Native({1: "a"}), "does not fit into JSON"),
        ("a word \ud800", "does not fit into JSON"),
        ("x" * 4096 * 51, "51 messages, and 50 are possible"),
    ],
)
async def test_what_is_no_content(content, said):
    """It is refused with what is wrong, and nothing is made durable."""
    async with planned("whatsapp") as trip, under_way(trip):
        with pytest.raises(Unsendable, match=said):
            await trip.bridge.send(USER, content, via="whatsapp")
        assert (await trip.bridge.journal.follow()).position == 0


async def test_a_key_gives_the_same_id_in_every_version():
    """It is the UUID of version 5 (RFC 9562, 5.5) of the trust domain and the key.

    Another one would send again what had been sent before an upgrade.
    """
    space = UUID("6d1a3c8e-52b1-5c3f-9d0a-0c8d4e2b7f11")
    async with planned("whatsapp") as trip, under_way(trip):
        for key in map(str, range(64)):
            sending = await trip.bridge.send(USER, "hello", via="whatsapp", key=key)
            assert sending.message_id == str(uuid5(space, f"whatsapp/{key}"))


async def test_words_do_as_well_as_members():
    """A word of an enumeration is the member that it names."""
    async with planned("whatsapp") as trip, under_way(trip):
        sending = await trip.bridge.send(USER, Media(media="image", url=PNG), via="whatsapp")
        assert sending.messages[0].content.media is MediaKind.IMAGE


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key": 5}, "a key is"),
        ({"key": "a\nb"}, "a key is"),
        ({"key": ""}, "a key is"),
        ({"force": "yes"}, "force: expected"),
        ({"otherwise": "hello"}, "otherwise: expected a template"),
        ({"fallback": "rcs"}, "fallback: expected a list"),
        ({"fallback": [5]}, "fallback: expected a list"),
        ({"fallback": None}, "fallback: expected a list"),
        *(
            ({name: when}, f"{name} is neither a time nor a duration")
            for name in ("not_before", "expires")
            for when in ("soon", "", float("nan"), float("inf"), 1e300, True, [], timedelta.max)
        ),
        ({"expires": datetime(2026, 1, 1)}, "a time without its zone"),  # noqa: DTZ001
        *(
            ({name: when}, f"{name} is beyond the years 1 to 9999 of UTC")
            for name in ("not_before", "expires")
            for when in (
                datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
                datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
            )
        ),
        # Neither is shown in the request that is made now.
        (
            {"otherwise": Template(name="a", language="en", category="\ud800")},
            "does not fit into JSON",
        ),
        ({"not_before": "2h", "expires": "1h"}, "it would expire before it may go"),
    ],
)
async def test_what_cannot_be_asked(options, said):
    """It is refused with the name of what is wrong."""
    async with planned("whatsapp") as trip, under_way(trip):
        with pytest.raises(Unsendable, match=said):
            await trip.bridge.send(USER, "hello", via="whatsapp", **options)
        assert (await trip.bridge.journal.follow()).position == 0


@pytest.mark.parametrize(
    "to",
    [
        *(None, 16505551234, "", "Maya Doe", "US.1\n2"),
        *("0170 1234567", "0170/1234567", "01701234567", "+", "1234", "4" * 16),
        *(Party(), Party(phone="01701234567"), Party(phone="Maya")),
    ],
)
async def test_nobody_to_send_to(to):
    """Whom nothing names is told so."""
    async with planned("whatsapp") as trip, under_way(trip):
        with pytest.raises(Unsendable, match="nobody to send to"):
            await trip.bridge.send(to, "hello", via="whatsapp")


async def test_a_name_that_is_no_text():
    """It goes into no request, and into the journal neither."""
    async with planned("whatsapp") as trip, under_way(trip):
        with pytest.raises(Unsendable, match="does not fit into JSON"):
            await trip.bridge.send(Party(phone=USER, name="\ud800"), "hello", via="whatsapp")
        assert (await trip.bridge.journal.follow()).position == 0


async def test_an_id_has_an_end():
    """A user id is no longer than those that providers may tell."""
    async with planned("whatsapp") as trip, under_way(trip):
        for to in ("US." + "1" * 510, Party(user_id="US." + "1" * 510)):
            with pytest.raises(Unsendable, match="more than 512 bytes"):
                await trip.bridge.send(to, "hello", via="whatsapp")


async def test_a_way_that_is_no_word():
    """No account is meant by None, though some have no name."""
    async with planned("whatsapp") as trip, under_way(trip):
        with pytest.raises(ConfigurationError, match="via: expected a word, found None"):
            await trip.bridge.send(USER, "hello", via=None)


async def test_only_messages_are_answered():
    """What a subscriber got instead, as a list of a burst or a status, is named."""
    async with planned("whatsapp") as trip, under_way(trip):
        sending = await trip.bridge.send(USER, "hello", via="whatsapp")
        change = await sending.outcome(10)
        for other in ([], change, "hello"):
            with pytest.raises(Unsendable, match=f"found a {type(other).__name__}"):
                await trip.bridge.reply(other, "hello")


async def test_what_is_no_message_and_no_conversation():
    """Whatever else a program gives is named, whichever it calls."""
    async with planned("whatsapp") as trip, under_way(trip):
        bridge = trip.bridge
        for other in ([], None):
            found = f"found a {type(other).__name__}"
            for asked in (bridge.react(other, "👍"), bridge.mark_read(other)):
                with pytest.raises(Unsendable, match=found):
                    await asked
            with pytest.raises(Unfetchable, match=found):
                await bridge.fetch(other)
            for asked in (bridge.window(other), bridge.take(other), bridge.pause(other, for_=1)):
                with pytest.raises(ConfigurationError, match=f"conversation: .*{found}"):
                    await asked


async def test_what_is_over_before_it_begins():
    """A message that has expired is told as expired, and does not go."""
    async with planned("whatsapp") as trip, under_way(trip):
        for expires in (datetime.now(UTC) - timedelta(hours=1), "0s", -5):
            sending = await trip.bridge.send(USER, "hello", via="whatsapp", expires=expires)
            assert (await sending.outcome(10)).error.code == "expired"
        assert trip.provider.requests == []
