"""Which events must stay in order with each other."""

from __future__ import annotations

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
