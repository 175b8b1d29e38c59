"""The field `messaging_handovers`: which responder answers a conversation from now on.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messaging-handovers/
"""

from __future__ import annotations

from typing import Final

from bridge.adapter import Scope, build
from bridge.adapter.payload import filled, identifier, instant, mapping
from bridge.adapter.reading import JsonObject
from bridge.adapters.whatsapp.cards import Cards
from bridge.adapters.whatsapp.wire import identity_of, party
from bridge.model import Handover, Notice, Owner
from bridge.model.keys import event_key, folded

HANDOVERS: Final = "messaging_handovers"

# `control_passed` is delivered to the new owner, `control_taken` to the previous one.
_OURS_AFTER: Final = {"control_passed": True, "control_taken": False}
_NAMING: Final = frozenset({"messaging_product", "metadata", "recipient", "sender", "contacts"})


def is_handover(value: JsonObject) -> bool:
    """Return whether a value is one of a handover, whatever word it has for what happened."""
    return not _OURS_AFTER.keys().isdisjoint(value) or (
        type(value.get("type")) is str
        and type(value.get("sender")) is dict
        and type(value.get("recipient")) is dict
    )


def translate_handover(value: JsonObject, scope: Scope) -> Handover | Notice:
    """Translate a whole value; never raises. Where it names no user, it stays a notice."""
    named = mapping(value.get("sender"))
    number = named.get("phone_number") or named.get("wa_id")
    user_id, parent_user_id = named.get("user_id"), named.get("parent_user_id")
    card = Cards(value.get("contacts"), lambda: True).of(number, user_id, parent_user_id)
    user = party(number, user_id, parent_user_id, card)
    identity = identity_of(user) or identifier(number)
    occurred_at = instant(value.get("timestamp"))
    if identity is None:
        return scope.notice(
            HANDOVERS, value, scope.identity(HANDOVERS, value), occurred_at=occurred_at
        )
    # The same handover is told with the user's id and without it.
    told: JsonObject = {name: part for name, part in value.items() if name not in _NAMING}
    reason = filled(value.get("type")) or next(
        (name for name in _OURS_AFTER if name in value), None
    )
    word = (reason or "").lower()
    change = mapping(value.get(word))
    return build.handover(
        key=event_key(Handover.kind, scope.channel, scope.identity(told, folded(identity))),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=occurred_at or scope.received_at,
        received_at=scope.received_at,
        raw=value,
        party=user,
        conversation=scope.conversation(identity),
        previous=_owner("previous_owner", change),
        new=_owner("new_owner", change),
        owned=_OURS_AFTER.get(word),
        reason=reason,
        metadata=filled(change.get("metadata")),
        context=change.get("conversation_context", value.get("conversation_context")),
    )


def _owner(name: str, change: JsonObject) -> Owner | None:
    """Return one of the two owners, whose parts stand in an object or each under a name."""
    inside = mapping(change.get(name))

    def told(part: str) -> str | None:
        return identifier(change.get(f"{name}_{part}")) or identifier(inside.get(part))

    app_id, app_role, business_id, role = map(told, ("app_id", "app_role", "business_id", "role"))
    if app_id is None and app_role is None and business_id is None and role is None:
        return None
    return build.owner(app_id=app_id, app_role=app_role, business_id=business_id, role=role)
