"""Google's inner objects to events: what a user wrote, picked, read, or agreed to.

The same objects come signed from Google and bare inside INCS callbacks.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, TypeAlias

from bridge.adapter import Scope, build
from bridge.adapter.paths import Step, dotted
from bridge.adapter.payload import (
    digest,
    filled,
    identifier,
    instant,
    integer,
    mapping,
    number,
    phone,
)
from bridge.adapter.reading import JsonObject, required_id
from bridge.adapters.rcs import wire
from bridge.errors import Unreadable
from bridge.model import (
    Choice,
    ChoiceSource,
    ConsentChange,
    Content,
    Conversation,
    Direction,
    Event,
    JsonValue,
    Location,
    Media,
    MediaKind,
    Message,
    Notice,
    Origin,
    Party,
    ReplyTo,
    Role,
    Typing,
)
from bridge.model.keys import event_key, message_key, status_key

_User: TypeAlias = tuple[str, Party, Conversation]
"""Who an item is about, beginning with the phone, or what stands there while it is masked."""

# Members of an enum are looked up once: each look-up takes as long as a call.
_BY_USER: Final = Origin.USER
_INBOUND: Final = Direction.INBOUND
_BUSINESS: Final = Role.BUSINESS
_DOCUMENT: Final = MediaKind.DOCUMENT
_ACTION: Final = ChoiceSource.ACTION
_SUGGESTION: Final = ChoiceSource.SUGGESTION


def translate_item(item: JsonObject, scope: Scope, *place: Step) -> Event:
    """Translate one inner object; never raises.

    The body of the scope becomes the event's `raw`; `place` leads to the item inside it.
    """
    try:
        return _event(item, scope)
    except Unreadable as error:
        return scope.unrecognized(error.below(dotted(place)))


def sender_identity(sender: str) -> str:
    """Return what stands for an RCS user in keys: the phone in E.164, else the string as sent."""
    return phone(sender) or sender


def _event(item: JsonObject, scope: Scope) -> Event:
    if wire.LAUNCH_STATE in item:
        return _notice(wire.LAUNCH_TOPIC, item, scope)
    event_type = item.get("eventType")
    if event_type is not None:
        if type(event_type) is not str:
            raise Unreadable("eventType", "not a string")
        return _user_event(event_type, item, scope)
    return _message(item, scope)


def _user(item: JsonObject, scope: Scope) -> _User:
    # A ServerEvent names the same user `phoneNumber`.
    sender = identifier(item.get("senderPhoneNumber")) or identifier(item.get("phoneNumber"))
    if sender is None:
        raise Unreadable("senderPhoneNumber", "missing")
    number = phone(sender)
    identity = number or sender
    return identity, build.party(phone=number), scope.conversation(identity)


def _occurred_at(item: JsonObject, scope: Scope) -> datetime:
    return instant(item.get("sendTime")) or scope.received_at


# --- events ------------------------------------------------------------------------------


def _user_event(event_type: str, item: JsonObject, scope: Scope) -> Event:
    word = event_type.upper()
    status = wire.STATUSES.get(word)
    if status is not None:
        message_id = required_id(item, "messageId")
        _, party, conversation = _user(item, scope)
        return build.status_change(
            source=scope.source,
            channel=scope.channel,
            account=scope.account,
            received_at=scope.received_at,
            key=status_key(scope.channel, message_id, status, provider_status=event_type),
            occurred_at=_occurred_at(item, scope),
            raw=scope.body,
            message_id=message_id,
            status=status,
            provider_status=event_type,
            recipient=party,
            conversation=conversation,
        )
    if word == wire.TYPING:
        identity, party, conversation = _user(item, scope)
        return build.typing(
            key=event_key(Typing.kind, scope.channel, _identity(identity, item)),
            source=scope.source,
            channel=scope.channel,
            account=scope.account,
            occurred_at=_occurred_at(item, scope),
            received_at=scope.received_at,
            raw=scope.body,
            party=party,
            conversation=conversation,
        )
    granted = wire.CONSENTS.get(word)
    if granted is not None:
        identity, party, conversation = _user(item, scope)
        return build.consent_change(
            key=event_key(ConsentChange.kind, scope.channel, _identity(identity, item)),
            source=scope.source,
            channel=scope.channel,
            account=scope.account,
            occurred_at=_occurred_at(item, scope),
            received_at=scope.received_at,
            raw=scope.body,
            party=party,
            granted=granted,
            conversation=conversation,
        )
    return _notice(event_type, item, scope)


def _notice(topic: str, item: JsonObject, scope: Scope) -> Notice:
    # A launch event is about an agent, so there is no user to tell its id apart by.
    sender = identifier(item.get("senderPhoneNumber")) or identifier(item.get("phoneNumber"))
    owner = sender_identity(sender) if sender else identifier(item.get("agentId")) or ""
    return scope.notice(
        topic,
        item,
        _identity(owner, item),
        raw=scope.body,
        occurred_at=_occurred_at(item, scope),
    )


def _identity(owner: str, item: JsonObject) -> str:
    return f"{owner}/{identifier(item.get('eventId')) or digest(item)}"


# --- messages ----------------------------------------------------------------------------


def _message(item: JsonObject, scope: Scope) -> Message:
    # The tap of an action is also documented with an eventId in place of the messageId.
    message_id = identifier(item.get("messageId")) or identifier(item.get("eventId"))
    if message_id is None:
        raise Unreadable("messageId", "missing")
    identity, party, conversation = _user(item, scope)
    content, reply_to = _content(item)
    return build.message(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
        key=message_key(scope.channel, message_id, identity),
        occurred_at=_occurred_at(item, scope),
        raw=scope.body,
        message_id=message_id,
        direction=_INBOUND,
        origin=_BY_USER,
        conversation=conversation,
        sender=party,
        recipient=build.party(
            phone=scope.business.phone,
            user_id=identifier(item.get("agentId")),
            role=_BUSINESS,
        ),
        content=content,
        reply_to=reply_to,
    )


def _content(item: JsonObject) -> tuple[Content, ReplyTo | None]:
    words = item.get("text")
    if words is not None:
        if type(words) is not str or not words:
            raise Unreadable("text", "no words")
        return build.text(text=words), None
    file = item.get("userFile")
    if file is not None:
        return _media(file), None
    place = item.get("location")
    if place is not None:
        return _location(place), None
    response = item.get("suggestionResponse")
    if response is not None:
        return _choice(response, item)
    if "messageId" not in item:
        raise Unreadable("", "neither a message nor an event that is documented")
    unknown = [name for name in item if name not in wire.ENVELOPE_FIELDS]
    return build.unsupported(provider_type=unknown[0] if len(unknown) == 1 else None), None


def _media(value: JsonValue) -> Media:
    file = mapping(value)
    payload = mapping(file.get("payload"))
    url = filled(payload.get("fileUri"))
    if url is None:
        raise Unreadable("userFile.payload.fileUri", "missing")
    mime_type = filled(payload.get("mimeType"))
    family = (mime_type or "").partition("/")[0].lower()
    thumbnail = mapping(file.get("thumbnail"))
    return build.media(
        media=wire.MEDIA_KINDS.get(family, _DOCUMENT),
        url=url,
        mime_type=mime_type,
        size=integer(payload.get("fileSizeBytes")),
        filename=filled(payload.get("fileName")),
        thumbnail=build.thumbnail(
            url=filled(thumbnail.get("fileUri")),
            mime_type=filled(thumbnail.get("mimeType")),
            size=integer(thumbnail.get("fileSizeBytes")),
        )
        if thumbnail
        else None,
    )


def _location(value: JsonValue) -> Location:
    if type(value) is not dict:
        raise Unreadable("location", "not an object")
    return build.location(
        latitude=_degrees(value, "latitude"), longitude=_degrees(value, "longitude")
    )


def _degrees(place: JsonObject, name: str) -> float:
    # Protocol buffers leave out what equals the default: no latitude is the equator.
    value = place.get(name)
    degrees = 0.0 if value is None else number(value)
    if degrees is None:
        raise Unreadable(f"location.{name}", "not a number")
    return degrees


def _choice(value: JsonValue, item: JsonObject) -> tuple[Choice, ReplyTo | None]:
    response = mapping(value)
    postback = filled(response.get("postbackData"))
    title = filled(response.get("text"))
    if postback is None and title is None:
        raise Unreadable("suggestionResponse.postbackData", "missing")
    # INCS adds where the suggestion was shown; Google does not tell.
    shown = mapping(response.get("trackdata"))
    message_id = identifier(shown.get("msgId"))
    choice = build.choice(
        source=_source(response, shown, item),
        id=postback,
        title=title,
        card=integer(shown.get("cardIndex")),
        suggestion=integer(shown.get("suggestionIndex")),
        template=identifier(shown.get("template")),
    )
    return choice, None if message_id is None else build.reply_to(message_id=message_id)


def _source(response: JsonObject, shown: JsonObject, item: JsonObject) -> ChoiceSource:
    word = response.get("type")
    source = wire.SUGGESTION_TYPES.get(word.upper()) if type(word) is str else None
    if source is not None:
        return source
    finer = shown.get("suggestionType")  # reply, url_action
    if type(finer) is str:
        return _ACTION if "action" in finer.lower() else _SUGGESTION
    # The form with an eventId and no text is documented for the tap of an action only.
    if "messageId" not in item and "text" not in response:
        return _ACTION
    return _SUGGESTION
