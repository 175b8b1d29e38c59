"""Who wants no marketing: what the journal knows of users' choices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from bridge.errors import OptedOut
from bridge.journal.protocol import Journal
from bridge.model import Message, Template
from bridge.outbox.users import user_of

_CATEGORIES: Final = frozenset({"marketing", "marketing_lite", "promotion"})


async def check_consent(message: Message, journal: Journal) -> None:
    """Raise `OptedOut` for a marketing template to a user who has opted out of such messages.

    What has been taken before is known all the same.
    """
    since = await opted_out_since(message, journal)
    if since is not None and await journal.find(message.key) is None:
        raise OptedOut(since)


async def opted_out_since(message: Message, journal: Journal) -> datetime | None:
    """Return when the user opted out of what this message is; None where it may go.

    The user's newest choice counts, by the provider's times. A template that does not say its
    category is the provider's to judge. Raises `JournalError`.
    """
    content = message.content
    if not isinstance(content, Template) or (content.category or "").lower() not in _CATEGORIES:
        return None
    user, account = await user_of(message.conversation.id, journal)
    granted, at = (True, 0.0) if user is None else user.granted.get(account, (True, 0.0))
    return None if granted else datetime.fromtimestamp(at, UTC)
