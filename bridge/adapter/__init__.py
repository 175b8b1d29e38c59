"""Everything that an adapter's author imports, beside the model and the errors.

The contract is here. `payload` reads untrusted JSON, `reading` what must be there, `build` makes
events and what they hold, and `signing` compares what proves a callback. `capabilities` declares
what a channel carries, and `fitting` makes a message fit it.
"""

from typing import TYPE_CHECKING

from bridge.process.lazy import lazily

if TYPE_CHECKING:
    from bridge.adapter.build import *
    from bridge.adapter.capabilities import *
    from bridge.adapter.contract import *
    from bridge.adapter.media import *
    from bridge.adapter.sending import *
else:
    __getattr__, __dir__ = lazily(__name__, "contract build capabilities media sending")

__all__ = [
    "ACKNOWLEDGED",
    "Accepted",
    "Act",
    "Adapter",
    "AdapterClass",
    "Admitting",
    "Callback",
    "Capabilities",
    "CarouselForm",
    "ChannelSource",
    "Control",
    "Controlling",
    "MediaForm",
    "MediaSource",
    "MenuForm",
    "Outcome",
    "Pace",
    "Parsed",
    "Probe",
    "Probing",
    "Receipts",
    "Refused",
    "Remedy",
    "Repeating",
    "Request",
    "Response",
    "Route",
    "Sample",
    "SampleSource",
    "Scope",
    "Sender",
    "SenderSource",
    "ServiceAccount",
    "SignedRequest",
    "Signing",
    "Upload",
    "Uploading",
    "Verified",
    "Window",
    "WindowSource",
]
