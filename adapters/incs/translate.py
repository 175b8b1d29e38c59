"""INCS callbacks to events, by the name of the callback.

A callback of INCS tells one fact, except `new_message` of WhatsApp, which holds a whole batch.
"""

from __future__ import annotations

from adapters.incs import wire
from adapters.incs.channels import Channels
from adapters.incs.created import message_created
from adapters.incs.statuses import message_status_update, message_status_updated
from adapters.incs.templates import template_update
from adapters.rcs import wire as rcs
from adapters.rcs.translate import translate as translate_rcs
from adapters.whatsapp.translate import translate_value
from bridge.adapter import Scope
from bridge.errors import Unreadable
from bridge.model import Event, JsonValue
from bridge.payload import mapping

_WHATSAPP = "whatsapp"
_WHATSAPP_FIELDS = frozenset({"messaging_product", "messages", "statuses", "metadata"})


def translate(body: dict[str, JsonValue], blank: Scope, channels: Channels) -> list[Event]:
    """Translate one callback; never raises, and never returns nothing.

    `blank` holds the source and the time of the callback, and neither channel nor account.
    """
    try:
        return _translate(body, blank, channels)
    except Unreadable as error:
        scope = _outer_scope(body, blank, channels)
        return [scope.unrecognized(body, error.reason, error.path)]


def _translate(body: dict[str, JsonValue], blank: Scope, channels: Channels) -> list[Event]:
    event = body.get("event")
    if event == wire.NEW_MESSAGE:
        return _new_message(body, blank, channels)
    if event == wire.MESSAGE_CREATED:
        return message_created(body, blank, channels)
    if event == wire.MESSAGE_STATUS_UPDATE:
        return [message_status_update(body, blank, channels)]
    if event == wire.MESSAGE_STATUS_UPDATED:
        return [message_status_updated(body, blank)]
    if event is None and rcs.is_item(body):
        # The documentation also shows RCS messages without the callback around them.
        scope = channels.scope(blank, evidence=rcs.CHANNEL, agent_id=body.get("agentId"))
        return translate_rcs(body, scope, raw=body)
    aspect = wire.TEMPLATE_ASPECTS.get(event) if type(event) is str else None
    if aspect is not None:
        return [template_update(body, blank, channels, aspect)]
    raise Unreadable("event", "missing" if event is None else "not a callback that is documented")


def _new_message(body: dict[str, JsonValue], blank: Scope, channels: Channels) -> list[Event]:
    """Translate what a user wrote, in the form of WhatsApp or of RCS: the fields tell which."""
    message = body.get("message")
    if type(message) is not dict:
        raise Unreadable("message", "not an object")
    if "messaging_product" in message or not _WHATSAPP_FIELDS.isdisjoint(message):
        # The envelope's phone comes first: some samples carry another one in the metadata.
        scope = channels.scope(
            blank,
            evidence=_WHATSAPP,
            channel_id=body.get("channel_id"),
            business_phone=body.get("business_phone")
            or mapping(message.get("metadata")).get("display_phone_number"),
        )
        events = translate_value(
            message,
            scope,
            envelope=lambda value: {**body, "message": value},
            path="message",
        )
        return events or [scope.unrecognized(body, "holds no message", "message")]
    if rcs.is_item(message):
        scope = channels.scope(
            blank,
            evidence=rcs.CHANNEL,
            channel_id=body.get("channel_id"),
            business_phone=body.get("business_phone"),
            agent_id=message.get("agentId"),
        )
        return translate_rcs(message, scope, raw=body, path="message")
    raise Unreadable("message", "neither a WhatsApp nor an RCS message")


def _outer_scope(body: dict[str, JsonValue], blank: Scope, channels: Channels) -> Scope:
    """Return whose callback an unreadable one is, as far as its outer fields tell."""
    return channels.scope(
        blank,
        channel_id=body.get("channel_id") or mapping(body.get("message")).get("auth_id"),
        business_phone=body.get("business_phone"),
    )
