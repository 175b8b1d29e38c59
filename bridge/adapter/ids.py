"""How long an id may be.

Ids become keys, subjects and headers, are remembered for as long as the journal is, and are
repeated in each record. The providers' have some 130 bytes at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final

import attrs

from bridge.model import Event
from bridge.model.events import EVENT_CLASSES

MAX_ID: Final = 512
"""How many bytes of UTF-8 an id may have."""

_SHORT: Final = MAX_ID // 4  # so many letters never have more bytes
_NAMES: Final = (
    "key",
    "channel",
    "account",
    "message_id",
    "id_space",
    "completes",
    "correlation",
    "template_id",
    "provider_status",
)
_PARTIES: Final = ("sender", "recipient", "party")
_OF_A_PARTY: Final = ("user_id", "parent_user_id", "username")


def overlong(event: Event) -> str | None:
    """Return the name of an id in an event that is too long, or None where none is."""
    try:
        if max(map(len, filter(None, _ALL[type(event)](event)))) <= _SHORT:  # nearly always
            aliases, replied_to = getattr(event, "aliases", ()), _replied_to(event)
            if not (_is_long(replied_to) or any(map(_is_long, aliases))):
                return None
    except AttributeError:  # a part that is not there
        pass
    return next((name for name, value in _ids(event) if _is_long(value)), None)


def _replied_to(event: Event) -> str | None:
    reply_to = getattr(event, "reply_to", None)
    return None if reply_to is None else reply_to.message_id


def _ids(event: Event) -> Iterator[tuple[str, str | None]]:
    # The parts of a key are separated by "/", which is escaped within them.
    for part in event.key.split("/"):
        yield "key", part.replace("%2F", "/").replace("%25", "%")
    yield from ((name, getattr(event, name, None)) for name in _NAMES[1:])
    yield from (("aliases", alias) for alias in getattr(event, "aliases", ()))
    yield "reply_to", _replied_to(event)
    conversation = getattr(event, "conversation", None)
    if conversation is not None:
        identity = conversation.id.removeprefix(f"{event.channel}:{event.account or ''}:")
        yield "conversation", identity.removeprefix("group:").removeprefix("message:")
        yield "conversation", conversation.provider_id
    for name in _PARTIES:
        party = getattr(event, name, None)
        if party is not None:
            yield from ((name, getattr(party, each)) for each in _OF_A_PARTY)


def _is_long(value: str | None) -> bool:
    return (
        value is not None
        and len(value) > _SHORT
        and len(value.encode("utf-8", "surrogatepass")) > MAX_ID
    )


def _all(cls: type[Event]) -> Callable[[Event], tuple[str | None, ...]]:
    fields = attrs.fields_dict(cls)
    names: list[str] = [name for name in _NAMES if name in fields]
    if "conversation" in fields:
        names += ["conversation.id", "conversation.provider_id"]
    names += [f"{who}.{each}" for who in _PARTIES if who in fields for each in _OF_A_PARTY]
    return attrgetter(*names)


_ALL: Final = {cls: _all(cls) for cls in EVENT_CLASSES}
