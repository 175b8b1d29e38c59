"""Turn the `value` of Meta's field `messages` into events, item by item.

INCS wraps exactly this value in its `new_message`, so its adapter calls `translate_value` too.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NoReturn, TypeAlias

from bridge.adapter import Scope
from bridge.adapter.payload import digest
from bridge.adapters.whatsapp.messages import translate_message
from bridge.adapters.whatsapp.statuses import translate_status
from bridge.adapters.whatsapp.value_context import ValueContext, surroundings_of
from bridge.adapters.whatsapp.wire import JsonObject, cards_of, fault
from bridge.errors import Unreadable
from bridge.model import Event, JsonValue, Notice, Origin, Unrecognized
from bridge.model.keys import event_key

Envelope: TypeAlias = Callable[[JsonObject], JsonValue]
"""Puts a value back into a whole callback body, so that it can be parsed again."""

_READABLE: Final = frozenset({"messages", "statuses", "errors"})
_NO_OBJECT: Final = "not an object"
_ITEMS: Final = frozenset({*_READABLE, "contacts", "message_echoes", "history", "user_preferences"})


def translate_value(
    value: JsonObject,
    scope: Scope,
    *,
    envelope: Envelope,
    path: str = "",
    origin: Origin = Origin.USER,
) -> list[Event]:
    """Translate every message, status and error of one value; never raises.

    `envelope` makes the `raw` of what cannot be read: a body around the value, narrowed to that
    item. `path` leads to the value. `origin` is `user` unless the caller knows better.
    """
    around = surroundings_of(value, scope, origin)
    events: list[Event] = []
    if value.get("messages") is not None:
        events += translate_array(
            value, "messages", translate_message, around=around, envelope=envelope, path=path
        )
    if value.get("statuses") is not None:
        events += translate_array(
            value, "statuses", translate_status, around=around, envelope=envelope, path=path
        )
    if value.get("errors"):
        events.append(_errors(value, around))
    if not events and _READABLE.isdisjoint(value):
        reason = "holds no messages, statuses or errors"
        events.append(scope.unrecognized(envelope(value), reason, path or None))
    return events


def translate_array(
    value: JsonObject,
    name: str,
    translate: Callable[[JsonObject, ValueContext], Event],
    *,
    around: ValueContext,
    envelope: Envelope,
    path: str,
) -> list[Event]:
    """Translate each item of one of a value's arrays by itself: one event for each."""
    return translate_items(
        value.get(name),
        translate,
        around=around,
        path=f"{path}.{name}" if path else name,
        body=lambda part: envelope(narrowed(value, name, part, around)),
    )


def translate_items(
    items: JsonValue,
    translate: Callable[[JsonObject, ValueContext], Event],
    *,
    around: ValueContext,
    path: str,
    body: Callable[[JsonValue], JsonValue],
) -> list[Event]:
    """Translate each item of an array by itself.

    `body` makes a callback body that holds the given part of the array and nothing beside it.
    """
    scope = around.scope
    if type(items) is not list:
        return [_no_array(items, scope, path, body)]
    events: list[Event] = []
    for item in items:
        try:
            events.append(translate(item if type(item) is dict else _refuse(), around))
        except Unreadable as error:  # each item gives one event, so their number is the place
            seen = error.below(f"{path}[{len(events)}]")
            events.append(scope.unrecognized(body([item]), seen.reason, seen.path))
    return events


def _refuse() -> NoReturn:
    raise Unreadable("", _NO_OBJECT)


def objects(
    items: JsonValue,
    events: list[Event],
    *,
    scope: Scope,
    path: str,
    body: Callable[[JsonValue], JsonValue],
) -> Iterator[tuple[JsonObject, str]]:
    """Yield each object of an array with its path; what is none is added to the events."""
    if type(items) is not list:
        events.append(_no_array(items, scope, path, body))
        return
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        if type(item) is dict:
            yield item, place
        else:
            events.append(scope.unrecognized(body([item]), _NO_OBJECT, place))


def _no_array(
    items: JsonValue, scope: Scope, path: str, body: Callable[[JsonValue], JsonValue]
) -> Unrecognized:
    return scope.unrecognized(body(items), fault(path, items, "an array").reason, path)


def narrowed(
    value: JsonObject,
    name: str,
    part: JsonValue,
    around: ValueContext,
    named_in: JsonValue = None,
) -> JsonObject:
    """Return a value with this part alone, and of the cards only those that belong to it.

    `named_in` is the array whose items name users, where it is not the part itself.
    """
    result = {key: entry for key, entry in value.items() if key not in _ITEMS}
    contacts = cards_of(part if named_in is None else named_in, around.cards)
    if contacts:
        result["contacts"] = contacts
    return replaced(result, name, part)


def replaced(parent: JsonObject, name: str, part: JsonValue) -> JsonObject:
    """Return an object with another value under a name; None stands for what was not there."""
    return parent if part is None else {**parent, name: part}


# https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
def _errors(value: JsonObject, around: ValueContext) -> Notice:
    scope = around.scope
    errors = value["errors"]
    raw = narrowed(value, "errors", errors, around)
    # Meta gives these neither an id nor a time: the same error for the same number is one.
    return Notice(
        key=event_key(Notice.kind, scope.channel, digest(raw)),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=scope.received_at,
        received_at=scope.received_at,
        raw=raw,
        topic="errors",
        details=errors,
    )
