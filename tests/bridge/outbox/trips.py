"""A whole round trip: a simulated provider, a bridge on a real socket, and what came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import attrs
import orjson

from bridge.adapter import Callback
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Journal
from bridge.model import Event, StatusChange, Text
from bridge.runtime import Bridge
from bridge.settings import OutboxSettings, ServerSettings
from bridge.testing.providers import SimulatedProvider
from tests.bridge.outbox.providers import ADAPTERS
from tests.bridge.serving import PATIENCE, serving
from tests.waiting import until

METADATA = {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"}
USER = "+16505551234"
CHANNELS = {"whatsapp": "whatsapp", "rcs": "rcs", "incs": "whatsapp"}


@attrs.define(eq=False)
class Trip:
    """What takes part; `events` is everything that the bridge published, in order."""

    name: str
    provider: SimulatedProvider
    bridge: Bridge
    adapter: Any
    url: str = ""
    events: list[Event] = attrs.field(factory=list)

    async def note(self, event: Event) -> None:
        self.events.append(event)

    async def until(self, condition) -> None:
        """Look again and again until a condition is true."""
        await until(condition)

    async def say(self, words: str = "hello", user: str = USER) -> None:
        assert await self.provider.say(user, Text(text=words))

    def statuses(self, message_id: str | None = None) -> list[StatusChange]:
        """Return the statuses that were published, of one message of ours or of all."""
        return [
            event
            for event in self.events
            if isinstance(event, StatusChange)
            and (message_id is None or message_id in (event.message_id, *event.aliases))
        ]

    @property
    def said(self) -> list[Any]:
        """The texts that arrived at users."""
        return [text_of(self.name, arrived.body) for arrived in self.provider.arrived]


def text_of(name: str, body: Any) -> Any:
    """Return the text of a request's body."""
    if name == "whatsapp":
        return body["text"]["body"]
    return body["contentMessage"]["text"] if name == "rcs" else body["text"]


@asynccontextmanager
async def planned(
    name: str,
    *,
    journal: Journal | None = None,
    outbox: OutboxSettings | None = None,
    patience: float = PATIENCE,
) -> AsyncIterator[Trip]:
    """Make a provider and a bridge that does not run yet, so that subscribers can come.

    The bridge waits for so long for what is under way when it stops.
    """
    async with SimulatedProvider() as provider:
        adapter = ADAPTERS[name](provider.url)
        server = ServerSettings(drain_timeout=patience)
        bridge = Bridge(journal=journal or MemoryJournal(), outbox=outbox, server=server)
        bridge.add_adapter(name, adapter)
        trip = Trip(name, provider, bridge, adapter)
        bridge.on(Event, name="witness", completions=True)(trip.note)
        provider.play(adapter)
        yield trip


@asynccontextmanager
async def under_way(trip: Trip) -> AsyncIterator[Trip]:
    """Run the bridge on a real socket, and let the provider report to it."""
    async with serving(trip.bridge) as url:
        trip.url = url
        trip.provider.callbacks.direct(trip.adapter, f"{url}/callbacks/{trip.name}")
        yield trip
        trip.provider.callbacks.direct(trip.adapter, None)


class Told:
    """A bridge that is told what Meta tells, and its witness."""

    def __init__(self, trip: Trip) -> None:
        self.trip = trip

    async def tell(self, field: str, value: dict[str, Any]) -> None:
        value = {"messaging_product": "whatsapp", "metadata": METADATA, **value}
        entry = {"id": "1", "changes": [{"field": field, "value": value}]}
        body = orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})
        signed = self.trip.adapter.authenticate(body)
        before = len(self.trip.events)
        now = datetime.now(UTC)
        callback = Callback(body=signed.body, headers=signed.headers, received_at=now)
        await self.trip.bridge.receive("whatsapp", callback)
        await self.trip.until(lambda: len(self.trip.events) > before)


@asynccontextmanager
async def told() -> AsyncIterator[Told]:
    async with planned("whatsapp") as trip, under_way(trip):
        yield Told(trip)
