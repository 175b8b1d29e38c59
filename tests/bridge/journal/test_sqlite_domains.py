"""A journal of before there were trust domains: upgraded, it goes on as if there had been."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import apsw

from bridge.journal.protocol import Appended, Entry, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.model import (
    Conversation,
    Event,
    Message,
    Notice,
    Party,
    Status,
    StatusChange,
    Unrecognized,
)
from bridge.model.keys import conversation_id, in_domain
from bridge.testing.sample_events import read
from tests.bridge.events import ACCOUNT, created, message, status
from tests.bridge.journal.files import everything

FORMAT_4 = Path(__file__).parent / "data" / "format-4.sql"
LATER = datetime(2099, 1, 1, tzinfo=UTC)
GONE = message("wamid.gone", user="+16505559999", source="meta")
WAITING = message(
    "wamid.W",
    user="+16505550003",
    source="incs",
    settle=60.0,
    received_at=LATER,
    aliases=("55",),
    id_space="incs",
)
BEHIND = message("wamid.X", user="+16505550003", source="meta")
# What the file was made of: the events of two adapters in the order in which they were appended.
HISTORY = (
    message("wamid.A", source="incs"),
    created("77", "wamid.B", source="incs"),
    status(Status.READ, "wamid.B", source="incs"),
    status(
        Status.SENT,
        "88",
        resolved=False,
        id_space="incs",
        channel="incs",
        account=None,
        source="incs",
    ),
    created("88", "wamid.C", user="+16505550002", source="incs"),
    message("wamid.D", user="+16505550009", source="incs"),
    message(
        "wamid.E",
        sender=Party(phone="+16505550009", user_id="US.9"),
        user="+16505550009",
        source="incs",
    ),
    message(
        "wamid.F",
        sender=Party(user_id="US.7"),
        conversation=Conversation(id=conversation_id("whatsapp", ACCOUNT, "US.7")),
        source="incs",
    ),
    message("wamid.F2", user="+16505550070", source="incs"),
    message(
        "wamid.G",
        sender=Party(user_id="US.7", phone="+16505550070"),
        user="+16505550070",
        source="incs",
    ),
    message("wamid.H", user="+16505550001", source="meta"),
    created("99", "wamid.I", user="+16505550001", source="meta"),
)


def make(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(FORMAT_4.read_text())
    connection.pragma("journal_mode", "wal")
    connection.close()


def opened(path: Path) -> SqliteJournal:
    return SqliteJournal(path, keep=1e10, absolute_limit=1e10)


def own(event: Event, domain: str | None = None) -> Event:
    """Return an event as its adapter's now."""
    return in_domain(event, domain or event.source)


async def entries_of(journal: SqliteJournal) -> list[Entry]:
    """Return everything but what waited, once that has come out."""
    cursor = await journal.follow(start=Start.BEGINNING)
    await read(cursor, len(HISTORY) + 2)  # a notice is told beside them
    return [entry for entry in await everything(journal) if entry.event != own(BEHIND)]


async def events_of(journal: SqliteJournal) -> list[Event]:
    return [entry.event for entry in await entries_of(journal)]


async def test_events_are_what_they_would_be_in_domains(path, tmp_path):
    """All that was published reads as if each adapter had had its domain from the beginning."""
    make(path)
    async with SqliteJournal(tmp_path / "new.db") as new:
        for event in HISTORY:
            await new.append([own(event)])
        expected = await everything(new)
    async with opened(path) as journal:
        found = await entries_of(journal)
        assert await journal.find("incs/message/whatsapp/wamid.A") == found[0]
        assert await journal.find("message/whatsapp/wamid.A") is None
    assert [entry.event for entry in found] == [entry.event for entry in expected]
    assert [entry.lane for entry in found] == [entry.lane for entry in expected]
    assert any(isinstance(entry.event, Notice) for entry in found)


async def test_what_was_known_is_known_in_its_own_domain(path):
    """A repetition is known where the original came from, under every key; elsewhere it is new."""
    make(path)
    async with opened(path) as journal:
        again = [own(event) for event in HISTORY]
        assert await journal.append(again) == Appended(published=0, duplicates=len(again))
        alias = own(created("77", source="incs"))
        assert await journal.append([alias]) == Appended(published=0, duplicates=1)
        stolen = own(message("wamid.A", source="meta"))
        assert await journal.append([stolen]) == Appended(published=1, duplicates=0)


async def test_what_was_erased_stays_erased(path):
    """A key whose event is gone tells of no adapter: it is known to all that the journal has."""
    make(path)
    async with opened(path) as journal:
        both = [own(GONE), own(GONE, "incs")]
        assert await journal.append(both) == Appended(published=0, duplicates=2)
    async with opened(path) as journal:  # now read back from the file
        assert await journal.append(both) == Appended(published=0, duplicates=2)


async def test_statuses_and_users_go_on(path):
    """A status knows how far its message was, and a name its user's conversation."""
    make(path)
    async with opened(path) as journal:
        before = len(await events_of(journal))
        late = own(
            status(
                Status.DELIVERED,
                "77",
                channel="incs",
                source="incs",
                account=None,
                resolved=False,
                id_space="incs",
            )
        )
        named = own(
            message(
                "wamid.J",
                sender=Party(user_id="US.9"),
                conversation=Conversation(id=conversation_id("whatsapp", ACCOUNT, "US.9")),
                source="incs",
            )
        )
        await journal.append([late, named])
        delivered, said = (await events_of(journal))[before:]
    assert isinstance(delivered, StatusChange)
    assert (delivered.message_id, delivered.current, delivered.advanced) == (
        "wamid.B",
        Status.READ,
        False,
    )
    assert isinstance(said, Message)
    assert said.conversation.id == "incs/whatsapp:30058:+16505550009"


async def test_what_waited_goes_on_waiting(path):
    """A fuller account still completes what waits; what only waited behind another's comes out."""
    make(path)
    async with opened(path) as journal:
        cursor = await journal.subscribe("late", start=Start.BEGINNING)
        published = await read(cursor, len(HISTORY) + 2)
        assert published[-1].event == own(BEHIND)
        full = own(message("wamid.W", user="+16505550003", source="incs"))
        assert await journal.append([full]) == Appended(published=0, duplicates=1)
        (told,) = await read(cursor, 1)
        assert told.event.key == own(WAITING).key
        assert told.lane == "incs/whatsapp:30058:+16505550003"


async def test_subscribers_go_on(path):
    """Held entries and dead letters are still those of their events, in the lanes of these."""
    make(path)
    async with opened(path) as journal:
        cursor = await journal.subscribe("crm")
        lane = "incs/whatsapp:30058:+16505551234"
        assert await cursor.waiting() == {lane: 50.5}
        (held,) = await cursor.held(lane, 5)
        assert held.entry.event == own(HISTORY[0])
        (letter,) = await journal.dead_letters()
        assert letter.entry.event == own(HISTORY[1])


async def test_what_is_no_event_stays(path):
    """An entry that cannot be read stays as it is, and does not stop the upgrade."""
    make(path)
    with apsw.Connection(str(path)) as connection:
        connection.execute("UPDATE entries SET event = CAST('{' AS BLOB) WHERE position = 1")
    connection.close()
    async with opened(path) as journal:
        first, *others = await events_of(journal)
    assert isinstance(first, Unrecognized)
    assert others[0] == own(HISTORY[1])
