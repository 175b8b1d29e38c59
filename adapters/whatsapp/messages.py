"""One item of `messages`, `message_echoes` or a history thread: who, to whom, answering what.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

from __future__ import annotations

from typing import Final, TypeAlias

import attrs

from bridge.adapter import build
from bridge.adapter.payload import boolean, filled, first, identifier, instant, mapping, phone
from bridge.adapter.reading import JsonObject, required_id
from bridge.adapters.whatsapp.cards import with_card
from bridge.adapters.whatsapp.content import translate_content
from bridge.adapters.whatsapp.shared_contacts import shared_phone
from bridge.adapters.whatsapp.value_context import ValueContext
from bridge.adapters.whatsapp.wire import identity_of, is_user_id, party, product_in, referral
from bridge.model import (
    Contacts,
    Direction,
    Forwarded,
    JsonValue,
    Message,
    Origin,
    Party,
    Product,
    ReplyTo,
    Role,
    Status,
    System,
)
from bridge.model.keys import folded

FROM: Final = ("from", "from_user_id", "from_parent_user_id")
_TO: Final = ("to", "to_user_id", "to_parent_user_id")

# Members of an enum are looked up once: each look-up takes as long as a call.
_BY_USER: Final = Origin.USER
_INBOUND: Final = Direction.INBOUND
_OUTBOUND: Final = Direction.OUTBOUND
_NOT_FORWARDED: Final = Forwarded.NO

# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/history/
_HISTORY_STATUSES: Final = {
    "pending": Status.ACCEPTED,
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "played": Status.PLAYED,
    "error": Status.FAILED,
}

_Context: TypeAlias = tuple[ReplyTo | None, Forwarded, Product | None]
_NO_CONTEXT: Final[_Context] = (None, _NOT_FORWARDED, None)


def translate_message(
    item: JsonObject, value: ValueContext, *, raw: JsonObject | None = None
) -> Message:
    """Translate one message. Raises `Unreadable` where it has no id.

    `raw` is what came, where `item` has been made of it.
    """
    if value.origin is _BY_USER:
        if "history_context" in item:  # an import, whatever a gateway has wrapped it in
            value = attrs.evolve(value, origin=Origin.HISTORY)
        elif "to" in item and _is_echo(item, value):
            value = attrs.evolve(value, origin=_of_business(value))
    scope = value.scope
    message_id = required_id(item, "id")
    occurred_at = instant(item.get("timestamp"))
    imported = value.origin is Origin.HISTORY
    # An imported message is old, and the id of its media was made for this callback.
    content = translate_content(item, scope.received_at if imported else occurred_at)
    outbound = value.origin is not _BY_USER and _is_outbound(item, value)
    number, user_id, parent_user_id = map(item.get, _TO if outbound else FROM)
    group_id = identifier(item["group_id"]) if "group_id" in item else None
    if value.peer is not None and group_id is None:
        if identifier(number) is None:
            number = value.peer
        elif user_id is None and is_user_id(identifier(value.peer) or ""):
            user_id = value.peer
    elif group_id is not None and outbound and number == item["group_id"]:
        number = None  # the group itself is nobody
    card = value.cards.of(number, user_id, parent_user_id)
    user = party(number, user_id, parent_user_id, card or value.peer_card or {})
    if "identity" in item and user.identity_key_hash is None:
        hashed = filled(mapping(item["identity"]).get("hash"))
        user = attrs.evolve(user, identity_key_hash=hashed)
    if user.phone is None and type(content) is Contacts and not outbound:
        user = attrs.evolve(user, phone=shared_phone(content))
    if type(content) is System:
        if identity_of(user) is None:  # told only as who changed a name
            user = content.after or content.before or user
        # Posted in each group that is shared with the user, and told only inside.
        group_id = group_id or identifier(mapping(item.get("system")).get("group_id"))
    reply_to, forwarded, product = _NO_CONTEXT
    if "context" in item:
        reply_to, forwarded, product = _context(item["context"], value, user, group_id)
    if "interactive" in item:
        product = product or product_in(_shared_product(item))
    return build.message(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
        key=scope.message_key(content, message_id),
        occurred_at=occurred_at or scope.received_at,
        raw=with_card(item if raw is None else raw, card, user),
        message_id=message_id,
        direction=_OUTBOUND if outbound else _INBOUND,
        origin=value.origin,
        conversation=value.conversation(user, number, group_id, message_id),
        sender=value.business if outbound else user,
        recipient=user if outbound else value.business,
        content=content,
        reply_to=reply_to,
        forwarded=forwarded,
        referral=referral(item["referral"]) if "referral" in item else None,
        product=product,
        owned=value.owned,
        history_status=_history_status(item) if imported else None,
    )


def translate_echo(item: JsonObject, value: ValueContext) -> Message:
    """Translate what the business's app sent, or another responder. Raises `Unreadable`.

    Of what a responder sent, the body of the request that sent it stands in `message`.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/smb_message_echoes
    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/standby/
    """
    value = attrs.evolve(value, origin=_of_business(value))
    sent = item.get("message")
    if type(sent) is not dict or "type" in item:
        return translate_message(item, value)
    recipient = sent.get("recipient")  # a user id, beside a phone or in its place
    flat: JsonObject = {**item, **sent, "to": sent.get("to", recipient), "to_user_id": recipient}
    flat |= {name: item.get(name) for name in ("id", "timestamp")}
    if sent.get("recipient_type") == "group":
        flat |= {"group_id": flat["to"], "to": None}
    return translate_message(flat, value, raw=item)


def _of_business(value: ValueContext) -> Origin:
    """Return what the business sent a message with: its app, or what another responder is."""
    return Origin.APP if value.owned else Origin.AGENT


def _is_echo(item: JsonObject, value: ValueContext) -> bool:
    """Return whether an item of `messages` is from the business, and to somebody else.

    What a user writes has no `to`. A gateway may hand on an echo in the form of a message.
    """
    sender, recipient = phone(item.get("from")), phone(item.get("to"))
    return (
        sender is not None
        and recipient is not None
        and value.is_business(sender)
        and not value.is_business(recipient)
    )


def _is_outbound(item: JsonObject, value: ValueContext) -> bool:
    """Return whether the business wrote it.

    In a history `from_me` says so; else a message that names its recipient is the business's,
    and so is one that is not of the user whom the thread is with. Only where neither is told
    does the business's own number decide.
    """
    if value.origin is not Origin.HISTORY:
        return True
    told = mapping(item.get("history_context")).get("from_me", item.get("from_me"))
    from_me = boolean(told)
    if from_me is not None:
        return from_me
    recipient = phone(item.get("to"))
    if recipient is not None:
        return not value.is_business(recipient)
    if any(item.get(name) is not None for name in _TO):
        return True
    if any(item.get(name) is not None for name in FROM[1:]):
        return False  # a business has no user id
    sender, peer = phone(item.get("from")), phone(value.peer)
    if sender is None or peer is None:
        return sender is not None and value.is_business(sender)
    return folded(sender) != folded(peer)


def _context(
    context: JsonValue, value: ValueContext, user: Party, group_id: str | None
) -> _Context:
    if type(context) is not dict:
        return _NO_CONTEXT
    reply_to: ReplyTo | None = None
    # What is forwarded has a context too, without an id; a request to send spells it `message_id`.
    quoted = first(context, ("id", "message_id"), identifier)
    if quoted is not None:
        reply_to = build.reply_to(
            message_id=quoted, sender=_quoted_party(context, value, user, group_id)
        )
    forwarded = _NOT_FORWARDED
    if boolean(context.get("frequently_forwarded")):
        forwarded = Forwarded.OFTEN
    elif boolean(context.get("forwarded")):
        forwarded = Forwarded.ONCE
    return reply_to, forwarded, product_in(context.get("referred_product"))


def _quoted_party(
    context: JsonObject, value: ValueContext, user: Party, group_id: str | None
) -> Party | None:
    """Return who wrote a quoted message: of the two in a conversation, or whoever is in a group."""
    number, user_id, parent_user_id = map(context.get, FROM)
    author = party(number, user_id, parent_user_id, {})
    wa_id = identifier(number)
    if wa_id is None or is_user_id(wa_id) or user_id is not None or parent_user_id is not None:
        named = author.user_id is not None or author.parent_user_id is not None
        return author if named else None
    if author.phone is None:
        return author
    by_user = user.phone is not None and folded(author.phone) == folded(user.phone)
    by_business = value.is_business(author.phone) if group_id is not None else not by_user
    if by_business and not by_user:
        return build.party(phone=author.phone, role=Role.BUSINESS)
    return author


def _shared_product(item: JsonObject) -> JsonValue:
    """Return where a message of the type `interactive` names the product that a user shared."""
    shared = mapping(item.get("interactive"))
    return shared.get("product", shared.get("action"))


def _history_status(item: JsonObject) -> Status | None:
    word = filled(mapping(item.get("history_context")).get("status"))
    return None if word is None else _HISTORY_STATUSES.get(word.lower(), Status.UNKNOWN)
