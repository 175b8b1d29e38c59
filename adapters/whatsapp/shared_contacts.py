"""The contact cards that a user shares: Meta's objects, and the vCard beside each.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/contacts
"""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

from bridge.adapter import build
from bridge.adapter.payload import filled, identifier, mapping, phone, several
from bridge.adapter.reading import JsonObject
from bridge.model import ContactCard, Contacts, JsonValue, Organisation

_PHOTO: Final = re.compile(r"^PHOTO[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*", re.IGNORECASE | re.MULTILINE)
_ASKED_FOR: Final = "contact_request"
_MOST_VCARD: Final = 4096
"""How many characters of vCards are read in one message, pictures left out.

Reading them takes up to a hundred times as long as all the rest of a message.
"""


def shared_contacts(message: JsonObject) -> tuple[ContactCard, ...] | None:
    """Return the cards of a message, or None where it holds none at all.

    Items of the array that are no cards are left out; `raw` holds them.
    """
    cards = [card for card in several(message.get("contacts")) if type(card) is dict]
    if not cards:
        return None
    origin = filled(message.get("origin"))  # seen beside the cards instead of in them
    left = _MOST_VCARD
    result = []
    for card in cards:
        text = card.get("vcard")
        vcard = _PHOTO.sub("", text) if type(text) is str else ""
        left -= len(vcard)
        told = _card(card, origin)
        result.append(_completed(told, vcard) if vcard and left >= 0 else told)
    return tuple(result)


# https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
def shared_phone(content: Contacts) -> str | None:
    """Return the user's own phone, where the user gave it as the business asked for it.

    WhatsApp vouches for it (origin `contact_request`); any other card may be somebody else's.
    """
    cards = [card for card in content.contacts if (card.origin or "").lower() == _ASKED_FOR]
    told = {phone(each.user_id) or phone(each.phone) for card in cards for each in card.phones}
    return told.pop() if len(told) == 1 else None


def _card(card: JsonObject, origin: str | None) -> ContactCard:
    name, org = mapping(card.get("name")), mapping(card.get("org"))
    return build.contact_card(
        name=filled(name.get("formatted_name")),
        first_name=filled(name.get("first_name")),
        middle_name=filled(name.get("middle_name")),
        last_name=filled(name.get("last_name")),
        prefix=filled(name.get("prefix")),
        suffix=filled(name.get("suffix")),
        phones=tuple(
            build.contact_phone(
                phone=filled(entry.get("phone")),
                user_id=identifier(entry.get("wa_id")),
                type=filled(entry.get("type")),
            )
            for entry in _entries(card, "phones")
        ),
        emails=tuple(
            build.contact_email(email=filled(entry.get("email")), type=filled(entry.get("type")))
            for entry in _entries(card, "emails")
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
            for entry in _entries(card, "addresses")
        ),
        urls=tuple(
            build.contact_url(url=filled(entry.get("url")), type=filled(entry.get("type")))
            for entry in _entries(card, "urls")
        ),
        organisation=build.organisation(
            company=filled(org.get("company")),
            department=filled(org.get("department")),
            title=filled(org.get("title")),
        )
        if org
        else None,
        birthday=filled(card.get("birthday")),
        origin=filled(card.get("origin")) or origin,
    )


def _entries(card: JsonObject, name: str) -> list[JsonObject]:
    return [mapping(entry) for entry in several(card.get(name))]


# --- vCards (RFC 6350, and 2426 before it) -----------------------------------------------


def _completed(card: ContactCard, text: str) -> ContactCard:
    """Return a card with what only its vCard tells; what Meta read of it stays as it is."""
    try:
        import vobject  # noqa: PLC0415 - slow to import, and few messages have one

        told = _told(vobject.readOne(text).contents)
    except Exception:  # noqa: BLE001 - a reader of many forms, over what anybody may write
        return card
    missing = {name: value for name, value in told.items() if value and not getattr(card, name)}
    return attrs.evolve(card, **missing) if missing else card


def _told(contents: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the fields of a card that a vCard's lines tell."""
    name = contents["n"][0].value if "n" in contents else None
    return {
        "name": _first(contents, "fn"),
        "first_name": _text(getattr(name, "given", None)),
        "middle_name": _text(getattr(name, "additional", None)),
        "last_name": _text(getattr(name, "family", None)),
        "prefix": _text(getattr(name, "prefix", None)),
        "suffix": _text(getattr(name, "suffix", None)),
        "nickname": _first(contents, "nickname"),
        "phones": tuple(
            build.contact_phone(
                phone=_text(line.value), user_id=_parameter(line, "WAID"), type=_type(line)
            )
            for line in contents.get("tel", ())
        ),
        "emails": tuple(
            build.contact_email(email=_text(line.value), type=_type(line))
            for line in contents.get("email", ())
        ),
        "addresses": tuple(
            build.contact_address(
                street=_text(line.value.street),
                city=_text(line.value.city),
                state=_text(line.value.region),
                zip=_text(line.value.code),
                country=_text(line.value.country),
                type=_type(line),
            )
            for line in contents.get("adr", ())
        ),
        "urls": tuple(
            build.contact_url(url=_text(line.value), type=_type(line))
            for line in contents.get("url", ())
        ),
        "organisation": _organisation(contents),
        "birthday": _first(contents, "bday"),
        "note": _first(contents, "note"),
    }


def _organisation(contents: dict[str, list[Any]]) -> Organisation | None:
    parts = [_text(part) for part in contents["org"][0].value] if "org" in contents else []
    title = _first(contents, "title")
    company, department = (*parts, None, None)[:2]
    if company is None and department is None and title is None:
        return None
    return build.organisation(company=company, department=department, title=title)


def _first(contents: dict[str, list[Any]], name: str) -> str | None:
    return _text(contents[name][0].value) if name in contents else None


def _parameter(line: Any, name: str) -> str | None:  # noqa: ANN401 - vobject has no types
    return _text(line.params[name][0]) if line.params.get(name) else None


def _type(line: Any) -> str | None:  # noqa: ANN401 - vobject has no types
    return _parameter(line, "TYPE")


def _text(value: JsonValue) -> str | None:
    """Return a part of a line: one may hold several words, of a name say."""
    if type(value) is list:
        value = " ".join(part for part in value if type(part) is str)
    return filled(value)
