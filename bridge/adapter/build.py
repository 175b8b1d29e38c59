"""Make the values that an adapter returns: `build.message(...)` for `Message(...)`, and so on.

An adapter makes every event, content and party by the function here that has its class's name.
It takes the same keywords, a type checker knows them, and it needs half the time of the class
(`docs/performance.md`). Everywhere else the class itself is called. A new field of a class is
known here at once.

`Scope` holds what all events of one callback share.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, final

import attrs

from bridge import model
from bridge.adapter.contract import Parsed, Verified
from bridge.adapter.paths import Narrow, Step, cut, dotted
from bridge.adapter.payload import digest, sha256, sorted_json, tells_time
from bridge.adapter.unread import Unread
from bridge.errors import Unreadable
from bridge.model import (
    Content,
    Conversation,
    ConversationKind,
    Deletion,
    Edit,
    JsonValue,
    Notice,
    Party,
    Role,
    Unrecognized,
    Unsupported,
)
from bridge.model.frozen import builder, quick_init
from bridge.model.keys import (
    conversation_id,
    deletion_key,
    event_key,
    group_conversation_id,
    hour_of,
    message_key,
    unshown_key,
)

call_permission: Final = builder(model.CallPermission)
carousel: Final = builder(model.Carousel, converted=True)
choice: Final = builder(model.Choice)
consent_change: Final = builder(model.ConsentChange)
contact_address: Final = builder(model.ContactAddress)
contact_card: Final = builder(model.ContactCard)
contact_email: Final = builder(model.ContactEmail)
contact_phone: Final = builder(model.ContactPhone)
contact_url: Final = builder(model.ContactUrl)
contacts: Final = builder(model.Contacts)
conversation: Final = builder(model.Conversation)
deletion: Final = builder(model.Deletion)
edit: Final = builder(model.Edit)
form: Final = builder(model.Form)
handover: Final = builder(model.Handover)
location: Final = builder(model.Location)
media: Final = builder(model.Media)
menu: Final = builder(model.Menu, converted=True)
message: Final = builder(model.Message)
native: Final = builder(model.Native)
notice: Final = builder(model.Notice)
option: Final = builder(model.Option)
order: Final = builder(model.Order)
order_item: Final = builder(model.OrderItem)
organisation: Final = builder(model.Organisation)
owner: Final = builder(model.Owner)
party: Final = builder(model.Party)
pricing: Final = builder(model.Pricing)
product: Final = builder(model.Product)
provider_error: Final = builder(model.ProviderError)
reaction: Final = builder(model.Reaction)
receipt: Final = builder(model.Receipt)
referral: Final = builder(model.Referral)
reply_to: Final = builder(model.ReplyTo)
status_change: Final = builder(model.StatusChange)
system: Final = builder(model.System)
template: Final = builder(model.Template)
template_change: Final = builder(model.TemplateChange)
template_parameter: Final = builder(model.TemplateParameter)
text: Final = builder(model.Text)
thumbnail: Final = builder(model.Thumbnail)
typing: Final = builder(model.Typing)
unrecognized: Final = builder(model.Unrecognized)
unsupported: Final = builder(model.Unsupported)

parsed: Final = builder(Parsed)
verified: Final = builder(Verified)

_BUSINESS: Final = Party(role=Role.BUSINESS)
_TOO_MANY: Final = Unreadable("", "more items cannot be read: this is the whole body, kept once")


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Scope:
    """What all events of one callback share: its adapter, channel, account, time and body.

    `body` is the whole body, or its text where it is no JSON object that can be kept. `narrow`
    leaves out of it what belongs to other items than an unreadable one (see `paths.cut`).
    `unread` is one for all scopes of the body; without it every unreadable item is kept by itself.
    """

    source: str
    channel: str
    account: str | None = None
    business: Party = _BUSINESS
    received_at: datetime
    body: JsonValue = attrs.field(repr=False)
    narrow: Narrow | None = attrs.field(default=None, eq=False, repr=False)
    unread: Unread | None = attrs.field(default=None, eq=False, repr=False)

    def identity(self, *parts: JsonValue) -> str:
        """Return an identity for an item without an id: a digest of the item.

        Where nothing in it says when it was, the hour of receipt counts too: the same item
        twice within an hour is taken for a repetition, and is new later on.
        """
        return self._timed(digest([self.account, *parts]), list(parts))

    def _timed(self, told: str, item: JsonValue) -> str:
        return told if tells_time(item) else f"{told}/{hour_of(self.received_at)}"

    def message_key(
        self,
        content: Content,
        message_id: str,
        sender: str | None = None,
        id_space: str | None = None,
    ) -> str:
        """Return the key of a message that holds `content`; the rest as for `keys.message_key`.

        An item that could not be shown has a key of its own: the message itself may still come.
        `id_space` is where the id is unique, if that is not the channel.
        """
        if type(content) is Deletion and content.message_id == message_id:
            return deletion_key(id_space or self.channel, message_id)  # not the message's own
        key = message_key(id_space or self.channel, message_id, sender)
        shown = content.content if type(content) is Edit else content
        return key if type(shown) is not Unsupported else unshown_key(key)

    def conversation(self, identity: str, provider_id: str | None = None) -> Conversation:
        """Return the conversation with one user; `identity` as for `keys.conversation_id`."""
        return conversation(
            id=conversation_id(self.channel, self.account, identity), provider_id=provider_id
        )

    def group(self, group_id: str, provider_id: str | None = None) -> Conversation:
        """Return the conversation in a group; `provider_id` is the group's id unless given."""
        return conversation(
            id=group_conversation_id(self.channel, self.account, group_id),
            kind=ConversationKind.GROUP,
            provider_id=group_id if provider_id is None else provider_id,
        )

    def group_of(self, message_id: str) -> Conversation:
        """Return the conversation of a message that went to a group of which nothing is told."""
        return conversation(
            id=group_conversation_id(self.channel, self.account, f"message:{message_id}"),
            kind=ConversationKind.GROUP,
        )

    def notice(
        self,
        topic: str,
        details: JsonValue,
        identity: str,
        *,
        raw: JsonValue = None,
        occurred_at: datetime | None = None,
    ) -> Notice:
        """Return the event for what the model has no other event for.

        `identity` tells it apart from others of its channel: the provider's id, or `identity`.
        `raw` is `details` itself unless it is given.
        """
        return notice(
            key=event_key("notice", self.channel, identity),
            source=self.source,
            channel=self.channel,
            account=self.account,
            occurred_at=occurred_at or self.received_at,
            received_at=self.received_at,
            raw=details if raw is None else raw,
            topic=topic,
            details=details,
        )

    def unrecognized(self, fault: Unreadable, *item: Step) -> Unrecognized:
        """Return the event for what cannot be read.

        `item` leads from the body to the unreadable item; the body is kept without the item's
        neighbours. `fault.path` goes on from there. Where a body has too many such items, the
        event is the same for all further ones, and keeps the whole body (see `Unread`).
        """
        unread = self.unread
        if unread is not None and unread.whole is not None:
            return unread.whole
        raw = cut(self.body, item, self.narrow)
        written = sorted_json(raw)
        if unread is not None and not unread.takes(self.body, len(written)):
            unread.whole = self._unread(self.body, sorted_json(self.body), _TOO_MANY)
            return unread.whole
        return self._unread(raw, written, fault.below(dotted(item)))

    def _unread(self, raw: JsonValue, written: bytes, fault: Unreadable) -> Unrecognized:
        return unrecognized(
            key=event_key("unrecognized", self.channel, self._timed(sha256(written), raw)),
            source=self.source,
            channel=self.channel,
            account=self.account,
            occurred_at=self.received_at,
            received_at=self.received_at,
            raw=raw,
            reason=fault.reason,
            path=fault.path or None,
        )


scope: Final = builder(Scope)
