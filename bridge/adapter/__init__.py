"""Everything that an adapter's author imports, beside the model and the errors.

The contract is here. `payload` reads untrusted JSON, `reading` what must be there, `build` makes
events and what they hold, and `signing` compares what proves a callback.
"""

from typing import TYPE_CHECKING

from bridge.lazy import lazily

if TYPE_CHECKING:
    from bridge.adapter.build import Scope
    from bridge.adapter.contract import (
        ACKNOWLEDGED,
        Adapter,
        AdapterClass,
        Callback,
        ChannelSource,
        Parsed,
        Response,
        Sample,
        SampleSource,
        SignedRequest,
        Verified,
    )
else:
    __getattr__, __dir__ = lazily(
        __name__,
        (
            "bridge.adapter.contract",
            "bridge.adapter.build",
        ),
    )

__all__ = [
    "ACKNOWLEDGED",
    "Adapter",
    "AdapterClass",
    "Callback",
    "ChannelSource",
    "Parsed",
    "Response",
    "Sample",
    "SampleSource",
    "Scope",
    "SignedRequest",
    "Verified",
]
