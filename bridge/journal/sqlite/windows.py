"""Until when users may be written to, as far as the file does not say it yet.

Nearly every message moves the window of its user, and a user's record is on a page of its own. So
windows are kept in memory, and many of them are written together, once for many messages. They
follow from the entries, so that opening reads back what was not written.
"""

from __future__ import annotations

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

    They are collected over `span` entries: all that follow from entries up to `up_to` are
    written. The writer alone changes what is here.
    """

    def __init__(self, span: int, up_to: int) -> None:
        self._span = span
        self.up_to = up_to
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

    def is_due(self, last: int) -> bool:
        """Return whether to write the first ones, after the entry at a position."""
        return last - self.up_to > self._span

    def first(self, last: int) -> tuple[Mapping[str, str], int]:
        """Return the first conversations, and whose they are, and what `up_to` is without them.

        `last` is the position of the newest entry.
        """
        known = iter(self._known.items())
        first = {conversation: name for conversation, (_, name, _) in islice(known, _TOGETHER)}
        return first, next((since for _, (_, _, since) in known), last)

    def forget(self, conversations: Iterable[str], up_to: int) -> None:
        """Take note that the records tell these windows from now on."""
        self.written += 1  # before it is so, for whoever reads both
        for conversation in conversations:
            del self._known[conversation]
        self.up_to = up_to

    def told(self, user: User, opened: Mapping[str, Window] | None = None) -> User:
        """Return a user's record with what is known of windows, these being newer."""
        latest = dict(user.reply_until)
        for account, conversation in user.conversations.items():
            newer = opened.get(conversation) if opened else None
            until = self.get(conversation) if newer is None else newer[0]
            if until is not None:
                latest[account] = max(until.timestamp(), latest.get(account, 0.0))
        return user if latest == user.reply_until else attrs.evolve(user, reply_until=latest)
