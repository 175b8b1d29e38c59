"""What a caller gets for a message that is on its way: its names, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import final

import attrs

from bridge.journal.tracks import RANK
from bridge.model import Message, Status, StatusChange, Template
from bridge.outbox.following import following
from bridge.outbox.outcomes import ENDED, Outcomes
from bridge.outbox.ways import Ways


@final
@attrs.frozen(kw_only=True)
class Sending:
    """A message that is durable and on its way.

    `message_id` is our own id, `key` names the intent. `is_new` is False where the same had been
    sent before. A text beyond a channel's limit goes in several messages: `messages` has them all.
    """

    messages: Sequence[Message] = attrs.field(repr=False)
    is_new: bool
    _outcomes: Outcomes = attrs.field(repr=False)
    _ways: Ways = attrs.field(repr=False)

    @property
    def message_id(self) -> str:
        """Our own id of the message, or of its first part."""
        return self.messages[0].message_id

    @property
    def key(self) -> str:
        """What names the intent; statuses have it as their `correlation`."""
        intent = self.messages[0].intent
        return "" if intent is None else intent.key

    async def outcome(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as in `Future.result`
        *,
        until: Status | str = Status.ACCEPTED,
    ) -> StatusChange:
        """Return the status with which the message got that far, or failed.

        `until` is "accepted", "sent", "delivered" or "read". Of a message in parts it is the
        last part's, or that of the first one to fail. Where another way out or a template follows,
        it is that one's, and its `source` and `channel` tell. Raises `TimeoutError` after so many
        seconds, and `JournalError`.
        """
        wanted = RANK[Status(until)]
        async with asyncio.timeout(timeout):
            return await self._outcome_of_all(self.messages, wanted)

    async def _outcome_of_all(self, messages: Sequence[Message], wanted: int) -> StatusChange:
        for message in messages:
            change = await self._outcomes.wait(message, wanted)
            if change.current in ENDED:
                # Something else may go out in its place.
                others = following(self._ways, message, change)
                if not others:
                    return change
                change = await self._outcome_of_all(others, wanted)
                if change.current in ENDED or isinstance(others[0].content, Template):
                    return change  # a template goes for all parts
        return change
