"""What events tell of the terms on which their user may be written to.

The newest word counts, by the provider's times, and the later comer of the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bridge.journal.ledger import User, Word
from bridge.model import ConsentChange, Direction, Event, Handover, Message, Origin
from bridge.model.frozen import changer

_MARKETING: Final = "marketing"
_INBOUND: Final = Direction.INBOUND
_IMPORTED: Final = Origin.HISTORY
_owned: Final[Callable[..., User]] = changer(User, "owned")
_granted: Final[Callable[..., User]] = changer(User, "granted")


def told(event: Event, user: User, account: str) -> User:
    """Return a user as known after an event: whose turn it is, and whether marketing may go.

    A message that is ours to answer need not be told where none was ever another's, as is usual.
    """
    if isinstance(event, Message):
        if event.direction is _INBOUND and event.origin is not _IMPORTED:  # which tells no turn
            return _owned(user, _after(event, user.owned, account, word=event.owned))
    elif isinstance(event, Handover):
        if event.owned is not None:
            return _owned(user, _after(event, user.owned, account, word=event.owned))
    elif isinstance(event, ConsentChange) and (
        event.scope is None or _MARKETING in event.scope.lower()
    ):
        return _granted(user, _after(event, user.granted, account, word=event.granted))
    return user


def _after(
    event: Event, known: Mapping[str, Word], account: str, *, word: bool
) -> Mapping[str, Word]:
    at = event.occurred_at.timestamp()
    before = known.get(account)
    return known if before is not None and before[1] > at else {**known, account: (word, at)}


def joined(
    user: User, other: User
) -> tuple[Mapping[str, float], Mapping[str, Word], Mapping[str, Word]]:
    """Return what is known of two users who turned out to be one."""
    return (
        {
            account: max(user.reply_until.get(account, 0.0), other.reply_until.get(account, 0.0))
            for account in {**other.reply_until, **user.reply_until}
        },
        _newest(user.owned, other.owned),
        _newest(user.granted, other.granted),
    )


def _newest(some: Mapping[str, Word], others: Mapping[str, Word]) -> Mapping[str, Word]:
    return {
        account: max(
            (words[account] for words in (some, others) if account in words),
            key=lambda word: word[1],
        )
        for account in {**others, **some}
    }
