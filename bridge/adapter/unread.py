"""How much of one body is kept for items that cannot be read, one by one."""

from __future__ import annotations

from typing import Final, final

import orjson

from bridge.model import JsonValue, Unrecognized

_MOST: Final = 64 << 10  # bytes, beside the first item, which is part of the body alone
_EACH: Final = 512  # bytes of an event around its item
_SHARE: Final = 16
"""Which part of a body each item counts for at least: to cut one out takes a walk over the body."""


@final
class Unread:
    """Counts what is kept of one body; all scopes of the body share it.

    Each unreadable item is kept with what surrounds it, which many small ones have in common.
    Beyond a limit the body is kept once, as `whole`, and that stands for all further items.
    """

    __slots__ = ("_least", "_left", "whole")

    def __init__(self) -> None:
        self._left: int | None = None
        self._least = 0
        self.whole: Unrecognized | None = None

    def takes(self, body: JsonValue, size: int) -> bool:
        """Return whether one more item of so many bytes is kept by itself."""
        if self._left is None:
            self._left = _MOST
            return True
        if not self._least:
            self._least = len(orjson.dumps(body)) // _SHARE
        self._left -= max(size, self._least) + _EACH
        return self._left >= 0
