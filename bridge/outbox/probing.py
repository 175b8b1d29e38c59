"""Whether the credentials work: each provider is asked, and nothing is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, final

import attrs

from bridge.adapter import Accepted, Adapter, Outcome, Probe, Probing, Remedy
from bridge.outbox.client import Client
from bridge.outbox.ways import sender_of
from bridge.settings import OutboxSettings

_LATER: Final = frozenset({Remedy.AGAIN, Remedy.SLOW_ACCOUNT})


@final
@attrs.frozen(kw_only=True)
class Probed:
    """What a provider says of one of an adapter's credentials."""

    source: str
    probe: Probe
    outcome: Outcome

    @property
    def is_refused(self) -> bool:
        """Whether a person has to act: otherwise the provider may say more in a while."""
        return not isinstance(self.outcome, Accepted) and self.outcome.remedy not in _LATER

    @property
    def fault(self) -> str | None:
        """What is wrong, in words; None where the credentials work."""
        if isinstance(self.outcome, Accepted):
            return None
        error = self.outcome.error
        told = ": ".join(filter(None, (error.code, error.title, error.details)))
        whose = "" if self.probe.account is None else f" of {self.probe.account}"
        return f"the provider does not confirm the credentials{whose}: {told}"


async def probed(adapters: Mapping[str, Adapter], settings: OutboxSettings) -> Sequence[Probed]:
    """Ask the providers of all adapters that have credentials and can ask, at once."""
    wanted: list[tuple[str, Probing, Probe]] = []
    for name, adapter in adapters.items():
        sender: object = sender_of(adapter)  # None may be for receiving alone
        if isinstance(sender, Probing):
            wanted += [(name, sender, probe) for probe in sender.probes()]
    async with Client(timeout=settings.timeout, connect_timeout=settings.connect_timeout) as client:
        outcomes = await asyncio.gather(*(client.probe(each, probe) for _, each, probe in wanted))
    return [
        Probed(source=name, probe=probe, outcome=outcome)
        for (name, _, probe), outcome in zip(wanted, outcomes, strict=True)
    ]
