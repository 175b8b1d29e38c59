"""What a message holds, by its `type`.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages

Each reader takes the whole message object, since some types hold nothing under their own name.
A known type without its essential part raises `Unreadable`; a type nobody has documented is
still a message, with content that could not be shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

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
    read_embedded,
    sequence,
    sha256_hex,
)
from bridge.adapters.whatsapp.wire import (
    JsonObject,
    fault,
    first_error,
    required_id,
    required_object,
    required_text,
)
from bridge.errors import Unreadable
from bridge.model import (
    CallPermission,
    Choice,
    ChoiceSource,
    ContactAddress,
    ContactCard,
    ContactEmail,
    ContactPhone,
    Contacts,
    ContactUrl,
    Content,
    Deletion,
    Edit,
    Form,
    JsonValue,
    Location,
    Media,
    MediaKind,
    Order,
    OrderItem,
    Organisation,
    Reaction,
    System,
    SystemKind,
    Text,
    Unsupported,
)
from bridge.model.frozen import builder

_new_call_permission: Final = builder(CallPermission)
_new_choice: Final = builder(Choice)
_new_contact_address: Final = builder(ContactAddress)
_new_contact_card: Final = builder(ContactCard)
_new_contact_email: Final = builder(ContactEmail)
_new_contact_phone: Final = builder(ContactPhone)
_new_contact_url: Final = builder(ContactUrl)
_new_contacts: Final = builder(Contacts)
_new_deletion: Final = builder(Deletion)
_new_edit: Final = builder(Edit)
_new_form: Final = builder(Form)
_new_location: Final = builder(Location)
_new_media: Final = builder(Media)
_new_order: Final = builder(Order)
_new_order_item: Final = builder(OrderItem)
_new_organisation: Final = builder(Organisation)
_new_reaction: Final = builder(Reaction)
_new_system: Final = builder(System)
_new_text: Final = builder(Text)
_new_unsupported: Final = builder(Unsupported)

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
        if type(body) is not str:
            body = required_text(required_object(message, "text"), "body", "text.")
        return _new_text(text=body)
    media = _MEDIA.get(kind)
    if media is not None:
        return _media(message, kind, media)
    read = _READERS.get(kind)
    return _not_shown(message, kind) if read is None else read(message)


def _not_shown(message: JsonObject, provider_type: str | None) -> Unsupported:
    return _new_unsupported(provider_type=provider_type, error=first_error(message.get("errors")))


def _media(message: JsonObject, name: str, kind: MediaKind) -> Media:
    part = required_object(message, name)
    media_id = identifier(part.get("id"))
    # `link` is the copy that INCS keeps: it needs no token and does not run out as `url` does.
    url = filled(part.get("link")) or filled(part.get("url"))
    if media_id is None and url is None:
        raise fault(f"{name}.id", part.get("id"), "an id")
    if kind is MediaKind.AUDIO and part.get("voice") is True:
        kind = MediaKind.VOICE
    return _new_media(
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
    return _new_location(
        latitude=_degrees(part, "latitude"),
        longitude=_degrees(part, "longitude"),
        name=filled(part.get("name")),
        address=filled(part.get("address")),
        url=filled(part.get("url")),
    )


def _degrees(part: JsonObject, name: str) -> float:
    value = number(part.get(name))
    if value is None:
        raise fault(f"location.{name}", part.get(name), "a number")
    return value


def _contacts(message: JsonObject) -> Contacts:
    return _new_contacts(contacts=tuple(_card(card) for card in _objects(message, "contacts")))


def _card(card: JsonObject) -> ContactCard:
    name = mapping(card.get("name"))
    return _new_contact_card(
        name=filled(name.get("formatted_name")),
        first_name=filled(name.get("first_name")),
        last_name=filled(name.get("last_name")),
        phones=tuple(
            _new_contact_phone(
                phone=filled(entry.get("phone")),
                user_id=identifier(entry.get("wa_id")),
                type=filled(entry.get("type")),
            )
            for entry in map(mapping, sequence(card.get("phones")))
        ),
        emails=tuple(
            _new_contact_email(email=filled(entry.get("email")), type=filled(entry.get("type")))
            for entry in map(mapping, sequence(card.get("emails")))
        ),
        addresses=tuple(
            _new_contact_address(
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
            _new_contact_url(url=filled(entry.get("url")), type=filled(entry.get("type")))
            for entry in map(mapping, sequence(card.get("urls")))
        ),
        organisation=_organisation(mapping(card.get("org"))),
        birthday=filled(card.get("birthday")),
    )


def _organisation(org: JsonObject) -> Organisation | None:
    if not org:
        return None
    return _new_organisation(
        company=filled(org.get("company")),
        department=filled(org.get("department")),
        title=filled(org.get("title")),
    )


def _button(message: JsonObject) -> Choice:
    part = required_object(message, "button")
    return _choice(part, "button.payload", ChoiceSource.BUTTON, title="text")


def _choice(part: JsonObject, path: str, source: ChoiceSource, title: str = "title") -> Choice:
    name = path.rpartition(".")[2]
    picked, shown = identifier(part.get(name)), filled(part.get(title))
    if picked is None and shown is None:
        raise fault(path, part.get(name), "an id")
    return _new_choice(
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
    return read(required_object(part, kind, "interactive."))


def _button_reply(part: JsonObject) -> Choice:
    return _choice(part, "interactive.button_reply.id", ChoiceSource.BUTTON)


def _list_reply(part: JsonObject) -> Choice:
    return _choice(part, "interactive.list_reply.id", ChoiceSource.LIST)


def _flow_reply(part: JsonObject) -> Form:
    response = required_text(part, "response_json", "interactive.nfm_reply.")
    data = read_embedded(response)
    is_object = type(data) is dict
    return _new_form(
        name=filled(part.get("name")),
        body=filled(part.get("body")),
        data=mapping(data) if is_object else None,
        response=None if is_object else response,
    )


def _call_permission(part: JsonObject) -> CallPermission:
    path = "interactive.call_permission_reply."
    granted = _PERMISSION_ANSWERS.get(required_text(part, "response", path).lower())
    if granted is None:
        raise Unreadable(f"{path}response", "neither accept nor reject")
    return _new_call_permission(
        granted=granted,
        permanent=boolean(part.get("is_permanent")),
        expires_at=instant(part.get("expiration_timestamp")),
    )


def _order(message: JsonObject) -> Order:
    part = required_object(message, "order")
    return _new_order(
        catalog_id=identifier(part.get("catalog_id")),
        text=filled(part.get("text")),
        items=tuple(
            _new_order_item(
                product_id=identifier(item.get("product_retailer_id")),
                quantity=integer(item.get("quantity")),
                price=decimal(item.get("item_price")),
                currency=filled(item.get("currency")),
            )
            for item in _objects(part, "product_items", "order.")
        ),
    )


def _objects(parent: JsonObject, name: str, path: str = "") -> list[JsonObject]:
    items = parent.get(name)
    if type(items) is not list:
        raise fault(f"{path}{name}", items, "an array")
    objects: list[JsonObject] = []
    for index, item in enumerate(items):
        if type(item) is not dict:
            raise Unreadable(f"{path}{name}[{index}]", "not an object")
        objects.append(item)
    return objects


def _reaction(message: JsonObject) -> Reaction:
    part = required_object(message, "reaction")
    return _new_reaction(
        message_id=required_id(part, "message_id", "reaction."),
        emoji=filled(part.get("emoji")),
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
    return _new_system(
        change=kind, body=filled(part.get("body")), previous=previous, current=current
    )


def _number(value: JsonValue) -> str | None:
    return phone(value) or identifier(value)


def _edit(message: JsonObject) -> Edit:
    part = required_object(message, "edit")
    original = required_id(part, "original_message_id", "edit.")
    inner = required_object(part, "message", "edit.")
    if inner.get("type") == "edit":
        # Nobody edits an edit; followed down, it would nest deeper than we could write.
        raise Unreadable("edit.message.type", "an edit inside an edit")
    try:
        return _new_edit(message_id=original, content=translate_content(inner))
    except Unreadable as error:
        raise error.below("edit.message") from None


def _revoke(message: JsonObject) -> Deletion:
    part = required_object(message, "revoke")
    return _new_deletion(message_id=required_id(part, "original_message_id", "revoke."))


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
