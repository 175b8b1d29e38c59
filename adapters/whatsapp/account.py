"""What Meta tells a business besides messages: templates, preferences, everything else.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import attrs

from bridge.adapter import Scope, build
from bridge.adapter.payload import digest, filled, identifier, instant, integer, mapping, sole
from bridge.adapter.reading import JsonObject, required_id, required_object, required_text
from bridge.adapters.whatsapp.calls import CALLS, calls_in, items_alone, with_caller
from bridge.adapters.whatsapp.cards import with_card
from bridge.adapters.whatsapp.value_context import ValueContext
from bridge.adapters.whatsapp.wire import identity_of, party
from bridge.model import (
    ConsentChange,
    Direction,
    JsonValue,
    Message,
    Notice,
    Origin,
    SystemKind,
    TemplateAspect,
    TemplateChange,
)
from bridge.model.keys import event_key, folded, hour_of, template_key

_GRANTS: Final = {"stop": False, "resume": True, "signup": True}
_NAMING: Final = frozenset({"wa_id", "user_id", "parent_user_id", "detail"})
_NO_REASON: Final = "none"
GROUPS: Final = "groups"  # what the fields about groups tell of
PREFERENCES: Final = "user_preferences"
TEMPLATE_ID: Final = "message_template_id"


def _occurred_at(entry: JsonObject, scope: Scope) -> datetime:
    """Return the entry's time, which the field `messages` and its like do not have."""
    return instant(entry.get("time")) or scope.received_at


def translate_notices(
    field: str, change: JsonObject, entry: JsonObject, scope: Scope
) -> Sequence[Notice]:
    """Translate a change that the model has no event of its own for.

    Each call and each group stands alone.
    """
    found: list[Notice] = []
    whole = change.get("value")
    for value in calls_in(whole) if field == CALLS else items_alone(whole, GROUPS):
        told = _notice(field, {**change, "value": value} if value else change, entry, scope)
        found.append(with_caller(told, value, scope) if field == CALLS else told)
    return found


def _notice(field: str, change: JsonObject, entry: JsonObject, scope: Scope) -> Notice:
    value = mapping(change.get("value"))
    told_at = (instant(sole(part).get("timestamp")) for part in value.values())
    notice = scope.notice(
        field,
        change.get("value"),
        # The entry's id and time tell two changes of the same content apart.
        scope.identity({"id": entry.get("id"), "time": entry.get("time")}, change),
        raw=change,
        occurred_at=instant(entry.get("time")) or next(filter(None, told_at), None),
    )
    return of_group(notice, value, scope)


# https://developers.facebook.com/documentation/business-messaging/whatsapp/groups/webhooks/
def of_group(notice: Notice, value: JsonObject, scope: Scope) -> Notice:
    """Return a notice in the conversation of the only group that a value tells of."""
    group_id = identifier(sole(value.get(GROUPS)).get("group_id"))
    return notice if group_id is None else attrs.evolve(notice, conversation=scope.group(group_id))


# --- users -------------------------------------------------------------------------------


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/user_preferences
def translate_preference(item: JsonObject, value: ValueContext) -> ConsentChange | Notice:
    """Translate a user's choice to stop or resume marketing messages. Raises `Unreadable`.

    Another choice neither grants nor withdraws anything: it stays a notice.
    """
    scope = value.scope
    granted = _GRANTS.get(required_text(item, "value").strip().lower())
    ids = (item.get("wa_id"), item.get("user_id"), item.get("parent_user_id"))
    card = value.cards.of(*ids)
    user = party(*ids, card)
    identity = identity_of(user) or identifier(item.get("wa_id"))
    # The same change is told with the user's id and without it, and with other words for it.
    told = {name: part for name, part in item.items() if name not in _NAMING}
    seconds = integer(item.get("timestamp"))
    if seconds is not None:  # also in digits
        told["timestamp"] = seconds
    key = scope.identity(told, None if identity is None else folded(identity))
    conversation = None if identity is None else scope.conversation(identity)
    raw = with_card(item, card, user)
    if granted is None:
        at = instant(item.get("timestamp"))
        notice = scope.notice(PREFERENCES, item, key, raw=raw, occurred_at=at)
        return attrs.evolve(
            notice, party=None if identity is None else user, conversation=conversation
        )
    return build.consent_change(
        key=event_key(ConsentChange.kind, scope.channel, key),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=instant(item.get("timestamp")) or scope.received_at,
        received_at=scope.received_at,
        raw=raw,
        party=user,
        granted=granted,
        scope=filled(item.get("category")),
        conversation=conversation,
    )


# https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
def translate_user_id(item: JsonObject, value: ValueContext) -> Message:
    """Translate a user's change of id: a message of the channel's, in the user's conversation.

    It has no id, so that a digest of its content identifies it.
    """
    scope = value.scope
    ids, parents = mapping(item.get("user_id")), mapping(item.get("parent_user_id"))
    number = item.get("wa_id")
    card = value.cards.of(number, ids.get("current"), ids.get("previous"))
    user = party(number, ids.get("current"), parents.get("current"), card)
    before = party(number, ids.get("previous"), parents.get("previous"), {})
    told = scope.identity("user_id_update", item)
    return build.message(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
        key=event_key("system", scope.channel, told),
        occurred_at=instant(item.get("timestamp")) or scope.received_at,
        raw=with_card(item, card, user),
        message_id=told,
        direction=Direction.INBOUND,
        origin=Origin.USER,
        conversation=value.conversation(user, number, None, told),
        sender=user,
        recipient=value.business,
        content=build.system(
            change=SystemKind.USER_ID,
            body=filled(item.get("detail")),
            previous=before.user_id,
            current=user.user_id,
            before=before,
            after=user,
        ),
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
        details=(
            *("message_template_category", "source"),
            *("disable_info", "other_info", "rejection_info"),
        ),
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

# A change of category that is announced ahead has no previous one: `new_category` is then the
# one that still holds.
_ANNOUNCED: Final = "correct_category"
_ANNOUNCEMENT: Final = _Aspect(TemplateAspect.CATEGORY, _ANNOUNCED, "new_category")


def template_field_of(value: JsonObject) -> str | None:
    """Return the field that a value of a template's must have come in; None: it does not tell."""
    for field, side in TEMPLATE_FIELDS.items():
        names = (*side.details, _ANNOUNCED) if side.value is None else (side.value,)
        if any(value.get(name) is not None for name in names):
            return field
    return None


def translate_template(
    field: str, change: JsonObject, entry: JsonObject, scope: Scope
) -> TemplateChange:
    """Translate a change of a template. Raises `Unreadable` with a path from the change on."""
    told = required_object(change, "value")
    side = TEMPLATE_FIELDS[field]
    is_announced = (
        side.aspect is TemplateAspect.CATEGORY
        and filled(told.get(_ANNOUNCED)) is not None
        and filled(told.get("previous_category")) is None
    )
    if is_announced:
        side = _ANNOUNCEMENT
    template_id = required_id(change, "value", TEMPLATE_ID)
    value = required_text(change, "value", side.value) if side.value is not None else None
    at = filled(entry.get("time"))
    return build.template_change(
        key=template_key(
            scope.channel,
            template_id,
            side.aspect,
            # An edit has no word for its outcome, what is announced has that of what follows, and
            # the same word may come twice within an hour: then the content says which one it is.
            digest(told) if value is None or at is None or is_announced else value.upper(),
            at or hour_of(scope.received_at),
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
        reason=reason_of(told.get("reason")),
        effective_at=instant(told.get("category_update_timestamp")) if is_announced else None,
        details={name: told[name] for name in side.details if told.get(name) is not None} or None,
    )


def reason_of(told: JsonValue) -> str | None:
    """Return the reason for a change of a template, or None where there is none."""
    reason = filled(told)
    return None if reason is None or reason.lower() == _NO_REASON else reason
