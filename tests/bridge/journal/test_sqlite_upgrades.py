# ruff: noqa: ASYNC240 - small files on a local disk
"""Journals of other formats: upgraded with a copy kept, or refused as they are."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import apsw
import attrs
import pytest

from bridge.errors import ConfigurationError, JournalError
from bridge.journal.identity import name_of
from bridge.journal.ledger import User
from bridge.journal.overlay import hashed
from bridge.journal.protocol import Appended, Held, Retry, Start
from bridge.journal.sqlite import SqliteJournal, check, upgrades
from bridge.journal.states import State
from bridge.model import ConsentChange, Party, Role, Status, StatusChange
from bridge.model.codec import encode
from bridge.model.keys import in_domain
from bridge.settings import JournalSettings
from bridge.testing.sample_events import read
from tests.bridge.events import ACCOUNT, NOON, USER_PHONE, message, numbered_status, status
from tests.bridge.journal.files import everything, run

FORMAT_5, FORMAT_6, FORMAT_7 = (
    Path(__file__).parent / "data" / f"format-{n}.sql" for n in (5, 6, 7)
)
# As version 3 of the format made its tables.
FORMAT_3 = """
CREATE TABLE entries (position INTEGER PRIMARY KEY, key BLOB NOT NULL, at INTEGER NOT NULL,
    lane TEXT, event BLOB, mended INTEGER) STRICT;
CREATE TABLE keys (key BLOB PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE merged (only INTEGER PRIMARY KEY CHECK (only = 1), position INTEGER NOT NULL,
    merging_up_to INTEGER NOT NULL, part INTEGER NOT NULL) STRICT;
CREATE TABLE tracks (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, at INTEGER NOT NULL,
    tied_to BLOB, track BLOB) STRICT;
CREATE TABLE subscribers (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE held (subscriber TEXT NOT NULL, position INTEGER NOT NULL, lane TEXT NOT NULL,
    tries INTEGER NOT NULL, due_at REAL, first_failed_at REAL, error TEXT,
    replayed INTEGER NOT NULL, PRIMARY KEY (subscriber, position)) STRICT, WITHOUT ROWID;
CREATE INDEX held_by_lane ON held (subscriber, lane, position);
CREATE INDEX held_by_position ON held (position);
CREATE TABLE dead (id INTEGER PRIMARY KEY AUTOINCREMENT, subscriber TEXT NOT NULL,
    position INTEGER NOT NULL, tries INTEGER NOT NULL, first_failed_at REAL NOT NULL,
    failed_at REAL NOT NULL, error TEXT NOT NULL) STRICT;
CREATE INDEX dead_by_position ON dead (position);
CREATE TABLE rehearsal (page BLOB NOT NULL) STRICT;
"""
WRITTEN = tuple(message(name) for name in "abcd")
EVENTS = tuple(in_domain(event, "test") for event in WRITTEN)
OLD_LANE = "whatsapp:30058:+16505551234"
LANE = f"test/{OLD_LANE}"


def make(path: Path, version: int = 3) -> None:
    """Make a journal of format 3 with four events, one held and one dead."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    with connection:
        connection.execute(FORMAT_3)
        connection.pragma("application_id", 0x494E4353)
        connection.pragma("user_version", version)
        connection.executemany(
            "INSERT INTO entries (position, key, at, lane, event) VALUES (?, ?, 1800000000, ?, ?)",
            [(n, hashed(e.key), OLD_LANE, encode(e)) for n, e in enumerate(WRITTEN, 1)],
        )
        connection.execute("INSERT INTO subscribers VALUES ('crm', 3)")
        connection.execute(
            "INSERT INTO held VALUES ('crm', 1, ?, 2, 50.5, 40.0, 'KeyError: \"x\"', 1)",
            (OLD_LANE,),
        )
        connection.execute(
            "INSERT INTO held VALUES ('crm', 2, ?, 0, NULL, NULL, NULL, 0)", (OLD_LANE,)
        )
        connection.execute("INSERT INTO dead VALUES (7, 'crm', 3, 5, 1.5, 9.5, 'OSError')")
    connection.close()


async def test_an_older_journal_is_upgraded(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Everything in an older journal is there afterwards, and the file is kept as it was."""
    make(path)
    async with SqliteJournal(path) as journal:
        assert [entry.event for entry in await everything(journal)] == list(EVENTS)
        assert await journal.append(EVENTS) == Appended(published=0, duplicates=4)
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        a, b, c, d = await everything(journal)
        assert await read(cursor, 1) == [d]
        retry = Retry(
            tries=2, due_at=50.5, first_failed_at=40.0, error='KeyError: "x"', replayed=True
        )
        assert await cursor.waiting() == {LANE: 50.5}
        assert list(await cursor.held(LANE, 5)) == [Held(entry=a, retry=retry), Held(entry=b)]
        (letter,) = await journal.dead_letters()
        assert (letter.id, letter.entry) == (7, c)
        assert letter.retry == Retry(tries=5, first_failed_at=1.5, failed_at=9.5, error="OSError")
        assert await run(journal, "PRAGMA user_version") == upgrades.FORMAT
    kept = path.with_name(f"{path.name}.format-3")
    with apsw.Connection(str(kept)) as connection:
        assert connection.pragma("user_version") == 3
        assert connection.execute("SELECT count(*) FROM held").get == 2
    connection.close()
    assert kept.stat().st_mode & 0o777 == 0o600
    record, _ = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "has been upgraded from format 3" in record.getMessage()
    assert kept.name in record.getMessage()
    async with SqliteJournal(path) as journal:
        assert len(await everything(journal)) == 4


async def test_a_journal_without_states_is_upgraded(path: Path) -> None:
    """A journal of format 5 keeps what it has, and takes states from then on."""
    connection = apsw.Connection(str(path))
    connection.execute(FORMAT_5.read_text())
    connection.close()
    a, b = message("wamid.A"), message("wamid.B")
    state = State(
        conversation=a.conversation.id, name="crm", value=b'{"step":1}', expires_at=4_000_000_000.0
    )
    async with SqliteJournal(path) as journal:
        assert await journal.append([a, b]) == Appended(published=0, duplicates=2)
        cursor = await journal.subscribe("crm")
        assert await cursor.waiting() == {a.conversation.id: 50.5}
        assert [entry.event for entry in await read(cursor, 1)] == [b]
        assert await journal.read_state(state.conversation, "crm") is None
        await journal.write_state(state)
    async with SqliteJournal(path) as journal:
        assert await journal.read_state(state.conversation, "crm") == state
    assert path.with_name(f"{path.name}.format-5").exists()


async def test_a_journal_with_another_index_of_names_is_upgraded(path: Path) -> None:
    """What a journal of format 6 remembers of messages is known under all their names."""
    connection = apsw.Connection(str(path))
    connection.execute(FORMAT_6.read_text())
    connection.close()
    told = [status(Status.SENT, "wamid.1"), numbered_status(Status.DELIVERED, "9001")]
    async with SqliteJournal(path) as journal:
        assert await journal.append([in_domain(message("wamid.2"), "test")]) == Appended(
            published=0, duplicates=1
        )
        await journal.append([in_domain(each, "test") for each in told])
        changes = [entry.event for entry in await everything(journal)][-2:]
        assert await run(journal, "SELECT count(DISTINCT key) - count(*) FROM tracks") == 0
    for change in changes:
        assert isinstance(change, StatusChange)
        assert (change.message_id, change.current) == ("wamid.1", Status.READ)
        assert change.aliases == ("9001",)


async def test_on_what_terms_to_write_is_known_after_an_upgrade(path: Path) -> None:
    """What users of a journal of format 7 told is asked of their records from then on.

    One wrote, then opted out and was handed over; one wrote in a group; what one wrote waits.
    """
    connection = apsw.Connection(str(path))
    connection.execute(FORMAT_7.read_text())
    connection.close()

    def hours(number: int) -> dict[str, float]:
        return {ACCOUNT: (NOON + timedelta(hours=number)).timestamp()}

    at = NOON.timestamp()
    for _ in range(2):
        async with SqliteJournal(path) as journal:
            users = [
                await journal.record(name_of(f"test/whatsapp:{ACCOUNT}:{identity}")[0])
                for identity in (USER_PHONE, "G1", "+16505551111", "+16505550000")
            ]
            found = [
                (user.reply_until, user.owned, user.granted) if isinstance(user, User) else None
                for user in users
            ]
            assert found == [
                (hours(24), {ACCOUNT: (False, at)}, {ACCOUNT: (False, at)}),
                (hours(23), {}, {}),
                (hours(22), {}, {}),
                ({}, {}, {}),
            ]


async def test_who_has_a_phone_by_now_has_not_said_what_its_owner_before_said(path: Path) -> None:
    """An opt-out stays with the user who opted out, though somebody else has the phone since."""
    old, new = (
        attrs.evolve(
            message(user_id, user=USER_PHONE, received_at=NOON + timedelta(hours=hour)),
            sender=Party(phone=USER_PHONE, user_id=user_id, role=Role.USER),
        )
        for hour, user_id in ((0, "US.1"), (5, "US.2"))
    )
    choice = ConsentChange(
        key="consent/whatsapp/1",
        source="test",
        channel="whatsapp",
        account=ACCOUNT,
        occurred_at=NOON,
        received_at=NOON,
        raw={},
        party=old.sender,
        granted=False,
        conversation=old.conversation,
    )
    async with SqliteJournal(path) as journal:
        for event in (old, choice, new):
            await journal.append([in_domain(event, "test")])
    with apsw.Connection(str(path)) as connection:
        connection.execute(
            "UPDATE tracks SET track = CAST(json_remove(CAST(track AS TEXT),"
            " '$.reply_until', '$.owned', '$.granted') AS BLOB) WHERE track IS NOT NULL;"
            "PRAGMA user_version = 7"
        )
    connection.close()
    async with SqliteJournal(path) as journal:
        for identity, granted in (
            ("US.1", {ACCOUNT: (False, NOON.timestamp())}),
            ("US.2", {}),
            (USER_PHONE, {}),
        ):
            user = await journal.record(name_of(f"test/whatsapp:{ACCOUNT}:{identity}")[0])
            assert isinstance(user, User)
            assert user.granted == granted


async def test_an_upgraded_journal_is_like_a_new_one(path: Path) -> None:
    """The tables of an upgraded file have the columns and indexes of a new one."""
    make(path)
    new = path.with_name("new.db")

    async def schema(of: Path) -> set[tuple[object, ...]]:
        async with SqliteJournal(of) as journal:
            return await journal.reading(
                lambda db: set(
                    db.execute(
                        "SELECT m.name, c.name, c.type, c.pk FROM sqlite_schema m "
                        "JOIN pragma_table_info(m.name) c WHERE m.name NOT LIKE 'sqlite_%'"
                    )
                )
            )

    assert await schema(path) == await schema(new)


async def test_an_upgrade_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that cannot be made leaves the journal as it was, for the next attempt."""
    make(path)
    steps = {3: f"{upgrades.STEPS[3]}; INSERT INTO nowhere VALUES (1)"}
    with monkeypatch.context() as patched:
        patched.setattr(upgrades, "STEPS", steps)
        with pytest.raises(JournalError, match="no such table: nowhere"):
            await SqliteJournal(path).__aenter__()
    async with SqliteJournal(path) as journal:
        assert len(await everything(journal)) == 4


async def test_without_room_for_a_copy_nothing_is_upgraded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal whose copy cannot be made is left as it is, and opening says why."""
    make(path)

    def refuse(*_: object, **__: object) -> None:
        raise JournalError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(upgrades, "copy", refuse)
        with pytest.raises(JournalError, match="no room"):
            await SqliteJournal(path).__aenter__()
    with apsw.Connection(str(path)) as connection:
        assert connection.pragma("user_version") == 3
    connection.close()


@pytest.mark.parametrize("version", [99, 2])
async def test_other_formats_are_refused(path: Path, version: int) -> None:
    """A newer format, and one from before the first release, are refused with what to do."""
    make(path, version)
    content = path.read_bytes()
    with pytest.raises(JournalError) as caught:
        await SqliteJournal(path).__aenter__()
    told = str(caught.value)
    assert f"has format {version}" in told
    assert str(upgrades.FORMAT) in told
    assert ("install the version that wrote it" in told) == (version == 99)
    with pytest.raises(ConfigurationError, match=f"has format {version}"):
        check(JournalSettings(path=path))
    assert path.read_bytes() == content
