"""A unified messaging normalizer and event bus for WhatsApp, RCS and INCS callbacks.

Write subscribers against the model; `Bridge` brings the events to them::

    bridge = Bridge.from_toml("config.toml")

    @bridge.on(Message, content=Text)
    async def greet(message: Message[Text]) -> None: ...
"""

from importlib import import_module
from typing import TYPE_CHECKING

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
    from bridge.delivery.bus import Bus, Subscriber
    from bridge.errors import (
        BodyRefused,
        BridgeError,
        CodecError,
        ConfigurationError,
        Fault,
        JournalError,
        MalformedBody,
        MethodRefused,
        NotAuthentic,
        NotRunning,
        Problem,
        UnknownAdapter,
        Unreadable,
    )
    from bridge.ingress.web import response_to
    from bridge.journal.memory import MemoryJournal
    from bridge.journal.protocol import Journal, Start
    from bridge.journal.sqlite import SqliteJournal
    from bridge.model import (
        CallPermission,
        Choice,
        ChoiceSource,
        ConsentChange,
        ContactAddress,
        ContactCard,
        ContactEmail,
        ContactPhone,
        Contacts,
        ContactUrl,
        Content,
        Conversation,
        ConversationKind,
        Deletion,
        Direction,
        Edit,
        Event,
        Form,
        Forwarded,
        JsonValue,
        Location,
        Media,
        MediaKind,
        Message,
        Notice,
        Order,
        OrderItem,
        Organisation,
        Origin,
        Party,
        Pricing,
        Product,
        ProviderError,
        Reaction,
        Referral,
        ReplyTo,
        Role,
        Status,
        StatusChange,
        System,
        SystemKind,
        Template,
        TemplateAspect,
        TemplateChange,
        TemplateParameter,
        Text,
        Thumbnail,
        Typing,
        Unrecognized,
        Unsupported,
    )
    from bridge.model.codec import decode, encode, from_dict, to_dict
    from bridge.runtime import Bridge
    from bridge.settings import DeliverySettings, ServerSettings, Settings
else:
    # A name is imported when it is first used: a command needs few of them, and starts faster.
    def __getattr__(name: str) -> object:
        if name not in __all__:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        for module in map(import_module, _MODULES):
            if hasattr(module, name):
                globals()[name] = value = getattr(module, name)
                return value
        raise AssertionError(name)

    def __dir__() -> list[str]:
        return __all__


_MODULES = (
    "bridge.errors",
    "bridge.model",
    "bridge.model.codec",
    "bridge.adapter",
    "bridge.adapter.signing",
    "bridge.settings",
    "bridge.journal.protocol",
    "bridge.journal.memory",
    "bridge.journal.sqlite",
    "bridge.delivery.bus",
    "bridge.ingress.web",
    "bridge.runtime",
)

__all__ = [
    "Adapter",
    "BodyRefused",
    "Bridge",
    "BridgeError",
    "Bus",
    "CallPermission",
    "Callback",
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
    "Edit",
    "Event",
    "Fault",
    "Form",
    "Forwarded",
    "Journal",
    "JournalError",
    "JsonValue",
    "Location",
    "MalformedBody",
    "Media",
    "MediaKind",
    "MemoryJournal",
    "Message",
    "MethodRefused",
    "NotAuthentic",
    "NotRunning",
    "Notice",
    "Order",
    "OrderItem",
    "Organisation",
    "Origin",
    "Parsed",
    "Party",
    "Pricing",
    "Problem",
    "Product",
    "ProviderError",
    "Reaction",
    "Referral",
    "ReplyTo",
    "Response",
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
    "UnknownAdapter",
    "Unreadable",
    "Unrecognized",
    "Unsupported",
    "Verified",
    "decode",
    "encode",
    "from_dict",
    "response_to",
    "to_dict",
]
