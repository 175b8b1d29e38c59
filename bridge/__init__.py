"""A unified messaging normalizer and event bus for WhatsApp, RCS and INCS callbacks.

Write subscribers against the model; `Bridge` brings the events to them::

    bridge = Bridge.from_toml("config.toml")

    @bridge.on(Message, content=Text)
    async def greet(message: Message[Text]) -> None: ...
"""

from typing import TYPE_CHECKING

from bridge.lazy import lazily

if TYPE_CHECKING:
    from bridge.adapter import (
        Adapter,
        Callback,
        Parsed,
        Response,
        Sample,
        SampleSource,
        Scope,
        SignedRequest,
        Verified,
    )
    from bridge.adapter.signing import Secret
    from bridge.delivery.bus import Bus
    from bridge.delivery.subscriber import Subscriber
    from bridge.errors import *
    from bridge.ingress.responses import response_to
    from bridge.journal.memory import MemoryJournal
    from bridge.journal.protocol import Journal, Start
    from bridge.journal.sqlite import SqliteJournal
    from bridge.model import *
    from bridge.model.codec import decode, encode, from_dict, to_dict
    from bridge.runtime import Bridge
    from bridge.settings import DeliverySettings, ServerSettings, Settings
else:
    __getattr__, __dir__ = lazily(
        __name__,
        (
            "bridge.errors",
            "bridge.model",
            "bridge.model.codec",
            "bridge.adapter",
            "bridge.adapter.signing",
            "bridge.settings",
            "bridge.journal.protocol",
            "bridge.journal.memory",
            "bridge.journal.sqlite",
            "bridge.delivery.subscriber",
            "bridge.delivery.bus",
            "bridge.runtime",
            "bridge.ingress.responses",
        ),
    )

__all__ = [
    "Adapter",
    "BodyRefused",
    "Bridge",
    "BridgeError",
    "Bus",
    "CallPermission",
    "Callback",
    "Carousel",
    "Choice",
    "ChoiceSource",
    "CodecError",
    "ConfigurationError",
    "ConsentChange",
    "ContactAddress",
    "ContactCard",
    "ContactEmail",
    "ContactPhone",
    "ContactUrl",
    "Contacts",
    "Content",
    "Conversation",
    "ConversationKind",
    "Deletion",
    "DeliverySettings",
    "Direction",
    "Drop",
    "Edit",
    "Event",
    "Fault",
    "Form",
    "Forwarded",
    "Handover",
    "Intent",
    "Journal",
    "JournalError",
    "JsonValue",
    "KeyConflict",
    "Location",
    "MalformedBody",
    "Media",
    "MediaKind",
    "MemoryJournal",
    "Menu",
    "Message",
    "MethodRefused",
    "Native",
    "NotAuthentic",
    "NotOwner",
    "NotRunning",
    "NotTaken",
    "Notice",
    "OptedOut",
    "Option",
    "Order",
    "OrderItem",
    "Organisation",
    "Origin",
    "Owner",
    "Parsed",
    "Party",
    "Pricing",
    "Problem",
    "Product",
    "ProviderError",
    "Reaction",
    "Receipt",
    "Referral",
    "ReplyTo",
    "Response",
    "RetryIn",
    "Role",
    "Sample",
    "SampleSource",
    "Scope",
    "Secret",
    "ServerSettings",
    "Settings",
    "SignedRequest",
    "SqliteJournal",
    "Start",
    "Status",
    "StatusChange",
    "Stop",
    "Subscriber",
    "System",
    "SystemKind",
    "Template",
    "TemplateAspect",
    "TemplateChange",
    "TemplateParameter",
    "Text",
    "Thumbnail",
    "Typing",
    "Unfetchable",
    "UnknownAdapter",
    "Unreadable",
    "Unrecognized",
    "Unsendable",
    "Unsupported",
    "Verified",
    "WindowClosed",
    "decode",
    "encode",
    "from_dict",
    "response_to",
    "to_dict",
]
