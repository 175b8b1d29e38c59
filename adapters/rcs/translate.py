"""Google's inner objects to events: what a user wrote, picked, read, or agreed to.

The same objects come signed from Google and bare inside INCS callbacks; `translate` serves both.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, TypeAlias

from bridge.adapter import Scope, new_message, new_status_change
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
    Text,
    Thumbnail,
    Typing,
    Unsupported,
)
from bridge.model.frozen import builder
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

_new_choice: Final = builder(Choice)
_new_consent_change: Final = builder(ConsentChange)
_new_location: Final = builder(Location)
_new_media: Final = builder(Media)
_new_notice: Final = builder(Notice)
_new_party: Final = builder(Party)
_new_reply_to: Final = builder(ReplyTo)
_new_text: Final = builder(Text)
_new_thumbnail: Final = builder(Thumbnail)
_new_typing: Final = builder(Typing)


def translate(
    item: dict[str, JsonValue], scope: Scope, *, raw: JsonValue, path: str = ""
) -> list[Event]:
    """Translate one inner object; never raises.

    `raw` becomes the events' own and must be a whole body that the calling adapter parses again.
    `path` leads to the item inside that body.
    """
    try:
        return [_event(item, scope, raw)]
    except Unreadable as error:
        fault = error.below(path) if path else error
        return [scope.unrecognized(raw, fault.reason, fault.path or None)]


def sender_identity(sender: str) -> str:
    """Return what stands for an RCS user in keys: the phone in E.164, else the string as sent."""
    return phone(sender) or sender


def _event(item: dict[str, JsonValue], scope: Scope, raw: JsonValue) -> Event:
    if wire.LAUNCH_STATE in item:
        return _notice(wire.LAUNCH_TOPIC, item, scope, raw)
    event_type = item.get("eventType")
    if event_type is not None:
        if type(event_type) is not str:
            raise Unreadable("eventType", "not a string")
        return _user_event(event_type, item, scope, raw)
    return _message(item, scope, raw)


def _user(item: dict[str, JsonValue], scope: Scope) -> _User:
    # A ServerEvent names the same user `phoneNumber`.
    sender = identifier(item.get("senderPhoneNumber")) or identifier(item.get("phoneNumber"))
    if sender is None:
        raise Unreadable("senderPhoneNumber", "missing")
    number = phone(sender)
    identity = number or sender
    return identity, _new_party(phone=number), scope.conversation(identity)


def _occurred_at(item: dict[str, JsonValue], scope: Scope) -> datetime:
    return instant(item.get("sendTime")) or scope.received_at


# --- events ------------------------------------------------------------------------------


def _user_event(event_type: str, item: dict[str, JsonValue], scope: Scope, raw: JsonValue) -> Event:
    word = event_type.upper()
    status = wire.STATUSES.get(word)
    if status is not None:
        message_id = identifier(item.get("messageId"))
        if message_id is None:
            raise Unreadable("messageId", "missing")
        _, party, conversation = _user(item, scope)
        return new_status_change(
            scope,
            key=status_key(scope.channel, message_id, status, provider_status=event_type),
            occurred_at=_occurred_at(item, scope),
            raw=raw,
            message_id=message_id,
            status=status,
            provider_status=event_type,
            recipient=party,
            conversation=conversation,
        )
    if word == wire.TYPING:
        identity, party, conversation = _user(item, scope)
        return _new_typing(
            key=_item_key(Typing.kind, identity, item, scope),
            source=scope.source,
            channel=scope.channel,
            account=scope.account,
            occurred_at=_occurred_at(item, scope),
            received_at=scope.received_at,
            raw=raw,
            party=party,
            conversation=conversation,
        )
    granted = wire.CONSENTS.get(word)
    if granted is not None:
        identity, party, conversation = _user(item, scope)
        return _new_consent_change(
            key=_item_key(ConsentChange.kind, identity, item, scope),
            source=scope.source,
            channel=scope.channel,
            account=scope.account,
            occurred_at=_occurred_at(item, scope),
            received_at=scope.received_at,
            raw=raw,
            party=party,
            granted=granted,
            conversation=conversation,
        )
    return _notice(event_type, item, scope, raw)


def _notice(topic: str, item: dict[str, JsonValue], scope: Scope, raw: JsonValue) -> Notice:
    # A launch event is about an agent, so there is no user to tell its id apart by.
    sender = identifier(item.get("senderPhoneNumber")) or identifier(item.get("phoneNumber"))
    owner = sender_identity(sender) if sender else identifier(item.get("agentId")) or ""
    return _new_notice(
        key=_item_key(Notice.kind, owner, item, scope),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=_occurred_at(item, scope),
        received_at=scope.received_at,
        raw=raw,
        topic=topic,
        details=item,
    )


def _item_key(kind: str, owner: str, item: dict[str, JsonValue], scope: Scope) -> str:
    event_id = identifier(item.get("eventId")) or digest(item)
    return event_key(kind, scope.channel, f"{owner}/{event_id}")


# --- messages ----------------------------------------------------------------------------


def _message(item: dict[str, JsonValue], scope: Scope, raw: JsonValue) -> Message:
    # The tap of an action is also documented with an eventId in place of the messageId.
    message_id = identifier(item.get("messageId")) or identifier(item.get("eventId"))
    if message_id is None:
        raise Unreadable("messageId", "missing")
    identity, party, conversation = _user(item, scope)
    content, reply_to = _content(item)
    return new_message(
        scope,
        key=message_key(scope.channel, message_id, identity),
        occurred_at=_occurred_at(item, scope),
        raw=raw,
        message_id=message_id,
        direction=_INBOUND,
        origin=_BY_USER,
        conversation=conversation,
        sender=party,
        recipient=_new_party(
            phone=scope.business_phone,
            user_id=identifier(item.get("agentId")),
            role=_BUSINESS,
        ),
        content=content,
        reply_to=reply_to,
    )


def _content(item: dict[str, JsonValue]) -> tuple[Content, ReplyTo | None]:
    words = item.get("text")
    if words is not None:
        if type(words) is not str or not words:
            raise Unreadable("text", "no words")
        return _new_text(text=words), None
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
    return Unsupported(provider_type=unknown[0] if len(unknown) == 1 else None), None


def _media(value: JsonValue) -> Media:
    file = mapping(value)
    payload = mapping(file.get("payload"))
    url = filled(payload.get("fileUri"))
    if url is None:
        raise Unreadable("userFile.payload.fileUri", "missing")
    mime_type = filled(payload.get("mimeType"))
    family = (mime_type or "").partition("/")[0].lower()
    thumbnail = mapping(file.get("thumbnail"))
    return _new_media(
        media=wire.MEDIA_KINDS.get(family, _DOCUMENT),
        url=url,
        mime_type=mime_type,
        size=integer(payload.get("fileSizeBytes")),
        filename=filled(payload.get("fileName")),
        thumbnail=_new_thumbnail(
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
    return _new_location(
        latitude=_degrees(value, "latitude"), longitude=_degrees(value, "longitude")
    )


def _degrees(place: dict[str, JsonValue], name: str) -> float:
    # Protocol buffers leave out what equals the default: no latitude is the equator.
    value = place.get(name)
    degrees = 0.0 if value is None else number(value)
    if degrees is None:
        raise Unreadable(f"location.{name}", "not a number")
    return degrees


def _choice(value: JsonValue, item: dict[str, JsonValue]) -> tuple[Choice, ReplyTo | None]:
    response = mapping(value)
    postback = filled(response.get("postbackData"))
    title = filled(response.get("text"))
    if postback is None and title is None:
        raise Unreadable("suggestionResponse.postbackData", "missing")
    # INCS adds where the suggestion was shown; Google does not tell.
    shown = mapping(response.get("trackdata"))
    message_id = identifier(shown.get("msgId"))
    choice = _new_choice(
        source=_source(response, shown, item),
        id=postback,
        title=title,
        card=integer(shown.get("cardIndex")),
        suggestion=integer(shown.get("suggestionIndex")),
        template=identifier(shown.get("template")),
    )
    return choice, None if message_id is None else _new_reply_to(message_id=message_id)


def _source(
    response: dict[str, JsonValue], shown: dict[str, JsonValue], item: dict[str, JsonValue]
) -> ChoiceSource:
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
