"""Whether a provider has a message already: what the journal knows of what was sent before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from bridge.delivery import Attempt
from bridge.delivery.attempt import Later
from bridge.journal import tracks
from bridge.journal.ledger import Track
from bridge.journal.protocol import Journal
from bridge.journal.query import MOST, Query
from bridge.model import Content, Media, Message, Origin, StatusChange, Text
from bridge.model.keys import OURS
from bridge.outbox.ways import Way
from bridge.process.clock import Clock

_LOOK_AGAIN: Final = 1.0  # seconds at first, then as long as it has waited: a look reads much


@final
class Doubts:
    """Settles doubts about messages.

    A status that repeats our id, or a copy of the message, is waited for at most `patience`
    seconds.
    """

    def __init__(
        self,
        journal: Callable[[], Journal],
        clock: Callable[[], Clock],
        patience: float,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._patience = patience
        self._waited_for: dict[str, float] = {}  # until when; at most those that are held

    async def has_gone(self, message: Message, attempt: Attempt) -> bool:
        """Return whether a message is not to be sent, since it was before.

        The journal alone knows: whoever was done with it may have been killed before that was
        noted, and have let others hold it since. An operator who gives it again means what has
        failed. Raises `JournalError`.
        """
        track = await self._journal().record(tracks.names_of(message)[0])
        if not isinstance(track, Track):
            return False
        is_tied = track.message_id != message.message_id  # by a status with the provider's own id
        return is_tied or (not attempt.replayed and bool(track.standing))

    async def copy_of(self, way: Way, message: Message) -> Message | None:
        """Return the message that a provider has told of, which is the one in doubt.

        It has the same content, to the same user, and is tied to nothing else that we sent.
        Raises `JournalError`.
        """
        if not _is_recognized(way, message):
            return None
        entry = await self._journal().find(message.key)
        if entry is None or not isinstance(entry.event, Message):
            return None
        about = Query(
            kinds=(Message.kind,),
            conversation=entry.event.conversation.id,
            after=entry.position,
            limit=MOST,
        )
        for each in await self._journal().search(about):
            copy = each.event
            if (
                isinstance(copy, Message)
                and copy.origin is Origin.API
                and copy.domain == message.domain
                and _is_same(copy.content, message.content)
                and not await self._is_ours(copy)
            ):
                return copy
        return None

    async def _is_ours(self, copy: Message) -> bool:
        """Return whether a status ties a message of the provider's to one that we sent."""
        about = Query(kinds=(StatusChange.kind,), message_id=copy.message_id, limit=MOST)
        return any(
            isinstance(each.event, StatusChange)
            and each.event.domain == copy.domain
            and each.event.id_space == OURS
            for each in await self._journal().search(about)
        )

    def wait(self, way: Way, message: Message) -> None:
        """Raise `Later` while a callback may still tell whether the provider took a message."""
        if not (way.capabilities(message.channel).echoes or _is_recognized(way, message)):
            return
        now = self._clock().monotonic()
        until = self._waited_for.setdefault(message.message_id, now + self._patience)
        if now < until:
            left = until - now
            pause = min(max(_LOOK_AGAIN, self._patience - left), left)
            raise Later(pause, "the provider may have it already", counted=False, begun=True)

    def end(self, message: Message) -> None:
        """Forget a doubt: the message is sent again, or has failed."""
        self._waited_for.pop(message.message_id, None)


def _is_recognized(way: Way, message: Message) -> bool:
    """Return whether the provider tells what was sent, in a form in which it is known again."""
    return way.capabilities(message.channel).copies and isinstance(message.content, Text | Media)


def _is_same(told: Content, sent: Content) -> bool:
    if isinstance(told, Media) and isinstance(sent, Media):
        return told.url == sent.url
    return told == sent
