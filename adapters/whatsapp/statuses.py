"""One item of `statuses`: where a message of ours stands.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status
"""

from __future__ import annotations

from typing import Final

from bridge.adapter import build
from bridge.adapter.payload import (
    boolean,
    digest,
    filled,
    first,
    identifier,
    instant,
    mapping,
    phone,
)
from bridge.adapter.reading import JsonObject, required_id, required_text
from bridge.adapters.whatsapp.value_context import ValueContext
from bridge.adapters.whatsapp.wire import conversation, first_error, user
from bridge.errors import Unreadable
from bridge.model import Notice, Pricing, Status, StatusChange
from bridge.model.keys import status_key

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


_OTHER_KINDS: Final = frozenset({"call", "payment"})


def translate_status(item: JsonObject, value: ValueContext) -> StatusChange | Notice:
    """Translate one status. Raises `Unreadable` with a path from the item on.

    The statuses of calls and payments move no message: they are notices.
    """
    kind = item.get("type")
    if type(kind) is str and kind in _OTHER_KINDS:
        return value.scope.notice(
            kind, item, digest(item), occurred_at=instant(item.get("timestamp"))
        )
    scope = value.scope
    message_id = required_id(item, "id")
    word = required_text(item, "status")
    if not word:
        raise Unreadable("status", "not a status")
    status = _STATUSES.get(word.lower(), _UNKNOWN)
    number = item.get("recipient_id")
    group_id: str | None = None
    participant: str | None = None
    if item.get("recipient_type") == "group":
        group_id = identifier(number)
        number = item.get("recipient_participant_id")
        user_id = first(item, _PARTICIPANT, identifier)
        participant = phone(number) or identifier(number) or user_id
    else:
        user_id = first(item, _RECIPIENT, identifier)
    named = identifier(number) is not None or user_id is not None
    recipient = user(number, user_id, value.cards)
    return build.status_change(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
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


# https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing
def _pricing(item: JsonObject) -> Pricing | None:
    pricing, billing = mapping(item.get("pricing")), mapping(item.get("conversation"))
    if not pricing and not billing:
        return None
    category = filled(pricing.get("category"))
    return build.pricing(
        billable=boolean(pricing.get("billable")),
        model=filled(pricing.get("pricing_model")),
        type=filled(pricing.get("type")),
        # One category is spelled both `authentication-international` and with an underscore.
        category=category.replace("-", "_") if category is not None else None,
        conversation_id=identifier(billing.get("id")),
        conversation_origin=filled(mapping(billing.get("origin")).get("type")),
        conversation_expires_at=instant(billing.get("expiration_timestamp")),
    )
