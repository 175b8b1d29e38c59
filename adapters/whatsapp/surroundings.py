"""What the items of one value share: whose account it is, and the cards beside them."""

from __future__ import annotations

from typing import Self, final

import attrs

from adapters.whatsapp.wire import Cards, JsonObject, index_cards
from bridge.adapter import Scope
from bridge.frozen import quick_init
from bridge.model import Origin, Party, Role
from bridge.payload import mapping, phone


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Surroundings:
    """What an item cannot say about itself.

    `business_phones` are all numbers the business goes by in this value: the configured one and
    the one that Meta displays, which differ behind a gateway.
    """

    scope: Scope
    origin: Origin
    cards: Cards
    business: Party
    business_phones: tuple[str | None, ...]

    @classmethod
    def of(cls, value: JsonObject, scope: Scope, origin: Origin = Origin.USER) -> Self:
        """Read a value's `metadata` and `contacts`; the scope's own phone goes first."""
        displayed = phone(mapping(value.get("metadata")).get("display_phone_number"))
        return cls(
            scope=scope,
            origin=origin,
            cards=index_cards(value.get("contacts")),
            business=Party(phone=scope.business_phone or displayed, role=Role.BUSINESS),
            business_phones=(scope.business_phone, displayed),
        )
