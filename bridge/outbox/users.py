"""What the journal remembers of the user of a conversation."""

from __future__ import annotations

from bridge.journal.identity import name_of, name_of_former
from bridge.journal.ledger import User
from bridge.journal.protocol import Journal


async def user_of(conversation: str, journal: Journal) -> tuple[User | None, str]:
    """Return a conversation's user, or its group, if known, and its account.

    `conversation` is its id. Raises `JournalError`.
    """
    name, account = name_of(conversation)
    user = await journal.record(name)
    if isinstance(user, User) and user.conversations.get(account, conversation) != conversation:
        former = await journal.record(name_of_former(conversation))
        user = former if isinstance(former, User) else user
    return (user if isinstance(user, User) else None), account
