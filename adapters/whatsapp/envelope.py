"""Walk a whole callback of the Cloud API: object, entries, changes, values.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview

`account` is the phone number's id where a value tells it, and the WhatsApp Business Account's
where a change concerns all of its numbers (templates, reviews, alerts).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bridge.adapter import Scope, build
from bridge.adapter.paths import Step
from bridge.adapter.payload import identifier, mapping, phone
from bridge.adapter.reading import JsonObject, read_each, required_object, required_text
from bridge.adapters.whatsapp.account import TEMPLATE_FIELDS, translate_notice, translate_template
from bridge.adapters.whatsapp.value import TRANSLATORS, narrow
from bridge.adapters.whatsapp.value_context import business_by, remembered_account
from bridge.adapters.whatsapp.wire import CHANNEL, OBJECT
from bridge.errors import Unreadable
from bridge.model import Event, JsonValue, Party


def translate_body(body: JsonObject, *, source: str, received_at: datetime) -> list[Event]:
    """Translate every change of a callback; never raises."""
    scope = build.scope(
        source=source, channel=CHANNEL, received_at=received_at, body=body, narrow=narrow
    )
    product = body.get("object")
    if product is not None and product != OBJECT:
        fault = Unreadable("object", "not a WhatsApp Business Account's")
        return [scope.unrecognized(fault)]

    def translate_entry(entry: JsonObject, number: int) -> list[Event]:
        place = ("entry", number, "changes")
        within = _scope(scope, identifier(entry.get("id")), scope.business)
        return read_each(
            within,
            entry.get("changes"),
            *place,
            read=lambda change, index: _translate_change(change, entry, within, (*place, index)),
        )

    return read_each(scope, body.get("entry"), "entry", read=translate_entry)


def _translate_change(
    change: JsonObject, entry: JsonObject, scope: Scope, steps: tuple[Step, ...]
) -> Iterable[Event]:
    field = required_text(change, "field")
    scope = _number_scope(change.get("value"), scope)
    translate = TRANSLATORS.get(field)
    if translate is not None:
        return translate(required_object(change, "value"), scope, (*steps, "value"))
    if field in TEMPLATE_FIELDS:
        return (translate_template(field, change, entry, scope),)
    return (translate_notice(field, change, entry, scope),)


def _number_scope(value: JsonValue, scope: Scope) -> Scope:
    parts: Any = value
    try:
        metadata = parts["metadata"]
        account, party = remembered_account(
            metadata["phone_number_id"], metadata["display_phone_number"]
        )
    except (KeyError, TypeError, ValueError):
        metadata = mapping(mapping(value).get("metadata"))
        account = identifier(metadata.get("phone_number_id")) or scope.account
        party = business_by(phone(metadata.get("display_phone_number")))
    return _scope(scope, account, party)


def _scope(scope: Scope, account: str | None, business: Party) -> Scope:
    return build.scope(
        source=scope.source,
        channel=scope.channel,
        account=account,
        business=business,
        received_at=scope.received_at,
        body=scope.body,
        narrow=scope.narrow,
    )
