"""The parts that Meta's objects are made of, read into the words of our model.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from bridge.adapter import build
from bridge.adapter.payload import filled, identifier, mapping, phone, several
from bridge.adapter.reading import JsonObject
from bridge.model import JsonValue, Party, Product, ProviderError, Referral

CHANNEL: Final = "whatsapp"

# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
OBJECT: Final = "whatsapp_business_account"
MESSAGES: Final = "messages"  # the field of a change that holds messages or statuses
ENTRY: Final = frozenset({"id", "time", "changes"})  # what an entry is made of
NOTHING: Final[Sequence[JsonValue]] = (None, "", [], {})
"""What a gateway writes for the parts that a callback does not have."""

# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
REPEATS_FOR: Final = timedelta(days=7)

_COUNTRY: Final = 2  # a BSUID opens with a country's two letters and a dot
_PARENT: Final = "ENT."  # which stands next in the id of a user across linked businesses


# --- who takes part ----------------------------------------------------------------------


def party(
    number: JsonValue, user_id: JsonValue, parent_user_id: JsonValue, card: JsonObject
) -> Party:
    """Return a user by what an item says, and by the card that belongs to it.

    `number` may hold a BSUID instead of digits, and is left out for those who hide it. Only
    then does the card's `wa_id` stand in: of two phones the item's own is the user's.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
    """
    wa_id = identifier(number)
    own, parent = identifier(user_id), identifier(parent_user_id)
    if wa_id is not None and not wa_id.isdigit() and is_user_id(wa_id):
        if wa_id[_COUNTRY + 1 :].startswith(_PARENT):
            parent = parent or wa_id
        else:
            own = own or wa_id
    if not card:
        return build.party(phone=phone(wa_id), user_id=own, parent_user_id=parent)
    profile = mapping(card.get("profile"))
    username = filled(profile.get("username")) or filled(card.get("username"))
    return build.party(
        phone=phone(wa_id) or phone(card.get("wa_id")),
        user_id=own or identifier(card.get("user_id")),
        parent_user_id=parent or identifier(card.get("parent_user_id")),
        name=filled(profile.get("name")),
        username=None if username is None else username.removeprefix("@") or None,
        identity_key_hash=filled(card.get("identity_key_hash")),
    )


def is_user_id(value: str) -> bool:
    """Return whether an id is Meta's for a user, and not a phone number's digits."""
    if value[_COUNTRY : _COUNTRY + 1] != ".":
        return False
    country = value[:_COUNTRY]
    return country.isascii() and country.isalpha()


def identity_of(user: Party) -> str | None:
    """Return what names a user's conversation: the phone if it is known, else an id."""
    return user.phone or user.user_id or user.parent_user_id


# --- what stands beside the content --------------------------------------------------------


def first_error(errors: JsonValue) -> ProviderError | None:
    """Return the first of an array of errors, or the only one where there is no array.

    Words alone are an error's title, and digits its code, where no object tells more.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
    """
    if errors is None:  # as nearly always
        return None
    told = several(errors)
    error = next((each for each in told if type(each) is dict and each), None)
    if error is None:
        words = next(filter(None, map(filled, told)), None)
        if words is None:
            return None
        name = "code" if words.isdigit() else "title"
        return build.provider_error(**{name: words})
    data = error.get("error_data")
    return build.provider_error(
        code=identifier(error.get("code")),
        title=filled(error.get("title")) or filled(error.get("message")),
        # Older versions put the details beside the code.
        details=filled(mapping(data).get("details"))
        or filled(error.get("details"))
        or filled(data),
        href=filled(error.get("href")),
    )


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


def product_in(value: JsonValue) -> Product | None:
    """Return the catalogue item that an object names."""
    if type(value) is not dict:
        return None
    catalog_id = identifier(value.get("catalog_id"))
    product_id = identifier(value.get("product_retailer_id"))
    if catalog_id is None and product_id is None:
        return None
    return build.product(catalog_id=catalog_id, product_id=product_id)
