"""Contents as an AgentContentMessage of RCS for Business.

Contents that are given here fit the limits of `capabilities`.

https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/phones.agentMessages#AgentContentMessage
"""

from __future__ import annotations

from typing import Final

from bridge.adapter.reading import JsonObject
from bridge.adapter.texts import degrees, link_to
from bridge.adapters.rcs import capabilities
from bridge.errors import Unsendable
from bridge.model import Carousel, Content, JsonValue, Media, MediaKind, Menu, Option, Text

_CARD_FILES: Final = (MediaKind.IMAGE, MediaKind.VIDEO)


def content_message(content: Content) -> JsonObject:
    """Return what a message holds. Raises `Unsendable` for what is no message."""
    match content:
        case Text():
            return {"text": content.text}
        case Media():
            if content.caption and content.media in _CARD_FILES:
                return _standalone(_card(text=content.caption, media=content, height="TALL"))
            return _file(content)
        case Menu():
            return _menu(content)
        case Carousel():
            return _carousel(content)
        case _:
            raise Unsendable(f"a {content.kind} is not for sending")


def _file(media: Media) -> JsonObject:
    """Return a file by its URL, or by the name that an upload gave it.

    https://developers.google.com/business-communications/rcs-business-messaging/guides/build/messages/send#media
    """
    if media.url is None:
        return {"uploadedRbmFile": {"fileName": media.media_id}}
    told: JsonObject = {"fileUrl": media.url, "forceRefresh": False}
    if media.thumbnail is not None and media.thumbnail.url is not None:
        told["thumbnailUrl"] = media.thumbnail.url
    return {"contentInfo": told}


def _menu(menu: Menu) -> JsonObject:
    options = [suggestion(option) for option in menu.options]
    if capabilities.SUGGESTIONS.misfit(menu) is None:
        return {"text": menu.text, "suggestions": [*options]}
    card = _card(text=menu.text, title=menu.header, media=menu.media, height="TALL")
    if capabilities.CARD.misfit(menu) is None:
        return _standalone({**card, "suggestions": [*options]})
    return {**_standalone(card), "suggestions": [*options]}


def _card(
    *, text: str, height: str, title: str | None = None, media: Media | None = None
) -> JsonObject:
    told: JsonObject = {}
    if title:
        told["title"] = title
    if text:
        told["description"] = text
    if media is not None:
        told["media"] = {"height": height, **_file(media)}
    return told


def _standalone(card: JsonObject) -> JsonObject:
    """Return a rich card.

    https://developers.google.com/business-communications/rcs-business-messaging/guides/build/messages/send#rich-cards
    """
    return {"richCard": {"standaloneCard": {"cardOrientation": "VERTICAL", "cardContent": card}}}


def _carousel(content: Carousel) -> JsonObject:
    """Return cards side by side.

    https://developers.google.com/business-communications/rcs-business-messaging/guides/build/messages/send#carousels
    """
    cards: list[JsonValue] = []
    for menu in content.cards:
        card = _card(text=menu.text, title=menu.header, media=menu.media, height="MEDIUM")
        if menu.options:
            card["suggestions"] = [suggestion(option) for option in menu.options]
        cards.append(card)
    return {"richCard": {"carouselCard": {"cardWidth": "MEDIUM", "cardContents": cards}}}


def suggestion(option: Option) -> JsonObject:
    """Return a suggested reply or action; Google wants data of an action too, which may have no id.

    https://developers.google.com/business-communications/rcs-business-messaging/guides/build/messages/send#suggestions
    """
    told: JsonObject = {"text": option.title, "postbackData": option.id.strip() or option.title}
    if option.url is not None:
        return {"action": {**told, "openUrlAction": {"url": option.url}}}
    if option.phone is not None:
        return {"action": {**told, "dialAction": {"phoneNumber": option.phone}}}
    if option.location is not None:
        point: JsonObject = {
            "latitude": degrees(option.location.latitude),
            "longitude": degrees(option.location.longitude),
        }
        view: JsonObject = {"latLong": point}
        if option.location.name:
            view["label"] = option.location.name
        fallback = link_to(option.location)
        return {"action": {**told, "fallbackUrl": fallback, "viewLocationAction": view}}
    return {"reply": told}
