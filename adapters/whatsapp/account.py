"""What Meta tells a business besides messages: templates, preferences, everything else.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import attrs

from bridge.adapter import Scope, build
from bridge.adapter.payload import digest, filled, identifier, instant, text
from bridge.adapter.reading import JsonObject, required_id, required_object, required_text
from bridge.adapters.whatsapp.value_context import ValueContext
from bridge.adapters.whatsapp.wire import conversation, user
from bridge.errors import Unreadable
from bridge.model import ConsentChange, JsonValue, Notice, TemplateAspect, TemplateChange
from bridge.model.keys import event_key, template_key

_GRANTS: Final = {"stop": False, "resume": True, "signup": True}
_NO_REASON: Final = "NONE"


def _occurred_at(entry: JsonObject, scope: Scope) -> datetime:
    """Return the entry's time, which the field `messages` and its like do not have."""
    return instant(entry.get("time")) or scope.received_at


def translate_notice(field: str, change: JsonObject, entry: JsonObject, scope: Scope) -> Notice:
    """Translate a change that the model has no event of its own for."""
    return scope.notice(
        field,
        change.get("value"),
        # The entry's id and time tell two changes of the same content apart.
        digest([entry.get("id"), entry.get("time"), change]),
        raw=change,
        occurred_at=_occurred_at(entry, scope),
    )


# --- preferences -------------------------------------------------------------------------


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/user_preferences
def translate_preference(item: JsonObject, context: ValueContext) -> ConsentChange:
    """Translate a user's choice to stop or resume marketing messages. Raises `Unreadable`."""
    scope = context.scope
    granted = _GRANTS.get(required_text(item, "value").lower())
    if granted is None:
        raise Unreadable("value", "not stop, resume or signup")
    number = item.get("wa_id")
    party = user(
        number,
        identifier(item.get("user_id")) or identifier(item.get("parent_user_id")),
        context.cards,
    )
    return build.consent_change(
        key=event_key(ConsentChange.kind, scope.channel, digest(item)),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=instant(item.get("timestamp")) or scope.received_at,
        received_at=scope.received_at,
        raw=item,
        party=party,
        granted=granted,
        scope=filled(item.get("category")),
        conversation=conversation(scope, party, number, None),
    )


# --- templates ---------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Aspect:
    """What a template's change says of one side of it."""

    aspect: TemplateAspect
    value: str | None = None
    previous: str | None = None
    reason: str | None = None
    effective_at: datetime | None = None
    details: JsonValue = None


def translate_template(
    field: str, change: JsonObject, entry: JsonObject, scope: Scope
) -> TemplateChange:
    """Translate a change of a template. Raises `Unreadable` with a path from the change on."""
    value = required_object(change, "value")
    try:
        template_id = required_id(value, "message_template_id")
        seen = TEMPLATE_FIELDS[field](value)
    except Unreadable as error:
        raise error.below("value") from None
    return build.template_change(
        key=template_key(
            scope.channel,
            template_id,
            seen.aspect,
            # An edit has no word for its outcome: its content says which one it is.
            seen.value if seen.value is not None else digest(value),
            text(entry.get("time")) or "",
        ),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=_occurred_at(entry, scope),
        received_at=scope.received_at,
        raw=change,
        template_id=template_id,
        template_name=filled(value.get("message_template_name")),
        language=filled(value.get("message_template_language")),
        aspect=seen.aspect,
        value=seen.value,
        previous=seen.previous,
        reason=seen.reason,
        effective_at=seen.effective_at,
        details=seen.details,
    )


def _details(value: JsonObject, names: tuple[str, ...]) -> JsonValue:
    return {name: value[name] for name in names if value.get(name) is not None} or None


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/message_template_status_update
def _status(value: JsonObject) -> _Aspect:
    reason = filled(value.get("reason"))
    return _Aspect(
        aspect=TemplateAspect.STATUS,
        value=required_text(value, "event"),
        reason=reason if reason != _NO_REASON else None,
        details=_details(
            value,
            ("message_template_category", "disable_info", "other_info", "rejection_info"),
        ),
    )


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/message_template_quality_update
def _quality(value: JsonObject) -> _Aspect:
    return _Aspect(
        aspect=TemplateAspect.QUALITY,
        value=required_text(value, "new_quality_score"),
        previous=filled(value.get("previous_quality_score")),
    )


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/template_category_update
def _category(value: JsonObject) -> _Aspect:
    announced = filled(value.get("correct_category"))
    if announced is not None:
        # A warning ahead of the change: `new_category` is then the one that still holds.
        return _Aspect(
            aspect=TemplateAspect.CATEGORY,
            value=announced,
            previous=filled(value.get("new_category")),
            effective_at=instant(value.get("category_update_timestamp")),
        )
    return _Aspect(
        aspect=TemplateAspect.CATEGORY,
        value=required_text(value, "new_category"),
        previous=filled(value.get("previous_category")),
    )


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/message_template_components_update
def _components(value: JsonObject) -> _Aspect:
    return _Aspect(
        aspect=TemplateAspect.COMPONENTS,
        details=_details(
            value,
            (
                "message_template_title",
                "message_template_element",
                "message_template_footer",
                "message_template_buttons",
            ),
        ),
    )


TEMPLATE_FIELDS: Final[Mapping[str, Callable[[JsonObject], _Aspect]]] = {
    "message_template_status_update": _status,
    "message_template_quality_update": _quality,
    "template_category_update": _category,
    "message_template_components_update": _components,
}
"""The fields that tell of templates."""
