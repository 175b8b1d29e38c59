"""The business's channels at INCS, and which of them a callback belongs to.

INCS names a channel by its number, by the business's phone, by an agent's id, or not at all,
depending on the callback. The settings tie these together, so that events agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import attrs

from bridge.adapter import Scope, build
from bridge.adapter.payload import identifier, phone
from bridge.adapter.reading import JsonObject
from bridge.adapter.signing import Secret, secret_of
from bridge.adapter.unread import Unread
from bridge.adapters.incs import wire
from bridge.adapters.whatsapp.value import Narrowing
from bridge.errors import Problem, Unreadable
from bridge.model import JsonValue, Party, Role
from bridge.model.keys import folded

ChannelKind: TypeAlias = Literal["whatsapp", "rcs", "viber"]

_WHATSAPP: Final = "whatsapp"
_MAX_REMEMBERED: Final = 64  # letters of a name; those of real channels are shorter


@attrs.frozen(kw_only=True)
class Channel:
    """One channel as the INCS console shows it."""

    id: int
    """INCS's number for it: the `channel_id` and `auth_id` of callbacks."""

    kind: ChannelKind
    """What it speaks."""

    business_phone: str | None = None
    """The business's number there, with the country's code."""

    agent_id: str | None = None
    """The agent's id, on RCS."""

    certification_code: Secret | None = attrs.field(default=None, converter=secret_of, repr=False)
    """What sending on this channel takes, from the console."""

    account: str | None = None
    """The account that events of it are for, unless it is its number. Where callbacks come for it
    straight from Meta or Google too, by an adapter of the same domain: how those name it (the
    `phone_number_id`, or the agent's id)."""

    name: str | None = None
    """What you call it; for people only."""

    @property
    def named(self) -> str:
        """Return what events have as their account."""
        return self.account or str(self.id)


@attrs.frozen(kw_only=True)
class Known:
    """A channel as events name it: one of the settings, or one that only a callback named.

    A stranger is a channel that a callback names and the settings do not.
    """

    channel: str
    account: str | None
    business: Party
    is_stranger: bool = False


class _TooLong(Exception):
    """A name is longer than what is remembered."""


class Channels:
    """Finds the channel of a callback by whatever the callback names.

    `source` is the name of the adapter that the callbacks come in by, `settle` for how long a
    user's message waits for a fuller account of it, and `overtake` for how long one that was sent
    from a channel of `senders` waits for INCS's response to whoever sent it.
    """

    __slots__ = (
        *("_by_agent", "_by_id", "_by_phone", "_elsewhere", "_is_open", "_names", "_only"),
        "_remembered",
        *("overtake", "problems", "senders", "settle", "source"),
    )

    def __init__(
        self,
        channels: Iterable[Channel],
        source: str = wire.CHANNEL,
        settle: float | None = None,
        overtake: float | None = None,
    ) -> None:
        self.source = source
        self.settle = settle
        self.overtake = overtake
        self._by_id: dict[str, Known] = {}
        self._names: set[str] = set()
        self._by_agent: dict[str, Known] = {}
        self._by_phone: dict[str, dict[str, Known]] = {}
        channels = tuple(channels)
        self.senders = frozenset(each.named for each in channels if each.certification_code)
        problems: list[Problem] = []
        for position, channel in enumerate(channels):
            for name, message in self._add(channel):
                problems.append(Problem(key=f"channels[{position}].{name}", message=message))
        self.problems = tuple(problems)
        kinds = Counter[str](channel.kind for channel in channels)
        self._only = {
            each.channel: each for each in self._by_id.values() if kinds[each.channel] == 1
        }
        others = kinds.keys() - {_WHATSAPP}
        self._elsewhere = min(others) if len(others) == 1 else None
        self._is_open = len(others) > 1
        # A business has few channels; `typed` tells the number 1 from `true`.
        self._remembered: Callable[..., Known] = lru_cache(maxsize=256, typed=True)(
            self._known_by_short_names
        )

    def _add(self, channel: Channel) -> Iterator[tuple[str, str]]:
        """Make a channel known, and yield each of its settings that is wrong, and why."""
        number = phone(channel.business_phone)
        known = Known(channel=channel.kind, account=channel.named, business=_business(number))
        names = {str(channel.id), channel.named}
        if self._by_id.setdefault(str(channel.id), known) is not known:
            yield "id", "given to two channels"
        elif not names.isdisjoint(self._names):
            yield "account", "given to two channels, or the id of another one"
        self._names |= names
        agent = _agent(channel.agent_id)
        if agent and self._by_agent.setdefault(agent, known) is not known:
            yield "agent_id", "given to two channels"
        if number is not None:
            kinds = self._by_phone.setdefault(folded(number), {})
            if kinds.setdefault(channel.kind, known) is not known:
                yield "business_phone", f"given to two {channel.kind} channels"
        elif channel.business_phone:
            yield "business_phone", "not a phone number; write it with the country's code"

    def scope(
        self,
        body: JsonObject,
        received_at: datetime,
        *,
        evidence: str | None = None,
        channel_id: JsonValue = None,
        business_phone: JsonValue = None,
        agent_id: JsonValue = None,
    ) -> Scope:
        """Return what a callback's events share, as far as the given names tell.

        `evidence` is the channel that the callback's own shape proves. It goes before the
        settings, so that a wrong setting cannot pull the two callbacks of one message apart.
        Raises `Unreadable` where the names are those of a channel that is not configured, though
        others are.
        """
        return self._scope(
            self.known(evidence, channel_id, business_phone, agent_id), body, received_at
        )

    def outer_scope(
        self,
        body: JsonObject,
        received_at: datetime,
        *,
        channel_id: JsonValue = None,
        business_phone: JsonValue = None,
    ) -> Scope:
        """Return the scope of an unreadable callback; one of a stranger is of nobody's account."""
        try:
            known = self.known(None, channel_id, business_phone)
        except Unreadable:
            known = Known(channel=wire.CHANNEL, account=None, business=_business(None))
        return self._scope(known, body, received_at)

    def _scope(self, known: Known, body: JsonObject, received_at: datetime) -> Scope:
        return build.scope(
            source=self.source,
            channel=known.channel,
            account=known.account,
            business=known.business,
            received_at=received_at,
            body=body,
            narrow=Narrowing(),  # what is beside an item of a WhatsApp value
            unread=Unread(),
        )

    def of_message(
        self, message_id: str, channel_id: JsonValue, business_phone: JsonValue
    ) -> str | None:
        """Return the channel that a message's id proves, or tells where nothing else does.

        One that is none of WhatsApp's is the only other kind's, unless it may be INCS's own number.
        Raises `Unreadable`.
        """
        proved = wire.channel_of(message_id)
        if proved is not None or self._elsewhere is None or message_id.isdigit():
            return proved
        named = self.known(None, channel_id, business_phone).channel
        return self._elsewhere if named == wire.CHANNEL else None

    def is_open(self, message_id: str) -> bool:
        """Return whether a callback that names a message alone may be of several channels."""
        return self._is_open and wire.channel_of(message_id) is None

    def known(
        self,
        evidence: str | None,
        channel_id: JsonValue,
        business_phone: JsonValue,
        agent_id: JsonValue = None,
    ) -> Known:
        """Return the channel that a callback is of, as for `scope`. Raises `Unreadable`."""
        try:
            known = self._remembered(evidence, channel_id, business_phone, agent_id)
        except (TypeError, _TooLong):  # an array or an object cannot be remembered either
            known = self._known_by(evidence, channel_id, business_phone, agent_id)
        if known.is_stranger:
            raise Unreadable("", "names a channel that is not among the configured ones")
        return known

    def _known_by_short_names(self, evidence: str | None, *names: JsonValue) -> Known:
        # What is remembered comes from outside, so its size needs a bound as well as its number.
        if any(type(name) is str and len(name) > _MAX_REMEMBERED for name in names):
            raise _TooLong
        return self._known_by(evidence, *names)

    def _known_by(
        self,
        evidence: str | None,
        channel_id: JsonValue,
        business_phone: JsonValue,
        agent_id: JsonValue,
    ) -> Known:
        # Empty fields are "" or 0 rather than missing.
        account = identifier(channel_id) if channel_id not in ("0", 0) else None
        number = phone(business_phone) if business_phone else None
        agent = identifier(agent_id)
        known = self._find(account, number, agent, evidence)
        if known is None:
            return Known(
                channel=evidence or wire.CHANNEL,
                account=account or number or agent,
                business=_business(number),
                is_stranger=self._is_stranger(account, number, agent),
            )
        return Known(
            channel=evidence or known.channel,
            account=known.account,
            business=known.business if number is None else _business(number),
        )

    def _is_stranger(self, account: str | None, number: str | None, agent: str | None) -> bool:
        """Return whether the settings tell such names, and not the one that was found nowhere."""
        if account is not None:
            return bool(self._by_id)
        if number is not None:
            return bool(self._by_phone) and folded(number) not in self._by_phone
        return agent is not None and bool(self._by_agent)

    def _find(
        self, account: str | None, number: str | None, agent: str | None, evidence: str | None
    ) -> Known | None:
        if account is not None:
            return self._by_id.get(account)
        if number is not None:
            kinds = self._by_phone.get(folded(number), {})
            if evidence is not None and evidence in kinds:
                return kinds[evidence]
            if evidence is None and len(kinds) == 1:
                return next(iter(kinds.values()))
        if agent is not None:
            return self._by_agent.get(_agent(agent))
        return self._only.get(evidence) if evidence is not None and number is None else None


def _agent(agent_id: str | None) -> str:
    """Return an agent's id as Google's console shows it; callbacks have a domain behind it."""
    return (agent_id or "").removesuffix("@rbm.goog")


def _business(number: str | None) -> Party:
    return build.party(phone=number, role=Role.BUSINESS)
