"""Which trust domain an adapter's events are of, and who may share one."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import attrs
import orjson
import pytest

from bridge.adapter import Callback, Parsed
from bridge.adapter.signing import Secret
from bridge.adapters.incs import Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.errors import ConfigurationError, NotAuthentic
from bridge.journal.memory import MemoryJournal
from bridge.journal.query import Query
from bridge.model import Origin
from bridge.runtime import Bridge
from tests.bridge.fakes import TOKEN, Plain

NOON = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
SIGNED = WhatsApp("meta", WhatsAppSettings(app_secrets=(Secret("secret"),)))
UNSIGNED = Incs("incs", IncsSettings(tokens=(Secret("token"),)))


def said(identity: str) -> Callback:
    body = orjson.dumps({"messages": [{"id": identity, "text": "hello"}]})
    return Callback(body=body, received_at=NOON, tail=TOKEN)


def meta(*, number: str = "106540352242922", dated: datetime = NOON) -> Callback:
    """Return a signed text to one of Meta's numbers."""
    item = {
        "from": "16505551234",
        "id": f"wamid.{number}.{dated.timestamp():.0f}",
        "timestamp": f"{dated.timestamp():.0f}",
        "type": "text",
        "text": {"body": "hello"},
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": number},
        "contacts": [{"profile": {"name": "Sheena"}, "wa_id": "16505551234"}],
        "messages": [item],
    }
    entry = {"id": "102290129340398", "changes": [{"field": "messages", "value": value}]}
    body = orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})
    signed = SIGNED.authenticate(body)
    return Callback(body=signed.body, headers=signed.headers, received_at=NOON)


async def test_an_adapter_has_a_domain_of_its_own_unless_it_is_given_one():
    """It is named as the adapter or as it was given; keys and conversations begin with it."""
    journal = MemoryJournal()
    bridge = Bridge(journal=journal)
    bridge.add_adapter("one", Plain("one"))
    bridge.add_adapter("two", Plain("two"), domain="acme")
    async with bridge:
        await bridge.receive("one", said("a"))
        await bridge.receive("two", said("a"))
        entries = await journal.search(Query())
    told = [(e.event.domain, e.event.source, e.event.key, e.lane) for e in entries]
    assert told == [
        ("one", "one", "one/message/plain/a", "one/plain:1:+10000000000"),
        ("acme", "two", "acme/message/plain/a", "acme/plain:1:+10000000000"),
    ]


async def test_adapters_that_share_a_domain_tell_one_story(caplog):
    """The same message by both is one, and the log tells which adapter repeated it."""
    journal = MemoryJournal()
    bridge = Bridge(journal=journal)
    bridge.add_adapter("one", Plain("one"), domain="acme")
    bridge.add_adapter("two", Plain("two"), domain="acme")
    bridge.add_adapter("three", Plain("three"))
    async with bridge:
        for name in ("one", "one", "two", "two", "three", "three"):
            await bridge.receive(name, said("a"))
        entries = await journal.search(Query())
    assert [entry.event.source for entry in entries] == ["one", "three"]
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.getMessage() == "duplicate from another adapter than the original's"
    assert (record.adapter, record.original) == ("two", "one")


@pytest.mark.parametrize("first_signed", [True, False])
def test_what_is_unsigned_does_not_speak_for_what_is_signed(first_signed):
    """One that verifies signatures shares its domain with one that does not only if that is said.

    In whichever order they are added, and also where a domain is another adapter's name.
    """
    bridge = Bridge(journal=MemoryJournal())
    adapters = [("meta", SIGNED), ("incs", UNSIGNED)]
    (name, adapter), (other_name, other) = adapters if first_signed else adapters[::-1]
    bridge.add_adapter(name, adapter)
    with pytest.raises(ConfigurationError, match="'incs' verifies no signatures") as caught:
        bridge.add_adapter(other_name, other, domain=name)
    assert [problem.key for problem in caught.value.problems] == ["domain"]
    bridge.add_adapter(other_name, other)


def test_an_unsigned_adapter_is_believed_where_that_is_said():
    """`believe_unsigned` is said of the adapter that verifies nothing; alone it changes nothing."""
    bridge = Bridge(journal=MemoryJournal())
    bridge.add_adapter("incs", UNSIGNED, domain="acme", believe_unsigned=True)
    bridge.add_adapter("meta", SIGNED, domain="acme")
    with pytest.raises(ConfigurationError, match="'plain' verifies no signatures"):
        bridge.add_adapter("plain", Plain(), domain="acme")
    bridge.add_adapter("one", Plain(), domain="plain")
    bridge.add_adapter("two", UNSIGNED, domain="plain")


@pytest.mark.parametrize(
    ("adapter", "signed"),
    [
        (SIGNED, True),
        (WhatsApp("x", WhatsAppSettings(insecure=True)), False),
        (WhatsApp("x", WhatsAppSettings(app_secrets=(Secret("a"),), insecure=True)), True),
        (Rcs("x", RcsSettings(client_tokens=(Secret("a"),))), True),
        (Rcs("x", RcsSettings(client_tokens=(Secret("a"),), insecure=True)), False),
        (
            Rcs("x", RcsSettings(client_tokens=(Secret("a"),), bare=True, tokens=(Secret("b"),))),
            False,
        ),
        (UNSIGNED, False),
        (Plain(), False),
    ],
)
def test_adapters_say_whether_they_verify_signatures(adapter, signed):
    """An adapter is signed if nothing unsigned gets past it; one that does not say is not."""
    assert getattr(adapter, "signed", False) is signed


@pytest.mark.parametrize("domain", ["", "a/b"])
def test_a_domain_is_a_plain_name(domain):
    """A domain without a name, or with a slash, is refused: a slash ends it in each key."""
    bridge = Bridge(journal=MemoryJournal())
    with pytest.raises(ConfigurationError, match="without a slash"):
        bridge.add_adapter("plain", Plain(), domain=domain)


@pytest.mark.parametrize("returned", [None, "events", (1,)])
async def test_what_parse_returns_by_mistake_is_a_crash_of_the_adapter(returned, caplog):
    """An adapter that returns something else than events loses nothing, and the bridge goes on."""

    class Wrong(Plain):
        def parse(self, verified):
            if returned == "events":
                raise SystemExit
            return returned

    journal = MemoryJournal()
    bridge = Bridge(journal=journal)
    bridge.add_adapter("wrong", Wrong())
    async with bridge:
        response = await bridge.receive("wrong", said("a"))
        (entry,) = await journal.search(Query())
    assert response.status == 200
    assert (entry.event.kind, entry.event.domain) == ("unrecognized", "wrong")
    assert "an adapter failed" in caplog.text


class Dated(Plain):
    """Dates its messages, or imports them, as the body says."""

    def parse(self, verified):
        told = orjson.loads(verified.payload)["messages"][0]
        at = NOON - timedelta(seconds=told["age"])
        origin = Origin.HISTORY if told.get("history") else Origin.USER
        (event,) = super().parse(verified).events
        return Parsed(events=(attrs.evolve(event, occurred_at=at, origin=origin),))


async def test_what_is_dated_too_far_back_is_marked():
    """Past `max_age` an event comes out as stale, but for an import."""
    journal = MemoryJournal()
    bridge = Bridge(journal=journal)
    bridge.add_adapter("plain", Dated(), max_age=60.0)
    async with bridge:
        for identity, age, history in (("a", 60, 0), ("b", 61, 0), ("c", 61, 1)):
            item = {"id": identity, "text": "hello", "age": age, "history": history}
            body = orjson.dumps({"messages": [item]})
            await bridge.receive("plain", Callback(body=body, received_at=NOON, tail=TOKEN))
        found = [entry.event for entry in await journal.search(Query())]
    assert [event.kind for event in found] == ["message"] * 3
    assert [event.stale for event in found] == [None, True, None]


async def test_what_is_dated_too_far_back_can_be_kept_back():
    """With `stale="unrecognized"` it does not come out: the body is kept, once."""
    journal = MemoryJournal()
    bridge = Bridge(journal=journal)
    bridge.add_adapter("plain", Dated(), max_age=60.0, stale="unrecognized")
    async with bridge:
        for identity, age, history in (("a", 60, 0), ("b", 61, 0), ("c", 61, 1), ("b", 61, 0)):
            item = {"id": identity, "text": "hello", "age": age, "history": history}
            body = orjson.dumps({"messages": [item]})
            await bridge.receive("plain", Callback(body=body, received_at=NOON, tail=TOKEN))
        a, b, c = [entry.event for entry in await journal.search(Query())]
    assert (a.kind, b.kind, c.kind) == ("message", "unrecognized", "message")
    assert b.reason == "stale: dated more than 60 s before it came"
    assert b.raw["messages"][0]["id"] == "b"


async def test_what_is_dated_too_far_back_comes_out_once_it_may():
    """A body that is parsed again gives its events where `max_age` has become long enough."""
    journal = MemoryJournal()
    body = orjson.dumps({"messages": [{"id": "a", "text": "hello", "age": 61}]})
    for max_age, known in ((60.0, ["unrecognized"]), (0, ["unrecognized", "message"])):
        bridge = Bridge(journal=journal)
        bridge.add_adapter("plain", Dated(), max_age=max_age, stale="unrecognized")
        async with bridge:
            if not max_age:
                (entry,) = await journal.search(Query())
                await bridge.operators.reparse([entry.event.key])
            else:
                await bridge.receive("plain", Callback(body=body, received_at=NOON, tail=TOKEN))
            assert [e.event.kind for e in await journal.search(Query())] == known
            (previewed,) = bridge.operators.normalize("plain", body).events
            assert previewed.kind == "message"


@pytest.mark.parametrize(
    ("journal", "adapter", "expected"),
    [
        ("", "", 8),
        ('[journal]\nkeep = "20d"\n', "", 20),
        ('[journal]\nkeep = "1d"\n', "", 7),  # https://developers.facebook.com: 7 days
        ('[journal]\nkeep = "1d"\n', 'max_age = "2d"\n', 2),
        ('[journal]\nkeep = "1d"\n', "max_age = 0\n", None),
        ("", "insecure = true\n", None),  # then anybody can date a body as they like
        ("", 'insecure = true\nmax_age = "2d"\n', 2),
    ],
)
async def test_how_old_a_callback_may_be_by_default(tmp_path, journal, adapter, expected):
    """As old as what the journal remembers, or as what the provider repeats; unless it is set."""
    config = tmp_path / "config.toml"
    config.write_text(f'{journal}[adapters.whatsapp]\napp_secrets = ["secret"]\n{adapter}')
    bridge = Bridge.from_toml(config)
    for days, is_stale in ((expected or 3650, None), (expected and expected + 1, True)):
        if days is None:
            continue
        callback = meta(dated=NOON - timedelta(days=days))
        async with bridge:
            await bridge.receive("whatsapp", callback)
            (*_, last) = await bridge.journal.search(Query())
        assert (last.event.kind, last.event.stale) == ("message", is_stale)


ACCOUNTS = ["106540352242922", "102290129340398"]


@pytest.mark.parametrize("number", [*ACCOUNTS, "999"])
async def test_what_is_told_of_another_account_is_nobodys(number):
    """With `accounts` a number of Meta's that is not among them is kept, and of no account."""
    journal = MemoryJournal()
    bridge = Bridge(journal=journal)
    bridge.add_adapter("meta", SIGNED, accounts=ACCOUNTS)
    callback = meta(number=number)
    async with bridge:
        await bridge.receive("meta", callback)
        (entry,) = await journal.search(Query())
    if number in ACCOUNTS:
        assert (entry.event.kind, entry.event.account) == ("message", number)
    else:
        assert (entry.event.kind, entry.event.account) == ("unrecognized", None)
        assert entry.event.reason == "of an account that is not among the configured ones"
        assert entry.event.raw == orjson.loads(callback.body)


async def test_an_agent_that_is_not_ours_is_nobodys_account():
    """The same for RCS, by the agent's id; what names no agent is of no account anyhow."""
    journal = MemoryJournal()
    bridge = Bridge(journal=journal)
    rcs = Rcs("rcs", RcsSettings(client_tokens=(Secret("a"),)))
    bridge.add_adapter("rcs", rcs, accounts=["ours@rbm.goog"])
    async with bridge:
        for agent in ({"agentId": "ours@rbm.goog"}, {"agentId": "theirs@rbm.goog"}, {}):
            item = {
                "senderPhoneNumber": "+14155550123",
                "messageId": f"m{agent}",
                "sendTime": "2026-11-01T11:59:59Z",
                "text": "hello",
                **agent,
            }
            signed = rcs.authenticate(orjson.dumps(item))
            callback = Callback(body=signed.body, headers=signed.headers, received_at=NOON)
            await bridge.receive("rcs", callback)
        found = [(e.event.kind, e.event.account) for e in await journal.search(Query())]
    assert found == [("message", "ours@rbm.goog"), ("unrecognized", None), ("message", None)]


@pytest.mark.parametrize("by_its_head", [True, False])
async def test_a_refusal_is_logged_with_its_place(caplog, by_its_head):
    """The line says which adapter refused a callback, why, and from where it came."""
    caplog.set_level(logging.INFO)
    bridge = Bridge(journal=MemoryJournal())
    bridge.add_adapter("meta", SIGNED)
    callback = attrs.evolve(meta(), headers={}, client=ip_address("203.0.113.7"))
    async with bridge:
        with pytest.raises(NotAuthentic):
            if by_its_head:
                bridge.intake.admit("meta", callback)
            else:
                await bridge.receive("meta", callback)
    (record,) = [each for each in caplog.records if each.getMessage() == "callback refused"]
    assert (record.adapter, record.client) == ("meta", "203.0.113.7")
    assert record.reason == "X-Hub-Signature-256 is missing, repeated or of another algorithm"
