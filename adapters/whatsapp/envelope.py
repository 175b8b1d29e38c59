"""Walk a whole callback of the Cloud API: object, entries, changes, values.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview

`account` is the phone number's id where a value tells it, and the WhatsApp Business Account's
where a change concerns all of its numbers (templates, reviews, alerts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from bridge.adapter import Scope, build
from bridge.adapter.paths import Step
from bridge.adapter.payload import identifier, instant, mapping, phone, sequence
from bridge.adapter.reading import JsonObject, read_each, required_object, required_text
from bridge.adapter.unread import Unread
from bridge.adapters.whatsapp.account import TEMPLATE_FIELDS, translate_notices, translate_template
from bridge.adapters.whatsapp.value import FIELDS, Narrowing, field_of, translate_value
from bridge.adapters.whatsapp.value_context import business_by, remembered_account
from bridge.adapters.whatsapp.wire import CHANNEL, ENTRY, NOTHING, OBJECT
from bridge.errors import Unreadable
from bridge.model import Event, JsonValue, Notice
from bridge.model.frozen import changer

BODY: Final = frozenset({"object", "entry"})
CHANGE: Final = frozenset({"field", "value"})
"""What a change is made of."""
_FIELDS: Final = frozenset({*FIELDS, *TEMPLATE_FIELDS})
_of_account: Final[Callable[..., Scope]] = changer(Scope, "account")
_of_number: Final[Callable[..., Scope]] = changer(Scope, "account", "business")


def translate_body(body: JsonObject, *, source: str, received_at: datetime) -> list[Event]:
    """Translate every change of a callback; never raises."""
    body = _enveloped(body)
    scope = build.scope(
        source=source,
        channel=CHANNEL,
        received_at=received_at,
        body=body,
        narrow=Narrowing(),
        unread=Unread(),
    )
    product = body.get("object")
    if product is not None and product != OBJECT:
        fault = Unreadable("object", "not a WhatsApp Business Account's")
        return [scope.unrecognized(fault)]

    def translate_entry(entry: JsonObject, number: int) -> list[Event]:
        place = ("entry", number, "changes")
        within = _of_account(scope, identifier(entry.get("id")))
        events = read_each(
            within,
            entry.get("changes"),
            *place,
            read=lambda change, index: _translate_change(change, entry, within, (*place, index)),
        )
        return [*events, *beside(entry, ENTRY, within, entry)]

    events = read_each(scope, body.get("entry"), "entry", read=translate_entry)
    return [*events, *beside(body, BODY, scope, {})]


def _enveloped(body: JsonObject) -> JsonObject:
    """Return a body with the envelope and the arrays that a gateway left out around its only item.

    And without the envelope of its own that a gateway put around all. What is beside stays.
    """
    if body.keys().isdisjoint(BODY):
        body = _unwrapped(body)
    entries = body.get("entry")
    if type(entries) is dict:
        body = {**body, "entry": [entries]}
    if any(type(mapping(each).get("changes")) is dict for each in sequence(body.get("entry"))):
        body = {**body, "entry": [_with_array(each) for each in sequence(body["entry"])]}
    return body


def _unwrapped(body: JsonObject) -> JsonObject:
    """Return a body of Meta's for one that is a value, or has the only value or body within it.

    A gateway says beside it what it is, such as `{"event": "history", "data": …}`.

    https://docs.360dialog.com/docs/waba-management/embedded-signup/whatsapp-coexistence/coexistence-webhooks
    """
    if field_of(body) is not None:
        return {"entry": [{"changes": [{"value": body}]}]}
    inside = [
        name
        for name, part in body.items()
        if field_of(part) is not None or (type(part) is dict and not BODY.isdisjoint(part))
    ]
    if len(inside) != 1:
        return body
    (name,) = inside
    value = mapping(body[name])
    beside_it = {each: part for each, part in body.items() if each != name}
    if field_of(value) is None:
        return {**beside_it, **value}
    return {"entry": [{"changes": [{**beside_it, "value": value}]}]}


def _with_array(entry: JsonValue) -> JsonValue:
    changes = mapping(entry).get("changes")
    return {**mapping(entry), "changes": [changes]} if type(changes) is dict else entry


def field_name(change: JsonObject) -> str:
    """Return the field of a change, in any case, or the one of its value. Raises `Unreadable`."""
    field = change.get("field")
    if field in (None, ""):
        return field_of(change.get("value")) or required_text(change, "field")
    field = required_text(change, "field")
    if field in _FIELDS:  # as nearly always
        return field
    plain = field.strip().lower()
    return plain if plain in _FIELDS else field


def _translate_change(
    change: JsonObject, entry: JsonObject, scope: Scope, steps: tuple[Step, ...]
) -> Sequence[Event]:
    field = field_name(change)
    scope = _number_scope(change.get("value"), scope)
    if field in FIELDS:
        value = required_object(change, "value")
        events = translate_value(value, scope, (*steps, "value"), field)
        return [*events, *beside(change, CHANGE, scope, entry)]
    return translate_other(field, change, entry, scope)


def translate_other(
    field: str, change: JsonObject, entry: JsonObject, scope: Scope
) -> Sequence[Event]:
    """Translate a change whose value is not read part by part. Raises `Unreadable`."""
    if field in TEMPLATE_FIELDS:
        return [translate_template(field, change, entry, scope)]
    return translate_notices(field, change, entry, scope)


def beside(
    parent: JsonObject, known: frozenset[str], scope: Scope, entry: JsonObject
) -> Iterator[Notice]:
    """Yield a notice for each part of an object that is not known; the entry has the time."""
    if not parent.keys() <= known:
        time = entry.get("time")
        for name, told in parent.items():
            if name not in known and told not in NOTHING:
                identity = scope.identity(name, told, {"time": time})
                yield scope.notice(name, told, identity, occurred_at=instant(time))


def _number_scope(value: JsonValue, scope: Scope) -> Scope:
    parts: Any = value
    try:
        metadata = parts["metadata"]
        account, party = remembered_account(
            metadata["phone_number_id"], metadata["display_phone_number"]
        )
    except (KeyError, TypeError, ValueError):
        # A handover names the number as its recipient.
        told = mapping(value)
        metadata = mapping(told.get("metadata")) or mapping(told.get("recipient"))
        account = identifier(metadata.get("phone_number_id")) or scope.account
        party = business_by(phone(metadata.get("display_phone_number")))
    return _of_number(scope, account, party)
