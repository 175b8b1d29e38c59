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
from bridge.adapter.payload import filled, integer, mapping, several, sole
from bridge.adapter.reading import JsonObject, required_object
from bridge.adapters.incs import wire
from bridge.adapters.incs.channels import Channels
from bridge.adapters.incs.created import message_created
from bridge.adapters.incs.statuses import message_status_update, message_status_updated
from bridge.adapters.incs.templates import template_update
from bridge.adapters.rcs import wire as rcs
from bridge.adapters.rcs.envelope import held_in
from bridge.adapters.rcs.items import translate_item
from bridge.adapters.whatsapp.account import TEMPLATE_ID
from bridge.adapters.whatsapp.calls import CALLS
from bridge.adapters.whatsapp.envelope import BODY, CHANGE, beside, field_name, translate_other
from bridge.adapters.whatsapp.messages import FROM
from bridge.adapters.whatsapp.plain import plain_message
from bridge.adapters.whatsapp.statuses import RECIPIENT
from bridge.adapters.whatsapp.value import FIELDS, PARTS, field_of, translate_value
from bridge.adapters.whatsapp.wire import ENTRY, MESSAGES
from bridge.errors import Unreadable
from bridge.model import Event, JsonValue

_WHATSAPP: Final = "whatsapp"
_ITEM: Final = frozenset({*FROM, *RECIPIENT})
_NOTHING: Final[frozenset[str]] = frozenset()
_CREATED: Final = frozenset({"auth_id", "channel_msg_id", "conversation_id"})
_CALLBACK: Final = frozenset({"event", "channel_id", "business_phone", "message", "received_at"})


def translate_callback(
    body: JsonObject, channels: Channels, received_at: datetime
) -> Sequence[Event]:
    """Translate one callback; never raises, and never returns nothing."""
    event, message = body.get("event"), body.get("message")
    if type(message) is not dict and message is not None:
        body = {**body, "message": _alone(message)}
        if type(body["message"]) is list and len(bodies := _each(body)) > 1:
            return [e for each in bodies for e in translate_callback(each, channels, received_at)]
    if type(event) is str and event:
        read = _read_of(event)
    else:
        read = _read_by_shape(body) if event in (None, "") else None
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
    if MESSAGES in message or not _is_of_template(message):
        if "messaging_product" in message or not PARTS.isdisjoint(message):
            return _whatsapp_message(body, message, channels, received_at)
    else:
        message = {"value": message}
    inner = held_in((mapping(message.get("message")) or message).get("data"))
    if rcs.is_item(inner):  # with Google's envelope around it
        message = inner
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
    if len(bodies := _each(body)) > 1:
        return [e for each in bodies for e in translate_callback(each, channels, received_at)]
    field, value, more = _inside(message)
    if field is not None:
        told = {**body, "message": value}
        return _whatsapp_message(told, value, channels, received_at, field=field, more=more)
    if more and (field_of(value) or filled(more[-1]["field"])) is not None:
        return _whatsapp_change(body, message, channels, received_at, more=more[:-1])
    raise Unreadable("message", "neither a WhatsApp nor an RCS message")


def _alone(message: JsonValue) -> JsonValue:
    """Return the object in JSON within JSON, as `content` may be, or the only one of an array.

    Several items of WhatsApp become a value; other objects stay an array.
    """
    inner = read_embedded(message) if type(message) is str else message
    if type(inner) is list and len(inner) > 1:
        if all(map(_is_item, inner)):
            return _value_of(*inner)
        return inner if all(type(each) is dict for each in inner) else message
    return sole(inner) or message


def _each(body: JsonObject) -> Sequence[JsonObject]:
    """Return a callback for each object and each change in its message; the first has the rest."""
    message = body.get("message")
    objects = message if type(message) is list else [message]
    parts = [part for each in objects for part in _changes_in(each)]
    if len(parts) == 1 or not all(type(part) is dict for part in parts):
        return (body,)
    bare = {name: body[name] for name in _CALLBACK & body.keys()}
    return [{**(bare if n else body), "message": part} for n, part in enumerate(parts)]


def _changes_in(message: JsonValue) -> Sequence[JsonValue]:
    """Return a message for each change in Meta's envelope, or the message where there is none."""
    told = mapping(message)
    parts: list[JsonValue] = []
    for entry in several(told.get("entry")):
        level = mapping(entry)
        changes = level.get("changes")
        for n, change in enumerate(changes if type(changes) is list and changes else [changes]):
            if n:
                level = {name: level[name] for name in ENTRY & level.keys()}
            within: JsonValue = {**level, "changes": change} if level else entry
            parts.append({**({} if parts else told), "entry": [within]})
    return parts if len(parts) > 1 else [message]


def _value_of(*items: JsonValue) -> JsonObject:
    """Return messages and statuses of WhatsApp as the value that they stand in."""
    statuses: list[JsonValue] = [each for each in items if "status" in mapping(each)]
    messages: list[JsonValue] = [each for each in items if "status" not in mapping(each)]
    return {MESSAGES: messages, "statuses": statuses}


def _inside(message: JsonObject) -> tuple[str | None, JsonObject, Sequence[JsonObject]]:
    """Return the field and the value of WhatsApp in a message that Meta's envelope is around.

    With what else is in each level of the envelope. An item alone is one of a value; the field is
    None where there is neither.
    """
    entry = sole(message.get("entry"))
    change = sole(entry.get("changes")) or message
    value = mapping(change.get("value"))
    told = change.get("field")
    field = (filled(told) or "").strip().lower()
    if value or field:
        levels = ((message, BODY | CHANGE), (entry, ENTRY), (change, CHANGE))
        more = [{name: level[name] for name in level.keys() - known} for level, known in levels]
        if field in FIELDS:
            return field, value, more
        guess = None if field == CALLS else field_of(value)
        return guess if guess in FIELDS else None, value, [*more, {"field": told}]
    if _is_item(message):
        return MESSAGES, _value_of(message), ()
    return None, message, ()


def _is_of_template(value: JsonObject) -> bool:
    return TEMPLATE_ID in value and field_of(value) is not None


def _is_item(value: JsonValue) -> bool:
    """Return whether an object is a message or a status of WhatsApp, without its value."""
    told = mapping(value)
    return "id" in told and not _ITEM.isdisjoint(told) and ("type" in told or "status" in told)


def _whatsapp_message(
    body: JsonObject,
    message: JsonObject,
    channels: Channels,
    received_at: datetime,
    *,
    field: str | None = None,
    more: Sequence[JsonObject] = (),
) -> Sequence[Event]:
    channel_id = body.get("channel_id")
    # The envelope's phone comes first: some samples carry another one in the metadata.
    phone = body.get("business_phone")
    if not phone:
        phone = mapping(message.get("metadata")).get("display_phone_number")
    if field is None and _CALLBACK.issuperset(body):
        known = channels.known(_WHATSAPP, channel_id, phone)
        text = plain_message(message, channels.source, known.account, known.business, received_at)
        if text is not None:
            return (text,)
    scope = channels.scope(
        body, received_at, evidence=_WHATSAPP, channel_id=channel_id, business_phone=phone
    )
    events = translate_value(message, scope, ("message",), field or MESSAGES)
    entry = {"time": body.get("received_at")}
    events += beside(body, _CALLBACK, scope, entry)
    for level in more:
        events += beside(level, _NOTHING, scope, entry)
    return events or (scope.unrecognized(Unreadable("message", "holds no message")),)


def _whatsapp_change(
    body: JsonObject,
    message: JsonObject,
    channels: Channels,
    received_at: datetime,
    *,
    more: Sequence[JsonObject],
) -> Sequence[Event]:
    """Translate a change of another field than those of messages, as of a template or an account.

    Raises `Unreadable`.
    """
    entry = sole(message.get("entry"))
    change = sole(entry.get("changes")) or message
    scope = channels.scope(
        body,
        received_at,
        evidence=_WHATSAPP,
        channel_id=body.get("channel_id"),
        business_phone=body.get("business_phone"),
    )
    entry = {"time": body.get("received_at"), **entry}
    events = [*translate_other(field_name(change), change, entry, scope)]
    events += beside(body, _CALLBACK, scope, entry)
    for level in more[:-1]:  # what is beside the value is in the change, which is told whole
        events += beside(level, _NOTHING, scope, entry)
    return events


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


def _read_by_shape(body: JsonObject) -> _Read | None:
    """Return how to read a callback that does not say what it is called, if its fields tell."""
    message, word = mapping(body.get("message")), body.get("message_status")
    if message:
        return _new_message if _CREATED.isdisjoint(message) else message_created
    if "message_id" not in body or word is None:
        return None
    is_number = integer(word) is not None
    return message_status_updated if is_number else message_status_update


_Read: TypeAlias = Callable[[JsonObject, Channels, datetime], Sequence[Event]]

_CALLBACKS: Final[dict[str, _Read]] = {
    wire.NEW_MESSAGE: _new_message,
    wire.MESSAGE_CREATED: message_created,
    wire.MESSAGE_STATUS_UPDATE: message_status_update,
    wire.MESSAGE_STATUS_UPDATED: message_status_updated,
    **{event: partial(template_update, aspect) for event, aspect in wire.TEMPLATE_ASPECTS.items()},
}
