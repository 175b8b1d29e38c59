"""Nobody gets across: what comes in by one trust domain changes nothing of another.

Two customers share a bridge. Acme has Meta's and Google's signed callbacks and INCS's in one
domain; the other one has INCS alone, knows Acme's ids, and posts what it likes with its own token.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import orjson
from aiohttp import ClientSession
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.adapter import Callback
from bridge.adapter.signing import Secret
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.journal.lanes import lane_of
from bridge.journal.memory import MemoryJournal
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.protocol import Journal
from bridge.journal.query import JOINED, PAUSED, Query
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Event, Message, Status, StatusChange, Unrecognized
from bridge.runtime import Bridge
from tests.bridge.journal.nats_servers import NatsServer
from tests.bridge.providers import APP_SECRET, CLIENT_TOKEN, rcs_signature, whatsapp_signature
from tests.bridge.serving import serving

ACMES, EVILS = "acmes-token", "evils-token"
NEVER = 60.0
"""Seconds to settle: longer than any test takes."""
WAMIDS = ("wamid.HBgLMTY1MDU1NTEyMzQVAgARGA==", "wamid.HBgLMTY1MDU1NTEyMzQVAgARGB==", "plain/1")
NUMBERS = ("260400000001", "260400000002")
PHONES = ("16505551234", "16505550002")
USER_ID = "US.13491208655302741918"
ACMES_PHONE, ACMES_CHANNEL = "15550783881", 30058
AT = "2026-11-01T12:00:00.000000Z"

_places = itertools.count()


# --- what a provider posts -----------------------------------------------------------------


def value(**fields: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": ACMES_PHONE, "phone_number_id": "106540352242922"}
    return {"messaging_product": "whatsapp", "metadata": metadata, **fields}


def said(wamid: str, phone: str, text: str, user_id: str | None = None) -> dict[str, Any]:
    """Return Meta's value of a user's message."""
    named = {} if user_id is None else {"from_user_id": user_id}
    item = {"id": wamid, "from": phone, "timestamp": "1793534400", "type": "text", **named}
    return value(messages=[item | {"text": {"body": text}}])


def about(wamid: str, target: str, phone: str, kind: str) -> dict[str, Any]:
    """Return Meta's value of what a user does with another message, whose id may be stolen."""
    item: dict[str, Any] = {"id": wamid, "from": phone, "timestamp": "1793534400", "type": kind}
    if kind == "reaction":
        item["reaction"] = {"message_id": target, "emoji": "👍"}
    elif kind == "revoke":
        item["revoke"] = {"original_message_id": target}
    else:
        item |= {"type": "text", "text": {"body": "yes"}}
        item |= {"group_id": target} if kind == "group" else {"context": {"id": target}}
    return value(messages=[item])


def imported(wamid: str, phone: str) -> dict[str, Any]:
    """Return Meta's value of a chat of before, with a message that somebody else has had."""
    (item,) = said(wamid, phone, "of before")["messages"]
    thread = {"id": phone, "messages": [item | {"history_context": {"status": "READ"}}]}
    return value(history=[{"metadata": {"phase": 1, "chunk_order": 1}, "threads": [thread]}])


def beside(topic: str, phone: str) -> dict[str, Any]:
    """Return Meta's value with a part that is named as a notice of the bridge's own."""
    names = [f"acme/whatsapp:106540352242922:+{each}" for each in (phone, PHONES[0])]
    told = {"from": names[0], "to": names[1], "conversation": names[0], "until": AT}
    return value(**{topic: told})


def by_rcs(message_id: str, phone: str, kind: str) -> dict[str, Any]:
    """Return Google's object of a message, or of an event about one."""
    item = {"senderPhoneNumber": f"+{phone}", "agentId": "acme@rbm.goog", "messageId": message_id}
    if kind == "text":
        return item | {"text": "hello", "sendTime": AT}
    return item | {"eventType": kind, "eventId": f"e-{message_id}-{kind}", "sendTime": AT}


def template(number: str, status: str) -> bytes:
    """Return INCS's callback of a template's status."""
    told = {"id": int(number), "template_id": number, "name": "offer", "language": "en"}
    return orjson.dumps({"event": "template_status_update", "status": status, "template": told})


def moved(wamid: str, phone: str, word: str) -> dict[str, Any]:
    """Return Meta's value of a status."""
    status = {"id": wamid, "status": word, "timestamp": "1793534401", "recipient_id": phone}
    return value(statuses=[status])


def by_meta(told: dict[str, Any]) -> bytes:
    change = {"field": "messages", "value": told}
    return orjson.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    )


def by_incs(told: dict[str, Any]) -> bytes:
    body = {"event": "new_message", "business_phone": ACMES_PHONE, "message": told}
    return orjson.dumps(body)


def created(number: str, wamid: str | None, phone: str, *, inbound: bool) -> bytes:
    """Return INCS's callback that ties its number to the channel's id."""
    sides = (phone, "incs_1") if inbound else ("incs_1", phone)
    message = {
        "id": int(number),
        "auth_id": ACMES_CHANNEL,
        "sender": sides[0],
        "receiver": sides[1],
        "type": 101,
        "channel_msg_id": wamid,
        "channel_status": 0,
        "content": {"content": "hi"},
        "created_at": AT,
        "updated_at": AT,
    }
    return orjson.dumps({"event": "message_created", "message": message})


def status_by_id(wamid: str, word: str) -> bytes:
    body = {"channel_id": ACMES_CHANNEL, "business_phone": ACMES_PHONE, "received_at": AT}
    told = {"event": "message_status_update", "message_id": wamid, "message_status": word}
    return orjson.dumps(told | body)


def status_by_number(number: str, word: int) -> bytes:
    body = {"event": "message_status_updated", "message_id": int(number), "message_status": word}
    return orjson.dumps(body | {"error": "", "updated_at": AT})


def by_google(item: dict[str, Any]) -> bytes:
    data = base64.b64encode(orjson.dumps(item)).decode()
    return orjson.dumps({"message": {"data": data}})


Post = tuple[Literal["meta", "google", "incs", "evil"], bytes]

wamids, numbers, phones = map(st.sampled_from, (WAMIDS, NUMBERS, PHONES))
words = st.sampled_from(["sent", "delivered", "read", "failed"])
values = st.one_of(
    st.builds(said, wamids, phones, st.sampled_from("ab"), st.sampled_from([None, USER_ID])),
    st.builds(moved, wamids, phones, words),
    st.builds(
        about, wamids, wamids, phones, st.sampled_from(["reaction", "revoke", "quote", "group"])
    ),
    st.builds(imported, wamids, phones),
    st.builds(beside, st.sampled_from([JOINED, PAUSED]), phones),
)
items = st.builds(
    by_rcs, wamids, phones, st.sampled_from(["text", "DELIVERED", "READ", "IS_TYPING"])
)
of_incs = st.one_of(
    values.map(by_incs),
    items.map(by_incs),
    st.builds(template, numbers, st.sampled_from(["APPROVED", "REJECTED"])),
    st.builds(created, numbers, st.none() | wamids, phones, inbound=st.booleans()),
    st.builds(status_by_id, wamids, words),
    st.builds(status_by_number, numbers, st.integers(1, 4)),
)
posts = st.one_of(
    st.tuples(st.just("meta"), values.map(by_meta)),
    st.tuples(st.just("google"), items.map(by_google)),
    st.tuples(st.just("incs"), of_incs),
    st.tuples(st.just("evil"), of_incs),
)


# --- the bridge ----------------------------------------------------------------------------


def two_customers(journal: Journal, channels: Iterable[Channel] = ()) -> Bridge:
    bridge = Bridge(journal=journal)
    meta = WhatsAppSettings(app_secrets=(Secret(APP_SECRET),))
    bridge.add_adapter("meta", WhatsApp("meta", meta), domain="acme")
    rcs = RcsSettings(client_tokens=(Secret(CLIENT_TOKEN),))
    bridge.add_adapter("google", Rcs("google", rcs), domain="acme")
    incs = IncsSettings(tokens=(Secret(ACMES),), settle=NEVER)
    bridge.add_adapter("incs", Incs("incs", incs), domain="acme", believe_unsigned=True)
    evil = IncsSettings(tokens=(Secret(EVILS),), settle=NEVER, channels=tuple(channels))
    bridge.add_adapter("evil", Incs("evil", evil))
    return bridge


def callback(post: Post, at: datetime) -> Callback:
    adapter, body = post
    if adapter == "meta":
        headers = {"X-Hub-Signature-256": f"sha256={whatsapp_signature(body)}"}
        return Callback(body=body, received_at=at, headers=headers)
    if adapter == "google":
        signature = rcs_signature(base64.b64decode(orjson.loads(body)["message"]["data"]))
        return Callback(body=body, received_at=at, headers={"X-Goog-Signature": signature})
    return Callback(body=body, received_at=at, tail=ACMES if adapter == "incs" else EVILS)


async def given_to(
    journal: Journal, history: Sequence[Post | None], now: datetime
) -> Mapping[str, list[Event]]:
    """Return what the subscriber of each domain gets, by lane, of callbacks from `now` on.

    None stands for a callback that is not posted: the others come at the same times.
    """
    got: list[Event] = []
    news = asyncio.Event()

    def take(event: Event) -> None:
        got.append(event)
        news.set()

    bridge = two_customers(journal)
    for domain in ("acme", "evil"):
        bridge.on(Event, name=domain, domain=domain, completions=True)(take_for(domain, take))
    async with bridge, asyncio.timeout(10):
        for number, post in enumerate(history):
            if post is not None:
                await bridge.receive(post[0], callback(post, now + timedelta(seconds=number)))
        expected = len(await journal.search(Query(limit=500)))
        while len(got) < expected:
            await news.wait()
            news.clear()
    lanes: dict[str, list[Event]] = defaultdict(list)
    for event in got:
        lanes[lane_of(event)].append(event)
    return lanes


def take_for(domain: str, take: Callable[[Event], None]) -> Callable[[Event], Any]:
    async def receive(event: Event) -> None:
        assert event.domain == domain
        take(event)

    return receive


async def check(make: Callable[[], Journal], history: Sequence[Post]) -> None:
    now = datetime.now(UTC)
    together = await given_to(make(), history, now)
    for domain, adapters in (
        ("acme", ("meta", "google", "incs")),
        ("evil", ("evil",)),
    ):
        own = [post if post[0] in adapters else None for post in history]
        alone = await given_to(make(), own, now)
        assert {
            lane: events for lane, events in together.items() if events[0].domain == domain
        } == alone


STOLEN: tuple[Post, ...] = (
    ("evil", by_incs(said(WAMIDS[0], PHONES[1], "not mine"))),
    ("evil", created(NUMBERS[0], WAMIDS[1], PHONES[1], inbound=False)),
    ("meta", by_meta(said(WAMIDS[0], PHONES[0], "hello"))),
    ("incs", created(NUMBERS[0], WAMIDS[1], PHONES[0], inbound=False)),
    ("evil", status_by_id(WAMIDS[1], "read")),
    ("evil", status_by_number(NUMBERS[0], 4)),
    ("incs", status_by_number(NUMBERS[0], 2)),
    ("meta", by_meta(moved(WAMIDS[1], PHONES[0], "delivered"))),
    ("evil", by_incs(said(WAMIDS[2], PHONES[0], "who am I", USER_ID))),
    ("meta", by_meta(said(WAMIDS[2], PHONES[1], "me", USER_ID))),
    ("evil", by_incs(about("wamid.e1", WAMIDS[0], PHONES[0], "reaction"))),
    ("evil", by_incs(about("wamid.e2", WAMIDS[0], PHONES[0], "revoke"))),
    ("evil", by_incs(about("wamid.e3", WAMIDS[0], PHONES[1], "group"))),
    ("meta", by_meta(about("wamid.m1", WAMIDS[0], PHONES[1], "group"))),
    ("evil", by_incs(imported(WAMIDS[1], PHONES[0]))),
    ("evil", by_incs(beside(JOINED, PHONES[1]))),
    ("evil", by_incs(beside(PAUSED, PHONES[0]))),
    ("evil", by_incs(by_rcs("rcs-1", PHONES[0], "text"))),
    ("evil", by_incs(by_rcs("rcs-2", PHONES[0], "READ"))),
    ("google", by_google(by_rcs("rcs-1", PHONES[0], "text"))),
    ("google", by_google(by_rcs("rcs-2", PHONES[0], "DELIVERED"))),
    ("evil", template(NUMBERS[0], "REJECTED")),
    ("incs", template(NUMBERS[0], "APPROVED")),
    ("meta", by_meta(moved(WAMIDS[1], PHONES[0], "read"))),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(list(STOLEN))
@given(st.lists(posts, min_size=1, max_size=12))
def test_nothing_of_one_domain_changes_another(tmp_path: Path, history: list[Post]) -> None:
    """Each domain's subscribers get exactly what they would get without the other's callbacks.

    In content, order and status, whatever ids the other has stolen, on memory and on SQLite.
    """
    asyncio.run(check(MemoryJournal, history))
    asyncio.run(check(lambda: SqliteJournal(tmp_path / f"{next(_places)}.db"), history))


def test_nothing_of_one_domain_changes_another_on_nats(tmp_path: Path) -> None:
    """The same on NATS, for one history with every theft in it."""
    with NatsServer(tmp_path / "nats") as server:

        def make() -> Journal:
            stream = f"trust-{next(_places)}"
            return NatsJournal(NatsSettings(servers=(server.url,), stream=stream, partitions=1))

        asyncio.run(check(make, STOLEN))


# --- over the wire -------------------------------------------------------------------------


async def post(bridge: Bridge, *history: Post) -> None:
    """Serve a bridge and post callbacks one by one; what is in memory is delivered on leaving."""
    async with serving(bridge) as url, ClientSession(url) as client:
        for adapter, body in history:
            one = callback((adapter, body), datetime.now(UTC))
            path = f"/callbacks/{adapter}/{one.tail}".removesuffix("/")
            async with client.post(path, data=body, headers=one.headers) as response:
                assert response.status == 200


async def to_acme(*history: Post) -> list[Event]:
    """Return what Acme's subscriber gets of callbacks to both customers."""
    bridge = two_customers(MemoryJournal())
    got: list[Event] = []
    bridge.on(Event, name="acme", domain="acme")(got.append)
    await post(bridge, *history)
    return got


async def test_a_signed_message_comes_out_though_its_id_was_posted_before():
    """Another's `new_message` with Meta's id does not make Meta's own message a known one."""
    forged: Post = ("evil", by_incs(said(WAMIDS[0], PHONES[1], "forged")))
    (event,) = await to_acme(forged, ("meta", by_meta(said(WAMIDS[0], PHONES[0], "hello"))))
    assert isinstance(event, Message)
    assert (event.content.text, event.sender.phone) == ("hello", f"+{PHONES[0]}")


async def test_anothers_status_moves_nothing():
    """Another's `read` and `failed` for a message neither bar the real ones nor move it on."""
    sent, failed = await to_acme(
        ("evil", status_by_id(WAMIDS[0], "read")),
        ("evil", status_by_id(WAMIDS[0], "failed")),
        ("meta", by_meta(moved(WAMIDS[0], PHONES[0], "sent"))),
        ("meta", by_meta(moved(WAMIDS[0], PHONES[0], "failed"))),
    )
    assert isinstance(sent, StatusChange)
    assert (sent.status, sent.current, sent.advanced) == (Status.SENT, Status.SENT, True)
    assert isinstance(failed, StatusChange)
    assert (failed.status, failed.account) == (Status.FAILED, "106540352242922")


async def test_numbers_that_another_has_claimed_are_still_ours():
    """A hundred of INCS's numbers, claimed beforehand, still come out with what they are."""
    first = int(NUMBERS[0])
    claims: list[Post] = [
        ("evil", created(str(number), f"wamid.{number}", PHONES[1], inbound=False))
        for number in range(first, first + 100)
    ]
    own: Post = ("incs", created(NUMBERS[0], None, PHONES[0], inbound=False))
    (event,) = await to_acme(*claims, own)
    assert isinstance(event, Message)
    assert (event.message_id, event.recipient.phone) == (NUMBERS[0], f"+{PHONES[0]}")


async def test_another_channel_is_nobodys_account():
    """What names another channel than the adapter's is kept, unrecognized and of no account."""
    bridge = two_customers(MemoryJournal(), [Channel(id=40001, kind="whatsapp")])
    of_account: list[Event] = []
    of_evil: list[Event] = []
    bridge.on(Event, name="account", account=str(ACMES_CHANNEL))(of_account.append)
    bridge.on(Event, name="evil", domain="evil")(of_evil.append)
    await post(bridge, ("evil", created(NUMBERS[0], WAMIDS[0], PHONES[0], inbound=True)))
    assert of_account == []
    (event,) = of_evil
    assert isinstance(event, Unrecognized)
    assert event.account is None
