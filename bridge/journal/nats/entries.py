"""Events as messages of the stream, and back.

A position is twice the sequence in the stream. Delivery settles up to just before an entry with the
number below its position: an odd one, which cannot be taken for the entry before.
"""

from __future__ import annotations

from datetime import UTC
from typing import Final
from urllib.parse import quote

from bridge.journal.lanes import lane_of
from bridge.journal.nats.messages import Draft, Stored
from bridge.journal.nats.subjects import Names
from bridge.journal.protocol import Entry
from bridge.journal.reading import read_event
from bridge.model import Event

_STRIDE: Final = 2
_SCHEMA: Final = "1"
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "").replace('"', "")


def position_of(sequence: int) -> int:
    """Return the position of the entry with this sequence in the stream."""
    return sequence * _STRIDE


def sequence_of(position: int) -> int:
    """Return the sequence of the last entry that is not beyond a position."""
    return position // _STRIDE


def is_between(position: int) -> bool:
    """Return whether this is just before an entry's position, and not one itself."""
    return position % _STRIDE != 0


# https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md
def draft_of(names: Names, event: Event, lane: str, data: bytes) -> Draft:
    """Return the message of an event, with the CloudEvents attributes that `docs/nats.md` names."""
    return Draft(
        names.event(event, lane),
        data,
        {
            "Content-Type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": _header(event.key),
            "ce-source": _header(event.source),
            "ce-type": f"incs-bridge.{event.kind}",
            "ce-time": event.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "ce-channel": _header(event.channel),
            "ce-partitionkey": _header(lane),
            "ce-schemaversion": _SCHEMA,
        },
    )


def _header(value: str) -> str:
    return quote(value, safe=_PRINTABLE)


def entry_of(sequence: int, data: bytes, *, reparsed: bool = False) -> Entry:
    """Return the entry of a message."""
    event = read_event(data, sequence)
    return Entry(
        position=position_of(sequence),
        lane=lane_of(event),
        event=event,
        reparsed=reparsed,
        size=len(data),
    )


def is_event(names: Names, stored: Stored) -> bool:
    """Return whether a message of the stream is an event."""
    return stored.subject.startswith(f"{names.stream}.events.")
