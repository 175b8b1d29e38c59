"""Cards that people share, and what stands on them."""

from __future__ import annotations

from typing import ClassVar, final

import attrs

from bridge.model.frozen import quick_init


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class ContactPhone:
    """A phone number on a card, as written there; `user_id` is the channel's id for it."""

    phone: str | None = None
    user_id: str | None = None
    type: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class ContactEmail:
    """An e-mail address on a card."""

    email: str | None = None
    type: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class ContactUrl:
    """A web address on a card."""

    url: str | None = None
    type: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class ContactAddress:
    """A postal address on a card."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None
    country_code: str | None = None
    type: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Organisation:
    """Where the person on a card works."""

    company: str | None = None
    department: str | None = None
    title: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class ContactCard:
    """One person's card; every field may be missing.

    `origin` is the provider's word for how the card came: `contact_request` where the user
    shared their own number at the business's request, so that the provider vouches for it.
    """

    name: str | None = None
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    nickname: str | None = None
    phones: tuple[ContactPhone, ...] = ()
    emails: tuple[ContactEmail, ...] = ()
    addresses: tuple[ContactAddress, ...] = ()
    urls: tuple[ContactUrl, ...] = ()
    organisation: Organisation | None = None
    birthday: str | None = None
    note: str | None = None
    origin: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Contacts:
    """Cards that the user shared."""

    kind: ClassVar[str] = "contacts"

    contacts: tuple[ContactCard, ...]
