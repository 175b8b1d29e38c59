"""The listener for operators: who is let in, what it shows, and what it does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

import orjson
import pytest
from aiohttp import ClientPayloadError, ClientSession
from aiohttp.test_utils import TestClient, TestServer

from bridge import errors
from bridge.adapter import Callback, Parsed, Scope, Verified, Window
from bridge.adapter.signing import Secret
from bridge.delivery import current
from bridge.errors import ConfigurationError, JournalError
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Health, Start
from bridge.journal.query import Query
from bridge.model import Event, Message, StatusChange
from bridge.model.masking import mask_phones_in
from bridge.ops.admin import application, listening
from bridge.ops.metrics import Metrics
from bridge.runtime import Bridge
from bridge.settings import AdminSettings, DeliverySettings
from tests.bridge import fakes
from tests.bridge.events import NOON, message, sent, status, unrecognized
from tests.bridge.fakes import Plain

TOKEN = "a-token-that-nobody-guesses"
ONCE = DeliverySettings(tries=1)
PATIENCE = 30.0  # seconds; only a test that fails ever takes that long


class Taking:
    """A subscriber that refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.taken: list[str] = []
        self.replayed: list[str] = []

    async def __call__(self, event: Event) -> None:
        if event.key in self.refused:
            raise ValueError("the database is away")
        self.taken.append(event.key)
        if current().replayed:
            self.replayed.append(event.key)


class Operated:
    """A bridge, its subscriber, and a client of its admin application."""

    def __init__(self, bridge: Bridge, taking: Taking, client: TestClient) -> None:
        self.bridge = bridge
        self.crm = taking
        self.client = client

    async def get(self, path: str, status: int = 200, **query) -> dict:
        response = await self.client.get(path, params=query)
        assert response.status == status, await response.text()
        return await response.json(content_type=None)

    async def post(self, path: str, status: int = 200, **body) -> dict:
        response = await self.client.post(path, data=orjson.dumps(body))
        assert response.status == status, await response.text()
        return await response.json(content_type=None)

    async def publish(self, *events: Event) -> None:
        """Append events, and wait until the subscriber is done with them."""
        await self.bridge.journal.append(events)
        await self.settled()

    async def settled(self) -> None:
        """Wait until the subscriber has looked at everything and holds nothing."""
        async with asyncio.timeout(PATIENCE):
            while any(s.lag or s.held for s in await self.bridge.journal.subscribers()):
                await asyncio.sleep(0.001)


@asynccontextmanager
async def operated(settings: AdminSettings | None = None, journal=None, **options):
    """Run a bridge with the subscriber `crm`, which wants messages and statuses only."""
    bridge = Bridge(journal=journal or MemoryJournal())
    bridge.add_adapter("plain", Plain())
    crm = Taking()
    bridge.on(Message, StatusChange, name="crm", policy=ONCE)(crm)
    metrics = Metrics()
    bridge.observe(metrics)
    app = application(bridge.operators, metrics, settings or AdminSettings(), **options)
    async with bridge, TestServer(app) as server, TestClient(server) as client:
        yield Operated(bridge, crm, client)


@pytest.fixture
async def one():
    async with operated() as one:
        yield one


def keys(found: dict) -> list[str]:
    return [entry["event"]["key"] for entry in found["entries"]]


class TestGuard:
    async def test_a_token_is_asked_for(self):
        """With a token set nothing but the probes answers without it, on loopback either."""
        async with operated(AdminSettings(token=Secret(TOKEN))) as one:
            for headers in ({}, {"Authorization": TOKEN}, {"Authorization": "Bearer wrong"}):
                response = await one.client.get("/events", headers=headers)
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert TOKEN not in await response.text()
            headers = {"Authorization": f"bearer {TOKEN}", "Origin": "https://example.com"}
            assert (await one.client.get("/events", headers=headers)).status == 200
            assert (await one.client.get("/metrics")).status == 401
            assert (await one.client.get("/healthz")).status == 200
            assert (await one.client.get("/readyz")).status == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://127.0.0.1"},
            {"Host": "attacker.example"},
            {"Host": "10.0.0.7:8081"},
            {"Host": "127.0.0.1:8081:attacker"},
        ],
    )
    async def test_web_pages_get_nothing(self, one, headers):
        """Neither a page's request nor one that came by a name of the page's own is answered."""
        response = await one.client.get("/events", headers=headers)
        assert response.status == 403
        assert "entries" not in await response.text()

    async def test_every_name_of_this_machine_will_do(self, one):
        """A program on the machine may call it as it likes."""
        for host in ("localhost:1", "127.0.0.1", "[::1]:8081"):
            assert (await one.client.get("/events", headers={"Host": host})).status == 200

    async def test_what_makes_no_sense_is_refused_with_the_reason(self, one):
        """A wrong request gets a problem that names what is wrong, and changes nothing."""
        for path, said in (
            ("/events?sinc=1", "unknown: sinc"),
            ("/events?since=yesterday", "since: expected a time in RFC 3339"),
            ("/events?mended=maybe", "mended: expected true or false"),
            ("/events?limit=-1", "limit: expected a number"),
        ):
            assert (await one.get(path, status=400))["detail"] == said
        for path, body, said in (
            ("/replay", b"{", "the body is not JSON"),
            ("/replay", b"[]", "expected an object with dry_run, keys, positions, subscriber"),
            ("/replay", b'{"keys": [1]}', "keys: expected at most 1000 strings"),
            ("/replay", b'{"keys": [], "subscriber": 1}', "subscriber: expected a string"),
            ("/replay", b'{"keys": null}', "keys: expected at most 1000 strings"),
            (
                "/replay",
                b"{}",
                "subscriber: missing; it names the subscriber that gets the events again",
            ),
            ("/replay?kinds=x", b'{"subscriber": "crm"}', "unknown: kinds"),
            ("/dead/drop", b'{"ids": ["1"]}', "ids: expected numbers"),
            ("/purge", b"{}", "subject: expected a phone number or a user id"),
        ):
            response = await one.client.post(path, data=body)
            assert response.status == 400
            assert (await response.json(content_type=None))["detail"] == said
        assert (await one.get("/nothing", status=404))["status"] == 404
        assert (await one.client.put("/events")).status == 405


class Unreadable(MemoryJournal):
    """A journal that takes everything and finds nothing again."""

    async def search(self, query):
        raise JournalError("the disk is gone")

    async def subscribers(self):
        raise JournalError("the disk is gone")


class Spooling(MemoryJournal):
    """Says that it keeps events for servers that are away."""

    async def health(self):
        return Health(ready=True, reason="7 events are in the spool", spooled=7)


class TestProbes:
    async def test_alive_and_ready(self, one):
        """A bridge that takes callbacks is alive and ready."""
        assert await (await one.client.get("/healthz")).text() == "alive\n"
        assert await (await one.client.get("/readyz")).text() == "ready\n"

    async def test_ready_with_a_reason(self):
        """A journal that takes callbacks and yet is not well says what is amiss."""
        async with operated(journal=Spooling()) as one:
            response = await one.client.get("/readyz")
            assert response.status == 200
            assert await response.text() == "ready: 7 events are in the spool\n"

    async def test_not_ready_where_nothing_can_be_stored(self):
        """While the journal takes nothing, the probe says 503 and why; it is alive all the same."""
        bridge = Bridge(journal=MemoryJournal())
        app = application(bridge.operators, Metrics(), AdminSettings())
        async with TestServer(app) as server, TestClient(server) as client:
            response = await client.get("/readyz")
            assert response.status == 503
            assert await response.text() == "not ready: the bridge is not running\n"
            assert (await client.get("/healthz")).status == 200

    @pytest.mark.parametrize(
        ("refused", "reason"),
        [
            ({"body": b"{", "tail": fakes.TOKEN}, "malformed"),
            ({"body": b"{}", "method": "PUT"}, "method_refused"),
            ({"body": b"{}", "tail": "wrong"}, "wrong token"),
        ],
    )
    async def test_why_callbacks_were_refused_is_counted(self, one, refused, reason):
        """The status tells how many callbacks of each adapter were refused, by their reasons."""
        for _ in range(2):
            with pytest.raises(errors.BridgeError):
                await one.bridge.receive("plain", Callback(received_at=NOON, **refused))
        (source,) = (await one.get("/status"))["sources"]
        assert source["refusals"] == {reason: 2}

    async def test_a_journal_that_cannot_be_read_is_told(self):
        """Where the journal fails, a question is answered with 503 and the metrics stay up."""
        async with operated(journal=Unreadable()) as one:
            assert (await one.get("/events", status=503))["detail"] == "the disk is gone"
            response = await one.client.get("/metrics")
            assert response.status == 200
            assert "bridge_ready 1.0" in await response.text()


class TestEvents:
    async def test_pages_follow_each_other(self, one):
        """A search is cut into pages, each of which says where the next begins."""
        events = [message(str(number)) for number in range(5)]
        await one.publish(*events)
        first = await one.get("/events", limit=3)
        assert keys(first) == [event.key for event in events[:3]]
        second = await one.get("/events", limit=3, after=first["next"])
        assert keys(second) == [event.key for event in events[3:]]
        assert second["next"] is None
        newest = await one.get("/events", limit=2, newest_first="true")
        before = await one.get("/events", limit=2, newest_first="true", before=newest["next"])
        assert keys(newest) + keys(before) == [event.key for event in events[:0:-1]]

    async def test_filters_reach_the_journal(self, one):
        """Kinds, message ids and times narrow a search down."""
        late = message("late", received_at=NOON + timedelta(hours=1))
        await one.publish(message("a"), late, status(message_id="a"))
        assert keys(await one.get("/events", kind="status_change")) == [
            "status/whatsapp/a/delivered"
        ]
        assert len(keys(await one.get("/events", message_id="a"))) == 2
        assert keys(await one.get("/events", since="2026-11-01T12:30:00Z")) == [late.key]
        assert late.key not in keys(await one.get("/events", until="2026-11-01T12:30:00Z"))

    async def test_an_event_is_found_by_its_masked_key(self, one):
        """What the log and the commands print of a key is enough to show and replay its event."""
        wamid = "wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzRUIwQzc2N0QwOTdCN0M3QzBERgA="
        await one.publish(message(wamid), message("other"))
        masked = mask_phones_in(f"message/whatsapp/{wamid}")
        assert masked != f"message/whatsapp/{wamid}"
        found = await one.get("/event", key=masked)
        assert found["entry"]["event"]["message_id"] == wamid
        await one.settled()
        done = await one.post("/replay", keys=[masked], dry_run=True)
        assert (done["subscribers"], done["unknown"]) == ({"crm": 1}, [])
        await one.get("/event", status=404, key=masked.replace("****", "****0"))

    async def test_an_event_is_shown_whole(self, one):
        """An event comes with every outcome and with all that is known of its message."""
        out = sent("a")
        read = status(message_id="a")
        one.crm.refused.add(read.key)
        await one.publish(message("other"), out, read)
        found = await one.get("/event", key=read.key)
        assert found["entry"]["event"]["raw"] == {"id": "a", "status": "delivered"}
        assert [entry["event"]["key"] for entry in found["history"]] == [out.key, read.key]
        (outcome,) = found["outcomes"]
        assert (
            outcome.items()
            >= {
                "subscriber": "crm",
                "standing": "dead",
                "tries": 1,
                "error": "ValueError: the database is away",
            }.items()
        )
        assert outcome["failed_at"].endswith("Z")

    async def test_who_does_not_want_an_event_has_no_outcome(self, one):
        """Subscribers that filter an event out are not told of beside it."""
        await one.publish(unrecognized("x"))
        found = await one.get("/event", key="unrecognized/whatsapp/x")
        assert (found["outcomes"], found["history"]) == ([], [])

    async def test_a_key_that_nobody_knows(self, one):
        """An event that is not there is a 404."""
        assert (await one.get("/event", status=404, key="message/whatsapp/none"))["detail"] == (
            "the journal keeps no event of this key"
        )


class TestFollow:
    async def lines(self, response, count: int) -> list[dict]:
        """Return the next lines that hold an event."""
        found: list[dict] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                line = orjson.loads(await response.content.readline())
                if "event" in line:
                    found.append(line)
        return found

    async def test_from_now_from_a_position_and_from_a_time(self, one):
        """A stream begins with what is to come, beyond a position, or at a time."""
        now = datetime.now(UTC)
        old, new = message("old"), message("new", received_at=now)
        await one.publish(old)
        await one.publish(new)
        async with one.client.get("/events/follow") as live:
            hello = orjson.loads(await live.content.readline())
            everything = await self.lines(await one.client.get("/events/follow?after=0"), 2)
            since = (now - timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
            recent = await self.lines(
                await one.client.get("/events/follow", params={"since": since}), 1
            )
            never = {"since": "2099-01-01T00:00:00Z"}
            waiting = await one.client.get("/events/follow", params=never)
            await one.publish(message("coming", received_at=datetime(2099, 2, 1, tzinfo=UTC)))
            (came,) = await self.lines(live, 1)
            assert await self.lines(waiting, 1) == [came]
        assert [line["event"]["key"] for line in everything] == [old.key, new.key]
        assert [line["event"]["key"] for line in recent] == [new.key]
        assert hello == {"position": everything[1]["position"]}
        assert came["event"]["message_id"] == "coming"

    async def test_a_position_of_another_journal(self, one):
        """A position beyond the end is another journal's: the follower gets all of this one."""
        await one.publish(message("a"))
        lines = await self.lines(await one.client.get("/events/follow?after=999"), 1)
        assert lines[0]["event"]["message_id"] == "a"

    async def test_filters_hold_and_the_position_moves_all_the_same(self, one):
        """What a filter keeps out is not sent, and is not looked at again after a break."""
        async with one.client.get("/events/follow?kind=status_change") as live:
            await live.content.readline()
            await one.publish(message("a"))
            skipped = orjson.loads(await live.content.readline())
            assert skipped == {
                "position": (await one.get("/event", key="message/whatsapp/a"))["entry"]["position"]
            }

    async def test_followers_are_bounded_and_end_with_the_server(self):
        """Beyond 32 nobody more is served, and nobody keeps the server from stopping."""
        async with operated() as one:
            lives = [await one.client.get("/events/follow") for _ in range(32)]
            refused = await one.get("/events/follow", status=503)
            assert refused["detail"] == "32 followers are being served already"
            await lives[0].content.readline()
            await one.client.server.close()
            with pytest.raises(ClientPayloadError):
                await lives[0].content.read()

    async def test_a_follower_may_leave(self, caplog):
        """Whoever has seen enough makes room for another, and is no error in the log."""
        bridge = Bridge(journal=MemoryJournal())
        # A test server would end whoever is left, which the listener itself does not.
        async with (
            bridge,
            listening(bridge.operators, Metrics(), AdminSettings(port=0, socket=None)) as url,
            ClientSession() as session,
            asyncio.timeout(PATIENCE),
        ):
            for live in [await session.get(f"{url}/events/follow") for _ in range(32)]:
                live.close()
            for number in count():
                await bridge.journal.append([message(str(number))])
                async with session.get(f"{url}/events/follow") as another:
                    if another.status == 200:
                        break
        assert "Error handling request" not in caplog.text

    async def test_a_silent_stream_says_that_it_is_there(self):
        """Where nothing happens, a line without an event comes from time to time."""
        async with (
            operated(heartbeat=0.01) as one,
            one.client.get("/events/follow") as live,
        ):
            first = await live.content.readline()
            assert await live.content.readline() == first


class TestDeadLetters:
    @pytest.fixture
    async def letters(self, one):
        """Let three events of the subscriber's die."""
        events = [message(name) for name in "abc"]
        one.crm.refused |= {event.key for event in events}
        await one.publish(*events)
        return (await one.get("/dead"))["letters"]

    async def test_they_are_listed_page_by_page(self, one, letters):
        """Each letter comes with its event, error and times; a page says where the next begins."""
        assert [letter["entry"]["event"]["message_id"] for letter in letters] == ["a", "b", "c"]
        assert letters[0]["error"] == "ValueError: the database is away"
        page = await one.get("/dead", limit=2)
        assert await one.get("/dead", after=page["next"]) == {"letters": [letters[2]], "next": None}
        found = await one.get("/dead", status=404, subscriber="nobody")
        assert found["detail"] == 'unknown subscriber "nobody". Allowed: crm'
        assert (await one.get("/dead", id=letters[1]["id"]))["letters"] == [letters[1]]
        assert (await one.get("/dead", id=999))["letters"] == []

    async def test_a_retry_is_delivered_at_once_and_marked(self, one, letters):
        """A retried letter reaches its subscriber without anybody restarting anything."""
        one.crm.refused.clear()
        assert await one.post("/dead/retry", ids=[letters[0]["id"], 999]) == {"retried": 1}
        await one.settled()
        assert one.crm.taken == one.crm.replayed == ["message/whatsapp/a"]
        assert await one.post("/dead/retry") == {"retried": 2}
        await one.settled()
        assert sorted(one.crm.taken) == [f"message/whatsapp/{name}" for name in "abc"]
        assert (await one.get("/dead"))["letters"] == []

    async def test_a_retry_of_all_ends_although_they_die_again(self, one, letters):
        """With the subscriber still broken every letter is retried once, and is dead once more."""
        assert await one.post("/dead/retry", subscriber="crm") == {"retried": 3}
        await one.settled()
        again = (await one.get("/dead"))["letters"]
        assert {letter["id"] for letter in again}.isdisjoint(letter["id"] for letter in letters)
        assert len(again) == 3

    async def test_dropped_ones_are_gone(self, one, letters):
        """A dropped letter is neither listed nor delivered."""
        one.crm.refused.clear()
        assert await one.post("/dead/drop", ids=[letters[0]["id"]]) == {"dropped": 1}
        assert await one.post("/dead/drop", subscriber="crm") == {"dropped": 2}
        assert await one.post("/dead/drop") == {"dropped": 0}
        assert one.crm.taken == []


class TestReplay:
    async def test_events_come_once_more_and_marked(self, one):
        """A replay reaches the subscriber with its mark; what it does not want is left out."""
        a, b, odd = message("a"), message("b"), unrecognized("x")
        await one.publish(a, b, odd)
        done = await one.post("/replay", keys=[b.key, a.key, b.key, odd.key, "gone"])
        assert done == {"subscribers": {"crm": 2}, "unknown": ["gone"], "next": None}
        await one.settled()
        assert one.crm.taken == [a.key, b.key, a.key, b.key]
        assert one.crm.replayed == [a.key, b.key]

    async def test_a_dry_run_only_counts(self, one):
        """A dry run says what would happen, and nothing does."""
        a = message("a")
        await one.publish(a)
        done = await one.post("/replay", keys=[a.key], subscriber="crm", dry_run=True)
        assert done == {"subscribers": {"crm": 1}, "unknown": [], "next": None}
        await one.settled()
        assert one.crm.taken == [a.key]

    async def test_what_is_not_wanted_is_nothing_to_do(self, one):
        """Where a subscriber wants none of the events, nobody is counted."""
        await one.publish(unrecognized("x"))
        done = await one.post("/replay", keys=["unrecognized/whatsapp/x"])
        assert done == {"subscribers": {}, "unknown": [], "next": None}

    async def test_a_subscriber_that_does_not_run(self, one):
        """Nothing is held for a name that nobody goes by."""
        found = await one.post("/replay", status=404, keys=[], subscriber="cmr")
        assert (
            found["detail"] == 'unknown running subscriber "cmr"; did you mean "crm"? Allowed: crm'
        )


class Fickle:
    """Cannot read its callbacks until it is mended; then each has one message."""

    methods = frozenset({"POST"})
    mended = False

    def verify(self, callback: Callback, /) -> Verified:
        return Verified(payload=callback.body, received_at=callback.received_at)

    def parse(self, verified: Verified, /) -> Parsed:
        body = orjson.loads(verified.payload)
        scope = Scope(
            source="fickle", channel="fickle", received_at=verified.received_at, body=body
        )
        if not self.mended:
            return Parsed(events=(scope.unrecognized(errors.Unreadable("", "no idea")),))
        return Parsed(events=(message(body["id"], received_at=verified.received_at),))


class FickleWithin24Hours(Fickle):
    """Of a channel that takes answers for a day after a user's message."""

    windows = {"whatsapp": Window(open=timedelta(hours=24))}  # noqa: RUF012 - as an adapter's


class TestReparse:
    async def test_what_is_read_at_last_says_until_when_it_may_be_answered(self):
        """24 hours after the user wrote, as if the callback had been read when it came."""
        fickle = FickleWithin24Hours()
        bridge = Bridge(journal=MemoryJournal())
        bridge.add_adapter("fickle", fickle)
        async with bridge:
            await bridge.receive("fickle", Callback(body=b'{"id": "m"}', received_at=NOON))
            (unread,) = await bridge.journal.search(Query())
            fickle.mended = True
            await bridge.operators.reparse([unread.event.key])
            found = await bridge.journal.find("fickle/message/whatsapp/m")
        assert found.event.reply_until == NOON + timedelta(hours=24)

    async def test_a_mended_adapter_reads_what_it_could_not(self):
        """The event comes out with the callback's own time, and its body is marked as read."""
        fickle = Fickle()
        bridge = Bridge(journal=MemoryJournal())
        bridge.add_adapter("fickle", fickle)
        crm = Taking()
        bridge.on(Message, name="crm", policy=ONCE)(crm)
        app = application(bridge.operators, Metrics(), AdminSettings())
        async with bridge, TestServer(app) as server, TestClient(server) as client:
            one = Operated(bridge, crm, client)
            await bridge.receive("fickle", Callback(body=b'{"id": "m"}', received_at=NOON))
            (key,) = keys(await one.get("/events", mended="false"))
            still = {"mended": False, "keys": [], "published": 0}
            assert await one.post("/reparse", keys=[key]) == {"reparsed": {key: still}}
            fickle.mended = True
            would = {"mended": True, "keys": ["fickle/message/whatsapp/m"], "published": 0}
            assert await one.post("/reparse", keys=[key], dry_run=True) == {
                "reparsed": {key: would}
            }
            done = await one.post("/reparse", keys=[key, "fickle/message/whatsapp/m", "none"])
            assert done == {
                "reparsed": {
                    key: would | {"published": 1},
                    "fickle/message/whatsapp/m": None,
                    "none": None,
                }
            }
            await one.settled()
            assert crm.taken == ["fickle/message/whatsapp/m"]
            again = await one.post("/reparse", keys=[key])
            assert again["reparsed"][key]["published"] == 0
            assert keys(await one.get("/events", mended="false", kind="unrecognized")) == []
            (entry,) = (await one.get("/events", mended="true"))["entries"]
            assert entry["mended"] is True
            (event,) = (await one.get("/events", kind="message"))["entries"]
            assert event["event"]["received_at"] == "2026-11-01T12:00:00Z"

    async def test_an_adapter_that_is_gone(self, one):
        """What came by an adapter that is not configured any more stays as it is."""
        await one.publish(unrecognized("x"))
        key = "unrecognized/whatsapp/x"
        assert await one.post("/reparse", keys=[key]) == {"reparsed": {key: None}}


class TestSubscribers:
    async def test_they_are_listed_with_what_fails(self, one):
        """Each subscriber says how far it is, what is dead, and how many tries have failed."""
        one.crm.refused.add("message/whatsapp/b")
        await one.publish(message("a"), message("b"))
        await one.bridge.journal.subscribe("former", start=Start.BEGINNING)
        crm, former = (await one.get("/subscribers"))["subscribers"]
        assert crm.items() >= {"name": "crm", "running": True, "lag": 0, "dead": 1}.items()
        assert crm["failed_tries"] == 1
        assert former.items() >= {"name": "former", "running": False, "lag": 2}.items()
        assert former["lag_seconds"] >= 0

    async def test_only_what_does_not_run_is_forgotten(self, one):
        """A former subscriber is forgotten; one that runs would only begin anew."""
        await one.bridge.journal.subscribe("former")
        for name, expected in (("former", 200), ("former", 404), ("crm", 409)):
            assert (await one.client.delete(f"/subscribers/{name}")).status == expected
        assert [s.name for s in await one.bridge.journal.subscribers()] == ["crm"]

    async def test_purge(self, one):
        """Everything about one person is erased."""
        await one.publish(message("a", user="+16505551234"), message("b", user="+16505559999"))
        assert await one.post("/purge", subject="+16505551234") == {"erased": 1}
        assert keys(await one.get("/events")) == ["message/whatsapp/b"]


class TestListening:
    async def test_it_has_an_address_of_its_own(self):
        """The listener gives its base URL."""
        bridge = Bridge(journal=MemoryJournal())
        for host in ("127.0.0.1", "::1"):
            settings = AdminSettings(host=host, port=0, socket=None)
            async with listening(bridge.operators, Metrics(), settings) as url:
                assert url.startswith(f"http://[{host}]:" if ":" in host else f"http://{host}:")

    async def test_an_address_that_is_taken_is_a_mistake_in_the_settings(self):
        """Where the port cannot be had, the error names its key."""
        operators = Bridge(journal=MemoryJournal()).operators
        async with listening(operators, Metrics(), AdminSettings(port=0, socket=None)) as url:
            port = int(url.rsplit(":", 1)[1])
            taken = AdminSettings(port=port, socket=None)
            with pytest.raises(ConfigurationError, match=f"admin.port: .*127.0.0.1 port {port}"):
                async with listening(operators, Metrics(), taken):
                    pass
