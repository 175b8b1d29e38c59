"""Which events must stay in order with each other, and lanes as they are kept."""

from __future__ import annotations

from zlib import crc32

from bridge.journal.query import conversation_of
from bridge.model import Event, Message, Notice, StatusChange, TemplateChange


def lane_of(event: Event) -> str:
    """Return the lane of an event: the events of one lane are delivered in order."""
    conversation = conversation_of(event)
    if conversation is not None:
        if isinstance(event, Message) and event.intent and event.intent.not_before:
            # It holds up nobody until then; the parts of a long text have the same time.
            return f"{conversation}/later/{event.intent.not_before.timestamp()}"
        return conversation
    domain = "" if event.domain is None else f"{event.domain}/"
    match event:
        case StatusChange():
            return f"{domain}{event.channel}::message:{event.message_id}"
        case TemplateChange():
            return f"{domain}{event.channel}::template:{event.template_id}"
        case Notice():
            return f"{domain}{event.channel}:{event.account or ''}:notice:{event.topic}"
        case _:
            return event.key


def lane_bytes(lane: str) -> bytes:
    """Return a lane as it is kept; a provider's ids may hold what no text can."""
    return lane.encode("utf-8", "surrogatepass")


def lane_text(lane: bytes) -> str:
    """Return the lane that is kept so."""
    return lane.decode("utf-8", "surrogatepass")


def partition_of(lane: bytes, partitions: int) -> int:
    """Return which of so many partitions a lane belongs to, as it is kept."""
    return crc32(lane) % partitions
