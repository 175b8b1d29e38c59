"""Google's inner objects to events: what a user wrote, picked, read, or agreed to.

The same objects come signed from Google and bare inside INCS callbacks.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import attrs

from bridge.adapter import Scope, build
from bridge.adapter.paths import Step, dotted
from bridge.adapter.payload import (
    filled,
    first,
    identifier,
    instant,
    integer,
    mapping,
    number,
    phone,
    several,
    sole,
)
from bridge.adapter.reading import JsonObject, required_id
from bridge.adapters.rcs import wire
from bridge.errors import Unreadable
from bridge.model import (
    Choice,
    ChoiceSource,
    ConsentChange,
    Content,
    Direction,
    Event,
    JsonValue,
    Location,
    Media,
    MediaKind,
    Message,
    Notice,
    Origin,
    ProviderError,
    ReplyTo,
    Role,
    Status,
    Typing,
)
from bridge.model.keys import event_key, status_key

# Members of an enum are looked up once: each look-up takes as long as a call.
_BY_USER: Final = Origin.USER
_INBOUND: Final = Direction.INBOUND
_BUSINESS: Final = Role.BUSINESS
_DOCUMENT: Final = MediaKind.DOCUMENT
_ACTION: Final = ChoiceSource.ACTION
_SUGGESTION: Final = ChoiceSource.SUGGESTION
_SHOWN: Final = frozenset(wire.CONTENT_FIELDS)
# The tap of an action is also documented with an eventId in place of the messageId.
_IDS: Final = ("messageId", "eventId")
_DEGREES: Final = frozenset({"latitude", "longitude"})


def translate_item(item: JsonObject, scope: Scope, *place: Step) -> Event:
    """Translate one inner object; never raises.

    The body of the scope becomes the event's `raw`; `place` leads to the item inside it.
    """
    try:
        return _event(item, scope)
    except Unreadable as error:
        return scope.unrecognized(error.below(dotted(place)))


def _event(item: JsonObject, scope: Scope) -> Event:
    if wire.LAUNCH_STATE in item:
        return _notice(wire.LAUNCH_TOPIC, item, scope)
    event_type = item.get("eventType")
    if event_type in (None, ""):
        event_type = _status_word(item)
    if event_type not in (None, ""):
        if type(event_type) is not str:
            raise Unreadable("eventType", "not a string")
        return _user_event(event_type, item, scope)
    if _sender(item) is None and _SHOWN.isdisjoint(item):
        return _of_no_user(item, scope)
    return _message(item, scope)


def _of_no_user(item: JsonObject, scope: Scope) -> Event:
    """Return what is told with neither a user nor anything that one wrote."""
    if identifier(item.get("agentId")) is None and first(item, _IDS, identifier) is not None:
        raise Unreadable("", "neither a message nor an event that is documented")
    is_event = "eventId" in item and "messageId" not in item
    if is_event and not item.keys() <= wire.ENVELOPE_FIELDS:
        return _notice(wire.AGENT_TOPIC, item, scope)
    return _message(item, scope)


def _is_told_as_a_message(item: JsonObject) -> bool:
    """Return whether there is what a user wrote, by whatever name a gateway tells that it came."""
    shows = any(item.get(name) not in (None, "") for name in wire.CONTENT_FIELDS)
    return shows and first(item, _IDS, identifier) is not None


def _status_word(item: JsonObject) -> str | None:
    """Return the status that a gateway tells of a message in a field of its own."""
    word = first(item, wire.STATUS_FIELDS, filled)
    if word is None or "messageId" not in item or not _SHOWN.isdisjoint(item):
        return None
    return word if word.upper().removeprefix(wire.OF_A_MESSAGE) in wire.STATUSES else None


def _sender(item: JsonObject) -> str | None:
    # A ServerEvent names the same user `phoneNumber`; a gateway may write a URI (RFC 3966).
    named = first(item, ("senderPhoneNumber", "phoneNumber"), identifier)
    return named if named is None else named.strip().removeprefix("tel:")


def _occurred_at(item: JsonObject, scope: Scope) -> datetime:
    told = item.get("sendTime")
    at = instant(told)
    if at is None and type(told) is str:
        at = instant("".join(told.split()))  # a gateway's has blanks in it
    return at or scope.received_at


# --- events ------------------------------------------------------------------------------


def _user_event(event_type: str, item: JsonObject, scope: Scope) -> Event:
    word = event_type.strip().upper()
    sender = _sender(item)
    user_phone = phone(sender)
    party = build.party(phone=user_phone)
    conversation = None if sender is None else scope.conversation(user_phone or sender)
    status = wire.STATUSES.get(word.removeprefix(wire.OF_A_MESSAGE))
    if status is not None:
        message_id = required_id(item, "messageId")
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
            error=_error(item) if status is Status.FAILED else None,
            recipient=None if sender is None else party,
            conversation=conversation,
        )
    if word in wire.TYPING and conversation is not None:
        return build.typing(
            key=event_key(Typing.kind, scope.channel, _identity(item, scope)),
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
        return build.consent_change(
            key=event_key(ConsentChange.kind, scope.channel, _identity(item, scope)),
            source=scope.source,
            channel=scope.channel,
            account=scope.account,
            occurred_at=_occurred_at(item, scope),
            received_at=scope.received_at,
            raw=scope.body,
            party=party,
            granted=granted,
            reason=first(item, wire.REASONS, _words),
            conversation=conversation,
        )
    if _is_told_as_a_message(item):
        return _message(item, scope)
    notice = _notice(event_type, item, scope)
    if sender is None:
        return notice
    return attrs.evolve(notice, party=party, conversation=conversation)


def _words(value: JsonValue) -> str | None:
    """Return one word, or several in an array, as one string; each may stand in an object."""
    if type(value) is list:
        return ", ".join(word for word in map(_words, value) if word) or None
    return first(value, wire.REASONS, filled) if type(value) is dict else filled(value)


def _error(item: JsonObject) -> ProviderError | None:
    errors = [each for name in wire.ERRORS for each in several(item.get(name))]
    told = {**item, **next((each for each in errors if type(each) is dict), {})}
    code = first(told, wire.ERROR_CODES, identifier)
    title = first(told, wire.ERROR_TITLES, filled)
    if code is None and title is None:
        return None
    return build.provider_error(code=code, title=title)


def _notice(topic: str, item: JsonObject, scope: Scope) -> Notice:
    return scope.notice(
        topic,
        item,
        _identity(item, scope),
        raw=scope.body,
        occurred_at=_occurred_at(item, scope),
    )


def _identity(item: JsonObject, scope: Scope) -> str:
    # A launch event is about an agent, so there is no user to tell its id apart by.
    sender = _sender(item)
    owner = phone(sender) or sender or identifier(item.get("agentId")) or ""
    return f"{owner}/{identifier(item.get('eventId')) or scope.identity(item)}"


# --- messages ----------------------------------------------------------------------------


def _message(item: JsonObject, scope: Scope) -> Message:
    message_id = first(item, _IDS, identifier)
    content, reply_to = _content(item)
    if message_id is None:
        raise Unreadable("messageId", "missing")
    sender = _sender(item)
    user_phone = phone(sender)
    identity = user_phone or sender  # who stands for a user in keys
    return build.message(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
        key=scope.message_key(content, message_id, identity),
        occurred_at=_occurred_at(item, scope),
        raw=scope.body,
        message_id=message_id,
        direction=_INBOUND,
        origin=_BY_USER,
        conversation=scope.conversation(identity or f"message:{message_id}"),
        sender=build.party(phone=user_phone),
        recipient=build.party(
            phone=scope.business.phone,
            user_id=identifier(item.get("agentId")),
            role=_BUSINESS,
        ),
        content=content,
        reply_to=reply_to,
    )


def _content(item: JsonObject) -> tuple[Content, ReplyTo | None]:
    """Return what the parts hold that say something, and what they answer.

    Google sends one part. A gateway's words beside a file are its caption, beside a suggestion its
    title or more about it, and beside a place its name.
    """
    words = filled(item.get("text"))
    shown: Content | None = None
    reply_to: ReplyTo | None = None
    told = [name for name in wire.CONTENT_FIELDS if item.get(name) not in (None, "")]
    if "userFile" in told:
        shown = _media(sole(item["userFile"]), words)
    if shown is None and "suggestionResponse" in told:
        shown, reply_to = _choice(sole(item["suggestionResponse"]), item, words)
    # An empty object is a place (see `_location`) only where it is all that there is.
    if shown is None and "location" in told and (item["location"] != {} or len(told) == 1):
        shown = _location(item["location"], words)
    if shown is None and words is not None:
        shown = build.text(text=words)
    if shown is not None:
        return shown, reply_to
    unknown = [name for name in item if name not in wire.ENVELOPE_FIELDS]
    if not unknown and "messageId" not in item:
        raise Unreadable("", "neither a message nor an event that is documented")
    provider_type = told[0] if told else unknown[0] if len(unknown) == 1 else None
    return build.unsupported(provider_type=provider_type), None


def _media(file: JsonObject, caption: str | None) -> Media | None:
    payload = mapping(file.get("payload")) or file  # a gateway may leave the object out
    url = first(payload, wire.FILE_URLS, filled)
    if url is None:
        return None
    mime_type = filled(payload.get("mimeType"))
    family = (mime_type or "").partition("/")[0].lower()
    thumbnail = mapping(file.get("thumbnail"))
    return build.media(
        media=wire.MEDIA_KINDS.get(family, _DOCUMENT),
        url=url,
        mime_type=mime_type,
        size=integer(payload.get("fileSizeBytes")),
        filename=filled(payload.get("fileName")),
        caption=caption,
        thumbnail=build.thumbnail(
            url=first(thumbnail, wire.FILE_URLS, filled),
            mime_type=filled(thumbnail.get("mimeType")),
            size=integer(thumbnail.get("fileSizeBytes")),
        )
        if thumbnail
        else None,
    )


def _location(value: JsonValue, words: str | None) -> Location | None:
    place = sole(value)
    if not place and value != {}:
        return None
    if place and _DEGREES.isdisjoint(place):
        return None  # of another shape, and so nowhere
    # Protocol buffers leave out what equals the default: no latitude is the equator.
    latitude, longitude = (number(place.get(name) or 0) for name in ("latitude", "longitude"))
    if latitude is None or longitude is None:
        return None
    return build.location(latitude=latitude, longitude=longitude, name=words)


def _choice(
    response: JsonObject, item: JsonObject, words: str | None
) -> tuple[Choice | None, ReplyTo | None]:
    postback = filled(response.get("postbackData")) or filled(
        mapping(response.get("postBack")).get("data")
    )
    label = first(response, wire.LABELS, filled)
    if postback is None and label is None:
        return None, None
    title = label or words
    # INCS and some operators add where the suggestion was shown; Google does not tell.
    shown = mapping(response.get("trackdata")) or mapping(response.get("trackData"))
    message_id = identifier(shown.get("msgId")) or identifier(response.get("contextMessageId"))
    choice = build.choice(
        source=_source(response, shown, item),
        id=postback,
        title=title,
        description=words if words != title else None,
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
