"""Which trust domain an adapter's events are of, and who may share one."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import attrs
import orjson
import pytest

from bridge.adapter import Callback, Parsed
from bridge.adapter.signing import Secret
from bridge.adapters.incs import Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.errors import ConfigurationError
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


async def test_what_is_dated_too_far_back_is_never_new():
    """Past `max_age` an event is kept as unrecognized, with what came; an import is not."""
    journal = MemoryJournal()
    bridge = Bridge(journal=journal)
    bridge.add_adapter("plain", Dated(), max_age=60.0)
    async with bridge:
        for identity, age, history in (("a", 60, 0), ("b", 61, 0), ("c", 61, 1), ("b", 61, 0)):
            item = {"id": identity, "text": "hello", "age": age, "history": history}
            body = orjson.dumps({"messages": [item]})
            await bridge.receive("plain", Callback(body=body, received_at=NOON, tail=TOKEN))
        a, b, c = [entry.event for entry in await journal.search(Query())]
    assert (a.kind, b.kind, c.kind) == ("message", "unrecognized", "message")
    assert b.reason == "stale: dated more than 60 s before it came"
    assert b.raw["id"] == "b"
    assert b.occurred_at == NOON - timedelta(seconds=61)
