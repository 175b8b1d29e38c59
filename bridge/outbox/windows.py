"""Until when a user may be written to freely: what the journal knows of their last messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final, final

from bridge.adapter import Adapter, Window, WindowSource
from bridge.errors import WindowClosed
from bridge.journal.protocol import Journal
from bridge.journal.query import Query
from bridge.model import Conversation, Deletion, Message, Native, Receipt, Template

_PAGE: Final = 50
_NOT_FREE: Final = (Template, Native, Receipt, Deletion)  # a native body may be a template
_LATE: Final = timedelta(days=1)  # how much later than it was sent a message may reach us


@final
class Windows:
    """Knows until when each conversation is open."""

    def __init__(self, journal: Callable[[], Journal], now: Callable[[], datetime]) -> None:
        self._journal = journal
        self._now = now
        self._windows: dict[str, Mapping[str, Window]] = {}

    def add(self, source: str, adapter: Adapter) -> None:
        """Go by the windows of an adapter, if it has any."""
        if isinstance(adapter, WindowSource):
            self._windows[source] = adapter.windows

    async def until(self, conversation: Conversation | str) -> datetime | None:
        """See `Bridge.window`."""
        longest = max(
            (max(each.open, each.referred or each.open) for each in self._each()),
            default=None,
        )
        if longest is None:
            return None
        about = Query(
            kinds=(Message.kind,),
            conversation=conversation if isinstance(conversation, str) else conversation.id,
            since=self._now() - longest - _LATE,
            newest_first=True,
            limit=_PAGE,
        )
        found: datetime | None = None
        async with aclosing(self._journal().scan(about)) as pages:
            async for page in pages:
                for entry in page:
                    event = entry.event
                    if not isinstance(event, Message) or event.reply_until is None:
                        continue
                    found = max(found or event.reply_until, event.reply_until)
                    if found >= event.occurred_at + longest:
                        return found  # no earlier message opened a longer one
        return found

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
            until = await self.until(message.conversation)
        if until is not None and until <= message.occurred_at:
            raise WindowClosed(until)

    def _each(self) -> list[Window]:
        return [window for each in self._windows.values() for window in each.values()]
