"""What Meta tells a business besides messages: templates, preferences, everything else.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import attrs

from bridge.adapter import Scope, build
from bridge.adapter.payload import digest, filled, identifier, instant, text
from bridge.adapter.reading import JsonObject, required_id, required_object, required_text
from bridge.adapters.whatsapp.value_context import ValueContext
from bridge.adapters.whatsapp.wire import conversation, user
from bridge.errors import Unreadable
from bridge.model import ConsentChange, Notice, TemplateAspect, TemplateChange
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


@attrs.frozen
class _Aspect:
    """A side of a template, and the names of what a change says of it."""

    aspect: TemplateAspect
    value: str | None = None
    previous: str | None = None
    details: tuple[str, ...] = ()


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/message_template_status_update
# and …/message_template_quality_update, …/message_template_components_update,
# …/template_category_update
TEMPLATE_FIELDS: Final = {
    "message_template_status_update": _Aspect(
        TemplateAspect.STATUS,
        "event",
        details=("message_template_category", "disable_info", "other_info", "rejection_info"),
    ),
    "message_template_quality_update": _Aspect(
        TemplateAspect.QUALITY, "new_quality_score", "previous_quality_score"
    ),
    "template_category_update": _Aspect(
        TemplateAspect.CATEGORY, "new_category", "previous_category"
    ),
    "message_template_components_update": _Aspect(
        TemplateAspect.COMPONENTS,
        details=(
            "message_template_title",
            "message_template_element",
            "message_template_footer",
            "message_template_buttons",
        ),
    ),
}
"""The fields that tell of templates."""

# A change of category that is announced ahead: `new_category` is then the one that still holds.
_ANNOUNCED: Final = "correct_category"
_ANNOUNCEMENT: Final = _Aspect(TemplateAspect.CATEGORY, _ANNOUNCED, "new_category")


def translate_template(
    field: str, change: JsonObject, entry: JsonObject, scope: Scope
) -> TemplateChange:
    """Translate a change of a template. Raises `Unreadable` with a path from the change on."""
    told = required_object(change, "value")
    side = TEMPLATE_FIELDS[field]
    is_announced = side.aspect is TemplateAspect.CATEGORY and filled(told.get(_ANNOUNCED))
    if is_announced:
        side = _ANNOUNCEMENT
    template_id = required_id(change, "value", "message_template_id")
    value = required_text(change, "value", side.value) if side.value is not None else None
    reason = filled(told.get("reason"))
    return build.template_change(
        key=template_key(
            scope.channel,
            template_id,
            side.aspect,
            # An edit has no word for its outcome: its content says which one it is.
            value if value is not None else digest(told),
            text(entry.get("time")) or "",
        ),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=_occurred_at(entry, scope),
        received_at=scope.received_at,
        raw=change,
        template_id=template_id,
        template_name=filled(told.get("message_template_name")),
        language=filled(told.get("message_template_language")),
        aspect=side.aspect,
        value=value,
        previous=filled(told.get(side.previous)) if side.previous is not None else None,
        reason=reason if reason != _NO_REASON else None,
        effective_at=instant(told.get("category_update_timestamp")) if is_announced else None,
        details={name: told[name] for name in side.details if told.get(name) is not None} or None,
    )
