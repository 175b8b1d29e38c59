"""Everything that an adapter's author imports, beside the model and the errors.

The contract is here; `payload` reads untrusted JSON, `signing` compares what proves a callback.
"""

from typing import TYPE_CHECKING

from bridge.lazy import lazily

if TYPE_CHECKING:
    from bridge.adapter.contract import (
        ACKNOWLEDGED,
        Adapter,
        AdapterClass,
        Callback,
        NewMessage,
        NewScope,
        NewStatusChange,
        Parsed,
        Place,
        Response,
        Sample,
        SampleSource,
        Scope,
        SignedRequest,
        Verified,
        new_message,
        new_scope,
        new_status_change,
    )
else:
    __getattr__, __dir__ = lazily(
        __name__,
        ("bridge.adapter.contract",),
    )

__all__ = [
    "ACKNOWLEDGED",
    "Adapter",
    "AdapterClass",
    "Callback",
    "NewMessage",
    "NewScope",
    "NewStatusChange",
    "Parsed",
    "Place",
    "Response",
    "Sample",
    "SampleSource",
    "Scope",
    "SignedRequest",
    "Verified",
    "new_message",
    "new_scope",
    "new_status_change",
]
