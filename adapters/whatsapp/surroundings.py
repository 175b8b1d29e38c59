"""What the items of one value share: whose account it is, and the cards beside them."""

from __future__ import annotations

from typing import Final, final

import attrs

from adapters.whatsapp.wire import Cards, JsonObject, business, index_cards
from bridge.adapter import Scope
from bridge.frozen import builder
from bridge.model import JsonValue, Origin, Party
from bridge.payload import mapping, phone


@final
@attrs.frozen(kw_only=True, weakref_slot=False)
class Surroundings:
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


_new_surroundings: Final = builder(Surroundings)


def business_of(value: JsonObject, scope: Scope) -> Party:
    """Return the business by the scope's own phone, else by the one that Meta displays."""
    return business(scope.business_phone or phone(_displayed(value)))


def _displayed(value: JsonObject) -> JsonValue:
    return mapping(value.get("metadata")).get("display_phone_number")


def surroundings_of(value: JsonObject, scope: Scope, origin: Origin = Origin.USER) -> Surroundings:
    """Read a value's `metadata` and `contacts`."""
    return _new_surroundings(
        scope=scope,
        origin=origin,
        cards=index_cards(value.get("contacts")),
        business=business_of(value, scope),
        displayed=_displayed(value),
    )
