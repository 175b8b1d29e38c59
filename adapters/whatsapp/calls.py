"""Calls: they come out as notices, and open the customer-service window as a message does.

The fields `messages` and `calls` may both tell the same of a call: its key is made of the call's
id and of what happened to it, and a status has one form.

https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/pricing#how-calling-changes-the-24-hour-customer-service-window
https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/reference
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import attrs

from bridge.adapter import Scope
from bridge.adapter.payload import digest, filled, identifier, instant, mapping, phone, several
from bridge.adapter.reading import JsonObject
from bridge.adapters.whatsapp.capabilities import WINDOW
from bridge.adapters.whatsapp.cards import Cards
from bridge.adapters.whatsapp.wire import identity_of, party
from bridge.model import JsonValue, Notice
from bridge.model.keys import event_key, folded

CALLS: Final = "calls"
CALL: Final = "call"
"""The type of a status that is about a call."""
CALL_ID: Final = "wacid."
"""How the id of a call begins."""

_ITEMS: Final = (CALLS, "statuses")
_BY_USER: Final = "user_initiated"
_ACCEPTED: Final = "accepted"


def calls_in(value: JsonValue) -> Sequence[JsonObject]:
    """Return a value once for each call that it tells of, without the others; or as it is."""
    return items_alone(value, *_ITEMS)


def items_alone(value: JsonValue, *names: str) -> Sequence[JsonObject]:
    """Return a value once for each item of its arrays of these names, without the others."""
    told = mapping(value)
    found = [(name, item) for name in names for item in several(told.get(name))]
    if len(found) < 2:  # noqa: PLR2004 - one is what nearly all tell
        return (told,)
    shared = {name: part for name, part in told.items() if name not in names}
    return [{**shared, name: [item]} for name, item in found]


def with_caller(notice: Notice, value: JsonObject, scope: Scope) -> Notice:
    """Return a notice of one call, or of its status, in its user's conversation.

    The window opens where a user calls, whoever answers, and where one accepts a call of ours.
    """
    items = [(name, item) for name in _ITEMS for item in several(value.get(name))]
    if len(items) != 1:
        return notice
    name, item = items[0][0], mapping(items[0][1])
    notice = _named(notice, name, item)
    direction = filled(item.get("direction"))
    by_user = (
        _is_to(_business(value, scope), item)
        if direction is None
        else direction.lower() == _BY_USER
    )
    whose = "recipient" if name != CALLS else "from" if by_user else "to"
    number = item.get("recipient_id" if name != CALLS else whose)
    ids = (item.get(f"{whose}_user_id"), item.get(f"{whose}_parent_user_id"))
    user = party(number, *ids, Cards(value.get("contacts"), lambda: True).of(number, *ids))
    identity = identity_of(user)
    if identity is None:
        return notice
    at = instant(item.get("start_time")) or instant(item.get("timestamp"))
    accepted = name != CALLS and (filled(item.get("status")) or "").lower() == _ACCEPTED
    opened: datetime | None = at if by_user or accepted else None
    return attrs.evolve(
        notice,
        party=user,
        conversation=scope.conversation(identity),
        reply_until=None if opened is None else opened + WINDOW.open,
    )


def _business(value: JsonObject, scope: Scope) -> str | None:
    displayed = phone(mapping(value.get("metadata")).get("display_phone_number"))
    return scope.business.phone or displayed


def _is_to(business: str | None, item: JsonObject) -> bool:
    """Return whether a call goes to the business, where no direction is told."""
    called = phone(item.get("to"))
    return called is not None and business is not None and folded(called) == folded(business)


def _named(notice: Notice, name: str, item: JsonObject) -> Notice:
    """Return a notice of a call under the key, and in the form, that it has in every field."""
    if name != CALLS and item:
        notice = attrs.evolve(notice, topic=CALL, details=item)
    call_id = identifier(item.get("id"))
    word = filled(item.get("status" if name != CALLS else "event"))
    if call_id is None or word is None:
        return notice
    told = digest([CALL, call_id, word.lower()])
    return attrs.evolve(notice, key=event_key(Notice.kind, notice.channel, told))
