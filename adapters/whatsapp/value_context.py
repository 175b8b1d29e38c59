"""What the items of one value share: whose account it is, and the cards beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

import attrs

from bridge.adapter import Place, Scope
from bridge.adapter.payload import identifier, mapping, phone
from bridge.adapters.whatsapp.wire import CHANNEL, Cards, JsonObject, business, index_cards
from bridge.model import JsonValue, Origin, Party
from bridge.model.frozen import builder

_MAX_REMEMBERED: Final = 64  # letters of a name; Meta's ids and numbers have some fifteen digits


def _place(source: str, number_id: JsonValue, displayed: JsonValue) -> Place:
    for name in (number_id, displayed):
        if type(name) is not str or not 0 < len(name) <= _MAX_REMEMBERED:
            raise ValueError("not a name to remember")
    return Place(
        source=source,
        channel=CHANNEL,
        account=identifier(number_id),
        business_phone=phone(displayed),
    )


# What raises is not remembered. So there are only strings to compare with, and no 1 is `true`.
remembered_place: Final[Callable[..., Place]] = lru_cache(maxsize=256)(_place)
"""Return the place for a source, and the `phone_number_id` and `display_phone_number` of metadata.

Raises `ValueError` or `TypeError` unless both are strings, short and not empty.
"""


@final
@attrs.frozen(kw_only=True, weakref_slot=False)
class ValueContext:
    """What an item cannot say about itself.

    `displayed` is the business's number as Meta displays it, which behind a gateway is not the
    configured one; it may be anything.
    """

    scope: Scope
    origin: Origin
    cards: Cards
    business: Party
    displayed: JsonValue

    def is_business(self, number: str) -> bool:
        """Return whether the business goes by this number (E.164), configured or displayed."""
        return number == self.scope.business_phone or number == phone(self.displayed)


_new_surroundings: Final = builder(ValueContext)


def business_of(value: JsonObject, scope: Scope) -> Party:
    """Return the business by the scope's own phone, else by the one that Meta displays."""
    return business(scope.business_phone or phone(_displayed(value)))


def _displayed(value: JsonObject) -> JsonValue:
    return mapping(value.get("metadata")).get("display_phone_number")


def surroundings_of(value: JsonObject, scope: Scope, origin: Origin = Origin.USER) -> ValueContext:
    """Read a value's `metadata` and `contacts`."""
    return _new_surroundings(
        scope=scope,
        origin=origin,
        cards=index_cards(value.get("contacts")),
        business=business_of(value, scope),
        displayed=_displayed(value),
    )
