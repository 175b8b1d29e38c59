"""A unified messaging normalizer and event bus for WhatsApp, RCS and INCS callbacks.

Write subscribers against the model; `Bridge` brings the events to them::

    bridge = Bridge.from_toml("config.toml")

    @bridge.on(Message, content=Text)
    async def greet(message: Message[Text]) -> None: ...
"""

from typing import TYPE_CHECKING

from bridge import model
from bridge.process.lazy import lazily

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
        "errors model model.codec adapter adapter.signing settings "
        "journal.protocol journal.memory journal.sqlite "
        "delivery.subscriber delivery.bus runtime ingress.responses",
    )

__all__ = [
    "Adapter",
    "BodyRefused",
    "Bridge",
    "BridgeError",
    "Bus",
    "Callback",
    "CodecError",
    "ConfigurationError",
    "DeliverySettings",
    "Drop",
    "Fault",
    "Journal",
    "JournalError",
    "KeyConflict",
    "MalformedBody",
    "MemoryJournal",
    "MethodRefused",
    "NotAuthentic",
    "NotOwner",
    "NotRunning",
    "NotTaken",
    "OptedOut",
    "Parsed",
    "Problem",
    "Response",
    "RetryIn",
    "Sample",
    "SampleSource",
    "Scope",
    "Secret",
    "ServerSettings",
    "Settings",
    "SignedRequest",
    "SqliteJournal",
    "Start",
    "Stop",
    "Subscriber",
    "Unfetchable",
    "UnknownAdapter",
    "Unreadable",
    "Unsendable",
    "Verified",
    "WindowClosed",
    "decode",
    "encode",
    "from_dict",
    "response_to",
    "to_dict",
]
__all__ += model.__all__
