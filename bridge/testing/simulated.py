"""The providers of a `TestBridge`, simulated by their adapters without a socket."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, final

import orjson

from bridge.adapter import Accepted, Adapter, Outcome, Request, Response, Sender
from bridge.adapter.simulation import Simulation, SimulationSource, answered
from bridge.model import JsonValue, Message
from bridge.outbox.client import Client
from bridge.outbox.ways import sender_of
from bridge.testing.clock import MovableClock

_NOWHERE: Final = "https://provider.invalid"


def unlimited(simulation: Simulation) -> Simulation:
    """Let a provider take answers to users who have not written to it, as after `trigger`.

    The bridge itself refuses answers after the window that its journal knows.
    """
    simulation.rules.window = None
    return simulation


@final
class Providers:
    """Takes what a bridge sends, and brings what providers report of it.

    `sent` are the messages that were taken, `posted` what webhooks got, `arriving` the callbacks
    that have come since, each with its adapter's name. Requests of an adapter without a simulation
    are taken as they are.
    """

    def __init__(self, adapters: Callable[[], Mapping[str, Adapter]], clock: MovableClock) -> None:
        self.sent: list[Message] = []
        self.posted: list[Any] = []
        self.arriving: deque[tuple[str, JsonValue]] = deque()
        self._adapters = adapters
        self._clock = clock
        self._simulations: dict[str, Simulation | None] = {}
        self._clients: dict[str, Client] = {}
        self._numbers: Final = itertools.count(1)

    def simulation(self, name: str) -> Simulation | None:
        """Return the provider of an adapter, or None where nobody simulates it."""
        if name not in self._simulations:
            source: object = self._adapters().get(name)
            self._simulations[name] = (
                unlimited(source.simulation()) if isinstance(source, SimulationSource) else None
            )
        return self._simulations[name]

    def lend(self) -> dict[str, Sender]:
        """Return senders for the adapters whose settings lack what sending takes, by name."""
        lent: dict[str, Sender] = {}
        for name, adapter in self._adapters().items():
            if isinstance(adapter, SimulationSource) and sender_of(adapter) is None:
                rehearsal = adapter.rehearsal(_NOWHERE, first=1)
                lent[name] = rehearsal.sender
                self._simulations[name] = unlimited(rehearsal.simulation)
        return lent

    async def send(
        self, sender: Sender, message: Message, /, *, ttl: float | None = None
    ) -> Outcome:
        """Let a message's provider answer it. Raises `Unsendable`."""
        source = message.source
        simulation = self.simulation(source)
        outcome: Outcome
        if simulation is None:
            sender.compose(message, ttl=ttl)
            outcome = Accepted(message_id=f"test-{next(self._numbers)}")
        else:
            if source not in self._clients:
                transport = partial(self._exchange, source, simulation)
                self._clients[source] = Client(transport=transport)
            outcome = await self._clients[source].send(sender, message, ttl=ttl)
        if isinstance(outcome, Accepted):
            self.sent.append(message)
        return outcome

    async def take_post(self, request: Request) -> Response:
        """Take what a webhook posts, as JSON."""
        self.posted.append(orjson.loads(request.body))
        return Response(status=204)

    async def _exchange(self, source: str, simulation: Simulation, request: Request) -> Response:
        answer = answered(simulation, request, self._clock.now())
        for callback in answer.callbacks:
            arrive = partial(self.arriving.append, (source, callback.body))
            if callback.after > 0:
                self._clock.call_later(callback.after, arrive)
            else:
                arrive()
        return answer.response
