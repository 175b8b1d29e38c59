"""What Meta tells a business besides messages: templates, preferences, everything else.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import attrs

from bridge.adapter import Scope
from bridge.adapter.payload import digest, filled, identifier, instant, text
from bridge.adapters.whatsapp.translate import Envelope, translate_array
from bridge.adapters.whatsapp.value_context import ValueContext, surroundings_of
from bridge.adapters.whatsapp.wire import (
    JsonObject,
    conversation,
    fault,
    required_id,
    required_text,
    user,
)
from bridge.model import ConsentChange, Event, JsonValue, Notice, TemplateAspect, TemplateChange
from bridge.model.keys import event_key, template_key

_GRANTS: Final = {"stop": False, "resume": True, "signup": True}
_NO_REASON: Final = "NONE"


@attrs.frozen(kw_only=True)
class Change:
    """One element of `entry[].changes[]` and the entry around it, which holds the time."""

    item: JsonObject
    field: str
    entry: JsonObject
    scope: Scope

    def occurred_at(self) -> datetime:
        """Return the entry's time, which the field `messages` and its like do not have."""
        return instant(self.entry.get("time")) or self.scope.received_at


def translate_notice(change: Change) -> Notice:
    """Translate a change that the model has no event of its own for."""
    scope, entry = change.scope, change.entry
    # The entry's id and time tell two changes of the same content apart, its neighbours do not.
    identity = digest([entry.get("id"), entry.get("time"), change.item])
    return Notice(
        key=event_key(Notice.kind, scope.channel, identity),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=change.occurred_at(),
        received_at=scope.received_at,
        raw=change.item,
        topic=change.field,
        details=change.item.get("value"),
    )


# --- preferences -------------------------------------------------------------------------


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/user_preferences
def translate_preferences(
    value: JsonObject, scope: Scope, *, envelope: Envelope, path: str
) -> list[Event]:
    """Translate each user's choice to stop or resume marketing messages."""
    around = surroundings_of(value, scope)
    return translate_array(
        value, "user_preferences", _preference, around=around, envelope=envelope, path=path
    )


def _preference(item: JsonObject, around: ValueContext) -> ConsentChange:
    scope = around.scope
    granted = _GRANTS.get(required_text(item, "value").lower())
    if granted is None:
        raise fault("value", item.get("value"), "stop, resume or signup")
    number = item.get("wa_id")
    party = user(
        number,
        identifier(item.get("user_id")) or identifier(item.get("parent_user_id")),
        around.cards,
    )
    return ConsentChange(
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


def translate_template(change: Change, value: JsonObject) -> TemplateChange:
    """Translate a change of a template. Raises `Unreadable` with a path from the value on."""
    scope = change.scope
    template_id = required_id(value, "message_template_id")
    seen = TEMPLATE_FIELDS[change.field](value)
    return TemplateChange(
        key=template_key(
            scope.channel,
            template_id,
            seen.aspect,
            # An edit has no word for its outcome: its content says which one it is.
            seen.value if seen.value is not None else digest(value),
            text(change.entry.get("time")) or "",
        ),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=change.occurred_at(),
        received_at=scope.received_at,
        raw=change.item,
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
