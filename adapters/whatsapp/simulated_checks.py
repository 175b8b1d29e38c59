"""What Meta checks of a message's content, with the limits as its pages state them.

Gateways to WhatsApp check the same objects.

https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
"""

from __future__ import annotations

from typing import Final

from bridge.adapter.reading import JsonObject
from bridge.adapter.simulation import Checker, Objection
from bridge.model import JsonValue

_INVALID: Final = Checker("131009")
_FILES: Final = ("image", "video", "audio", "document", "sticker")
_CAPTIONED: Final = ("image", "video", "document")
_HEADER_FILES: Final = ("image", "video", "document")
_LINK: Final = 2048


def check_content(body: JsonObject) -> None:
    """Check the field of a message that is called as its type. Raises `Objection`."""
    kind = body.get("type")
    match kind:
        case "text":
            _INVALID.words(_INVALID.object(body, "text"), "body", 4096)
        case "image" | "video" | "audio" | "document" | "sticker":
            check_file(_INVALID.object(body, kind), kind)
        case "location":
            place = _INVALID.object(body, "location")
            for name, most in (("latitude", 90), ("longitude", 180)):
                _INVALID.that(abs(_degrees(place.get(name))) <= most, name)
        case "contacts":
            for card in _INVALID.items(body, "contacts", 257):
                names = _INVALID.object(card, "name")
                _INVALID.words(names, "formatted_name", 1024)
                _INVALID.that(len(names) > 1, "a name needs another part")
        case "reaction":
            reaction = _INVALID.object(body, "reaction")
            _INVALID.words(reaction, "message_id", 1024)
            _INVALID.that(type(reaction.get("emoji")) is str, "emoji")
        case "interactive":
            check_interactive(_INVALID.object(body, "interactive"))
        case "template":
            template = _INVALID.object(body, "template")
            _INVALID.words(template, "name", 512)
            _INVALID.words(_INVALID.object(template, "language"), "code", 16)
            check_components(template)
        case _:
            raise Objection("131051", "Unsupported message type")


def check_file(file: JsonObject, kind: str) -> None:
    """Check a file that is given by its link or its id, and not by both."""
    _INVALID.that(("id" in file) != ("link" in file), "either id or link is required")
    _INVALID.words(file, "id" if "id" in file else "link", _LINK)
    if "caption" in file:
        _INVALID.that(kind in _CAPTIONED, "caption")
        _INVALID.words(file, "caption", 1024)


def _degrees(value: JsonValue) -> float:
    try:
        return float(value) if type(value) in (str, int, float) else float("inf")  # type: ignore[arg-type]
    except ValueError:
        return float("inf")


def check_components(template: JsonObject) -> None:
    """Check what fills a template's placeholders."""
    if "components" not in template:
        return
    for component in _INVALID.items(template, "components", 12):
        _INVALID.that(component.get("type") in ("header", "body", "button"), "component type")
        parameters = _INVALID.items(component, "parameters", 100)
        named = {"parameter_name" in parameter for parameter in parameters if "text" in parameter}
        if len(named) > 1:
            raise Objection("132000", "named and positional parameters")
        if component["type"] == "button":
            _INVALID.words(component, "sub_type", 20)
            _INVALID.words(component, "index", 2)


def check_interactive(interactive: JsonObject) -> None:
    """Check reply buttons, a list, a link button, or a carousel."""
    kind = interactive.get("type")
    body = _INVALID.object(interactive, "body")
    action = _INVALID.object(interactive, "action")
    if kind == "carousel":
        _INVALID.words(body, "text", 1024)
        _INVALID.only(interactive, ("type", "body", "action"))
        _check_cards(_INVALID.items(action, "cards", 10, least=2))
        return
    _INVALID.only(interactive, ("type", "header", "body", "footer", "action"))
    _INVALID.words(body, "text", 4096 if kind == "list" else 1024)
    if "footer" in interactive:
        _INVALID.words(_INVALID.object(interactive, "footer"), "text", 60)
    if "header" in interactive:
        _check_header(_INVALID.object(interactive, "header"), files=kind != "list")
    match kind:
        case "button":
            _check_buttons(_INVALID.items(action, "buttons", 3), "reply")
        case "list":
            _check_list(action)
        case "cta_url":
            _check_link(action)
        case "location_request_message":
            _INVALID.that(action.get("name") == "send_location", "name")
        case _:
            raise Objection("131009", "interactive type")


def _check_header(header: JsonObject, *, files: bool) -> None:
    kind = header.get("type")
    if kind == "text":
        _INVALID.words(header, "text", 60)
        return
    if not files or kind not in _HEADER_FILES:
        raise Objection("131009", "header type")
    check_file(_INVALID.object(header, kind), kind)


def _check_buttons(buttons: list[JsonObject], name: str) -> None:
    ids, titles = set(), set()
    for button in buttons:
        _INVALID.that(button.get("type") == name, "button type")
        reply = _INVALID.object(button, name)
        id_ = _INVALID.words(reply, "id", 256) or ""
        _INVALID.that(id_ == id_.strip(), "spaces around an id")
        ids.add(id_)
        titles.add(_INVALID.words(reply, "title", 20))
    _INVALID.that(len(ids) == len(buttons), "Duplicate button id")
    _INVALID.that(len(titles) == len(buttons), "Duplicate button title")


def _check_list(action: JsonObject) -> None:
    _INVALID.words(action, "button", 20)
    sections = _INVALID.items(action, "sections", 10)
    rows = []
    for section in sections:
        _INVALID.words(section, "title", 24, needed=len(sections) > 1)
        rows += _INVALID.items(section, "rows", 10)
    _INVALID.that(len(rows) <= 10, "more than 10 rows")  # noqa: PLR2004 - as documented
    for row in rows:
        _INVALID.words(row, "title", 24)
        _INVALID.words(row, "description", 72, needed=False)
    ids = {_INVALID.words(row, "id", 200) for row in rows}
    _INVALID.that(len(ids) == len(rows), "Duplicate row id")


def _check_link(action: JsonObject) -> None:
    _INVALID.that(action.get("name") == "cta_url", "name")
    parameters = _INVALID.object(action, "parameters")
    _INVALID.words(parameters, "display_text", 20)
    _INVALID.link(parameters, "url")


def _check_cards(cards: list[JsonObject]) -> None:
    makes = set()
    for index, card in enumerate(cards):
        _INVALID.that(card.get("card_index") == index, "card_index")
        header = _INVALID.object(card, "header")
        _INVALID.that(header.get("type") in ("image", "video"), "header type")
        _check_header(header, files=True)
        if "body" in card:
            _INVALID.words(_INVALID.object(card, "body"), "text", 160)
        action = _INVALID.object(card, "action")
        if "buttons" in action:
            buttons = _INVALID.items(action, "buttons", 2)
            _check_buttons(buttons, "quick_reply")
            makes.add((header["type"], "reply", len(buttons)))
        else:
            _check_link(action)
            makes.add((header["type"], "link", 1))
    _INVALID.that(len(makes) == 1, "the cards differ")
