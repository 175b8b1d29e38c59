"""Nobody gets across on the way out, whatever ids one trust domain has stolen from another.

What it is told stops, fails, delivers or diverts nothing that the other one sends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from bridge.adapter import Callback
from bridge.adapter.signing import Secret
from bridge.adapters.incs import Incs, IncsSettings
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Journal, Start
from bridge.journal.query import JOINED, PAUSED, Query
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Message, Status, StatusChange, Text
from bridge.runtime import Bridge
from bridge.settings import OutboxSettings
from bridge.testing.providers import SimulatedProvider
from tests.bridge.outbox.providers import ADAPTERS
from tests.bridge.serving import PATIENCE
from tests.waiting import until

USER = "+16505551234"
ACCOUNT = "106540352242922"


def two_senders(journal: Journal, url: str) -> Bridge:
    """Return a bridge of Acme's, who sends by Meta, and of another customer with INCS alone."""
    bridge = Bridge(journal=journal, outbox=OutboxSettings(doubt=0.2))
    bridge.add_adapter("meta", ADAPTERS["whatsapp"](url), domain="acme")
    bridge.add_adapter("evil", Incs("evil", IncsSettings(tokens=(Secret("evil"),))))
    return bridge


async def post(bridge: Bridge, **told: object) -> None:
    """Let the other customer post a callback, now."""
    body = orjson.dumps(told)
    callback = Callback(body=body, received_at=datetime.now(UTC), tail="evil")
    await bridge.receive("evil", callback)


async def post_status(bridge: Bridge, message_id: str, word: str = "failed") -> None:
    """Let the other customer post a status in each form that there is, with a stolen id."""
    now = datetime.now(UTC)
    number = {"sent": 1, "failed": 4}[word]
    common = {"channel_id": 1, "business_phone": "15550783881", "received_at": now.isoformat()}
    told = {"message_id": message_id, "message_status": word}
    await post(bridge, event="message_status_update", **told, **common)
    told = {"message_id": message_id, "message_status": number}
    await post(bridge, event="message_status_updated", **told, updated_at=now.isoformat())
    told = {
        "id": message_id,
        "status": word,
        "timestamp": f"{now.timestamp():.0f}",
        "recipient_id": USER.removeprefix("+"),
        "biz_opaque_callback_data": message_id,  # as the bridge sends its own id along
    }
    metadata = {"display_phone_number": "15550783881", "phone_number_id": ACCOUNT}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "statuses": [told]}
    await post(bridge, event="new_message", message=value, **common)


async def settled(bridge: Bridge) -> None:
    """Wait until every subscriber has looked at everything."""
    async with asyncio.timeout(PATIENCE):
        while any(state.lag for state in await bridge.journal.subscribers()):
            await asyncio.sleep(0.001)


@asynccontextmanager
async def provider() -> AsyncIterator[SimulatedProvider]:
    async with SimulatedProvider() as simulated:
        simulated.play(ADAPTERS["whatsapp"](simulated.url))
        simulated.rules.window = None
        yield simulated


def nowhere() -> str:
    """Return a URL at which nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_a_message_that_waited_over_a_restart_goes_out(tmp_path: Path):
    """A stolen id in another's status does not make a message count as sent before.

    Both had become durable when the process was killed, before anything was sent.
    """
    async with provider() as simulated:
        first = two_senders(MemoryJournal(), nowhere())
        async with first:
            sending = await first.send(USER, "your code is 1", via="meta", key="code")
            for word in ("sent", "failed"):
                await post_status(first, sending.message_id, word)
            left = [entry.event for entry in await first.journal.search(Query())]
        journal = SqliteJournal(tmp_path / "bridge.db")
        async with journal:
            await journal.append(left)
            await journal.subscribe("outbox", start=Start.BEGINNING)
        async with two_senders(SqliteJournal(tmp_path / "bridge.db"), simulated.url):
            await until(lambda: simulated.arrived)


async def test_anothers_failure_sends_nothing_in_its_place(tmp_path: Path):
    """A failure that another posts neither ends a wait nor has the next way out taken."""
    async with provider() as simulated:
        bridge = two_senders(SqliteJournal(tmp_path / "bridge.db"), simulated.url)
        bridge.add_adapter("other", ADAPTERS["whatsapp"](simulated.url), domain="acme")
        async with bridge:
            sending = await bridge.send(USER, "hello", via="meta", key="k", fallback=["other"])
            accepted = await sending.outcome(PATIENCE)
            assert accepted.current is Status.ACCEPTED
            for stolen in (sending.message_id, accepted.message_id, *accepted.aliases):
                await post_status(bridge, stolen)
            await settled(bridge)
            assert len(simulated.arrived) == 1
            own = [
                entry.event
                for entry in await bridge.journal.search(Query(kinds=(StatusChange.kind,)))
                if entry.event.domain == "acme"
            ]
            assert [event.status for event in own] == [Status.ACCEPTED]
            with pytest.raises(TimeoutError):
                await sending.outcome(0.05, until=Status.READ)
            described = await bridge.operators.describe(sending.messages[0].key)
            assert {entry.event.domain for entry in described.history} == {"acme"}


async def test_anothers_message_opens_no_window(tmp_path: Path):
    """Whoever writes as a user of Acme's to another lets Acme write no free-form message."""
    bridge = two_senders(SqliteJournal(tmp_path / "bridge.db"), nowhere())
    async with bridge:
        now = f"{datetime.now(UTC).timestamp():.0f}"
        item = {"from": USER[1:], "id": "wamid.evil", "timestamp": now, "type": "text"}
        metadata = {"display_phone_number": "15550783881", "phone_number_id": ACCOUNT}
        value = {"messaging_product": "whatsapp", "metadata": metadata}
        value["messages"] = [item | {"text": {"body": "hello"}}]
        await post(bridge, event="new_message", business_phone="15550783881", message=value)
        (entry,) = await bridge.journal.search(Query())
        event = entry.event
        assert isinstance(event, Message)
        assert event.content == Text(text="hello")
        assert event.reply_until is not None
        own = event.conversation.id.replace("evil/", "acme/", 1)
        assert await bridge.window(event.conversation) is not None
        assert await bridge.window(own) is None


async def test_what_is_remembered_of_a_conversation_is_its_domains(tmp_path: Path):
    """The same user at the same number, told by another, has a state and a pause of their own."""
    bridge = two_senders(SqliteJournal(tmp_path / "bridge.db"), nowhere())
    theirs = f"evil/whatsapp:{ACCOUNT}:{USER}"
    ours = f"acme/whatsapp:{ACCOUNT}:{USER}"
    async with bridge:
        async with bridge.state(ours, name="bot") as remembered:
            remembered["step"] = 2
        async with bridge.state(theirs, name="bot") as remembered:
            assert remembered == {}
            remembered["step"] = 9
        async with bridge.state(ours, name="bot") as remembered:
            assert remembered == {"step": 2}


async def test_anothers_words_end_no_pause():
    """A conversation that a person has taken over stays theirs, whatever another calls its parts.

    Also where a part is named as the notice of the bridge's own that conversations are one, or
    that one is resumed.
    """
    bridge = two_senders(MemoryJournal(), nowhere())
    ours = f"acme/whatsapp:{ACCOUNT}:{USER}"
    heard: list[Message] = []
    bridge.on(Message, name="bot", domain="acme")(heard.append)
    now = datetime.now(UTC)
    metadata = {"display_phone_number": "15550783881", "phone_number_id": ACCOUNT}
    value = {"messaging_product": "whatsapp", "metadata": metadata}
    item = {"from": USER[1:], "id": "wamid.1", "timestamp": f"{now.timestamp():.0f}"}
    said = {**value, "messages": [item | {"type": "text", "text": {"body": "hello"}}]}
    change = {"field": "messages", "value": said}
    body = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    async with bridge:
        await bridge.pause(ours, for_=3600.0)
        for ended, goes_on in ((ours, f"evil/{ours}"), (ours, ours), (f"evil/{ours}", ours)):
            told = {"from": ended, "to": goes_on, "conversation": ours, "until": now.isoformat()}
            for topic in (JOINED, PAUSED):
                await post(bridge, event="new_message", message={**value, topic: told})
        signed = ADAPTERS["whatsapp"](nowhere()).authenticate(orjson.dumps(body))
        callback = Callback(body=signed.body, headers=signed.headers, received_at=now)
        await bridge.receive("meta", callback)
        await bridge.caught_up()
        notices = await bridge.journal.search(Query(kinds=("notice",)))
        assert {JOINED, PAUSED} == {entry.event.topic for entry in notices}
        (entry,) = await bridge.journal.search(Query(kinds=("message",)))
        assert entry.event.conversation.id == ours
    assert heard == []
