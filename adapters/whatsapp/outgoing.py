"""Contents in the words of Meta's Send API; gateways to WhatsApp take the same objects.

Contents that are given here fit the limits of `capabilities`, save those that are said to raise
`Unsendable`.

https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
"""

from __future__ import annotations

from typing import Final

from bridge.adapter.reading import JsonObject
from bridge.adapter.texts import degrees
from bridge.adapters.whatsapp import capabilities
from bridge.errors import Unsendable
from bridge.model import (
    Carousel,
    ContactCard,
    JsonValue,
    Location,
    Media,
    MediaKind,
    Menu,
    Option,
    Template,
    TemplateParameter,
)

_KINDS: Final = {MediaKind.VOICE: "audio"}
_NEEDS_TOKEN: Final = "lookaside.fbsbx.com"  # noqa: S105 - the host of links from callbacks
_LIST_BUTTON: Final = "Options"
_SUB_TYPES: Final = {"text": "url", "payload": "quick_reply", "coupon_code": "COPY_CODE"}


def media_type(media: Media) -> str:
    """Return the name of a message's type, which is also the name of its field."""
    return _KINDS.get(media.media, media.media.value)


def media_object(media: Media) -> JsonObject:
    """Return a file by its link or its id.

    The link of a callback works for nobody but the holder of the token, so its id goes instead.
    https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/image-messages
    """
    told: JsonObject = {}
    if media.url is not None and (media.media_id is None or _NEEDS_TOKEN not in media.url):
        told["link"] = media.url
    else:
        told["id"] = media.media_id
    if media.caption:
        told["caption"] = media.caption
    if media.filename and media.media is MediaKind.DOCUMENT:
        told["filename"] = media.filename
    if media.media is MediaKind.VOICE:
        told["voice"] = True
    return told


def location_object(location: Location) -> JsonObject:
    """Return a place.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/location-messages
    """
    return _filled(
        latitude=degrees(location.latitude),
        longitude=degrees(location.longitude),
        name=location.name,
        address=location.address,
    )


def contact_object(card: ContactCard) -> JsonObject:
    """Return a card. Beside the formatted name Meta wants one of its parts.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/contacts-messages
    """
    first_name = card.first_name if card.first_name or card.last_name else card.name
    work = card.organisation
    told: JsonObject = {
        "name": _filled(formatted_name=card.name, first_name=first_name, last_name=card.last_name),
        "phones": [
            _filled(phone=one.phone, type=one.type, wa_id=one.user_id) for one in card.phones
        ],
        "emails": [_filled(email=one.email, type=one.type) for one in card.emails],
        "urls": [_filled(url=one.url, type=one.type) for one in card.urls],
        "addresses": [
            _filled(
                street=one.street,
                city=one.city,
                state=one.state,
                zip=one.zip,
                country=one.country,
                country_code=one.country_code,
                type=one.type,
            )
            for one in card.addresses
        ],
        "birthday": card.birthday,
        "org": None
        if work is None
        else _filled(company=work.company, department=work.department, title=work.title),
    }
    return {name: value for name, value in told.items() if value}


# --- menus ---------------------------------------------------------------------------------------


def interactive(menu: Menu) -> JsonObject:
    """Return a menu as reply buttons, a list, or a link button, whichever it fits.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/interactive-reply-buttons-messages
    https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/interactive-list-messages
    https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/interactive-cta-url-messages
    """
    kind: str
    action: JsonObject
    if capabilities.REPLY_BUTTONS.misfit(menu) is None:
        kind = "button"
        action = {"buttons": [{"type": "reply", "reply": _reply(one)} for one in menu.options]}
    elif capabilities.LIST.misfit(menu) is None:
        kind = "list"
        action = {"button": menu.button or _LIST_BUTTON, "sections": _sections(menu)}
    else:
        kind = "cta_url"
        action = _link(menu.options[0])
    told: JsonObject = {"type": kind}
    if menu.media is not None:
        told["header"] = _header(menu.media)
    elif menu.header:
        told["header"] = {"type": "text", "text": menu.header}
    told["body"] = {"text": menu.text}
    if menu.footer:
        told["footer"] = {"text": menu.footer}
    told["action"] = action
    return told


def _reply(option: Option) -> JsonObject:
    return {"id": option.id, "title": option.title}


def _link(option: Option) -> JsonObject:
    return {
        "name": "cta_url",
        "parameters": {"display_text": option.title, "url": option.url},
    }


def _header(media: Media) -> JsonObject:
    name = media_type(media)
    file = media_object(media)
    file.pop("caption", None)  # the menu's text stands in its place
    return {"type": name, name: file}


def _sections(menu: Menu) -> list[JsonValue]:
    rows: dict[str | None, list[JsonValue]] = {}
    for option in menu.options:
        row = _filled(id=option.id, title=option.title, description=option.description)
        rows.setdefault(option.section, []).append(row)
    # A title is needed where there are several sections, and then each option has one.
    return [
        {"rows": group} if title is None else {"title": title, "rows": group}
        for title, group in rows.items()
    ]


def carousel(content: Carousel) -> JsonObject:
    """Return cards side by side. A card with replies has the type of one with a link, too.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/interactive-media-carousel-messages
    """
    cards: list[JsonValue] = []
    for index, card in enumerate(content.cards):
        told: JsonObject = {"card_index": index, "type": "cta_url"}
        if card.media is not None:
            told["header"] = _header(card.media)
        if card.text:
            told["body"] = {"text": card.text}
        if capabilities.CARD_LINK.misfit(card) is None:
            told["action"] = _link(card.options[0])
        else:
            told["action"] = {
                "buttons": [
                    {"type": "quick_reply", "quick_reply": _reply(one)} for one in card.options
                ]
            }
        cards.append(told)
    return {"type": "carousel", "body": {"text": content.text}, "action": {"cards": cards}}


# --- templates -----------------------------------------------------------------------------------


def components(template: Template) -> list[JsonValue]:
    """Return what fills a template's placeholders.

    Raises `Unsendable` where a parameter is of a type that needs more than a value, or where
    some have names and others have not.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview
    """
    groups: dict[tuple[str, str | None, int | None], list[JsonValue]] = {}
    named = set()
    for parameter in template.parameters:
        component = (parameter.component or "body").lower()
        sub_type = index = None
        if component == "button":
            sub_type = parameter.sub_type or _SUB_TYPES.get(parameter.type or "text")
            index = parameter.index
            if sub_type is None or index is None:
                raise Unsendable("a template's button without its sub_type or index")
        elif parameter.media is None:
            named.add(parameter.name is not None)
        groups.setdefault((component, sub_type, index), []).append(_parameter(parameter))
    if len(named) > 1:
        raise Unsendable("a template's parameters have names, or an order, and not both")
    return [
        {"type": component, "parameters": values}
        if sub_type is None
        else {
            "type": component,
            "sub_type": sub_type,
            "index": str(index),
            "parameters": values,
        }
        for (component, sub_type, index), values in groups.items()
    ]


def _parameter(parameter: TemplateParameter) -> JsonObject:
    media = parameter.media
    if media is not None:
        name = media_type(media)
        file = media_object(media)
        file.pop("caption", None)
        return {"type": name, name: file}
    kind = (parameter.type or "text").lower()
    if parameter.value is None:
        raise Unsendable("a template's parameter without a value")
    told: JsonObject = {"type": kind}
    match kind:
        case "text" | "payload" | "coupon_code":
            told[kind] = parameter.value
        case "date_time":
            told[kind] = {"fallback_value": parameter.value}
        case _:
            raise Unsendable(f"a template's parameter of type {kind}: send it as a text, or Native")
    if parameter.name is not None:
        told["parameter_name"] = parameter.name
    return told


def _filled(**fields: str | None) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}
