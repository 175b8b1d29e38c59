"""What subscribers see: one event class for each kind of thing that a provider reports.

Events are a closed set: each is final and one level under `Event`.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Generic, final

import attrs

from bridge.model.content import ContentT_co, ProviderError, Template
from bridge.model.frozen import own_copies, quick_init
from bridge.model.parties import Conversation, JsonValue, Party


class Direction(StrEnum):
    """Whether a message comes to the business or goes out from it."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Origin(StrEnum):
    """What produced a message: a user, an agent, an API call, the business's app, an import.

    `bridge` is for those that were sent through this bridge.
    """

    USER = "user"
    AGENT = "agent"
    API = "api"
    APP = "app"
    HISTORY = "history"
    BRIDGE = "bridge"


class Forwarded(StrEnum):
    """How far a message has travelled; `often` is the provider's own judgement."""

    NO = "no"
    ONCE = "once"
    OFTEN = "often"


class Status(StrEnum):
    """Where a message of ours stands.

    accepted < sent < delivered < read < played; failed and expired stand aside and are
    overtaken by delivered and what follows it. `deleted` ends a message that was seen.
    `unknown` is a word that is not documented: `StatusChange.provider_status` holds it.
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
class Owner:
    """A responder that answers a conversation, in the provider's own words."""

    app_id: str | None = None
    app_role: str | None = None
    business_id: str | None = None
    role: str | None = None


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


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Intent:
    """What the caller asked for with a message that is sent through the bridge.

    `key` names the intent: what is sent again under the same key is not sent twice. The message
    goes out at `not_before` at the earliest, and is given up at `expires_at`. `otherwise` goes in
    its place where the provider takes a template only. `fallback` names the ways out that are tried
    next, in this order, where the user cannot be reached. What is `forced` goes also to a user who
    has opted out. A text that goes in several messages has a `part` in each. `begun_by` names the
    run of a bridge that sends the message as soon as it is durable; no other one knows whether it
    has gone.
    """

    key: str
    not_before: datetime | None = None
    expires_at: datetime | None = None
    otherwise: Template | None = None
    fallback: tuple[str, ...] = ()
    forced: bool | None = None
    part: int = 1
    begun_by: str | None = None


@own_copies("raw")
@attrs.frozen(kw_only=True)
class Event:
    """What all events say; subscribe to this class to get every one of them.

    `key` names what happened: the same thing gives the same key whichever callback, batch,
    retry or process carried it. `source` is the configured adapter's name. `account` is the
    business's stable id on the channel, or None where a callback does not tell.
    `domain` is the trust domain of its adapter: nothing of one domain is taken for, tied to or
    moved by anything of another, and `key` and the conversation's id begin with it and a slash.
    None stands for a journal that is used without a bridge.
    `occurred_at` is the provider's time, `received_at` ours. `stale` is True for an event that is
    dated so far back (`max_age` of its adapter) that it may have been published before, and
    forgotten. `raw` is the provider's item; each access returns a copy, so that no reader changes
    what others get.
    """

    kind: ClassVar[str] = "event"

    key: str
    source: str
    domain: str | None = None
    channel: str
    account: str | None = None
    occurred_at: datetime
    received_at: datetime
    stale: bool | None = None
    raw: JsonValue = attrs.field(repr=False)


@final
@quick_init
@attrs.frozen(kw_only=True)
class Message(Event, Generic[ContentT_co]):
    """A user or the business said something.

    `aliases` are the same message's ids in another id space, which `id_space` names. Where there
    are no aliases, `id_space` is the space of `message_id` itself; None is the channel's own.
    `settle` is how many seconds the journal waits for a fuller account of the same message before
    it publishes this one; None where none is expected, and once a fuller account has come.
    `completes` is the key of a message that was published before with less than is known now.
    `owned` is False for the copy of a message in a conversation that another responder answers.
    `newly_owned` is True where what `completes` names was such a copy, and this one is not.
    `newly_live` is True where what `completes` names was imported, and this one was told live: its
    `origin` is no longer "history". `history_status` is where an imported message stood.
    `reply_until` is until when a free-form message may answer this one; None where the channel has
    no such limit. `intent` is set where the message was sent through the bridge: then `message_id`
    is our own.
    """

    kind: ClassVar[str] = "message"

    message_id: str
    aliases: tuple[str, ...] = ()
    id_space: str | None = None
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
    owned: bool = True
    history_status: Status | None = None
    settle: float | None = None
    completes: str | None = None
    newly_owned: bool | None = None
    newly_live: bool | None = None
    reply_until: datetime | None = None
    intent: Intent | None = None


@final
@quick_init
@attrs.frozen(kw_only=True)
class StatusChange(Event):
    """A message of ours moved, or was seen where it already stood.

    `status` is the observation and `provider_status` its original word. `advanced` says
    whether it moved the message on, `current` where the message stands now; both are set by
    the journal, and so are `aliases`, once known. `resolved` is False where `message_id` belongs
    to another id space than the channel's own, which `id_space` names.
    `correlation` is the business's own string, echoed from the request that sent the message; of
    a message that was sent through the bridge it is the key of the intent, set by the journal.
    """

    kind: ClassVar[str] = "status_change"

    message_id: str
    aliases: tuple[str, ...] = ()
    id_space: str | None = None
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
@own_copies("details")
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
    """The user opted in or out; `scope` says of what, None meaning everything.

    `reason` is the provider's own word for why.
    """

    kind: ClassVar[str] = "consent_change"

    party: Party
    granted: bool
    scope: str | None = None
    reason: str | None = None
    conversation: Conversation | None = None


@final
@quick_init
@own_copies("context")
@attrs.frozen(kw_only=True)
class Handover(Event):
    """A conversation was handed from one responder to another.

    `owned` says whether it is ours to answer from then on, None where that is not told.
    `reason` is the provider's word for what happened, `metadata` what the other responder
    passed on, and `context` the provider's account of the conversation so far.
    """

    kind: ClassVar[str] = "handover"

    party: Party
    conversation: Conversation
    previous: Owner | None = None
    new: Owner | None = None
    owned: bool | None = None
    reason: str | None = None
    metadata: str | None = None
    context: JsonValue = None


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
@own_copies("details")
@attrs.frozen(kw_only=True)
class Notice(Event):
    """Anything else that a provider tells an account; `topic` is its word for it.

    `party` and `conversation` say which user it is about, if it is about one, as a call is.
    `reply_until` is until when a free-form message may go since then, as for a message.
    """

    kind: ClassVar[str] = "notice"

    topic: str
    details: JsonValue = None
    party: Party | None = None
    conversation: Conversation | None = None
    reply_until: datetime | None = None


@final
@quick_init
@attrs.frozen(kw_only=True)
class Unrecognized(Event):
    """Authentic, but unreadable.

    `reason` says what is wrong and `path` where in the body. `raw` is a whole callback body,
    with an item's sound neighbours left out, so that a repaired adapter can parse it again.
    """

    kind: ClassVar[str] = "unrecognized"

    reason: str
    path: str | None = None


EVENT_CLASSES: tuple[type[Event], ...] = (
    Message,
    StatusChange,
    TemplateChange,
    ConsentChange,
    Handover,
    Typing,
    Notice,
    Unrecognized,
)
"""Every kind of event there is."""
