"""Until when a user may be written to freely: what the journal knows of their last messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, final

from bridge.adapter import Adapter, Window, WindowSource
from bridge.errors import WindowClosed
from bridge.journal.protocol import Journal
from bridge.model import Deletion, Message, Native, Receipt, Template
from bridge.outbox.users import user_of

_NOT_FREE: Final = (Template, Native, Receipt, Deletion)  # a native body may be a template


@final
class Windows:
    """Knows until when each conversation is open."""

    def __init__(self, journal: Callable[[], Journal]) -> None:
        self._journal = journal
        self._windows: dict[str, Mapping[str, Window]] = {}

    def add(self, source: str, adapter: Adapter) -> None:
        """Go by the windows of an adapter, if it has any."""
        if isinstance(adapter, WindowSource):
            self._windows[source] = adapter.windows

    async def until(self, conversation: str) -> datetime | None:
        """See `Bridge.window`."""
        user, account = await user_of(conversation, self._journal())
        until = None if user is None else user.reply_until.get(account)
        return None if until is None else datetime.fromtimestamp(until, UTC)

    async def check(self, message: Message, answered: Message | None) -> None:
        """Raise `WindowClosed` where a message comes too late.

        A user of whom the journal knows no message is the provider's to judge.
        """
        if isinstance(message.content, _NOT_FREE):
            return
        if message.channel not in self._windows.get(message.source, {}):
            return
        until = None if answered is None else answered.reply_until
        if until is None or until <= message.occurred_at:
            until = await self.until(message.conversation.id)
        if until is not None and until <= message.occurred_at:
            raise WindowClosed(until)
