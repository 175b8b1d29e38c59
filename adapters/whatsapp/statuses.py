"""One item of `statuses`: where a message of ours stands, or that a user took theirs back.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status/
"""

from __future__ import annotations

from typing import Final

import attrs

from bridge.adapter import build
from bridge.adapter.payload import boolean, filled, first, identifier, instant, mapping, text
from bridge.adapter.reading import JsonObject, required_id, required_text
from bridge.adapters.whatsapp.calls import CALL, CALL_ID, with_caller
from bridge.adapters.whatsapp.cards import with_card
from bridge.adapters.whatsapp.value_context import ValueContext
from bridge.adapters.whatsapp.wire import first_error, identity_of, party
from bridge.errors import Unreadable
from bridge.model import (
    Direction,
    JsonValue,
    Message,
    Notice,
    Origin,
    Party,
    Pricing,
    Status,
    StatusChange,
)
from bridge.model.keys import deletion_key, status_key

_STATUSES: Final = {
    # From the On-Premises API: the platform has the message, and has not sent it yet.
    "pending": Status.ACCEPTED,
    "accepted": Status.ACCEPTED,  # seen through gateways; else only the response says it
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "played": Status.PLAYED,
    "failed": Status.FAILED,
}
DELETED: Final = "deleted"
"""Told of a message that the user sent: they took it back."""

_UNKNOWN: Final = Status.UNKNOWN

_PARENT: Final = (
    "recipient_parent_user_id",
    "parent_recipient_user_id",  # seen in place of the former
)
_PARTICIPANT: Final = (
    "recipient_participant_id",
    "participant_recipient_id",  # seen in place of the former
    "recipient_participant_user_id",
    "recipient_participant_parent_user_id",
)
RECIPIENT: Final = ("recipient_id", "recipient_user_id", *_PARENT, *_PARTICIPANT)
"""The names of whom a status is about."""
_NAMING: Final = frozenset({"type", "recipient_type", *RECIPIENT})
_OTHER_KINDS: Final = frozenset({"call", "payment"})


def translate_status(item: JsonObject, value: ValueContext) -> StatusChange | Message | Notice:
    """Translate one status. Raises `Unreadable` with a path from the item on.

    The statuses of calls and payments move no message: they are notices.
    """
    scope = value.scope
    kind = "payment" if "payment" in item else text(item.get("type"))
    if kind is None and (text(item.get("id")) or "").startswith(CALL_ID):
        kind = CALL
    is_of_group = _is_of_group(item)
    group_id = identifier(item.get("recipient_id")) if is_of_group else None
    number, recipient, raw = _recipient_of(item, value, is_of_group=is_of_group)
    identity = identity_of(recipient) or identifier(number)
    conversation = None
    if group_id is not None:
        conversation = scope.group(group_id)
    elif is_of_group and (own_id := identifier(item.get("id"))) is not None:
        conversation = scope.group_of(own_id)
    elif identity is not None:
        conversation = scope.conversation(identity)
    occurred_at = instant(item.get("timestamp"))
    if kind is not None and (kind := kind.lower()) in _OTHER_KINDS:
        happened = {name: part for name, part in item.items() if name not in _NAMING}
        identity_told = scope.identity(kind, happened)
        told = scope.notice(kind, item, identity_told, raw=raw, occurred_at=occurred_at)
        if kind == CALL:
            return with_caller(told, {"statuses": [item]}, scope)
        user = recipient if identity is not None else None
        return attrs.evolve(told, party=user, conversation=conversation)
    message_id = required_id(item, "id")
    word = required_text(item, "status")
    if not word:
        raise Unreadable("status", "not a status")
    told_as = word.strip().lower()
    if told_as == DELETED:
        return build.message(
            source=scope.source,
            channel=scope.channel,
            account=scope.account,
            received_at=scope.received_at,
            key=deletion_key(scope.channel, message_id),
            occurred_at=occurred_at or scope.received_at,
            raw=raw,
            message_id=message_id,
            direction=Direction.INBOUND,
            origin=Origin.USER,
            conversation=conversation or scope.conversation(f"message:{message_id}"),
            sender=recipient,
            recipient=value.business,
            content=build.deletion(message_id=message_id),
            owned=value.owned,
        )
    status = _STATUSES.get(told_as, _UNKNOWN)
    return build.status_change(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
        key=status_key(
            scope.channel,
            message_id,
            status,
            participant=identity if is_of_group else None,
            provider_status=word,
        ),
        occurred_at=occurred_at or scope.received_at,
        raw=raw,
        message_id=message_id,
        status=status,
        provider_status=word,
        error=first_error(item.get("errors")),
        recipient=recipient if identity is not None else None,
        conversation=conversation,
        pricing=_pricing(item),
        correlation=filled(item.get("biz_opaque_callback_data")),
    )


def _recipient_of(
    item: JsonObject, value: ValueContext, *, is_of_group: bool
) -> tuple[JsonValue, Party, JsonObject]:
    """Return the user of a status, the number as it is told, and the item with the user's card."""
    number: JsonValue
    if is_of_group:
        number = first(item, _PARTICIPANT[:2], identifier)
        user_id, parent_user_id = map(item.get, _PARTICIPANT[2:])
    else:
        number, user_id = item.get("recipient_id"), item.get("recipient_user_id")
        parent_user_id = first(item, _PARENT, identifier)
        if number is None and user_id is None:  # the On-Premises API had it a level below
            number = mapping(item.get("message")).get("recipient_id")
    card = value.cards.of(number, user_id, parent_user_id)
    recipient = party(number, user_id, parent_user_id, card)
    key_hash = filled(item.get("recipient_identity_key_hash"))
    if key_hash is not None:
        recipient = attrs.evolve(recipient, identity_key_hash=key_hash)
    return number, recipient, with_card(item, card, recipient)


def _is_of_group(item: JsonObject) -> bool:
    if not item.keys().isdisjoint(_PARTICIPANT) and any(map(item.get, _PARTICIPANT)):
        return True
    told = item.get("recipient_type")
    return type(told) is str and told.lower() == "group"


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
