"""What a message holds, by its `type`.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages

Each reader takes the whole message object, since some types hold nothing under their own name.
It returns None where the part is missing that the content would be nothing without: then the
message holds what could not be shown. An optional part that is odd is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from bridge.adapter import build
from bridge.adapter.body import read_embedded
from bridge.adapter.payload import (
    boolean,
    decimal,
    filled,
    identifier,
    instant,
    integer,
    mapping,
    number,
    phone,
    sequence,
    several,
    sha256_hex,
    sole,
    sorted_json,
    text,
)
from bridge.adapter.reading import JsonObject
from bridge.adapters.whatsapp.shared_contacts import shared_contacts
from bridge.adapters.whatsapp.wire import first_error, party
from bridge.model import (
    CallPermission,
    Choice,
    ChoiceSource,
    Contacts,
    Content,
    Deletion,
    Edit,
    Form,
    JsonValue,
    Location,
    Media,
    MediaKind,
    Order,
    Party,
    Reaction,
    System,
    SystemKind,
    Template,
    TemplateParameter,
    Text,
    Unsupported,
)

_MEDIA: Final = {
    "image": MediaKind.IMAGE,
    "audio": MediaKind.AUDIO,
    "voice": MediaKind.VOICE,  # the On-Premises API's own type for what is now audio.voice
    "video": MediaKind.VIDEO,
    "document": MediaKind.DOCUMENT,
    "sticker": MediaKind.STICKER,
}
# Media IDs in webhooks expire after seven days.
# https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media/
_MEDIA_LASTS: Final = timedelta(days=7)
_SYSTEM_KINDS: Final = {
    "user_changed_number": SystemKind.NUMBER,
    "customer_changed_number": SystemKind.NUMBER,
    "user_changed_user_id": SystemKind.USER_ID,
    "customer_identity_changed": SystemKind.IDENTITY,
    "user_identity_changed": SystemKind.IDENTITY,
}
_PERMISSION_ANSWERS: Final = {"accept": True, "reject": False}


def translate_content(message: JsonObject, told_at: datetime | None) -> Content:
    """Return what a message holds; `told_at` is when the ids of its media were made."""
    kind = filled(message.get("type"))
    if kind == "text":  # by far the most
        words = _text(message)
        if words is not None:
            return words
    if kind is None:
        kind = next((name for name in _SHOWN if isinstance(message.get(name), dict | list)), None)
    content = None if kind is None else _read(message, kind.lower(), told_at)
    if content is None and kind is not None:
        content = _beside(message, kind.lower(), told_at)
    return _not_shown(message, kind) if content is None else content


def _beside(message: JsonObject, kind: str, told_at: datetime | None) -> Content | None:
    """Return what the only part holds that has a file or a place, where the type has no part.

    A type may be newer than its part, such as a video under another word.
    """
    if kind in _NOTHING_SHOWN or message.get(kind) is not None or message.get("errors"):
        return None
    found = [name for name in _BESIDE if isinstance(message.get(name), dict | list)]
    return _read(message, found[0], told_at) if len(found) == 1 else None


def _read(message: JsonObject, kind: str, told_at: datetime | None) -> Content | None:
    """Return what a message holds if it is of this type, and has what that type needs."""
    media = _MEDIA.get(kind)
    if media is not None:
        return _media(sole(message.get(kind)), media, told_at)
    if kind == "edit":
        return _edit(message, told_at)
    read = _READERS.get(kind)
    return None if read is None else read(message)


def _not_shown(message: JsonObject, provider_type: str | None) -> Unsupported:
    words = _text(message)  # seen beside the error, in the place of what could not be shown
    return build.unsupported(
        provider_type=provider_type,
        text=words.text or None if words is not None else None,
        error=first_error(message.get("errors")),
    )


def _text(message: JsonObject) -> Text | None:
    part = message.get("text")
    body = text(part.get("body")) if type(part) is dict else filled(part)
    return None if body is None else build.text(text=body)


def _media(part: JsonObject, kind: MediaKind, told_at: datetime | None) -> Media | None:
    media_id = identifier(part.get("id"))
    # `link` is the copy that INCS keeps: it needs no token and does not run out as `url` does.
    link = filled(part.get("link"))
    url = link or filled(part.get("url"))
    if media_id is None and url is None:
        return None
    if kind is MediaKind.AUDIO and boolean(part.get("voice")):
        kind = MediaKind.VOICE
    return build.media(
        media=kind,
        url=url,
        media_id=media_id,
        mime_type=filled(part.get("mime_type")),
        sha256=sha256_hex(part.get("sha256")),
        filename=filled(part.get("filename")),
        caption=filled(part.get("caption")),
        animated=boolean(part.get("animated")),
        expires_at=told_at + _MEDIA_LASTS if told_at is not None and link is None else None,
    )


def _location(message: JsonObject) -> Location | None:
    part = sole(message.get("location"))
    latitude, longitude = number(part.get("latitude")), number(part.get("longitude"))
    if latitude is None or longitude is None:
        return None
    return build.location(
        latitude=latitude,
        longitude=longitude,
        name=filled(part.get("name")),
        address=filled(part.get("address")),
        url=filled(part.get("url")),
    )


def _contacts(message: JsonObject) -> Contacts | None:
    cards = shared_contacts(message)
    return None if cards is None else build.contacts(contacts=cards)


def _button(message: JsonObject) -> Choice | None:
    part = sole(message.get("button"))
    return _choice(part, ChoiceSource.BUTTON, part.get("payload"), part.get("text"))


def _choice(
    part: JsonObject, source: ChoiceSource, picked: JsonValue, shown: JsonValue
) -> Choice | None:
    choice_id, title = identifier(picked), filled(shown)
    if choice_id is None and title is None:
        return None
    return build.choice(
        source=source, id=choice_id, title=title, description=filled(part.get("description"))
    )


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/interactive
def _interactive(message: JsonObject) -> Content | None:
    part = sole(message.get("interactive"))
    beside = [name for name in _ANSWERS if isinstance(part.get(name), dict | list)]
    kind = filled(part.get("type")) or next(iter(beside), "interactive")
    for name in (kind.lower(), *beside):
        read = _ANSWERS.get(name)
        shown = None if read is None else read(part, sole(part.get(name)))
        if shown is not None:
            return shown
    # Seen with an error in its place: the user did answer, and no callback says what. What the
    # business itself sent has words above its buttons.
    words = filled(mapping(part.get("body")).get("text")) if kind.lower() not in _ANSWERS else None
    return _not_shown(message, kind) if words is None else build.text(text=words)


def _button_reply(_: JsonObject, reply: JsonObject) -> Choice | None:
    return _choice(reply, ChoiceSource.BUTTON, reply.get("id"), reply.get("title"))


def _list_reply(_: JsonObject, reply: JsonObject) -> Choice | None:
    return _choice(reply, ChoiceSource.LIST, reply.get("id"), reply.get("title"))


def _product(part: JsonObject, product: JsonObject) -> Choice | None:
    shared = product or mapping(part.get("action"))
    title = shared.get("name") or shared.get("title") or mapping(part.get("body")).get("text")
    return _choice(shared, ChoiceSource.CATALOG, shared.get("product_retailer_id"), title)


def _flow_reply(_: JsonObject, reply: JsonObject) -> Form | None:
    if not reply:
        return None
    response = reply.get("response_json")
    data = read_embedded(response) if type(response) is str else response
    is_object = type(data) is dict
    return build.form(
        name=filled(reply.get("name")),
        body=filled(reply.get("body")),
        data=mapping(data) if is_object else None,
        response=filled(sorted_json(data).decode() if type(response) is list else response)
        if not is_object
        else None,
    )


def _call_permission(_: JsonObject, reply: JsonObject) -> CallPermission | None:
    granted = _PERMISSION_ANSWERS.get((filled(reply.get("response")) or "").lower())
    if granted is None:
        return None
    return build.call_permission(
        granted=granted,
        permanent=boolean(reply.get("is_permanent")),
        expires_at=instant(reply.get("expiration_timestamp")),
    )


def _order(message: JsonObject) -> Order | None:
    part = sole(message.get("order"))
    if not part:
        return None
    return build.order(
        catalog_id=identifier(part.get("catalog_id")),
        text=filled(part.get("text")),
        items=tuple(
            build.order_item(
                product_id=identifier(item.get("product_retailer_id")),
                quantity=integer(item.get("quantity")),
                price=decimal(item.get("item_price")),
                currency=filled(item.get("currency")),
            )
            for item in several(part.get("product_items"))
            if type(item) is dict
        ),
    )


def _reaction(message: JsonObject) -> Reaction | None:
    part = sole(message.get("reaction"))
    message_id = identifier(part.get("message_id"))
    emoji = part.get("emoji")
    if message_id is None or not (emoji is None or type(emoji) is str):
        return None  # no emoji would mean that the user took it back
    return build.reaction(message_id=message_id, emoji=emoji or None)


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/system/
def _system(message: JsonObject) -> System | None:
    part = sole(message.get("system"))
    if not part:
        return None
    kind = _SYSTEM_KINDS.get((filled(part.get("type")) or "").lower(), SystemKind.OTHER)
    before = _named(
        part.get("customer") or message.get("from"),
        part.get("previous_user_id") or message.get("from_user_id"),
        part.get("previous_parent_user_id") or message.get("from_parent_user_id"),
    )
    # `new_wa_id` up to version 11 of the webhook, `wa_id` since.
    number = part.get("wa_id") or part.get("new_wa_id")
    after = _named(number, part.get("user_id"), part.get("parent_user_id"))
    previous: str | None = None
    current: str | None = None
    if kind is SystemKind.NUMBER:
        previous = _number(part.get("customer")) or _number(message.get("from"))
        current = _number(number)
    elif kind is SystemKind.USER_ID:
        previous = before.user_id if before is not None else None
        current = identifier(part.get("user_id"))
    elif kind is SystemKind.IDENTITY:
        acknowledged = mapping(message.get("identity"))
        current = identifier(part.get("identity")) or identifier(acknowledged.get("hash"))
    changed = kind in (SystemKind.NUMBER, SystemKind.USER_ID)
    return build.system(
        change=kind,
        body=filled(part.get("body")),
        previous=previous,
        current=current,
        before=before if changed else None,
        after=after if changed else None,
    )


def _named(number: JsonValue, user_id: JsonValue, parent_user_id: JsonValue) -> Party | None:
    named = party(number, user_id, parent_user_id, {})
    return None if named == _NOBODY else named


def _number(value: JsonValue) -> str | None:
    return phone(value) or identifier(value)


def _edit(message: JsonObject, told_at: datetime | None) -> Edit | None:
    part = sole(message.get("edit"))
    original, inner = identifier(part.get("original_message_id")), sole(part.get("message"))
    # Nobody edits an edit; followed down, it would nest deeper than we could write.
    if original is None or not inner or inner.get("type") == "edit" or "edit" in inner:
        return None
    return build.edit(message_id=original, content=translate_content(inner, told_at))


def _revoke(message: JsonObject) -> Deletion | None:
    original = identifier(sole(message.get("revoke")).get("original_message_id"))
    return None if original is None else build.deletion(message_id=original)


def _template(message: JsonObject) -> Template | None:
    """Return a template that the business sent, in the form of the API that sends it."""
    part = sole(message.get("template"))
    language = mapping(part.get("language"))
    name = filled(part.get("name"))
    if name is None:
        return None
    return build.template(
        name=name,
        language=filled(language.get("code")) or filled(part.get("language")),
        parameters=template_parameters(part.get("components")),
    )


# https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview
def template_parameters(components: JsonValue) -> tuple[TemplateParameter, ...]:
    """Return the values that fill a template, of all its components."""
    return tuple(
        _parameter(component, parameter)
        for component in map(mapping, sequence(components))
        for parameter in map(mapping, sequence(component.get("parameters")))
    )


def _parameter(component: JsonObject, parameter: JsonObject) -> TemplateParameter:
    kind = filled(parameter.get("type"))
    # The value stands under the name of its type: {"type": "text", "text": "1"}.
    told = parameter.get(kind) if kind is not None else None
    media = _MEDIA.get(kind) if kind is not None else None
    return build.template_parameter(
        component=filled(component.get("type")),
        type=kind,
        value=filled(told) or filled(mapping(told).get("fallback_value")),
        sub_type=filled(component.get("sub_type")),
        index=integer(component.get("index")),
        name=filled(parameter.get("parameter_name")),
        media=None if media is None else _media(mapping(told), media, None),
    )


def _unsupported(message: JsonObject) -> Unsupported:
    part = message.get("unsupported")
    return _not_shown(message, filled(mapping(part).get("type")) or filled(part))


_NOBODY: Final = Party()

_READERS: Final[dict[str, Callable[[JsonObject], Content | None]]] = {
    "text": _text,
    "location": _location,
    "contacts": _contacts,
    "button": _button,
    "interactive": _interactive,
    "order": _order,
    "reaction": _reaction,
    "system": _system,
    "revoke": _revoke,
    "template": _template,
    "unsupported": _unsupported,
    "unknown": _unsupported,  # its spelling until 2022
}
_BESIDE: Final = (*_MEDIA, "location", "contacts", "order")
_NOTHING_SHOWN: Final = frozenset({"unsupported", "unknown", "errors", "media_placeholder"})
_SHOWN: Final[tuple[str, ...]] = (*_MEDIA, "edit", *_READERS)
"""The names of types, each of which is the name of a part, too."""
_ANSWERS: Final[dict[str, Callable[[JsonObject, JsonObject], Content | None]]] = {
    "button_reply": _button_reply,
    "list_reply": _list_reply,
    "nfm_reply": _flow_reply,
    "call_permission_reply": _call_permission,
    "product": _product,
}
