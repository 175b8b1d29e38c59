"""What subscribers see: one channel-agnostic model of everything a provider tells.

Events are a closed set: each is final and stands one level under `Event`.
All values are frozen; collections are tuples; times are aware and in UTC.
Nothing here knows how a provider spells a field, or how our own JSON is written.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Generic, TypeAlias, final

import attrs
from typing_extensions import TypeVar

from bridge.frozen import quick_init

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
"""Anything that a JSON text can hold, as parsed."""


class Role(StrEnum):
    """Whose side a party is on."""

    USER = "user"
    BUSINESS = "business"
    AGENT = "agent"


class Direction(StrEnum):
    """Whether a message comes to the business or goes out from it."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Origin(StrEnum):
    """What produced a message: a user, an agent, an API call, the business's app, an import."""

    USER = "user"
    AGENT = "agent"
    API = "api"
    APP = "app"
    HISTORY = "history"


class ConversationKind(StrEnum):
    """How many take part in a conversation."""

    DIRECT = "direct"
    GROUP = "group"


class Forwarded(StrEnum):
    """How far a message has travelled; `often` is the provider's own judgement."""

    NO = "no"
    ONCE = "once"
    OFTEN = "often"


class MediaKind(StrEnum):
    """What a media file is to the reader."""

    IMAGE = "image"
    AUDIO = "audio"
    VOICE = "voice"
    VIDEO = "video"
    DOCUMENT = "document"
    STICKER = "sticker"


class ChoiceSource(StrEnum):
    """What the user picked from."""

    BUTTON = "button"
    LIST = "list"
    SUGGESTION = "suggestion"
    ACTION = "action"


class SystemKind(StrEnum):
    """What changed about a user; `other` keeps its word in the event's `raw`."""

    NUMBER = "number"
    USER_ID = "user_id"
    IDENTITY = "identity"
    OTHER = "other"


class Status(StrEnum):
    """Where a message of ours stands.

    accepted < sent < delivered < read < played; failed and expired stand aside and are
    overtaken by delivered and what follows it. `deleted` ends a message that was seen.
    `unknown` is a word nobody has documented: `StatusChange.provider_status` holds it.
    """

    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"
    EXPIRED = "expired"
    DELETED = "deleted"
    UNKNOWN = "unknown"


class TemplateAspect(StrEnum):
    """Which side of a template changed."""

    STATUS = "status"
    CATEGORY = "category"
    QUALITY = "quality"
    COMPONENTS = "components"


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Party:
    """Somebody who takes part in a conversation.

    `phone` is E.164 with its plus sign, or None: it is never required and never made up.
    `user_id` is the provider's own name for a party (a BSUID, an agent account).
    """

    phone: str | None = None
    user_id: str | None = None
    name: str | None = None
    username: str | None = None
    role: Role = Role.USER


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Conversation:
    """Where a message belongs: events with one `id` are delivered one at a time, in order.

    `id` is ours, made of channel, account and the user's identity, so that every callback
    family names the same one; `provider_id` is the provider's own number for it.
    """

    id: str
    kind: ConversationKind = ConversationKind.DIRECT
    provider_id: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class ReplyTo:
    """The message that this one answers, as far as the provider tells."""

    message_id: str | None = None
    sender: Party | None = None
    text: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Referral:
    """The advertisement or post that led the user here."""

    source_type: str | None = None
    source_id: str | None = None
    source_url: str | None = None
    headline: str | None = None
    body: str | None = None
    media_type: str | None = None
    image_url: str | None = None
    video_url: str | None = None
    thumbnail_url: str | None = None
    click_id: str | None = None
    welcome_text: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Product:
    """The catalogue item that a message asks about."""

    catalog_id: str | None = None
    product_id: str | None = None


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
@attrs.frozen(kw_only=True, weakref_slot=False)
class Pricing:
    """What the provider charges for a message, and the billing conversation it falls in."""

    billable: bool | None = None
    model: str | None = None
    type: str | None = None
    category: str | None = None
    conversation_id: str | None = None
    conversation_origin: str | None = None
    conversation_expires_at: datetime | None = None


# --- content -----------------------------------------------------------------------------


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Text:
    """Words."""

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
    """A file. `sha256` is hexadecimal, `size` in bytes, `duration` in seconds."""

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
    """One person's card; every field may be missing."""

    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phones: tuple[ContactPhone, ...] = ()
    emails: tuple[ContactEmail, ...] = ()
    addresses: tuple[ContactAddress, ...] = ()
    urls: tuple[ContactUrl, ...] = ()
    organisation: Organisation | None = None
    birthday: str | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Contacts:
    """Cards that the user shared."""

    kind: ClassVar[str] = "contacts"

    contacts: tuple[ContactCard, ...]


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Choice:
    """The user picked something that was offered.

    `id` is what a bot switches on (payload, postback), `title` what the user saw.
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
    """One value filled into a template; `index` counts buttons from 0."""

    component: str | None = None
    type: str | None = None
    value: str | None = None
    sub_type: str | None = None
    index: int | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Template:
    """An outbound template message; `body` is the template's text as the provider gives it."""

    kind: ClassVar[str] = "template"

    template_id: str | None = None
    name: str | None = None
    language: str | None = None
    category: str | None = None
    body: str | None = None
    parameters: tuple[TemplateParameter, ...] = ()


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
    """The channel reports a change of the user's number, id or identity."""

    kind: ClassVar[str] = "system"

    change: SystemKind
    body: str | None = None
    previous: str | None = None
    current: str | None = None


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

    `provider_type` is the provider's word for what it was, where it gave one.
    """

    kind: ClassVar[str] = "unsupported"

    provider_type: str | None = None
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
    | Edit
    | Deletion
    | System
    | CallPermission
    | Unsupported
)
"""What a message may hold."""

ContentT_co = TypeVar("ContentT_co", bound=Content, covariant=True, default=Content)
"""What one message holds, to a type checker: `Message[Text]` is a message that holds a text."""


# --- events ------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Event:
    """What all events say; subscribe to this class to get every one of them.

    `key` names the happening: the same one gives the same key whichever callback, batch,
    retry or process carried it. `source` is the configured adapter's name. `account` is the
    business's stable id on the channel, or None where a callback does not tell.
    `occurred_at` is the provider's time, `received_at` ours. `raw` is the provider's item.
    """

    kind: ClassVar[str] = "event"

    key: str
    source: str
    channel: str
    account: str | None = None
    occurred_at: datetime
    received_at: datetime
    raw: JsonValue = attrs.field(repr=False)


@final
@quick_init
@attrs.frozen(kw_only=True)
class Message(Event, Generic[ContentT_co]):
    """Somebody said something.

    `aliases` are the same message's ids in other id spaces (INCS's own number).
    """

    kind: ClassVar[str] = "message"

    message_id: str
    aliases: tuple[str, ...] = ()
    direction: Direction
    origin: Origin
    conversation: Conversation
    sender: Party
    recipient: Party
    content: ContentT_co
    reply_to: ReplyTo | None = None
    forwarded: Forwarded = Forwarded.NO
    referral: Referral | None = None
    product: Product | None = None


@final
@quick_init
@attrs.frozen(kw_only=True)
class StatusChange(Event):
    """A message of ours moved, or was seen where it already stood.

    `status` is the observation and `provider_status` its original word. `advanced` says
    whether it moved the message on, `current` where the message stands now; both are set by
    the journal, and so are `aliases`, once known. `resolved` is False where only INCS's own
    number of the message is known.
    `correlation` is the business's own string, echoed from the request that sent the message.
    """

    kind: ClassVar[str] = "status_change"

    message_id: str
    aliases: tuple[str, ...] = ()
    status: Status
    provider_status: str
    error: ProviderError | None = None
    recipient: Party | None = None
    conversation: Conversation | None = None
    pricing: Pricing | None = None
    correlation: str | None = None
    resolved: bool = True
    advanced: bool | None = None
    current: Status | None = None


@final
@quick_init
@attrs.frozen(kw_only=True)
class TemplateChange(Event):
    """A template was approved, recategorised, rescored or edited.

    `effective_at` is set where the change is announced for a later time.
    `details` holds what else the provider says (why it was rejected, the edited components).
    """

    kind: ClassVar[str] = "template_change"

    template_id: str
    template_name: str | None = None
    language: str | None = None
    aspect: TemplateAspect
    value: str | None = None
    previous: str | None = None
    reason: str | None = None
    effective_at: datetime | None = None
    details: JsonValue = None


@final
@quick_init
@attrs.frozen(kw_only=True)
class ConsentChange(Event):
    """The user opted in or out; `scope` says of what, None meaning everything."""

    kind: ClassVar[str] = "consent_change"

    party: Party
    granted: bool
    scope: str | None = None
    conversation: Conversation | None = None


@final
@quick_init
@attrs.frozen(kw_only=True)
class Typing(Event):
    """The user is typing."""

    kind: ClassVar[str] = "typing"

    party: Party
    conversation: Conversation


@final
@quick_init
@attrs.frozen(kw_only=True)
class Notice(Event):
    """Anything else that a provider tells an account; `topic` is its word for it."""

    kind: ClassVar[str] = "notice"

    topic: str
    details: JsonValue = None


@final
@quick_init
@attrs.frozen(kw_only=True)
class Unrecognized(Event):
    """Authentic, but unreadable.

    `reason` says what is wrong and `path` where in the body. `raw` is a whole callback body,
    with an item's sound neighbours left out, so that a mended adapter can parse it again.
    """

    kind: ClassVar[str] = "unrecognized"

    reason: str
    path: str | None = None


EVENT_CLASSES: tuple[type[Event], ...] = (
    Message,
    StatusChange,
    TemplateChange,
    ConsentChange,
    Typing,
    Notice,
    Unrecognized,
)
"""Every kind of event there is."""

CONTENT_CLASSES: tuple[type[Content], ...] = (
    Text,
    Media,
    Location,
    Contacts,
    Choice,
    Form,
    Reaction,
    Order,
    Template,
    Edit,
    Deletion,
    System,
    CallPermission,
    Unsupported,
)
"""Every kind of content there is."""
