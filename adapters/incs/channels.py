"""The business's channels at INCS, and which of them a callback belongs to.

INCS names a channel by its number, by the business's phone, by an agent's id, or not at all,
depending on the callback. The settings tie these together, so that events agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import attrs

from adapters.incs import wire
from bridge.adapter import Scope
from bridge.errors import Problem
from bridge.frozen import builder
from bridge.model import JsonValue
from bridge.payload import identifier, phone

_Resolved: TypeAlias = tuple[str, str | None, str | None]
_new_scope: Final = builder(Scope)


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


@attrs.frozen(kw_only=True)
class _Known:
    """A channel of the settings, in the words of events."""

    kind: str
    account: str
    business_phone: str | None


class Channels:
    """Finds the channel of a callback by whatever the callback names."""

    __slots__ = ("_by_agent", "_by_id", "_by_phone", "_remembered", "problems")

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._by_id: dict[str, _Known] = {}
        self._by_agent: dict[str, _Known] = {}
        self._by_phone: dict[str, dict[str, _Known]] = {}
        problems: list[Problem] = []
        for position, channel in enumerate(channels):
            for name, message in self._add(channel):
                problems.append(Problem(key=f"channels[{position}].{name}", message=message))
        self.problems = tuple(problems)
        # A business has few channels; `typed` tells the number 1 from `true`.
        self._remembered: Callable[..., _Resolved] = lru_cache(maxsize=256, typed=True)(
            self._resolve
        )

    def _add(self, channel: Channel) -> Iterator[tuple[str, str]]:
        """Make a channel known, and yield each of its settings that is wrong, and why."""
        number = phone(channel.business_phone)
        known = _Known(kind=channel.kind, account=str(channel.id), business_phone=number)
        if self._by_id.setdefault(known.account, known) is not known:
            yield "id", "given to two channels"
        if channel.agent_id and self._by_agent.setdefault(channel.agent_id, known) is not known:
            yield "agent_id", "given to two channels"
        if number is not None:
            if self._by_phone.setdefault(number, {}).setdefault(known.kind, known) is not known:
                yield "business_phone", f"given to two {known.kind} channels"
        elif channel.business_phone:
            yield "business_phone", "not a phone number; write it with the country's code"

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
        try:
            found = self._remembered(evidence, channel_id, business_phone, agent_id)
        except TypeError:  # an array or an object, which cannot be remembered
            found = self._resolve(evidence, channel_id, business_phone, agent_id)
        channel, account, number = found
        return _new_scope(
            source=blank.source,
            channel=channel,
            account=account,
            business_phone=number,
            received_at=blank.received_at,
        )

    def _resolve(
        self,
        evidence: str | None,
        channel_id: JsonValue,
        business_phone: JsonValue,
        agent_id: JsonValue,
    ) -> _Resolved:
        """Return the channel's kind, its account and the business's number."""
        # Empty fields are "" or 0 rather than missing.
        account = identifier(channel_id) if channel_id not in ("0", 0) else None
        number = phone(business_phone) if business_phone else None
        agent = identifier(agent_id)
        known = self._find(account, number, agent, evidence)
        if known is None:
            return evidence or wire.CHANNEL, account or number or agent, number
        return evidence or known.kind, known.account, number or known.business_phone

    def _find(
        self, account: str | None, number: str | None, agent: str | None, evidence: str | None
    ) -> _Known | None:
        if account is not None:
            return self._by_id.get(account)
        if number is not None:
            kinds = self._by_phone.get(number, {})
            if evidence is not None and evidence in kinds:
                return kinds[evidence]
            if evidence is None and len(kinds) == 1:
                return next(iter(kinds.values()))
        return self._by_agent.get(agent) if agent is not None else None
