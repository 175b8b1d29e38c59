"""What a message holds: a closed set of contents, and the values they are made of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, TypeAlias, final, get_args

import attrs
from typing_extensions import TypeVar

from bridge.model.contacts import Contacts
from bridge.model.frozen import own_copies, quick_init
from bridge.model.kinds import MediaKind
from bridge.model.masking import discreet
from bridge.model.parties import JsonValue, Party


class ChoiceSource(StrEnum):
    """What the user picked from."""

    BUTTON = "button"
    LIST = "list"
    SUGGESTION = "suggestion"
    ACTION = "action"
    CATALOG = "catalog"


class SystemKind(StrEnum):
    """What changed about a user; `other` keeps its word in the event's `raw`."""

    NUMBER = "number"
    USER_ID = "user_id"
    IDENTITY = "identity"
    OTHER = "other"


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class ProviderError:
    """An error in the provider's own words; `code` is a string so that every provider's fits."""

    code: str | None = None
    title: str | None = None
    details: str | None = None
    href: str | None = None


@final
@quick_init
@attrs.frozen(weakref_slot=False)
class Text:
    """Words: `Text("hello")`."""

    kind: ClassVar[str] = "text"

    text: str


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Thumbnail:
    """A small picture that stands for a media file."""

    url: str | None = None
    mime_type: str | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Media:
    """A file. `sha256` is hexadecimal, `size` in bytes, `duration` in seconds.

    After `expires_at` the provider no longer gives the file out under its `media_id`.
    """

    kind: ClassVar[str] = "media"

    media: MediaKind
    url: str | None = None
    media_id: str | None = None
    mime_type: str | None = None
    sha256: str | None = None
    size: int | None = None
    filename: str | None = None
    caption: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    animated: bool | None = None
    expires_at: datetime | None = None
    thumbnail: Thumbnail | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Location:
    """A place, in degrees (WGS 84); not necessarily where the user is."""

    kind: ClassVar[str] = "location"

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None
    url: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Choice:
    """The user picked something that was offered.

    `id` is what a bot switches on (payload, postback, a product's id), `title` what the user saw.
    `card`, `suggestion` (both counted from 0) and `template` say where it was shown.
    """

    kind: ClassVar[str] = "choice"

    source: ChoiceSource
    id: str | None = None
    title: str | None = None
    description: str | None = None
    card: int | None = None
    suggestion: int | None = None
    template: str | None = None


@final
@quick_init
@own_copies("data")
@attrs.frozen(kw_only=True, weakref_slot=False)
class Form:
    """A flow that the user filled in.

    `data` holds the answers; where they are not a JSON object, `response` holds them as sent.
    """

    kind: ClassVar[str] = "form"

    name: str | None = None
    body: str | None = None
    data: dict[str, JsonValue] | None = None
    response: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Reaction:
    """An emoji put on a message; None takes it back."""

    kind: ClassVar[str] = "reaction"

    message_id: str
    emoji: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class OrderItem:
    """One line of an order; `price` is for one piece, exact."""

    product_id: str | None = None
    quantity: int | None = None
    price: Decimal | None = None
    currency: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Order:
    """A basket that the user sent off."""

    kind: ClassVar[str] = "order"

    catalog_id: str | None = None
    text: str | None = None
    items: tuple[OrderItem, ...] = ()


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class TemplateParameter:
    """One value filled into a template; `index` counts buttons from 0.

    `name` is set where the template names its parameters; otherwise their order counts.
    `media` is the file that fills a header.
    """

    component: str | None = None
    type: str | None = None
    value: str | None = None
    sub_type: str | None = None
    index: int | None = None
    name: str | None = None
    media: Media | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Template:
    """An outbound template message; `body` is the template's text as the provider gives it.

    To send one, give its `name`, its `language` and the values of its placeholders.
    """

    kind: ClassVar[str] = "template"

    template_id: str | None = None
    name: str | None = None
    language: str | None = None
    category: str | None = None
    body: str | None = None
    parameters: tuple[TemplateParameter, ...] = ()


# The next five are what a business sends. People write them, so the first fields go without
# their names, and their collections may be given as lists.


@final
@attrs.frozen(weakref_slot=False)
class Option:
    """One thing to pick from a menu: what a bot gets back as `Choice.id`, and what the user sees.

    With one of `url`, `phone` and `location` it is acted on by the user's device instead.
    Options of one `section` stand together under its name, where the channel shows sections.
    """

    __repr__ = discreet

    id: str
    title: str
    description: str | None = attrs.field(default=None, kw_only=True)
    section: str | None = attrs.field(default=None, kw_only=True)
    url: str | None = attrs.field(default=None, kw_only=True)
    phone: str | None = attrs.field(default=None, kw_only=True)
    location: Location | None = attrs.field(default=None, kw_only=True)


def _options(given: Iterable[Option]) -> tuple[Option, ...]:
    return tuple(given)


@final
@attrs.frozen(weakref_slot=False)
class Menu:
    """A text and options to pick from; `media` is shown above the text.

    `button` is the label that opens the options where the channel folds them away.
    """

    kind: ClassVar[str] = "menu"
    __repr__ = discreet

    text: str
    options: tuple[Option, ...] = attrs.field(converter=_options, kw_only=True)
    header: str | None = attrs.field(default=None, kw_only=True)
    footer: str | None = attrs.field(default=None, kw_only=True)
    media: Media | None = attrs.field(default=None, kw_only=True)
    button: str | None = attrs.field(default=None, kw_only=True)


def _cards(given: Iterable[Menu]) -> tuple[Menu, ...]:
    return tuple(given)


@final
@attrs.frozen(weakref_slot=False)
class Carousel:
    """Cards side by side, each with its own options; `text` stands above all of them."""

    kind: ClassVar[str] = "carousel"
    __repr__ = discreet

    cards: tuple[Menu, ...] = attrs.field(converter=_cards)
    text: str | None = attrs.field(default=None, kw_only=True)


@final
@own_copies("body")
@attrs.frozen(weakref_slot=False)
class Native:
    """A provider's own body. The sender adds who it is for where the body does not say it."""

    kind: ClassVar[str] = "native"
    __repr__ = discreet

    body: dict[str, JsonValue]


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Receipt:
    """Tell the user that their message was read, that an answer is being typed, or both."""

    kind: ClassVar[str] = "receipt"

    message_id: str | None = None
    typing: bool = False


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Edit:
    """An earlier message now reads differently."""

    kind: ClassVar[str] = "edit"

    message_id: str
    content: Content


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Deletion:
    """An earlier message was taken back."""

    kind: ClassVar[str] = "deletion"

    message_id: str


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class System:
    """The channel reports a change of the user's number, id or identity.

    `previous` and `current` are the two values of what changed. `before` and `after` hold all
    identities of the user that the callback names: a new number may come with a new id.
    """

    kind: ClassVar[str] = "system"

    change: SystemKind
    body: str | None = None
    previous: str | None = None
    current: str | None = None
    before: Party | None = None
    after: Party | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class CallPermission:
    """The user answered a request to be called."""

    kind: ClassVar[str] = "call_permission"

    granted: bool
    permanent: bool | None = None
    expires_at: datetime | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Unsupported:
    """A message whose content could not be shown, by the provider or by us.

    `provider_type` is the provider's word for what it was, where it gave one, and `text` the words
    that it gave in place of the content.
    """

    kind: ClassVar[str] = "unsupported"

    provider_type: str | None = None
    text: str | None = None
    error: ProviderError | None = None


Content: TypeAlias = (
    Text
    | Media
    | Location
    | Contacts
    | Choice
    | Form
    | Reaction
    | Order
    | Template
    | Menu
    | Carousel
    | Native
    | Receipt
    | Edit
    | Deletion
    | System
    | CallPermission
    | Unsupported
)
"""What a message may hold."""

ContentT_co = TypeVar("ContentT_co", bound=Content, covariant=True, default=Content)
"""What one message holds, to a type checker: `Message[Text]` is a message that holds a text."""


CONTENT_CLASSES: tuple[type[Content], ...] = get_args(Content)
"""Every kind of content there is."""
