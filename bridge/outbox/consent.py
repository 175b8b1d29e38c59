"""Who wants no marketing: what the journal knows of users' choices."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from bridge.errors import OptedOut
from bridge.journal.protocol import Journal
from bridge.journal.query import Query
from bridge.model import ConsentChange, Message, Template

_MARKETING: Final = "marketing"
_CATEGORIES: Final = frozenset({_MARKETING, "marketing_lite", "promotion"})
_PAGE: Final = 10


async def check_consent(message: Message, journal: Journal) -> None:
    """Raise `OptedOut` for a marketing template to a user who has opted out of such messages.

    The user's newest choice counts, by the provider's times. A template that does not say its
    category is the provider's to judge, and what has been taken before is known all the same.
    """
    content = message.content
    if not isinstance(content, Template) or (content.category or "").lower() not in _CATEGORIES:
        return
    choices = Query(
        kinds=(ConsentChange.kind,),
        conversation=message.conversation.id,
        newest_first=True,
        limit=_PAGE,
    )
    newest: ConsentChange | None = None
    async with aclosing(journal.scan(choices)) as pages:
        async for page in pages:
            for change in (entry.event for entry in page):
                if (
                    isinstance(change, ConsentChange)
                    and (change.scope is None or _MARKETING in change.scope.lower())
                    and (newest is None or change.occurred_at > newest.occurred_at)
                ):
                    newest = change
    if newest is None or newest.granted or await journal.find(message.key) is not None:
        return
    raise OptedOut(newest.occurred_at)
