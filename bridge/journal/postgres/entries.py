"""Lanes as they are kept."""

from __future__ import annotations

from zlib import crc32


def lane_bytes(lane: str) -> bytes:
    """Return a lane as it is kept."""
    return lane.encode("utf-8", "surrogatepass")


def lane_text(lane: bytes) -> str:
    """Return the lane that was kept so."""
    return lane.decode("utf-8", "surrogatepass")


def partition_of(lane: bytes, partitions: int) -> int:
    """Return the partition of a lane, as it is kept."""
    return crc32(lane) % partitions
