"""What a search is for, and how SQLite walks to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.journal.query import Query, conversation_of, parties_of
from bridge.journal.sqlite import SqliteJournal
from bridge.journal.walking import Span, steps
from bridge.model import ConsentChange, Conversation, Party, ReplyTo, Typing
from tests.bridge.events import BUSINESS, NOON, USER_PHONE, message, notice, status, unrecognized
from tests.bridge.journal.files import Clock, at, ids

_FIELDS = {"key": "k", "source": "t", "channel": "rcs", "occurred_at": NOON, "received_at": NOON}


def consent(**fields) -> ConsentChange:
    return ConsentChange(**_FIELDS, raw={}, party=Party(phone=USER_PHONE), granted=True, **fields)


def typing() -> Typing:
    place = Conversation(id="rcs::+1")
    return Typing(**_FIELDS, raw={}, party=Party(user_id="u"), conversation=place)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_search_is_bounded(limit):
    """Less than one and more than a thousand entries cannot be asked for."""
    with pytest.raises(ValueError, match="limit"):
        Query(limit=limit)


def test_everybody_who_takes_part():
    """Both sides of a message, whom it quotes, and whom a status or consent is about."""
    quoted = Party(phone="+16505550000")
    assert parties_of(message(reply_to=ReplyTo(sender=quoted))) == (
        Party(phone=USER_PHONE),
        BUSINESS,
        quoted,
    )
    assert parties_of(status(recipient=quoted)) == (quoted,)
    assert parties_of(status()) == parties_of(notice()) == parties_of(unrecognized()) == ()
    assert parties_of(consent()) == (Party(phone=USER_PHONE),)
    assert parties_of(typing()) == (Party(user_id="u"),)


def test_the_conversation_of_each():
    """Messages and typing have a conversation, the rest only where one is known."""
    assert conversation_of(message()) == f"whatsapp:30058:{USER_PHONE}"
    assert conversation_of(typing()) == "rcs::+1"
    assert conversation_of(consent(conversation=Conversation(id="c"))) == "c"
    assert conversation_of(consent()) is conversation_of(status()) is None
    assert conversation_of(notice()) is None


@given(st.integers(0, 30_000), st.integers(0, 30_000), st.booleans(), st.integers(1, 1000))
def test_the_steps_cover_the_span_once(after, length, newest_first, limit):
    """Whichever way it is walked, each position of a span is looked at once."""
    query = Query(newest_first=newest_first, limit=limit)
    pieces = list(steps(Span(after, after + length), query))
    in_order = pieces[::-1] if newest_first else pieces
    assert [p for piece in in_order for p in range(piece.after, piece.last)] == list(
        range(after, after + length)
    )


@pytest.mark.parametrize("hours", range(-1, 12))
async def test_a_time_is_found_by_halving(path, hours):
    """Whatever time a search begins at, it finds what came from then on and nothing else.

    There are gaps between the positions, as purged events leave them.
    """
    clock = Clock()
    start = datetime.fromtimestamp(clock.now, UTC)
    async with SqliteJournal(path, **at(clock)) as journal:
        for hour in range(10):
            clock.now = (start + timedelta(hours=hour)).timestamp()
            received_at = start + timedelta(hours=hour)
            gone = message(f"gone{hour}", user="+19995550000", received_at=received_at)
            await journal.append([gone, message(str(hour), received_at=received_at)])
        await journal.purge("+19995550000")
        found = await journal.search(Query(since=start + timedelta(hours=hours)))
        assert [entry.event for entry in found] == [
            event
            for event in (
                message(name, received_at=start + timedelta(hours=int(name)))
                for name in await ids(journal)
            )
            if event.received_at >= start + timedelta(hours=hours)
        ]


async def test_an_empty_journal(path):
    """Where there is nothing, nothing is found."""
    async with SqliteJournal(path) as journal:
        for query in (Query(), Query(newest_first=True), Query(since=NOON), Query(before=1)):
            assert list(await journal.search(query)) == []
