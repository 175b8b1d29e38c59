"""What a caller gets for a message that is on its way: its names, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, final

import attrs

from bridge.journal.protocol import Journal, Start
from bridge.journal.tracks import RANK
from bridge.model import Message, Status, StatusChange, Template
from bridge.outbox.following import following
from bridge.outbox.ways import Ways

_READ: Final = 256
_ENDED: Final = frozenset({Status.FAILED, Status.EXPIRED})


@final
@attrs.frozen(kw_only=True)
class Sending:
    """A message that is durable and on its way.

    `message_id` is our own id, `key` names the intent. `is_new` is False where the same had been
    sent before. A text beyond a channel's limit goes in several messages: `messages` has them all.
    """

    messages: Sequence[Message] = attrs.field(repr=False)
    is_new: bool
    _journal: Journal = attrs.field(repr=False)
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
            change = await self._outcome(message, wanted)
            if change.current in _ENDED:
                # Something else may go out in its place.
                others = following(self._ways, message, change)
                if not others:
                    return change
                change = await self._outcome_of_all(others, wanted)
                if change.current in _ENDED or isinstance(others[0].content, Template):
                    return change  # a template goes for all parts
        return change

    async def _outcome(self, message: Message, wanted: int) -> StatusChange:
        entry = await self._journal.find(message.key)
        if entry is None:  # it waits for its turn to be published, and has no status yet
            cursor = await self._journal.follow(start=Start.END)
            entry = await self._journal.find(message.key)  # or had its turn in between
        if entry is not None:
            cursor = await self._journal.follow(start=entry.position)
        while True:
            for entry in await cursor.read(_READ):
                change = entry.event
                if (
                    isinstance(change, StatusChange)
                    and change.domain == message.domain
                    and message.message_id in (change.message_id, *change.aliases)
                    and change.current is not None
                    and (change.current in _ENDED or RANK[change.current] >= wanted)
                ):
                    return change
