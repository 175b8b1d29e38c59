"""What a message holds, by its `type`.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages

Each reader takes the whole message object, since some types hold nothing under their own name.
A known type without its essential part raises `Unreadable`; a type nobody has documented is
still a message, with content that could not be shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bridge.adapter import build
from bridge.adapter.paths import dotted
from bridge.adapter.payload import (
    boolean,
    decimal,
    filled,
    identifier,
    instant,
    integer,
    mapping,
    phone,
    read_embedded,
    sequence,
    sha256_hex,
)
from bridge.adapter.reading import (
    JsonObject,
    required_array,
    required_id,
    required_number,
    required_object,
    required_text,
)
from bridge.adapters.whatsapp.wire import first_error
from bridge.errors import Unreadable
from bridge.model import (
    CallPermission,
    Choice,
    ChoiceSource,
    ContactCard,
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
    Organisation,
    Reaction,
    System,
    SystemKind,
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
_SYSTEM_KINDS: Final = {
    "user_changed_number": SystemKind.NUMBER,
    "customer_changed_number": SystemKind.NUMBER,
    "user_changed_user_id": SystemKind.USER_ID,
    "customer_identity_changed": SystemKind.IDENTITY,
}
_PERMISSION_ANSWERS: Final = {"accept": True, "reject": False}


def translate_content(message: JsonObject) -> Content:
    """Return what a message holds. Raises `Unreadable` with a path from the message on."""
    kind = required_text(message, "type")
    if kind == "text":  # by far the most
        part = message.get("text")
        body = part.get("body") if type(part) is dict else None
        return build.text(
            text=body if type(body) is str else required_text(message, "text", "body")
        )
    media = _MEDIA.get(kind)
    if media is not None:
        return _media(message, kind, media)
    read = _READERS.get(kind)
    return _not_shown(message, kind) if read is None else read(message)


def _not_shown(message: JsonObject, provider_type: str | None) -> Unsupported:
    return build.unsupported(provider_type=provider_type, error=first_error(message.get("errors")))


def _media(message: JsonObject, name: str, kind: MediaKind) -> Media:
    part = required_object(message, name)
    media_id = identifier(part.get("id"))
    # `link` is the copy that INCS keeps: it needs no token and does not run out as `url` does.
    url = filled(part.get("link")) or filled(part.get("url"))
    if media_id is None and url is None:
        raise Unreadable(f"{name}.id", "missing" if part.get("id") is None else "not an id")
    if kind is MediaKind.AUDIO and part.get("voice") is True:
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
    )


def _location(message: JsonObject) -> Location:
    part = required_object(message, "location")
    return build.location(
        latitude=required_number(message, "location", "latitude"),
        longitude=required_number(message, "location", "longitude"),
        name=filled(part.get("name")),
        address=filled(part.get("address")),
        url=filled(part.get("url")),
    )


def _contacts(message: JsonObject) -> Contacts:
    return build.contacts(contacts=tuple(_card(card) for card in _objects(message, "contacts")))


def _card(card: JsonObject) -> ContactCard:
    name = mapping(card.get("name"))
    return build.contact_card(
        name=filled(name.get("formatted_name")),
        first_name=filled(name.get("first_name")),
        last_name=filled(name.get("last_name")),
        phones=tuple(
            build.contact_phone(
                phone=filled(entry.get("phone")),
                user_id=identifier(entry.get("wa_id")),
                type=filled(entry.get("type")),
            )
            for entry in map(mapping, sequence(card.get("phones")))
        ),
        emails=tuple(
            build.contact_email(email=filled(entry.get("email")), type=filled(entry.get("type")))
            for entry in map(mapping, sequence(card.get("emails")))
        ),
        addresses=tuple(
            build.contact_address(
                street=filled(entry.get("street")),
                city=filled(entry.get("city")),
                state=filled(entry.get("state")),
                zip=filled(entry.get("zip")),
                country=filled(entry.get("country")),
                country_code=filled(entry.get("country_code")),
                type=filled(entry.get("type")),
            )
            for entry in map(mapping, sequence(card.get("addresses")))
        ),
        urls=tuple(
            build.contact_url(url=filled(entry.get("url")), type=filled(entry.get("type")))
            for entry in map(mapping, sequence(card.get("urls")))
        ),
        organisation=_organisation(mapping(card.get("org"))),
        birthday=filled(card.get("birthday")),
    )


def _organisation(org: JsonObject) -> Organisation | None:
    if not org:
        return None
    return build.organisation(
        company=filled(org.get("company")),
        department=filled(org.get("department")),
        title=filled(org.get("title")),
    )


def _button(message: JsonObject) -> Choice:
    return _choice(message, ("button",), "payload", ChoiceSource.BUTTON, title="text")


def _choice(
    message: JsonObject,
    path: tuple[str, ...],
    name: str,
    source: ChoiceSource,
    title: str = "title",
) -> Choice:
    part = required_object(message, *path)
    picked, shown = identifier(part.get(name)), filled(part.get(title))
    if picked is None and shown is None:
        picked = required_id(message, *path, name)
    return build.choice(
        source=source, id=picked, title=shown, description=filled(part.get("description"))
    )


def _interactive(message: JsonObject) -> Content:
    part = message.get("interactive")
    if type(part) is not dict:
        # Seen with an error in its place: the user did answer, and nobody knows what.
        return _not_shown(message, "interactive")
    kind = filled(part.get("type"))
    read = _ANSWERS.get(kind) if kind is not None else None
    if kind is None or read is None:
        return _not_shown(message, kind or "interactive")
    return read(message)


def _button_reply(message: JsonObject) -> Choice:
    return _choice(message, ("interactive", "button_reply"), "id", ChoiceSource.BUTTON)


def _list_reply(message: JsonObject) -> Choice:
    return _choice(message, ("interactive", "list_reply"), "id", ChoiceSource.LIST)


def _flow_reply(message: JsonObject) -> Form:
    part = required_object(message, "interactive", "nfm_reply")
    response = required_text(message, "interactive", "nfm_reply", "response_json")
    data = read_embedded(response)
    is_object = type(data) is dict
    return build.form(
        name=filled(part.get("name")),
        body=filled(part.get("body")),
        data=mapping(data) if is_object else None,
        response=None if is_object else response,
    )


def _call_permission(message: JsonObject) -> CallPermission:
    path = ("interactive", "call_permission_reply")
    part = required_object(message, *path)
    granted = _PERMISSION_ANSWERS.get(required_text(message, *path, "response").lower())
    if granted is None:
        raise Unreadable(dotted((*path, "response")), "neither accept nor reject")
    return build.call_permission(
        granted=granted,
        permanent=boolean(part.get("is_permanent")),
        expires_at=instant(part.get("expiration_timestamp")),
    )


def _order(message: JsonObject) -> Order:
    part = required_object(message, "order")
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
            for item in _objects(message, "order", "product_items")
        ),
    )


def _objects(message: JsonObject, *path: str) -> list[JsonObject]:
    objects: list[JsonObject] = []
    for index, item in enumerate(required_array(message, *path)):
        if type(item) is not dict:
            raise Unreadable(dotted((*path, index)), "not an object")
        objects.append(item)
    return objects


def _reaction(message: JsonObject) -> Reaction:
    return build.reaction(
        message_id=required_id(message, "reaction", "message_id"),
        emoji=filled(required_object(message, "reaction").get("emoji")),
    )


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/system
def _system(message: JsonObject) -> System:
    part = required_object(message, "system")
    kind = _SYSTEM_KINDS.get(filled(part.get("type")) or "", SystemKind.OTHER)
    previous: str | None = None
    current: str | None = None
    if kind is SystemKind.NUMBER:
        previous = _number(part.get("customer")) or _number(message.get("from"))
        # `new_wa_id` up to version 11 of the webhook, `wa_id` since.
        current = _number(part.get("wa_id")) or _number(part.get("new_wa_id"))
    elif kind is SystemKind.USER_ID:
        previous = identifier(part.get("previous_user_id")) or identifier(
            message.get("from_user_id")
        )
        current = identifier(part.get("user_id"))
    elif kind is SystemKind.IDENTITY:
        acknowledged = mapping(message.get("identity"))
        current = identifier(part.get("identity")) or identifier(acknowledged.get("hash"))
    return build.system(
        change=kind, body=filled(part.get("body")), previous=previous, current=current
    )


def _number(value: JsonValue) -> str | None:
    return phone(value) or identifier(value)


def _edit(message: JsonObject) -> Edit:
    original = required_id(message, "edit", "original_message_id")
    inner = required_object(message, "edit", "message")
    if inner.get("type") == "edit":
        # Nobody edits an edit; followed down, it would nest deeper than we could write.
        raise Unreadable("edit.message.type", "an edit inside an edit")
    try:
        return build.edit(message_id=original, content=translate_content(inner))
    except Unreadable as error:
        raise error.below("edit.message") from None


def _revoke(message: JsonObject) -> Deletion:
    return build.deletion(message_id=required_id(message, "revoke", "original_message_id"))


def _unsupported(message: JsonObject) -> Unsupported:
    return _not_shown(message, filled(mapping(message.get("unsupported")).get("type")))


_READERS: Final[dict[str, Callable[[JsonObject], Content]]] = {
    "location": _location,
    "contacts": _contacts,
    "button": _button,
    "interactive": _interactive,
    "order": _order,
    "reaction": _reaction,
    "system": _system,
    "edit": _edit,
    "revoke": _revoke,
    "unsupported": _unsupported,
    "unknown": _unsupported,  # its spelling until 2022
}
_ANSWERS: Final[dict[str, Callable[[JsonObject], Content]]] = {
    "button_reply": _button_reply,
    "list_reply": _list_reply,
    "nfm_reply": _flow_reply,
    "call_permission_reply": _call_permission,
}
