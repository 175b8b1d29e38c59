"""The parts that Meta's objects are made of, read into the words of our model.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from bridge.adapter import Scope, build
from bridge.adapter.payload import filled, identifier, mapping, phone, sequence
from bridge.adapter.reading import JsonObject
from bridge.model import (
    Conversation,
    JsonValue,
    Party,
    Product,
    ProviderError,
    Referral,
    Role,
)

CHANNEL: Final = "whatsapp"

# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
OBJECT: Final = "whatsapp_business_account"
MESSAGES: Final = "messages"  # the field of a change that holds messages or statuses

Cards: TypeAlias = Mapping[str, JsonObject]
"""The contact cards of one value, under each id they carry (`wa_id`, `user_id`)."""


_BUSINESS: Final = Role.BUSINESS

_COUNTRY: Final = 2  # a BSUID opens with a country's two letters and a dot
_CARD_IDS: Final = ("wa_id", "user_id")
_NAMED_BY: Final = (
    "from",
    "from_user_id",
    "to",
    "to_user_id",
    "recipient_id",
    "recipient_user_id",
    "recipient_participant_id",
    "recipient_participant_user_id",
    "wa_id",
    "user_id",
)


# --- who takes part ----------------------------------------------------------------------


def index_cards(contacts: JsonValue) -> Cards:
    """Return the cards under their ids.

    Cards belong to items by id, never by position: a batch may hold fewer cards than messages,
    and the card of a status may stand beside the message of somebody else.
    """
    if type(contacts) is not list:
        return {}
    index: dict[str, JsonObject] = {}
    for card in contacts:
        if type(card) is dict:
            for name in _CARD_IDS:
                key = identifier(card.get(name)) if name in card else None
                if key is not None:
                    index[key] = card
    return index


def cards_of(items: JsonValue, cards: Cards) -> list[JsonValue]:
    """Return the cards of those whom the items of an array name."""
    found: list[JsonValue] = []
    for item in map(mapping, sequence(items)):
        for name in _NAMED_BY:
            key = identifier(item.get(name))
            card = cards.get(key) if key is not None else None
            if card is not None and card not in found:
                found.append(card)
    return found


def user(number: JsonValue, user_id: str | None, cards: Cards) -> Party:
    """Return a user by what an item says (`from` and `from_user_id`, or their like).

    `number` may hold a BSUID instead of digits, and is left out for those who hide it. Only
    then does the card's `wa_id` stand in: where both are there and differ, it is no phone.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
    """
    wa_id = identifier(number)
    if wa_id is not None and user_id is None and not wa_id.isdigit() and _is_user_id(wa_id):
        user_id = wa_id
    card = cards.get(wa_id) if wa_id is not None else None
    if card is None and user_id is not None:
        card = cards.get(user_id)
    if card is None:
        return build.party(phone=phone(wa_id), user_id=user_id)
    profile = mapping(card.get("profile"))
    username = filled(profile["username"]) if "username" in profile else None
    return build.party(
        phone=phone(card.get("wa_id") if wa_id is None else wa_id),
        user_id=identifier(card["user_id"]) if user_id is None and "user_id" in card else user_id,
        name=filled(profile.get("name")),
        username=None if username is None else username.removeprefix("@") or None,
    )


def _is_user_id(value: str) -> bool:
    if value[_COUNTRY : _COUNTRY + 1] != ".":
        return False
    country = value[:_COUNTRY]
    return country.isascii() and country.isalpha()


def conversation(
    scope: Scope, party: Party, fallback: JsonValue, group_id: str | None
) -> Conversation | None:
    """Return the conversation an item belongs to, or None where it names nobody.

    `fallback` is the provider's own word for the user, for one whose number is masked.
    """
    if group_id is not None:
        return scope.group(group_id)
    identity = party.phone or party.user_id or identifier(fallback)
    if identity is None:
        return None
    return scope.conversation(identity)


def quoted_party(number: JsonValue, is_business: Callable[[str], bool]) -> Party | None:
    """Return who wrote a quoted message, going by `context.from`."""
    wa_id = identifier(number)
    if wa_id is None:
        return None
    digits = phone(wa_id)
    if digits is not None and is_business(digits):
        return build.party(phone=digits, role=_BUSINESS)
    return build.party(phone=digits, user_id=wa_id if _is_user_id(wa_id) else None)


# --- what stands beside the content --------------------------------------------------------


def first_error(errors: JsonValue) -> ProviderError | None:
    """Return the first of an array of errors.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
    """
    if errors is None:
        return None
    for error in sequence(errors):
        if type(error) is dict:
            data = mapping(error.get("error_data"))
            return build.provider_error(
                code=identifier(error.get("code")),
                title=filled(error.get("title")) or filled(error.get("message")),
                # Older versions put the details beside the code.
                details=filled(data.get("details")) or filled(error.get("details")),
                href=filled(error.get("href")),
            )
    return None


def referral(value: JsonValue) -> Referral | None:
    """Return the advertisement or post that led to a message."""
    if type(value) is not dict or not value:
        return None
    return build.referral(
        source_type=filled(value.get("source_type")),
        source_id=identifier(value.get("source_id")),
        source_url=filled(value.get("source_url")),
        headline=filled(value.get("headline")),
        body=filled(value.get("body")),
        media_type=filled(value.get("media_type")),
        image_url=filled(value.get("image_url")),
        video_url=filled(value.get("video_url")),
        thumbnail_url=filled(value.get("thumbnail_url")),
        click_id=filled(value.get("ctwa_clid")),
        welcome_text=filled(mapping(value.get("welcome_message")).get("text")),
    )


def referred_product(value: JsonValue) -> Product | None:
    """Return the catalogue item that a message asks about."""
    if type(value) is not dict or not value:
        return None
    return build.product(
        catalog_id=identifier(value.get("catalog_id")),
        product_id=identifier(value.get("product_retailer_id")),
    )
