"""INCS callbacks to events, by the name of the callback.

A callback of INCS tells one fact, except `new_message` of WhatsApp, which holds a whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from bridge.adapter import Scope
from bridge.adapter.body import read_embedded
from bridge.adapter.payload import mapping
from bridge.adapter.reading import JsonObject, required_object
from bridge.adapters.incs import wire
from bridge.adapters.incs.channels import Channels
from bridge.adapters.incs.created import message_created
from bridge.adapters.incs.statuses import message_status_update, message_status_updated
from bridge.adapters.incs.templates import template_update
from bridge.adapters.rcs import wire as rcs
from bridge.adapters.rcs.items import translate_item
from bridge.adapters.whatsapp.envelope import beside
from bridge.adapters.whatsapp.plain import plain_message
from bridge.adapters.whatsapp.value import PARTS, translate_value
from bridge.errors import Unreadable
from bridge.model import Event

_WHATSAPP: Final = "whatsapp"
_BODY: Final = frozenset({"event", "channel_id", "business_phone", "message", "received_at"})


def translate_callback(
    body: JsonObject, channels: Channels, received_at: datetime
) -> Sequence[Event]:
    """Translate one callback; never raises, and never returns nothing."""
    event, message = body.get("event"), body.get("message")
    if type(message) is str:  # JSON within JSON, as its `content` may be
        inner = read_embedded(message)
        body = {**body, "message": inner if type(inner) is dict else message}
    read = _read_of(event) if type(event) is str else None
    try:
        if read is not None:
            return read(body, channels, received_at)
        if event is None and rcs.is_item(body):
            # The documentation also shows RCS messages without the callback around them.
            scope = channels.scope(
                body, received_at, evidence=rcs.CHANNEL, agent_id=body.get("agentId")
            )
            return (translate_item(body, scope),)
    except Unreadable as error:
        return (_outer_scope(body, channels, received_at).unrecognized(error),)
    reason = "missing" if event is None else "not a callback that is documented"
    scope = _outer_scope(body, channels, received_at)
    return (scope.unrecognized(Unreadable("event", reason)),)


def _new_message(body: JsonObject, channels: Channels, received_at: datetime) -> Sequence[Event]:
    """Translate what a user wrote, in the form of WhatsApp or of RCS: the fields tell which.

    INCS wraps any value that Meta sends, and no field says which one it is.
    """
    message = body.get("message")
    if type(message) is not dict:
        message = required_object(body, "message")  # which says what is wrong with it
    if "messaging_product" in message or not PARTS.isdisjoint(message):
        return _whatsapp_message(body, message, channels, received_at)
    if rcs.is_item(message):
        message = rcs.spelled(message)
        scope = channels.scope(
            body,
            received_at,
            evidence=rcs.CHANNEL,
            channel_id=body.get("channel_id"),
            business_phone=body.get("business_phone"),
            agent_id=message.get("agentId"),
        )
        return (translate_item(message, scope, "message"),)
    raise Unreadable("message", "neither a WhatsApp nor an RCS message")


def _whatsapp_message(
    body: JsonObject, message: JsonObject, channels: Channels, received_at: datetime
) -> Sequence[Event]:
    channel_id = body.get("channel_id")
    # The envelope's phone comes first: some samples carry another one in the metadata.
    phone = body.get("business_phone")
    if not phone:
        phone = mapping(message.get("metadata")).get("display_phone_number")
    if _BODY.issuperset(body):
        known = channels.known(_WHATSAPP, channel_id, phone)
        text = plain_message(message, channels.source, known.account, known.business, received_at)
        if text is not None:
            return (text,)
    scope = channels.scope(
        body, received_at, evidence=_WHATSAPP, channel_id=channel_id, business_phone=phone
    )
    events = translate_value(message, scope, ("message",))
    events += beside(body, _BODY, scope, {"time": body.get("received_at")})
    return events or (scope.unrecognized(Unreadable("message", "holds no message")),)


def _outer_scope(body: JsonObject, channels: Channels, received_at: datetime) -> Scope:
    """Return whose callback an unreadable one is, as far as its outer fields tell."""
    return channels.outer_scope(
        body,
        received_at,
        channel_id=body.get("channel_id") or mapping(body.get("message")).get("auth_id"),
        business_phone=body.get("business_phone"),
    )


def _read_of(event: str) -> _Read | None:
    return _CALLBACKS.get(event) or _CALLBACKS.get(event.strip().lower())


_Read: TypeAlias = Callable[[JsonObject, Channels, datetime], Sequence[Event]]

_CALLBACKS: Final[dict[str, _Read]] = {
    wire.NEW_MESSAGE: _new_message,
    wire.MESSAGE_CREATED: message_created,
    wire.MESSAGE_STATUS_UPDATE: message_status_update,
    wire.MESSAGE_STATUS_UPDATED: message_status_updated,
    **{event: partial(template_update, aspect) for event, aspect in wire.TEMPLATE_ASPECTS.items()},
}
