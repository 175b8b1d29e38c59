"""One channel-agnostic model of everything a provider reports.

All values are frozen; collections are tuples; times are aware and in UTC.
Nothing here knows how a provider spells a field; `codec` alone spells our own JSON.
"""

from typing import TYPE_CHECKING

from bridge.process.lazy import lazily

if TYPE_CHECKING:
    from bridge.model.contacts import *
    from bridge.model.content import *
    from bridge.model.events import *
    from bridge.model.kinds import *
    from bridge.model.parties import *
else:
    __getattr__, __dir__ = lazily(__name__, "kinds parties contacts content events")

__all__ = [
    "CONTENT_CLASSES",
    "EVENT_CLASSES",
    "CallPermission",
    "Carousel",
    "Choice",
    "ChoiceSource",
    "ConsentChange",
    "ContactAddress",
    "ContactCard",
    "ContactEmail",
    "ContactPhone",
    "ContactUrl",
    "Contacts",
    "Content",
    "ContentT_co",
    "Conversation",
    "ConversationKind",
    "Deletion",
    "Direction",
    "Edit",
    "Event",
    "Form",
    "Forwarded",
    "Handover",
    "Intent",
    "JsonValue",
    "Location",
    "Media",
    "MediaKind",
    "Menu",
    "Message",
    "Native",
    "Notice",
    "Option",
    "Order",
    "OrderItem",
    "Organisation",
    "Origin",
    "Owner",
    "Party",
    "Pricing",
    "Product",
    "ProviderError",
    "Reaction",
    "Receipt",
    "Referral",
    "ReplyTo",
    "Role",
    "Status",
    "StatusChange",
    "System",
    "SystemKind",
    "Template",
    "TemplateAspect",
    "TemplateChange",
    "TemplateParameter",
    "Text",
    "Thumbnail",
    "Typing",
    "Unrecognized",
    "Unsupported",
]
