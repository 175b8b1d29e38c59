"""The filters of a search.

`Query.matches` alone decides, so that all engines find the same: an engine may skip entries that
cannot match, and asks about the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import attrs
import orjson

from bridge.model import (
    ConsentChange,
    Event,
    Handover,
    Message,
    Notice,
    Party,
    StatusChange,
    System,
    Typing,
)
from bridge.model.keys import OURS

JOINED: Final = "conversation_joined"
"""The topic of the journal's notice that two conversations turned out to be one.

Its details say which one ends (`from`), and which one goes on (`to`).
"""

PAUSED: Final = "conversation_paused"
"""The topic of the bridge's notice that bots are to leave a conversation alone.

Its channel is `OURS`, which no provider's events have.
Its details say which one (`conversation`) and `until` when; a resumed one says until now.
"""

MOST: Final = 1000
"""How many entries one search returns at most; the next one goes on after the last of them."""


@attrs.frozen(kw_only=True)
class Query:
    """The entries to find; None and an empty tuple filter nothing.

    `kinds` are kinds of events, `content` the kind of a message's content. `party` is a phone
    number (E.164, also without its plus) or user id of anybody who takes part. `message_id` is
    looked for among the aliases too. `since` (included) and `until` (not included) are about
    `received_at`; the first relies on the journal's clock. Only positions beyond `after` and
    before `before` are looked at. `reparsed` is about events that could not be read: whether they
    have been read since.
    """

    kinds: tuple[str, ...] = ()
    channel: str | None = None
    account: str | None = None
    content: str | None = None
    conversation: str | None = None
    party: str | None = None
    message_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    reparsed: bool | None = None
    after: int = 0
    before: int | None = None
    newest_first: bool = False
    limit: int = attrs.field(
        default=100, validator=[attrs.validators.ge(1), attrs.validators.le(MOST)]
    )

    @property
    def is_filtered(self) -> bool:
        """Whether anything but the position counts."""
        anywhere = attrs.evolve(self, after=0, before=None, newest_first=False, limit=1)
        return anywhere != _EVERYTHING

    def matches(self, event: Event, *, reparsed: bool = False) -> bool:
        """Return whether this event is looked for, whatever its position."""
        return (
            (not self.kinds or event.kind in self.kinds)
            and self.channel in (None, event.channel)
            and self.account in (None, event.account)
            and (self.since is None or event.received_at >= self.since)
            and (self.until is None or event.received_at < self.until)
            and self.reparsed in (None, reparsed)
            and (self.conversation is None or self.conversation == conversation_of(event))
            and (self.content is None or _is_content(event, self.content))
            and (self.message_id is None or _is_named(event, self.message_id))
            and (self.party is None or is_one_of(event, self.party))
        )

    @property
    def needles(self) -> Sequence[Sequence[bytes]]:
        """Return strings that the JSON of a match holds: at least one of each group."""
        words = (self.channel, self.account, self.content, self.party, self.message_id)
        kinds = [[orjson.dumps(kind) for kind in self.kinds]] if self.kinds else []
        return [*kinds, *([orjson.dumps(word)] for word in words if word is not None)]


_EVERYTHING: Final = Query(limit=1)


def parties_of(event: Event) -> tuple[Party, ...]:
    """Return everybody whom an event names, the author of a quoted message included."""
    match event:
        case Message():
            named = [event.sender, event.recipient]
            if event.reply_to is not None and event.reply_to.sender is not None:
                named.append(event.reply_to.sender)
            if isinstance(event.content, System):
                named += [party for party in (event.content.before, event.content.after) if party]
            return tuple(named)
        case StatusChange():
            return (event.recipient,) if event.recipient else ()
        case ConsentChange() | Handover() | Typing():
            return (event.party,)
        case Notice():
            return (event.party,) if event.party else ()
        case _:
            return ()


def conversation_of(event: Event) -> str | None:
    """Return the id of the conversation that an event belongs to, if it does to one."""
    match event:
        case Message() | Handover() | Typing():
            return event.conversation.id
        case StatusChange() | ConsentChange() | Notice() if event.conversation is not None:
            return event.conversation.id
        case Notice(topic=topic) if topic == JOINED:
            told = joined(event)
            return None if told is None else told[1]
        case Notice(topic=topic, channel=channel, details={"conversation": str(paused)}) if (
            topic == PAUSED and channel == OURS
        ):
            return paused
        case _:
            return None


def joined(event: Event) -> tuple[str, str] | None:
    """Return which conversation ended and which one goes on, if that is what an event tells.

    A provider may use the word too, and must not reach into another domain.
    """
    match event:
        case Notice(topic=topic, details={"from": str(ended), "to": str(goes_on)}) if (
            topic == JOINED
        ):
            domain = "" if event.domain is None else f"{event.domain}/"
            if ended.startswith(domain) and goes_on.startswith(domain):
                return ended, goes_on
    return None


def _is_content(event: Event, kind: str) -> bool:
    return isinstance(event, Message) and event.content.kind == kind


def _is_named(event: Event, message_id: str) -> bool:
    return isinstance(event, Message | StatusChange) and (
        event.message_id == message_id or message_id in event.aliases
    )


def is_one_of(event: Event, identity: str) -> bool:
    """Return whether somebody whom an event names goes by this phone number or user id."""
    names = set(identities(identity))
    return any(
        not names.isdisjoint((party.phone, party.user_id, party.parent_user_id))
        for party in parties_of(event)
    )


def identities(identity: str) -> tuple[str, ...]:
    """Return what a phone number or user id may stand as: of digits alone, it may be either."""
    return (identity, f"+{identity}") if identity.isdigit() else (identity,)
