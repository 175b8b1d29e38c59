"""What subscribers remember of conversations, as engines keep it."""

from __future__ import annotations

from typing import Self, final

import attrs
import orjson


@final
@attrs.frozen(kw_only=True)
class State:
    """What is remembered of one conversation under one name; `value` is a JSON object.

    `expires_at` is in seconds since the epoch. An engine may keep it for a while longer.
    """

    conversation: str
    name: str
    value: bytes
    expires_at: float

    def encode(self) -> bytes:
        """Write all of it as one line of JSON."""
        fields = attrs.asdict(self)
        return orjson.dumps(fields | {"value": orjson.Fragment(self.value)})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote."""
        fields = orjson.loads(data)
        return cls(**fields | {"value": orjson.dumps(fields["value"])})
