"""Until when users may be written to, as far as the file does not say it yet.

Nearly every message moves the window of its user, and a user's record is on a page of its own. So
windows are kept in memory, and many of them are written together, once for many messages. They
follow from the entries, so that opening reads back what was not written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Final, TypeAlias

import attrs

from bridge.journal.ledger import User

_TOGETHER: Final = 1024  # in one transaction, so that nobody waits for it for long

Window: TypeAlias = tuple[datetime, str]
"""Until when the user of a conversation may be written to freely, and the user's name."""


class Windows:
    """The windows of conversations that users' records do not tell, each the latest of its own.

    They are collected over `span` entries. The writer alone changes what is here.
    """

    def __init__(self, span: int) -> None:
        self._span = span
        # With the position after which its first entry is. A window stays in its place when it
        # moves, so that the oldest are first.
        self._known: dict[str, tuple[datetime, str, int]] = {}
        self.written = 0  # how many times some of them were

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._known)

    def get(self, conversation: str) -> datetime | None:
        """Return until when the user of a conversation may be written to; in any thread."""
        known = self._known.get(conversation)
        return None if known is None else known[0]

    def keep(self, opened: Mapping[str, Window], after: int) -> None:
        """Take note of windows that follow from entries after a position."""
        for conversation, (until, name) in opened.items():
            known = self._known.get(conversation)
            since = after if known is None else known[2]
            if known is None or until > known[0]:
                self._known[conversation] = until, name, since

    def due(self, last: int) -> Mapping[str, str]:
        """Return what is to be written now, `last` being the position of the newest entry."""
        return self.first(last - self._span)

    def first(self, up_to: int) -> Mapping[str, str]:
        """Return the first conversations, and whose they are, where one tells of such an entry.

        That is one up to a position.
        """
        if next((since for _, _, since in self._known.values()), math.inf) >= up_to:
            return {}
        first = islice(self._known.items(), _TOGETHER)
        return {conversation: name for conversation, (_, name, _) in first}

    def written_up_to(self, first: Mapping[str, str], last: int) -> int:
        """Return up to which entry all windows are written once these first ones are."""
        rest = islice(self._known.values(), len(first), None)
        return next((since for _, _, since in rest), last)

    def forget(self, conversations: Iterable[str]) -> None:
        """Take note that the records tell these windows from now on."""
        self.written += 1  # before it is so, for whoever reads both
        for conversation in conversations:
            del self._known[conversation]

    def told(self, user: User, opened: Mapping[str, Window] | None = None) -> User:
        """Return a user's record with what is known of windows, these being newer."""
        latest = dict(user.reply_until)
        for account, conversation in user.conversations.items():
            newer = opened.get(conversation) if opened else None
            until = self.get(conversation) if newer is None else newer[0]
            if until is not None:
                latest[account] = max(until.timestamp(), latest.get(account, 0.0))
        return user if latest == user.reply_until else attrs.evolve(user, reply_until=latest)
