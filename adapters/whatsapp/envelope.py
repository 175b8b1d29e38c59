"""Walk a whole callback of the Cloud API: object, entries, changes, values.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview

`account` is the phone number's id where a value tells it, and the WhatsApp Business Account's
where a change concerns all of its numbers (templates, reviews, alerts).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from bridge.adapter import Place, Scope, new_scope
from bridge.adapter.payload import identifier, mapping, phone
from bridge.adapters.whatsapp.account import (
    TEMPLATE_FIELDS,
    Change,
    translate_notice,
    translate_preferences,
    translate_template,
)
from bridge.adapters.whatsapp.app_history import translate_echoes, translate_history
from bridge.adapters.whatsapp.translate import Envelope, objects, replaced, translate_value
from bridge.adapters.whatsapp.value_context import remembered_place
from bridge.adapters.whatsapp.wire import CHANNEL, MESSAGES, OBJECT, JsonObject, fault
from bridge.errors import Unreadable
from bridge.model import Event, JsonValue
from bridge.model.frozen import builder

_new_scope: Final = builder(Scope)


def translate_body(body: JsonObject, *, source: str, received_at: datetime) -> list[Event]:
    """Translate every change of a callback; never raises."""
    scope = _new_scope(source=source, channel=CHANNEL, received_at=received_at)
    product = body.get("object")
    if product is not None and product != OBJECT:
        return [scope.unrecognized(body, "not a WhatsApp Business Account's", "object")]
    only = _only_change(body)
    if only is None:
        return _translate_entries(body, scope)
    entry, change = only
    # Meta may send more, and hardly ever does: this saves an eighth of the time.
    return _translate_change(
        change,
        entry,
        scope,
        path="entry[0].changes[0]",
        body=lambda part: replaced(body, "entry", [replaced(entry, "changes", part)]),
    )


def _only_change(body: JsonObject) -> tuple[JsonObject, JsonObject] | None:
    """Return the only entry and its only change, or None where there is not just one."""
    parts: Any = body
    try:
        (entry,) = parts["entry"]
        (change,) = entry["changes"]
    except (KeyError, TypeError, ValueError):
        return None
    return (entry, change) if type(change) is dict else None


def _translate_entries(body: JsonObject, scope: Scope) -> list[Event]:
    events: list[Event] = []

    def with_entries(part: JsonValue) -> JsonValue:
        return replaced(body, "entry", part)

    for entry, path in objects(
        body.get("entry"), events, scope=scope, path="entry", body=with_entries
    ):
        events += _translate_entry(entry, scope, path=path, body=with_entries)
    return events


def _translate_entry(
    entry: JsonObject, scope: Scope, *, path: str, body: Callable[[JsonValue], JsonValue]
) -> list[Event]:
    events: list[Event] = []

    def with_changes(part: JsonValue) -> JsonValue:
        return body([replaced(entry, "changes", part)])

    for change, place in objects(
        entry.get("changes"), events, scope=scope, path=f"{path}.changes", body=with_changes
    ):
        events += _translate_change(change, entry, scope, path=place, body=with_changes)
    return events


def _translate_change(
    item: JsonObject,
    entry: JsonObject,
    scope: Scope,
    *,
    path: str,
    body: Callable[[JsonValue], JsonValue],
) -> list[Event]:
    field, value = item.get("field"), item.get("value")
    if type(field) is not str:
        reason = fault(path, field, "a string").reason
        return [scope.unrecognized(body([item]), reason, f"{path}.field")]
    scope = _account_scope(value, entry, scope)
    translate = _TRANSLATORS.get(field)
    if translate is None and field not in TEMPLATE_FIELDS:
        return [translate_notice(Change(item=item, field=field, entry=entry, scope=scope))]
    path = f"{path}.value"
    if type(value) is not dict:
        reason = fault(path, value, "an object").reason
        return [scope.unrecognized(body([item]), reason, path)]
    if translate is not None:
        return translate(
            value, scope, envelope=lambda part: body([{**item, "value": part}]), path=path
        )
    try:
        change = Change(item=item, field=field, entry=entry, scope=scope)
        return [translate_template(change, value)]
    except Unreadable as error:
        seen = error.below(path)
        return [scope.unrecognized(body([item]), seen.reason, seen.path)]


def _account_scope(value: JsonValue, entry: JsonObject, scope: Scope) -> Scope:
    parts: Any = value
    try:
        metadata = parts["metadata"]
        place = remembered_place(
            scope.source, metadata["phone_number_id"], metadata["display_phone_number"]
        )
    except (KeyError, TypeError, ValueError):
        metadata = mapping(mapping(value).get("metadata"))
        place = Place(
            source=scope.source,
            channel=scope.channel,
            account=identifier(metadata.get("phone_number_id")) or identifier(entry.get("id")),
            business_phone=phone(metadata.get("display_phone_number")),
        )
    return new_scope(place, received_at=scope.received_at)


class _Translator(Protocol):
    def __call__(
        self, value: JsonObject, scope: Scope, *, envelope: Envelope, path: str
    ) -> list[Event]: ...


_TRANSLATORS: Final[Mapping[str, _Translator]] = {
    MESSAGES: translate_value,
    "smb_message_echoes": translate_echoes,
    "history": translate_history,
    "user_preferences": translate_preferences,
}
