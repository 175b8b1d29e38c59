"""The streams: what the bridge makes, what it refuses, and what others read in them."""

from __future__ import annotations

import asyncio
import zlib
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import CodecError, JournalError
from bridge.journal.identity import name_of
from bridge.journal.ledger import Track, User
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.ledger import decode_found, encode_found
from bridge.journal.nats.messages import Draft
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.nats.subjects import digest, token
from bridge.journal.nats.subjects import name_of as subscriber_of
from bridge.journal.protocol import Appended, Held, Retry, Settlement, Start
from bridge.model import Status, Unrecognized
from bridge.model.codec import decode
from bridge.model.keys import in_domain
from bridge.testing.sample_events import poorly, read
from tests.bridge.events import created, message, status
from tests.bridge.journal.nats_servers import NatsServer

PHONES = [f"+1650555{number:04}" for number in range(3)]


@pytest.fixture
def make(nats: NatsServer, tmp_path: Path):
    def make(*, keep: float = 600.0, max_waiting: int = 1000, **own) -> NatsJournal:
        own = {"stream": tmp_path.name, "partitions": 4, **own}
        settings = NatsSettings(servers=(nats.url,), **own)
        return NatsJournal(settings, keep=keep, max_waiting=max_waiting)

    return make


async def stored(journal: NatsJournal, subject: str):
    """Return the headers and the body of a subject's last message, as any client reads them."""
    answer = await journal._broker._client.jetstream().get_last_msg(journal._names.stream, subject)
    return answer.subject, answer.headers, answer.data


async def test_public_interface(make, tmp_path):
    """An event is where, and looks as, `docs/nats.md` tells readers in other languages."""
    event = message("wamid.1")
    lane = "whatsapp:30058:+16505551234"
    async with make() as journal:
        await journal.append([event])
        subject, headers, data = await stored(journal, f"{tmp_path.name}.events.>")
    partition = zlib.crc32(lane.encode()) % 4
    assert subject == f"{tmp_path.name}.events.{partition}.message.whatsapp"
    assert {name: value for name, value in headers.items() if not name.startswith("Nats-")} == {
        "Content-Type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "message/whatsapp/wamid.1",
        "ce-source": "test",
        "ce-type": "incs-bridge.message",
        "ce-time": "2026-11-01T12:00:00Z",
        "ce-channel": "whatsapp",
        "ce-partitionkey": lane,
        "ce-schemaversion": "1",
    }
    assert decode(data) == event


async def test_odd_names_fit(make):
    """Keys, lanes and channels with any characters are written and read back."""
    event = message("ü é\r\n.*>", channel="my.own channel", user="+1 ☎")
    async with make() as journal:
        assert await journal.append([event]) == Appended(published=1, duplicates=0)
        found = await journal.find(event.key)
    assert found is not None
    assert found.event == event


@given(st.text())
def test_tokens(name):
    """Any name is one token of a subject, and can be read from it."""
    written = token(name.encode("utf-8", "replace").decode())
    assert written.isascii()
    assert written
    assert not set(written) & set(" .*>\t\r\n")
    assert subscriber_of(written) == name.encode("utf-8", "replace").decode()


async def test_partitions_stay(make):
    """A stream made for another number of partitions is refused, since readers would change."""
    async with make(partitions=4):
        pass
    with pytest.raises(JournalError, match="has 4 partitions, not 8"):
        async with make(partitions=8):
            pass


async def test_a_stream_made_by_hand_is_kept(make, tmp_path):
    """What an operator decided about a stream stays, and only what is missing is added."""
    async with make(stream="unused") as journal:
        made = {"name": tmp_path.name, "subjects": [f"{tmp_path.name}.>"], "max_age": 3600 * 10**9}
        await journal._broker.api(f"STREAM.CREATE.{tmp_path.name}", made)
    async with make(keep=60.0) as journal:
        info = await journal._broker.api(f"STREAM.INFO.{tmp_path.name}")
        assert await journal.append([message()]) == Appended(published=1, duplicates=0)
    assert info["config"]["max_age"] == 3600 * 10**9
    assert info["config"]["allow_atomic"]
    assert info["config"]["metadata"]["bridge.partitions"] == "4"


@pytest.mark.parametrize(("domain", "is_served"), [("acme", True), (None, False), ("", True)])
async def test_a_stream_of_before_trust_domains(make, tmp_path, domain, is_served):
    """It is refused with what to do if its oldest event has no domain; else it is marked."""
    name = tmp_path.name

    async def forget(journal: NatsJournal) -> None:
        config = (await journal._broker.api(f"STREAM.INFO.{name}"))["config"]
        config["metadata"] = {"bridge.partitions": "4"}
        await journal._broker.api(f"STREAM.UPDATE.{name}", config)

    async with make() as journal:
        if domain != "":
            await journal.append([message() if domain is None else in_domain(message(), domain)])
        await forget(journal)
    if not is_served:
        with pytest.raises(JournalError, match=r"before trust domains: .*into a new one"):
            async with make():
                pass
        return
    async with make() as journal:
        info = await journal._broker.api(f"STREAM.INFO.{name}")
        assert info["config"]["metadata"]["bridge.domains"] == "true"
        assert info["config"]["metadata"]["bridge.partitions"] == "4"


async def test_warnings(make, tmp_path, caplog):
    """One replica is warned about, unless the server is said to sync before it acknowledges."""
    async with make(synced=True):
        pass
    assert caplog.records == []
    async with make():
        pass
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "one replica" in caplog.text


async def test_keys_are_forgotten_in_time(make, tmp_path):
    """With `remember` shorter than `keep`, keys leave the server while events stay."""
    async with make(keep=3600.0, remember=1.0) as journal:
        await journal.append([message("a")])
        subject = journal._names.keys + digest(message("a").key)
        async with asyncio.timeout(20):
            while await journal._broker.last_of(tmp_path.name, [subject]):
                await asyncio.sleep(0.05)
        assert len(await (await journal.follow(start=Start.BEGINNING)).read(5)) == 1


async def test_an_unreadable_message_comes_out(make):
    """What is no event of ours comes out as unrecognized, and stops nobody."""
    async with make(partitions=1) as journal:
        for data in (b'{"kind": "from the future"}', b"no JSON \xff"):
            subject = journal._names.event(message(), "lane")
            await journal._broker.write(Draft(subject, data))
        await journal.append([message("a")])
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        entries = []
        while len(entries) < 3:
            entries += await cursor.read(10)
    first, second, third = (entry.event for entry in entries)
    assert isinstance(first, Unrecognized)
    assert first.raw == {"kind": "from the future"}
    assert isinstance(second, Unrecognized)
    assert second.raw == "no JSON \ufffd"
    assert third == message("a")


async def test_an_event_that_is_too_large(make):
    """An event that no message can hold is refused, and its neighbours are not."""
    huge = message("huge", text="x" * (9 << 20))
    async with make() as journal:
        refused, taken = await asyncio.gather(
            journal.append([huge]), journal.append([message("a")]), return_exceptions=True
        )
    assert isinstance(refused, JournalError)
    assert "larger than the server takes" in str(refused)
    assert taken == Appended(published=1, duplicates=0)


async def test_a_large_append(make):
    """An append of more than one batch is written whole and in order."""
    events = [message(f"{n:04}") for n in range(300)]
    async with make() as journal:
        assert await journal.append(events) == Appended(published=300, duplicates=0)
        assert await journal.append(events) == Appended(published=0, duplicates=300)
        cursor = await journal.follow(start=Start.BEGINNING)
        entries = []
        while len(entries) < 300:
            entries += await cursor.read(500)
    assert [entry.event for entry in entries] == events


async def test_too_much_waiting(make):
    """More than the limit does not wait for the server."""
    async with make(max_waiting=1) as journal:
        first, second = await asyncio.gather(
            journal.append([message("a")]), journal.append([message("b")]), return_exceptions=True
        )
    assert first == Appended(published=1, duplicates=0)
    assert isinstance(second, JournalError)


async def test_a_forgotten_subscriber_elsewhere(make):
    """Forgetting a subscriber removes all that the servers keep of it."""
    async with make() as one, make() as two:
        await one.subscribe("crm")
        assert await two.forget("crm") is True
        assert await two.forget("crm") is False
        assert await two.subscribers() == ()


async def test_tracks_are_read_back(make):
    """What is remembered of a message is the same after it has been written."""
    own, other = digest("/message/whatsapp/a"), digest("/message/incs/9001")
    async with make() as journal:
        await journal.append([created("9001", "a"), status(Status.READ, "a")])
        one = await journal._broker.last_of(
            journal._names.stream,
            [journal._names.tracks + own, journal._names.tracks + other],
        )
    found = {type(each): each for each in (decode_found(s.data) for s in one.values())}
    track = found[Track]
    assert found[str] == own
    assert track.standing == {"": Status.READ}
    assert track.aliases == ("9001",)
    assert decode_found(encode_found(track)) == track


async def test_an_event_that_breaks_the_model(make):
    """An event that correlation cannot take fails alone, as one that is no JSON does."""
    broken = attrs.evolve(message("broken"), conversation=None)
    async with make() as journal:
        refused, taken = await asyncio.gather(
            journal.append([broken]), journal.append([message("a")]), return_exceptions=True
        )
    assert isinstance(refused, CodecError)
    assert taken == Appended(published=1, duplicates=0)


async def test_events_that_are_gone(make, tmp_path):
    """Dead letters and held entries whose event is older than what is kept are let go of."""
    async with make(partitions=1) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a"), message("b")])
        a, b = await read(cursor, 2)
        held = Held(entry=a, retry=Retry(tries=1, due_at=1.0))
        failed = Held(
            entry=b, retry=Retry(tries=1, first_failed_at=1.0, failed_at=1.0, error="OSError")
        )
        await cursor.settle(Settlement(position=b.position, held=(held,), dead=(failed,)))
        (letter,) = await journal.dead_letters()
        await journal._broker.empty(tmp_path.name, f"{tmp_path.name}.events.>")
        assert await journal.dead_letters() == ()
        assert await journal.retry(letter.id) is False
        assert list(await cursor.held(a.lane, 5)) == []
        assert await journal.find(message("a").key) is None
        assert await journal.replay([a.position], "crm") == 0


async def test_held_entries_die_and_are_released(make):
    """What was held and then died, or was done, is not held any more, for other processes too."""
    async with make(partitions=1) as journal, make(partitions=1) as operator:
        cursor = await journal.subscribe("crm")
        await journal.append([message("a"), message("b")])
        a, b = await read(cursor, 2)
        await cursor.settle(
            Settlement(
                position=b.position, held=(Held(entry=a, retry=Retry(due_at=1.0)), Held(entry=b))
            )
        )
        failed = Held(
            entry=a, retry=Retry(tries=9, first_failed_at=1.0, failed_at=2.0, error="OSError")
        )
        await cursor.settle(Settlement(position=b.position, dead=(failed,), released=(b.position,)))
        (state,) = await operator.subscribers()
    assert (state.lag, state.held, state.dead) == (0, 0, 1)


async def test_a_forgotten_subscriber_complains_once(make, caplog):
    """Who is forgotten while it reads says so once, and does not begin again from the start."""
    async with make(partitions=1, synced=True) as journal, make(partitions=1, synced=True) as two:
        cursor = await journal.subscribe("crm")
        await two.forget("crm")
        async with asyncio.timeout(20):
            while not caplog.records:
                await asyncio.sleep(0.01)
        reading = asyncio.create_task(cursor.read(1))
        await journal.append([message("a")])
        await two._broker.api(f"STREAM.INFO.{two._names.stream}")
        assert not reading.done()
        reading.cancel()
    assert [record.message for record in caplog.records] == [
        "the consumer crm-0 cannot be read: the subscriber crm has been forgotten"
    ]


async def test_a_slow_reader_stays_the_reader(make):
    """With no room for more, a reader goes on telling the server that it lives."""
    events = [message(f"{n:04}") for n in range(700)]
    async with make(partitions=1) as journal:
        cursor = await journal.subscribe("crm")
        await journal.append(events)
        (partition,) = cursor.partitions
        async with asyncio.timeout(20):
            while partition._pulling._status != "409":  # an answer to asking for a single byte
                await asyncio.sleep(0.01)
        pin = partition._pulling.pin
        entries = await read(cursor, 700)
        assert pin is not None
        assert partition._pulling.pin == pin
    assert [entry.event for entry in entries] == events


async def test_reading_ends_with_the_journal(make):
    """Who still waits for an event when the journal closes is told."""
    async with make() as journal:
        cursors = [await journal.subscribe("crm"), await journal.follow()]
        readings = [asyncio.create_task(cursor.read(1)) for cursor in cursors]
        await journal.append([])
        await asyncio.sleep(0)
    for reading in readings:
        with pytest.raises(JournalError):
            await reading


async def test_a_doubt_that_comes_while_the_streams_are_prepared_is_answered(make):
    """The doubt stands until the streams have been looked at once more, and then is gone."""
    async with make() as journal, asyncio.timeout(30):
        streams = journal._streams
        streams.doubt()
        preparing = asyncio.create_task(streams.prepare())
        await asyncio.sleep(0)
        streams.doubt()
        await preparing
        await streams.until_ready()
        assert not streams._doubted.is_set()
        await journal.append([message("wamid.1")])


async def forget_terms(journal: NatsJournal) -> None:
    """Make the records those of a version that did not remember on what terms to write."""
    names, broker = journal._names, journal._broker
    last = await journal._streams.last()
    async for page in journal._streams.between(f"{names.tracks}*", 1, last):
        for each in page:
            found = decode_found(each.data)
            if isinstance(found, User):
                bare = attrs.evolve(found, reply_until={}, owned={}, granted={})
                await broker.write(Draft(each.subject, encode_found(bare)))
    await broker.empty(names.state, names.terms)


async def test_on_what_terms_to_write_is_known_of_an_older_stream(make):
    """What users told before it was remembered is noted once, also where it still waits."""
    until = datetime(2026, 11, 2, 12, tzinfo=UTC)
    event = in_domain(message("a", owned=False), "test", reply_until=until)
    waits = in_domain(message("b", user=PHONES[1]), "test", reply_until=until)
    many = [in_domain(message(f"c{n}", user=PHONES[2]), "test") for n in range(300)]
    async with make() as journal:
        await journal.append([event, poorly(waits, settle=60), *many])
        await until_noted(journal)
        await forget_terms(journal)
        for each in (event, waits):
            assert (await journal.record(name_of(each.conversation.id)[0])).reply_until == {}
    for _ in range(2):
        async with make() as journal:
            await until_noted(journal)
            for each in (event, waits):
                user = await journal.record(name_of(each.conversation.id)[0])
                assert isinstance(user, User)
                assert user.reply_until == {each.account: until.timestamp()}
            first = await journal.record(name_of(event.conversation.id)[0])
            assert first.owned == {event.account: (False, event.occurred_at.timestamp())}
            last = await journal._streams.last()
    async with make() as journal:
        await until_noted(journal)
        assert await journal._streams.last() == last + 1  # by which it tries the stream


async def until_noted(journal: NatsJournal) -> None:
    async with asyncio.timeout(30):
        while True:
            names = journal._names
            if await journal._broker.stored(names.state, last_by_subj=names.terms) is not None:
                return
            await asyncio.sleep(0.01)
