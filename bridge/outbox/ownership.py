"""Whose a conversation is to answer: what the journal knows of copies and handovers."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from bridge.errors import NotOwner
from bridge.journal.protocol import Journal
from bridge.journal.query import Query
from bridge.model import Direction, Handover, Message

_PAGE: Final = 50


async def check_ours(message: Message, journal: Journal) -> None:
    """Raise `NotOwner` for the copy of a message that another responder answers.

    Not where the conversation has become ours since, by the provider's times.
    """
    since = Query(
        kinds=(Message.kind, Handover.kind),
        conversation=message.conversation.id,
        since=message.received_at,
        limit=_PAGE,
    )
    newest, is_ours = message.occurred_at, message.owned
    async with aclosing(journal.scan(since)) as pages:
        async for page in pages:
            for event in (entry.event for entry in page):
                told = isinstance(event, Handover) or (
                    isinstance(event, Message) and event.direction is Direction.INBOUND
                )
                owned = getattr(event, "owned", None)
                if told and owned is not None and event.occurred_at >= newest:
                    newest, is_ours = event.occurred_at, owned
    if not is_ours:
        raise NotOwner("another responder answers this conversation; only `send` may take it")
