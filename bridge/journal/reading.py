"""Events read back from where a journal keeps them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final

import orjson

from bridge.errors import CodecError
from bridge.model import Event, Unrecognized
from bridge.model.codec import decode

_LOG: Final = logging.getLogger("bridge.journal")


def read_event(data: bytes, where: str | int, at: float | None = None) -> Event:
    """Return an event that `encode` wrote; `where` says which one in the log, `at` when it came.

    An event that cannot be decoded any more comes out as `Unrecognized`: it is not lost, and does
    not stop its subscribers.
    """
    try:
        return decode(data)
    except CodecError as error:
        _LOG.error("entry %s cannot be read: %s", where, error)
        reason = str(error)
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError:
        raw = data.decode("utf-8", "replace")
    when = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return Unrecognized(
        key=f"unrecognized/journal/{where}",
        source="journal",
        channel="journal",
        occurred_at=when,
        received_at=when,
        raw=raw,
        reason=reason,
    )
