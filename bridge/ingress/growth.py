"""How much a body may add to the journal.

An event takes more room than its part of the body: real bodies grow about fivefold. A body of
tiny items would grow a hundredfold, and one whose name a thousand events repeat a thousandfold.
Meta sends up to 1000 updates in one body, of 150 bytes each or more; these fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from bridge.errors import CodecError
from bridge.model import Event, Unrecognized
from bridge.model.codec import encode

_TIMES: Final = 8
_CONSTANT: Final = 1 << 20  # bytes, however small the body
_EACH: Final = 1024  # bytes that a journal needs for an event beside its JSON
_MOST: Final = 4
"""An event is at most this many times as large as its body, unless an adapter has a fault."""
_FIELDS: Final = 2048  # bytes of an event's fields beside those of the body

FEW: Final = _TIMES // _MOST
"""Up to this many events of one body never take too much room."""

TOO_LARGE: Final = "the events of this body would take too much room: it is kept whole"


def bounded(events: tuple[Event, ...], size: int, whole: Unrecognized) -> tuple[Event, ...]:
    """Return the events of a body of `size` bytes, or what is kept instead of them.

    Where they would take too much room, `whole` replaces all unrecognized events; where the rest
    still takes too much, it replaces every event.
    """
    if _fit(events, size):
        return events
    readable = [event for event in events if type(event) is not Unrecognized]
    if len(readable) < len(events) and _fit((*readable, whole), size):
        return (*readable, whole)
    return (whole,)


def may_grow(events: Sequence[Event], size: int) -> bool:
    """Return whether events have to be measured: those of a small body need not be."""
    return len(events) * (_MOST * size + _FIELDS + _EACH) > _TIMES * size + _CONSTANT


def _fit(events: Iterable[Event], size: int) -> bool:
    room = _TIMES * size + _CONSTANT
    for event in events:
        try:
            room -= len(encode(event)) + _EACH
        except CodecError:
            return True  # which `append` reports
        if room < 0:
            return False
    return True
