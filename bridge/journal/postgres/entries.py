"""Entries as rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from zlib import crc32

from bridge.journal.protocol import Entry
from bridge.journal.reading import read_event

COLUMNS: Final = "entries.position, entries.at, entries.lane, entries.reparsed, entries.event"
WIDTH: Final = 5
_new_entry: Final[Callable[..., Entry]] = Entry


def lane_bytes(lane: str) -> bytes:
    """Return a lane as it is kept."""
    return lane.encode("utf-8", "surrogatepass")


def lane_text(lane: bytes) -> str:
    """Return the lane that was kept so."""
    return lane.decode("utf-8", "surrogatepass")


def partition_of(lane: bytes, partitions: int) -> int:
    """Return the partition of a lane, as it is kept."""
    return crc32(lane) % partitions


def read_entry(row: Sequence[Any]) -> Entry:
    """Return the entry of a row that begins with `COLUMNS`."""
    position, at, lane, reparsed, event = row[:WIDTH]
    return _new_entry(
        position=position,
        lane=lane_text(lane),
        event=read_event(event, position, at),
        reparsed=reparsed,
        size=len(event),
    )
