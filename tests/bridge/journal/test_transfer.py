"""A journal as lines of JSON, from one engine into another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from bridge.adapter.signing import Secret
from bridge.errors import JournalError
from bridge.journal.memory import MemoryJournal
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.overlay import hashed
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Appended, Held, Journal, Retry, Settlement, Start
from bridge.journal.query import Query
from bridge.journal.sqlite import SqliteJournal
from bridge.journal.states import State
from bridge.journal.transfer import Transferred, lines_of, take_in
from bridge.model.keys import in_domain
from tests.bridge.events import message
from tests.bridge.journal.files import failed, read
from tests.bridge.journal.nats_servers import NatsServer
from tests.bridge.journal.postgres_servers import schema_of

Make = Callable[[str], Journal]

OTHER = "+16505550000"
STATE = State(
    conversation=message("a").conversation.id,
    name="bot",
    value='{"said":"é","step":2}'.encode(),
    expires_at=4_000_000_000.5,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(
    params=["memory", "sqlite", "postgres", pytest.param("nats", marks=pytest.mark.slow)]
)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    return made(request, request.param, tmp_path / "source.db")


@pytest.fixture(params=["sqlite", "postgres", pytest.param("nats", marks=pytest.mark.slow)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    return made(request, request.param, tmp_path / "target.db")


def made(request: pytest.FixtureRequest, engine: str, path: Path) -> Journal:
    if engine == "memory":
        return MemoryJournal()
    if engine == "sqlite":
        return SqliteJournal(path)
    if engine == "postgres":
        dsn = Secret(request.getfixturevalue("postgres").dsn)
        return PostgresJournal(PostgresSettings(dsn=dsn, schema=schema_of(path)))
    server = request.getfixturevalue("server")
    stream = f"{path.parent.name}-{path.stem}"
    return NatsJournal(NatsSettings(servers=(server.url,), stream=stream, partitions=2))


async def fill(journal: Journal) -> None:
    """Have events that one subscriber took, held, could not take, and has yet to look at."""
    cursor = await journal.subscribe("crm")
    await journal.subscribe("idle", start=Start.BEGINNING)
    await journal.append([message(name) for name in "abc"])
    await journal.append([message("gone", user=OTHER)])
    given = await read(cursor, 4)  # from NATS in any order of the two conversations
    a, b, *_ = sorted(given, key=lambda entry: entry.position)
    held = Held(entry=b, retry=Retry(tries=2, due_at=9.0, first_failed_at=1.0, error="KeyError"))
    settlement = Settlement(position=given[-1].position, held=(held,), dead=(failed(a),))
    await cursor.settle(settlement)
    await journal.purge(OTHER)
    await journal.append([message("d"), message("e")])
    await journal.write_state(STATE)


async def lines(journal: Journal) -> list[bytes]:
    return [line async for line in lines_of(journal)]


async def test_whatever_is_in_a_journal_is_in_the_other(source: Journal, target: Journal) -> None:
    """Events, keys and what each subscriber has yet to take: nothing is lost, or comes twice."""
    async with source:
        await fill(source)
        events = [entry.event for entry in await source.search(Query())]
        export = await lines(source)
    async with target:
        done = await take_in(target, export)
        assert done == Transferred(events=5, new=5, pending=8, dead=1)
        assert await target.read_state(STATE.conversation, STATE.name) == STATE
        entries = await target.search(Query())
        assert [entry.event for entry in entries] == events
        again = [message(name) for name in "abcde"]
        assert await target.append(again) == Appended(published=0, duplicates=5)
        a, b, *_ = entries
        outcomes = {
            (outcome.subscriber, entry.position): outcome
            for entry in entries
            for outcome in await target.outcomes(entry.position)
        }
        crm = [str(outcomes["crm", each.position].standing) for each in entries]
        assert crm == ["dead", "held", "done", "held", "held"]
        idle = [str(outcomes["idle", each.position].standing) for each in entries]
        assert idle == ["held"] * 5
        assert outcomes["crm", b.position].retry.error == "KeyError"
        assert outcomes["crm", a.position].retry == failed(a).retry
        assert {state.name: state.lag for state in await target.subscribers()} == {
            "crm": 0,
            "idle": 0,
        }


async def test_what_was_purged_stays_known(tmp_path: Path) -> None:
    """The key of an event that is gone is moved as well, so that its repetition is left out."""
    async with SqliteJournal(tmp_path / "source.db") as source:
        await fill(source)
        export = await lines(source)
    async with SqliteJournal(tmp_path / "target.db") as target:
        await take_in(target, export)
        repeated = await target.append([message("gone", user=OTHER)])
        assert repeated == Appended(published=0, duplicates=1)
    async with SqliteJournal(tmp_path / "target.db") as target:
        repeated = await target.append([message("gone", user=OTHER)])
        assert repeated == Appended(published=0, duplicates=1)


async def test_an_export_of_before_trust_domains_is_moved_into_them(tmp_path: Path) -> None:
    """Each event, with what waits with it, and each key that is known, goes where it would be now.

    A key without an event is known in every domain that the export tells of.
    """
    async with SqliteJournal(tmp_path / "source.db") as source:
        await fill(source)
        first, *others = [line for line in await lines(source) if b'"known"' not in line]
    gone = message("gone", user=OTHER)
    known = orjson.dumps({"known": hashed(gone.key).hex()})  # as the whole key's hash was then
    first = first.replace(b'"bridge_export":2', b'"bridge_export":1')
    export = [first, *others[:-1], known, others[-1]]
    async with SqliteJournal(tmp_path / "target.db") as target:
        done = await take_in(target, export)
        assert done == Transferred(events=5, new=5, pending=8, dead=1)
        entries = await target.search(Query())
        assert [entry.event for entry in entries] == [
            in_domain(message(name), "test") for name in "abcde"
        ]
        assert [entry.lane for entry in entries] == [f"test/{message('a').conversation.id}"] * 5
        again = [in_domain(message(name), "test") for name in "abcde"]
        again.append(in_domain(gone, "test"))
        assert await target.append(again) == Appended(published=0, duplicates=6)
        assert (await take_in(target, export)).new == 0  # it may be repeated
        cursor = await target.subscribe("crm")
        (held, *_) = await cursor.held(entries[0].lane, 10)
        assert (held.entry.event.message_id, held.retry.error) == ("b", "KeyError")


async def test_an_import_may_be_repeated(tmp_path: Path) -> None:
    """The second time nothing is new, and nobody is given anything again."""
    async with SqliteJournal(tmp_path / "source.db") as source:
        await fill(source)
        export = await lines(source)
    async with SqliteJournal(tmp_path / "target.db") as target:
        await take_in(target, export)
        cursor = await target.subscribe("crm")
        lane = message("a").conversation.id
        for held in await cursor.held(lane, 10):
            await cursor.settle(
                Settlement(position=cursor.position, released=(held.entry.position,))
            )
        done = await take_in(target, export)
        assert (done.events, done.new, done.pending) == (5, 0, 0)
        assert await cursor.held(lane, 10) == ()


async def test_subscribers_of_the_target_are_spared(tmp_path: Path) -> None:
    """A subscriber that the export does not know is not given what is imported."""
    async with SqliteJournal(tmp_path / "source.db") as source:
        await fill(source)
        export = await lines(source)
    async with SqliteJournal(tmp_path / "target.db") as target:
        await target.append([message("mine")])
        cursor = await target.subscribe("new")
        await take_in(target, export)
        await target.append([message("z")])
        (z,) = await read(cursor, 1)
        assert z.event == message("z")


async def test_a_subscriber_that_lags_bars_an_import(tmp_path: Path) -> None:
    """What a subscriber has yet to take in the target is not mixed with what is imported."""
    async with SqliteJournal(tmp_path / "target.db") as target:
        await target.subscribe("crm")
        await target.append([message("mine")])
        with pytest.raises(JournalError, match="crm has yet to take 1 events"):
            await take_in(target, [])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda export: export[:-1], "its last line is missing"),
        (lambda export: export[1:], "line 1 is no line of an export: the first line is missing"),
        (lambda export: [*export[:3], b"{", *export[3:]], "line 4 is no line of an export"),
        (lambda export: [*export[:3], b'{"what": 1}'], "line 4 is no line of an export: nothing"),
        (lambda export: [*export[:3], b'{"event": {}}'], "line 4 is no line of an export"),
        (lambda export: [b'{"bridge_export": 7}'], "version 7, and this one reads 2"),
        (lambda export: [], "its last line is missing"),
    ],
)
async def test_a_file_that_is_not_whole(tmp_path: Path, change, told: str) -> None:
    """A file that was cut short or is something else is told, with the line."""
    async with MemoryJournal() as source:
        await fill(source)
        export = await lines(source)
    async with SqliteJournal(tmp_path / "target.db") as target:
        with pytest.raises(JournalError, match=told):
            await take_in(target, change(export))


async def test_while_it_is_written_others_go_on(tmp_path: Path) -> None:
    """What is appended while a journal is written out is not in it, and the end agrees."""
    async with SqliteJournal(tmp_path / "source.db") as journal:
        await fill(journal)
        export = lines_of(journal)
        written = [await anext(export)]
        await journal.append([message("later")])
        written += [line async for line in export]
    events = [orjson.loads(line)["event"]["message_id"] for line in written if b'"event"' in line]
    assert events in (["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "e", "later"])
    end = orjson.loads(written[-1])["end"]
    pending = sum(b'"pending"' in line for line in written[:-1])
    assert end == {"events": len(events), "pending": pending, "dead": 1}
