"""What the laws of the three adapters share beside the bodies that everybody may use."""

from __future__ import annotations

import json
from typing import Any

from bridge.testing.bodies import disturbed, json_values

__all__ = ["disturbed", "json_values", "payload"]


def payload(body: Any) -> bytes:
    """Write a body as JSON that may also hold what our own reader has to mend."""
    return json.dumps(body).encode()
