"""What a program does in conversations: reply, send, fetch, remember, pause, hand over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Unpack

from bridge.adapter import Control
from bridge.delivery.life import Life
from bridge.delivery.pauses import Pauses
from bridge.delivery.state import TIME_TO_LIVE, Remembered, States
from bridge.errors import ConfigurationError, Problem, Unfetchable
from bridge.journal.protocol import Journal
from bridge.model import Content, Conversation, Event, Media, Message, Party
from bridge.outbox.composing import Answering, Asking
from bridge.outbox.keeping import Keeper
from bridge.outbox.media import MAX_SIZE, Downloads, File, Progress
from bridge.outbox.outbox import Outbox
from bridge.outbox.sending import Sending
from bridge.outbox.uploads import Details
from bridge.process.clock import SYSTEM_CLOCK, Clock
from bridge.settings import OutboxSettings


class Conversations(Life):
    """Takes what is to go out or to be remembered, while the bridge runs; a part of `Bridge`."""

    def __init__(self, journal: Journal, settings: OutboxSettings) -> None:
        Life.__init__(self)
        self.journal = journal
        self._clock: Clock = SYSTEM_CLOCK
        self._outbox = Outbox(journal, settings)
        self._downloads = Downloads(self._outbox.client)
        self._sources: dict[str, object] = {}
        self._pauses = Pauses(lambda: self.journal, lambda: self._clock, settings.pause_for_agents)
        self._states = States(lambda: self.journal, lambda: self._clock)

    async def reply(
        self, message: Message, content: Content | str, /, **options: Unpack[Answering]
    ) -> Sending:
        """Answer a user's message, on its channel and from its account.

        Returns as soon as the answer is durable; it is sent by and by, in order within the
        conversation, and `Sending.outcome` tells what became of it. A subscriber that is given
        its event again sends nothing again: an answer without a `key` has one made of the
        subscriber's name, the event's key, and how many were sent for it before.

        With `quote` the user's message is quoted; `Asking` says what else there is. Raises
        `Unsendable` where the channel cannot carry it or it may not go, `ConfigurationError`
        where the adapter lacks what sending takes, `KeyConflict`, `NotRunning` and
        `JournalError`.
        """
        self._check_running()
        return await self._outbox.reply(message, content, **options)

    async def send(
        self, to: str | Party, content: Content | str, /, *, via: str, **options: Unpack[Asking]
    ) -> Sending:
        """Send to a phone number or a provider's user id, as `reply` does.

        `via` names a configured adapter, an account, or a channel; `"ADAPTER:ACCOUNT"` is both.
        """
        self._check_running()
        return await self._outbox.send(to, content, via=via, **options)

    async def react(
        self, message: Message, emoji: str | None, /, *, key: str | None = None
    ) -> Sending:
        """Put a reaction on a user's message, or take it back with None, as `reply` does."""
        self._check_running()
        return await self._outbox.react(message, emoji, key=key)

    async def mark_read(self, message: Message, /, *, typing: bool = False) -> Sending | None:
        """Show the user that the message was read, and with `typing` that an answer is coming.

        Returns None where the channel shows no such thing. Otherwise as `reply`.
        """
        self._check_running()
        return await self._outbox.mark_read(message, typing=typing)

    async def upload(
        self, file: Path | str | bytes, /, *, via: Message | str, **details: Unpack[Details]
    ) -> Media:
        """Give a file to the provider, and return it as a content to send, known by its id.

        `file` is its path or what it holds. `via` is the message that it answers, or as for `send`;
        the id is good for that account. `Details` says what else there is. Raises `Unsendable`
        where the channel cannot carry the file, the provider takes none or refuses it,
        `Unanswered` where trying again may help, and `ConfigurationError`.
        """
        self._check_running()
        return await self._outbox.upload(file, via=via, **details)

    async def fetch(
        self,
        message: Message,
        /,
        *,
        to: Path | None = None,
        max_size: int = MAX_SIZE,
        progress: Progress | None = None,
    ) -> File:
        """Fetch the file of a message from its provider, into memory or to a path.

        A file appears at its path once it is whole; its size and checksum are those that the
        provider told. `max_size` is in bytes; `progress` is called with how many have come and
        how many there are. Raises `Unfetchable` where trying again will not help, `Unanswered`
        where it may, and `ConfigurationError` where the adapter lacks credentials.
        """
        self._check_running()
        if not isinstance(message, Message):
            raise Unfetchable(f"expected a message, found a {type(message).__name__}")
        if not isinstance(message.content, Media):
            raise Unfetchable(f"a {message.content.kind} has no file")
        source = self._sources.get(message.source)
        return await self._downloads.fetch(
            message.content, source, to=to, max_size=max_size, progress=progress
        )

    def media_keeper(self, folder: str | Path, /) -> Keeper:
        """Return a function to subscribe to messages, which keeps their files in a folder.

        `folder` is a path, or a URL that fsspec knows ("s3://bucket/files"). Each file that is
        kept is told by a `Notice` with the topic "media_kept". Raises `ConfigurationError`.
        """
        return Keeper(folder, self.fetch, self._publish)

    async def _publish(self, events: Sequence[Event]) -> None:
        await self.journal.append(events)

    async def window(self, conversation: Message | Conversation | str, /) -> datetime | None:
        """Return until when a free-form message may go to a conversation's user.

        It has closed where that is over. None where the channel has no such limit, or the journal
        knows of no message of the user's. Raises `ConfigurationError` for what is no conversation,
        and `JournalError`.
        """
        return await self._outbox.windows.until(_id_of(conversation))

    @asynccontextmanager
    async def state(
        self,
        conversation: Message | Conversation | str,
        /,
        *,
        name: str | None = None,
        ttl: float | str = TIME_TO_LIVE,
    ) -> AsyncIterator[Remembered]:
        """Give what is remembered of a conversation: a dictionary to read and to change.

        Changes are durable once the block has ended; where the block raises, none is kept. It is
        JSON of at most 64 KiB, and is forgotten `ttl` (seconds, or "30d") after its last change,
        when it is left empty, and with `purge`. Each `name`, by default the calling subscriber's,
        has one of its own, which one block at a time in this process has open.

        Raises `CodecError` for what is no JSON or too large, `ConfigurationError`, `NotRunning`
        and `JournalError`.
        """
        self._check_running()
        async with self._states.opened(_id_of(conversation), name, ttl) as remembered:
            yield remembered

    async def take(self, conversation: Message | Conversation | str, /) -> None:
        """Make a conversation that several responders share ours to answer.

        Done when this returns, and told by a `Handover`. Raises `Unsendable` where the provider
        refuses, or documents no such thing, `Unanswered` where it does not respond,
        `ConfigurationError`, `NotRunning` and `JournalError`.
        """
        await self._control(conversation, Control.TAKE)

    async def pass_to(
        self,
        conversation: Message | Conversation | str,
        to: str | None = None,
        /,
        *,
        metadata: str | None = None,
    ) -> None:
        """Hand a conversation to another responder, as `take` does.

        `to` is the provider's word for which one, by default its own choice; `metadata` is what
        that one is told.
        """
        await self._control(conversation, Control.PASS, to=to, metadata=metadata)

    async def release(self, conversation: Message | Conversation | str, /) -> None:
        """Let the provider decide who answers a conversation next, as `take` does."""
        await self._control(conversation, Control.RELEASE)

    async def _control(
        self, conversation: Message | Conversation | str, action: Control, **options: str | None
    ) -> None:
        self._check_running()
        if not isinstance(conversation, Message):
            conversation = _id_of(conversation)
        await self._outbox.control(conversation, action, **options)

    async def pause(
        self, conversation: Message | Conversation | str, /, *, for_: timedelta | float | str
    ) -> datetime:
        """Keep a conversation from the bots, for at most 7 days; return until when.

        Functions get no messages of its user meanwhile, nor afterwards those that came in the
        pause, unless they say `when_paused=True`. A pause is durable when this returns, and a
        `Notice` in the conversation; a later one takes the place of an earlier one. Raises
        `ConfigurationError`, `NotRunning` and `JournalError`.
        """
        self._check_running()
        return await self._pauses.pause(_id_of(conversation), for_)

    async def resume(self, conversation: Message | Conversation | str, /) -> None:
        """End a conversation's pause, if there is one. Raises as `pause` does."""
        self._check_running()
        await self._pauses.resume(_id_of(conversation))


def _id_of(conversation: object) -> str:
    if isinstance(conversation, Message):
        conversation = conversation.conversation
    if isinstance(conversation, Conversation):
        conversation = conversation.id
    if not isinstance(conversation, str):
        found = type(conversation).__name__
        told = f"expected a message, its conversation or that one's id, found a {found}"
        raise ConfigurationError((Problem("conversation", told),))
    return conversation
