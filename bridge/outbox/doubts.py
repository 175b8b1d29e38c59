"""Whether a provider has a message already: what the journal knows of what was sent before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, TypeAlias, final

from bridge.clock import Clock
from bridge.delivery import Attempt
from bridge.delivery.attempt import Later
from bridge.errors import JournalError
from bridge.journal import tracks
from bridge.journal.ledger import Track
from bridge.journal.protocol import Journal
from bridge.journal.query import MOST, Query
from bridge.model import Content, Media, Message, Origin, StatusChange, Text
from bridge.model.keys import OURS
from bridge.outbox.ways import Way

_Name: TypeAlias = tuple[str | None, str]  # a trust domain, and our id in it
_LOOK_AGAIN: Final = 1.0  # seconds


@final
class Doubts:
    """Settles doubts about messages; `subscriber` is the one that sends.

    A status that repeats our id, or a copy of the message, is waited for at most `patience`
    seconds.
    """

    def __init__(
        self,
        journal: Callable[[], Journal],
        clock: Callable[[], Clock],
        subscriber: str,
        patience: float,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._subscriber = subscriber
        self._patience = patience
        self._waited_for: dict[str, float] = {}  # until when; at most those that are held
        self._before: set[_Name] | None = None
        self._position: int | None = None
        self._looking = asyncio.Lock()

    async def begin(self) -> None:
        """Begin a life of the process: what was taken before may have been sent before.

        To be called before the subscriber is served, whose position moves on past what is under
        way. Where the journal is away, everything that it keeps will be looked through.
        """
        try:
            states = await self._journal().subscribers()
        except JournalError:
            self._position = 0
        else:
            positions = [each.position for each in states if each.name == self._subscriber]
            self._position = min(positions, default=None)
        self._before = None
        self._looking = asyncio.Lock()

    async def has_gone(self, message: Message, attempt: Attempt) -> bool:
        """Return whether a message is not to be sent, since it was before.

        An operator who gives it again means what has failed. Raises `JournalError`.
        """
        if attempt.begun or attempt.replayed:
            return await self._is_told(message, failures=not attempt.replayed)
        # An earlier life may have been done with it, though not with one that came before it. No
        # time tells which messages are that old: clocks are set back.
        if self._before is None:
            async with self._looking:
                if self._before is None:
                    self._before = await self._look()
        return (message.domain, message.message_id) in self._before

    async def _is_told(self, message: Message, *, failures: bool) -> bool:
        track = await self._journal().record(tracks.names_of(message)[0])
        if not isinstance(track, Track):
            return False
        is_tied = track.message_id != message.message_id  # by a status with the provider's own id
        return is_tied or (failures and bool(track.standing))

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

    async def _look(self) -> set[_Name]:
        """Return the names of all messages of which something is told that may come again."""
        if self._position is None:  # it has never been served
            return set()
        about = Query(kinds=(StatusChange.kind,), after=self._position, limit=MOST)
        found: set[_Name] = set()
        async with aclosing(self._journal().scan(about)) as pages:
            async for page in pages:
                for entry in page:
                    change = entry.event
                    if isinstance(change, StatusChange) and change.id_space is not None:
                        told = (change.message_id, *change.aliases)
                        found.update((change.domain, each) for each in told)
        return found

    def wait(self, way: Way, message: Message) -> None:
        """Raise `Later` while a callback may still tell whether the provider took a message."""
        if not (way.capabilities(message.channel).echoes or _is_recognized(way, message)):
            return
        now = self._clock().monotonic()
        until = self._waited_for.setdefault(message.message_id, now + self._patience)
        if now < until:
            pause = min(_LOOK_AGAIN, until - now)
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
