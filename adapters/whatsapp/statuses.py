"""One item of `statuses`: where a message of ours stands.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status
"""

from __future__ import annotations

from typing import Final

from bridge.adapter import new_status_change
from bridge.adapter.payload import boolean, digest, filled, identifier, instant, mapping, phone
from bridge.adapters.whatsapp.value_context import ValueContext
from bridge.adapters.whatsapp.wire import (
    JsonObject,
    conversation,
    fault,
    first_error,
    first_id,
    required_id,
    required_text,
    user,
)
from bridge.model import Notice, Pricing, Status, StatusChange
from bridge.model.frozen import builder
from bridge.model.keys import event_key, status_key

_STATUSES: Final = {
    # From the On-Premises API: the platform has the message, and has not sent it yet.
    "pending": Status.ACCEPTED,
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "played": Status.PLAYED,
    "failed": Status.FAILED,
    "deleted": Status.DELETED,
}
_UNKNOWN: Final = Status.UNKNOWN

_RECIPIENT: Final = (
    "recipient_user_id",
    "recipient_parent_user_id",
    "parent_recipient_user_id",  # seen in place of the former
)
_PARTICIPANT: Final = ("recipient_participant_user_id", "recipient_participant_parent_user_id")

_new_notice: Final = builder(Notice)
_new_pricing: Final = builder(Pricing)

_OTHER_KINDS: Final = frozenset({"call", "payment"})


def translate_status(item: JsonObject, around: ValueContext) -> StatusChange | Notice:
    """Translate one status. Raises `Unreadable` with a path from the item on.

    The statuses of calls and payments move no message: they are notices.
    """
    kind = item.get("type")
    if type(kind) is str and kind in _OTHER_KINDS:
        return _notice(item, kind, around)
    scope = around.scope
    message_id = required_id(item, "id")
    word = required_text(item, "status")
    if not word:
        raise fault("status", word, "a status")
    status = _STATUSES.get(word.lower(), _UNKNOWN)
    number = item.get("recipient_id")
    group_id: str | None = None
    participant: str | None = None
    if item.get("recipient_type") == "group":
        group_id = identifier(number)
        number = item.get("recipient_participant_id")
        user_id = first_id(item, _PARTICIPANT)
        participant = phone(number) or identifier(number) or user_id
    else:
        user_id = first_id(item, _RECIPIENT)
    named = identifier(number) is not None or user_id is not None
    recipient = user(number, user_id, around.cards)
    return new_status_change(
        scope,
        key=status_key(
            scope.channel,
            message_id,
            status,
            participant=participant,
            provider_status=word.lower(),
        ),
        occurred_at=instant(item.get("timestamp")) or scope.received_at,
        raw=item,
        message_id=message_id,
        status=status,
        provider_status=word,
        error=first_error(item.get("errors")),
        recipient=recipient if named else None,
        conversation=conversation(scope, recipient, number, group_id),
        pricing=_pricing(item),
        correlation=filled(item.get("biz_opaque_callback_data")),
    )


def _notice(item: JsonObject, topic: str, around: ValueContext) -> Notice:
    scope = around.scope
    return _new_notice(
        key=event_key(Notice.kind, scope.channel, digest(item)),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=instant(item.get("timestamp")) or scope.received_at,
        received_at=scope.received_at,
        raw=item,
        topic=topic,
        details=item,
    )


# https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing
def _pricing(item: JsonObject) -> Pricing | None:
    pricing, billing = mapping(item.get("pricing")), mapping(item.get("conversation"))
    if not pricing and not billing:
        return None
    category = filled(pricing.get("category"))
    return _new_pricing(
        billable=boolean(pricing.get("billable")),
        model=filled(pricing.get("pricing_model")),
        type=filled(pricing.get("type")),
        # One category is spelled both `authentication-international` and with an underscore.
        category=category.replace("-", "_") if category is not None else None,
        conversation_id=identifier(billing.get("id")),
        conversation_origin=filled(mapping(billing.get("origin")).get("type")),
        conversation_expires_at=instant(billing.get("expiration_timestamp")),
    )
