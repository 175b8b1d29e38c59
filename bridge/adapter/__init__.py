"""Everything that an adapter's author imports, beside the model and the errors.

The contract is here; `payload` reads untrusted JSON, `signing` compares what proves a callback.
"""

from bridge.adapter.contract import (
    ACKNOWLEDGED,
    Adapter,
    AdapterClass,
    Callback,
    ChannelSource,
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

__all__ = [
    "ACKNOWLEDGED",
    "Adapter",
    "AdapterClass",
    "Callback",
    "ChannelSource",
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
