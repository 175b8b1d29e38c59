"""The business's channels at INCS, and which of them a callback belongs to.

INCS names a channel by its number, by the business's phone, by an agent's id, or not at all,
depending on the callback. The settings tie these together, so that events agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs

from adapters.incs import wire
from bridge.adapter import Scope
from bridge.errors import Problem
from bridge.model import JsonValue
from bridge.payload import identifier, phone


@attrs.frozen(kw_only=True)
class Channel:
    """One channel as the INCS console shows it."""

    id: int
    """INCS's number for it: the `channel_id` and `auth_id` of callbacks."""

    kind: Literal["whatsapp", "rcs", "viber"]
    """What it speaks."""

    business_phone: str | None = None
    """The business's number there, with the country's code."""

    agent_id: str | None = None
    """The agent's id, on RCS."""

    name: str | None = None
    """What you call it; for people only."""


class Channels:
    """Finds the channel of a callback by whatever the callback names."""

    __slots__ = ("_by_agent", "_by_id", "_by_phone", "problems")

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._by_id: dict[str, Channel] = {}
        self._by_agent: dict[str, Channel] = {}
        self._by_phone: dict[str, dict[str, Channel]] = {}
        problems = []
        for position, channel in enumerate(channels):
            place = f"channels[{position}]"
            if self._by_id.setdefault(str(channel.id), channel) is not channel:
                problems.append(Problem(key=f"{place}.id", message="given to two channels"))
            if channel.agent_id and (
                self._by_agent.setdefault(channel.agent_id, channel) is not channel
            ):
                problems.append(Problem(key=f"{place}.agent_id", message="given to two channels"))
            if channel.business_phone:
                problem = self._add_phone(channel, channel.business_phone)
                if problem:
                    problems.append(Problem(key=f"{place}.business_phone", message=problem))
        self.problems = tuple(problems)

    def _add_phone(self, channel: Channel, written: str) -> str | None:
        number = phone(written)
        if number is None:
            return "not a phone number; write it in full, with the country's code"
        if self._by_phone.setdefault(number, {}).setdefault(channel.kind, channel) is not channel:
            return f"given to two {channel.kind} channels"
        return None

    def scope(
        self,
        blank: Scope,
        *,
        evidence: str | None = None,
        channel_id: JsonValue = None,
        business_phone: JsonValue = None,
        agent_id: JsonValue = None,
    ) -> Scope:
        """Return what a callback's events share; `blank` holds its source and time.

        `evidence` is the channel that the callback's own shape proves. It goes before the
        settings, so that a wrong setting cannot pull the two callbacks of one message apart.
        """
        # Empty fields are "" or 0 rather than missing.
        number = identifier(channel_id) if channel_id not in ("0", 0) else None
        written = phone(business_phone)
        agent = identifier(agent_id)
        channel = self._find(number, written, agent, evidence)
        if number is None and channel is not None:
            number = str(channel.id)
        if written is None and channel is not None and channel.business_phone:
            written = phone(channel.business_phone)
        return Scope(
            source=blank.source,
            channel=evidence or (channel.kind if channel is not None else wire.CHANNEL),
            account=number or written or agent,
            business_phone=written,
            received_at=blank.received_at,
        )

    def _find(
        self, number: str | None, written: str | None, agent: str | None, evidence: str | None
    ) -> Channel | None:
        if number is not None:
            return self._by_id.get(number)
        if written is not None:
            kinds = self._by_phone.get(written, {})
            if evidence is not None and evidence in kinds:
                return kinds[evidence]
            if evidence is None and len(kinds) == 1:
                return next(iter(kinds.values()))
        return self._by_agent.get(agent) if agent is not None else None
