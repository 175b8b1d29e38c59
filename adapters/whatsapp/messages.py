"""One item of `messages`, `message_echoes` or a history thread: who, to whom, answering what.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

from __future__ import annotations

from typing import Final, TypeAlias

from bridge.adapter import build
from bridge.adapter.payload import boolean, identifier, instant, mapping, phone
from bridge.adapter.reading import JsonObject, required_id
from bridge.adapters.whatsapp.content import translate_content
from bridge.adapters.whatsapp.value_context import ValueContext
from bridge.adapters.whatsapp.wire import (
    conversation,
    quoted_party,
    referral,
    referred_product,
    user,
)
from bridge.errors import Unreadable
from bridge.model import (
    Direction,
    Forwarded,
    JsonValue,
    Message,
    Origin,
    Product,
    ReplyTo,
)
from bridge.model.keys import message_key

_FROM: Final = ("from", "from_user_id", "from_parent_user_id")
_TO: Final = ("to", "to_user_id", "to_parent_user_id")

# Members of an enum are looked up once: each look-up takes as long as a call.
_BY_USER: Final = Origin.USER
_INBOUND: Final = Direction.INBOUND
_OUTBOUND: Final = Direction.OUTBOUND

_NOT_FORWARDED: Final = Forwarded.NO

_Context: TypeAlias = tuple[ReplyTo | None, Forwarded, Product | None]
_NO_CONTEXT: Final[_Context] = (None, _NOT_FORWARDED, None)


def translate_message(item: JsonObject, value: ValueContext, *, peer: JsonValue = None) -> Message:
    """Translate one message. Raises `Unreadable` with a path from the item on.

    `peer` is the user a thread is with, for an item that does not say whom it went to.
    """
    scope = value.scope
    message_id = required_id(item, "id")
    content = translate_content(item)
    outbound = value.origin is not _BY_USER and _is_outbound(item, value)
    number, user_id = _named(item, _TO if outbound else _FROM, peer)
    party = user(number, user_id, value.cards)
    group_id = identifier(item["group_id"]) if "group_id" in item else None
    if group_id is None and "system" in item:
        # Posted in each group that is shared with the user, and told only inside.
        group_id = identifier(mapping(item["system"]).get("group_id"))
    place = conversation(scope, party, number, group_id)
    if place is None:
        raise Unreadable("to" if outbound else "from", "missing" if number is None else "not an id")
    reply_to, forwarded, product = _NO_CONTEXT
    if "context" in item:
        reply_to, forwarded, product = _context(item["context"], value)
    return build.message(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
        key=message_key(scope.channel, message_id),
        occurred_at=instant(item.get("timestamp")) or scope.received_at,
        raw=item,
        message_id=message_id,
        direction=_OUTBOUND if outbound else _INBOUND,
        origin=value.origin,
        conversation=place,
        sender=value.business if outbound else party,
        recipient=party if outbound else value.business,
        content=content,
        reply_to=reply_to,
        forwarded=forwarded,
        referral=referral(item.get("referral")),
        product=product,
    )


def _is_outbound(item: JsonObject, value: ValueContext) -> bool:
    """Return whether the business wrote it: in a history only the numbers tell."""
    if value.origin is Origin.APP:
        return True
    if value.origin is not Origin.HISTORY:
        return False
    sender = phone(item.get("from"))
    return item.get("to") is not None or (sender is not None and value.is_business(sender))


def _named(
    item: JsonObject, end: tuple[str, str, str], peer: JsonValue
) -> tuple[JsonValue, str | None]:
    """Return how an item names the user at one end: the number, and the user's id."""
    name, user_id, parent_user_id = end
    number = item.get(name)
    if user_id in item or parent_user_id in item:
        found = identifier(item.get(user_id)) or identifier(item.get(parent_user_id))
        return (peer if number is None and item.get(user_id) is None else number), found
    return (peer if number is None else number), None


def _context(context: JsonValue, value: ValueContext) -> _Context:
    if type(context) is not dict:
        return _NO_CONTEXT
    reply_to: ReplyTo | None = None
    quoted = identifier(context.get("id"))
    if quoted is not None:  # what is forwarded has a context too, without an id
        reply_to = build.reply_to(
            message_id=quoted, sender=quoted_party(context.get("from"), value.is_business)
        )
    forwarded = _NOT_FORWARDED
    if boolean(context.get("frequently_forwarded")):
        forwarded = Forwarded.OFTEN
    elif boolean(context.get("forwarded")):
        forwarded = Forwarded.ONCE
    return reply_to, forwarded, referred_product(context.get("referred_product"))
