"""What is remembered of the latest callbacks, and what of their headers is shown."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address

import orjson
import pytest

from bridge.adapter import Callback
from bridge.adapter.signing import Secret
from bridge.adapters.incs import Incs, IncsSettings
from bridge.journal.memory import MemoryJournal
from bridge.model.keys import Happening, happening_of
from bridge.ops.callbacks import MOST
from bridge.runtime import Bridge
from tests.bridge.events import NOON
from tests.bridge.fakes import TOKEN, Plain

SECRETS = {
    "Authorization": "Bearer abcdef",
    "X-Hub-Signature-256": "sha256=0123456789abcdef",
    "X-Goog-Signature": "c2lnbmF0dXJl",
    "Cookie": "session=1",
}


def callback(number: int = 0, *, message_id: str = "a", **fields) -> Callback:
    body = orjson.dumps({"messages": [{"id": message_id, "text": "hello"}]})
    moment = NOON + timedelta(seconds=number)
    return Callback(body=body, tail=TOKEN, received_at=moment, **fields)


@pytest.fixture
async def bridge():
    made = Bridge(journal=MemoryJournal())
    made.add_adapter("plain", Plain())
    async with made:
        with made.operators.remembering_callbacks():
            yield made


async def told_of(bridge: Bridge, key: str):
    described = await bridge.operators.describe(key)
    return described.callbacks


async def test_a_duplicate_is_known_with_its_time_and_source(bridge):
    """The callback that published an event stands first, and then each that repeated it."""
    for number in range(3):
        await bridge.receive("plain", callback(number))
    await bridge.receive("plain", callback(3, message_id="b"))
    found = await told_of(bridge, "plain/message/plain/a")
    assert [each.received_at for each in found] == [NOON + timedelta(seconds=n) for n in range(3)]
    assert [each.position for each in found] == [1, None, None]
    assert {each.source for each in found} == {"plain"}


async def test_only_the_latest_are_remembered(bridge):
    """So many callbacks are remembered; of an older one nothing is known any more."""
    await bridge.receive("plain", callback(0))
    for number in range(MOST):
        await bridge.receive("plain", callback(number, message_id=str(number)))
    assert await told_of(bridge, "plain/message/plain/a") == []
    assert len(await told_of(bridge, "plain/message/plain/0")) == 1


async def test_nothing_is_remembered_once_nobody_may_look(bridge):
    """Outside of the block callbacks are not remembered."""
    other = Bridge(journal=MemoryJournal())
    other.add_adapter("plain", Plain())
    async with other:
        await other.receive("plain", callback())
        assert await told_of(other, "plain/message/plain/a") == []


async def test_headers_without_their_secrets(bridge):
    """What helps is shown; of signatures only the scheme is, of addresses only the network."""
    shown = {
        "User-Agent": "facebookexternalua",
        "Content-Type": "application/json",
        "X-Request-Id": "4711",
    }
    addresses = {"X-Forwarded-For": "203.0.113.77, 2001:db8:1:2::3, nonsense"}
    client = ip_address("198.51.100.23")
    headers = {**shown, **SECRETS, **addresses}
    await bridge.receive("plain", callback(headers=headers, client=client))
    (found,) = await told_of(bridge, "plain/message/plain/a")
    assert dict(found.headers) == {
        **shown,
        "Authorization": "Bearer … (length 13)",
        "X-Hub-Signature-256": "sha256=… (length 23)",
        "X-Goog-Signature": "… (length 12)",
        "Cookie": "… (length 9)",
        "X-Forwarded-For": "203.0.113.0/24, 2001:db8:1::/48, …",
    }
    assert found.client == "198.51.100.0/24"


async def test_headers_are_bounded(bridge):
    """Of many headers the first are shown, and of a long value its beginning."""
    headers = [("User-Agent", "u" * 5000), *((f"X-{n}", "v") for n in range(500))]
    await bridge.receive("plain", callback(headers=headers))
    (found,) = await told_of(bridge, "plain/message/plain/a")
    assert len(found.headers) == 64
    assert found.headers[0] == ("User-Agent", "u" * 200 + "…")


async def test_the_two_callbacks_of_one_happening():
    """INCS tells a status by the channel's id and by its number: one event of both callbacks."""
    incs = Incs("incs", IncsSettings(tokens=(Secret("t"),)))
    created = next(each for each in incs.samples() if "image from an agent" in each.title)
    wamid = created.body["message"]["channel_msg_id"]
    by_id = {
        "event": "message_status_update",
        "channel_id": 30058,
        "business_phone": "6281519236680",
        "message_id": wamid,
        "message_status": "read",
        "error": None,
        "received_at": 1754466101,
    }
    by_number = {
        "event": "message_status_updated",
        "message_id": created.body["message"]["id"],
        "message_status": 4,
        "error": "",
        "updated_at": "2026-04-07T13:11:27.000000Z",
    }
    bridge = Bridge(journal=MemoryJournal())
    bridge.add_adapter("incs", incs)
    async with bridge:
        with bridge.operators.remembering_callbacks():
            for number, body in enumerate((created.body, by_id, by_number)):
                moment = NOON + timedelta(seconds=number)
                raw = Callback(body=orjson.dumps(body), tail="t", received_at=moment)
                await bridge.receive("incs", raw)
            by_its_id = await bridge.operators.describe(f"incs/status/whatsapp/{wamid}/read")
            own = by_its_id.entry.position
            assert [each.position for each in by_its_id.callbacks] == [own, None]
            by_its_number = await bridge.operators.describe("incs/status/incs/260400000079/read")
            assert by_its_number == by_its_id
            assert (await bridge.operators.describe("260400000079")).entry.position == 1
            assert await bridge.operators.describe("incs/status/incs/260400000079/failed") is None
            assert await bridge.operators.describe("other/status/incs/260400000079/read") is None
            assert await bridge.operators.describe("incs/notice/x") is None


@pytest.mark.parametrize(
    ("key", "domain", "kind", "message_id", "rest"),
    [
        ("d/message/whatsapp/wamid.1", "d", "message", "wamid.1", ()),
        ("message/whatsapp/wamid.1", None, "message", "wamid.1", ()),
        ("d/message/rcs/+4930/a%2Fb", "d", "message", "a/b", ()),
        ("d/message/rcs/+4930/a/more/2", "d", "message", "a", ()),
        ("message/message/whatsapp/1", "message", "message", "1", ()),
        ("d/status/incs/9001/read", "d", "status", "9001", ("read",)),
        ("d/status/whatsapp/x/read/+4930/more/1", "d", "status", "x", ("read", "+4930")),
    ],
)
def test_what_a_key_says(key, domain, kind, message_id, rest):
    """The key of a message or a status says which it is about, whichever completion it names."""
    expected = Happening(domain=domain, kind=kind, message_id=message_id, rest=rest)
    assert happening_of(key) == expected


@pytest.mark.parametrize("key", ["", "x", "message/x", "d/notice/whatsapp/1", "message"])
def test_keys_of_other_events_say_nothing(key):
    """Only keys of messages and of statuses are taken apart."""
    assert happening_of(key) is None
