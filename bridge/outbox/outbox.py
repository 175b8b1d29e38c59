"""The outbox: what is to go out is made durable first, and then delivered like any other event.

`send` and its siblings append a message of the bridge's own. The subscriber `outbox` (`dispatch`)
gets it from the journal, sends it, and appends the status that tells what the provider said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Unpack, final

import attrs

from bridge.adapter import Control, Controlling, Refused, Request, Route
from bridge.adapter.capabilities import Receipts
from bridge.errors import CodecError, KeyConflict, NotOwner, OptedOut, Unsendable, WindowClosed
from bridge.journal.protocol import Entry, Journal
from bridge.model import Content, ConversationKind, Media, Message, Party, Reaction, Receipt
from bridge.outbox.composing import (
    Answering,
    Asking,
    Wish,
    answer,
    check_message,
    check_others,
    first,
    in_its_place,
    is_same,
)
from bridge.outbox.consent import check_consent
from bridge.outbox.dispatch import Dispatch
from bridge.outbox.ownership import check_ours, handover, newest_message
from bridge.outbox.sending import Sending
from bridge.outbox.uploads import Details, accepting, described, uploaded
from bridge.outbox.windows import Windows
from bridge.settings import OutboxSettings


@final
class Outbox:
    """Takes messages to send; `dispatch` sends them."""

    def __init__(self, journal: Journal, settings: OutboxSettings) -> None:
        self.dispatch: Final = Dispatch(journal, settings)
        self.ways: Final = self.dispatch.ways
        self.client: Final = self.dispatch.client
        self.windows: Final = Windows(lambda: self.journal)
        self.refusals: Final = Counter[str]()
        """How many messages were refused at once since the start: by window, consent,
        ownership, key or content."""
        self._counting: Final = _Counting(self.refusals)

    @property
    def journal(self) -> Journal:
        """Return where messages are made durable."""
        return self.dispatch.journal

    async def send(
        self, to: str | Party, content: Content | str, *, via: str, **options: Unpack[Asking]
    ) -> Sending:
        """See `Bridge.send`."""
        with self._counting:
            wish = Wish(content=content, now=self.dispatch.now, **options)
            return await self._take(self._first(to, via, wish), wish)

    async def send_file(
        self, to: str | Party, file: Path, details: Details, *, via: str, **options: Unpack[Asking]
    ) -> Sending:
        """Send a file as `send` sends a content, once the provider has it.

        One that was sent under its key before is not uploaded again. Raises `Unanswered` too.
        """
        with self._counting:
            media = await self.described(file, via=via, **details)
            wish = Wish(content=media, now=self.dispatch.now, **options)
            messages = self._first(to, via, wish)
            intent = messages[0].intent
            if intent is not None and await self.journal.find(messages[0].key) is None:
                media = await uploaded(self.client, *self.ways.find(via), media, file)
                messages = self._first(to, via, attrs.evolve(wish, content=media, key=intent.key))
            return await self._take(messages, wish)

    async def described(self, file: Path, *, via: str, **details: Unpack[Details]) -> Media:
        """Return a file as a content that goes out this way; its checksum stands for its id.

        Raises `Unsendable` where the channel does not carry it, or its provider takes no files.
        """
        media = await described(file, **details)
        accepting(*self.ways.find(via), media)
        return attrs.evolve(media, media_id=media.sha256)

    def _first(self, to: str | Party, via: str, wish: Wish) -> tuple[Message, ...]:
        messages = first(*self.ways.find(via), to, wish)
        check_others(self.ways, messages[0], wish)
        return messages

    async def reply(
        self, message: Message, content: Content | str, **options: Unpack[Answering]
    ) -> Sending:
        """See `Bridge.reply`."""
        with self._counting:
            wish = Wish(content=content, now=self.dispatch.now, **options)
            messages = answer(self.ways, message, wish)
            check_others(self.ways, messages[0], wish)
            if not message.owned and await self.journal.find(messages[0].key) is None:
                await check_ours(message, self.journal)
            return await self._take(messages, wish, answered=message)

    def compose(
        self, to: str | Party, content: Content | str, *, via: str, **options: Unpack[Asking]
    ) -> Sequence[Request]:
        """Return the requests that would go out for `send`; nothing is kept, and none goes."""
        messages = self._first(to, via, Wish(content=content, now=self.dispatch.now, **options))
        way, _ = self.ways.find(via)
        return [way.sender.compose(message) for message in messages]

    async def react(
        self, message: Message, emoji: str | None, *, key: str | None = None
    ) -> Sending:
        """See `Bridge.react`."""
        check_message(message)
        return await self.reply(
            message, Reaction(message_id=message.message_id, emoji=emoji), key=key
        )

    async def mark_read(self, message: Message, *, typing: bool = False) -> Sending | None:
        """See `Bridge.mark_read`."""
        check_message(message)
        capabilities = self.ways.of(message.source).capabilities(message.channel)
        is_group = message.conversation.kind is ConversationKind.GROUP
        if capabilities.receipts is Receipts.NONE or (
            is_group and Receipt.kind not in capabilities.groups
        ):
            return None
        return await self.reply(message, Receipt(message_id=message.message_id, typing=typing))

    async def upload(
        self, file: Path | str | bytes, *, via: Message | str, **details: Unpack[Details]
    ) -> Media:
        """See `Bridge.upload`."""
        if isinstance(file, str):
            file = Path(file)
        if isinstance(via, Message):
            way = self.ways.of(via.source)
            route = Route(channel=via.channel, account=via.account)
        else:
            way, route = self.ways.find(via)
        media = await described(file, **details)
        if self.dispatch.sends is not self.client:  # a rehearsal, which leaves the file where it is
            return attrs.evolve(media, media_id=media.sha256)
        return await uploaded(self.client, way, route, media, file)

    async def control(
        self,
        conversation: Message | str,
        action: Control,
        *,
        to: str | None = None,
        metadata: str | None = None,
    ) -> None:
        """Take a conversation, or hand it on; see `Bridge.take`."""
        if isinstance(conversation, str):
            conversation = await newest_message(conversation, self.journal)
        sender = self.ways.of(conversation.source).sender
        if not isinstance(sender, Controlling):
            raise Unsendable(
                f"adapter {conversation.source} cannot {action.value} a conversation: its provider"
                " documents no way to"
            )
        request = sender.control(conversation, action, to=to, metadata=metadata)
        if self.dispatch.sends is not self.client:
            raise Unsendable("this is a rehearsal, in which no conversation is handed over")
        outcome = await self.client.control(sender, request)
        if isinstance(outcome, Refused):
            raise outcome.as_error
        await self.journal.append([handover(conversation, action, self.dispatch.now)])

    async def _take(
        self, messages: tuple[Message, ...], wish: Wish, answered: Message | None = None
    ) -> Sending:
        """Make messages durable.

        Raises `WindowClosed`, `OptedOut`, `KeyConflict` and `JournalError`.
        """
        known: Entry | None = None
        try:
            await self.windows.check(messages[0], answered)
        except WindowClosed:
            # What was taken while the window was open is known all the same.
            known = await self.journal.find(messages[0].key)
            if known is None:
                if wish.otherwise is None:
                    raise
                messages = (in_its_place(messages[0], wish.otherwise),)
        else:
            if len(messages) > 1:  # said in fewer parts before, it gets no more of them
                known = await self.journal.find(messages[0].key)
        if not wish.force:
            await check_consent(messages[0], self.journal)
        if known is None and len(messages) == 1:
            messages = (self.dispatch.at_once(messages[0]),)
        is_new = known is None and await self._is_appended(messages)
        if not is_new and wish.key is not None:
            known = known or await self.journal.find(messages[0].key)
            if known is not None and not is_same(known.event, messages[0], wish.otherwise):
                raise KeyConflict(f"something else was sent under the key {wish.key!r}")
        return Sending(
            messages=messages, is_new=is_new, outcomes=self.dispatch.outcomes, ways=self.ways
        )

    async def _is_appended(self, messages: tuple[Message, ...]) -> bool:
        """Append messages, and return whether all of them are new. Raises `JournalError`."""
        is_new = False
        try:
            is_new = (await self.journal.append(messages)).duplicates == 0
        finally:
            if not is_new:
                self.dispatch.not_taken(messages[0])
        return is_new


@attrs.frozen
class _Counting:
    """Counts the refusals that leave a block; the same one serves all blocks."""

    refusals: Counter[str]

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Count what is raised, if it is a refusal. Raises `Unsendable` for what is no JSON."""
        if isinstance(error, CodecError):  # what no request would show, as a recipient's name
            self.refusals["content"] += 1
            raise Unsendable(str(error)) from error
        if isinstance(error, Unsendable):
            self.refusals[_REFUSALS.get(type(error), "content")] += 1


_REFUSALS: Final[Mapping[type[Unsendable], str]] = {
    WindowClosed: "window",
    OptedOut: "consent",
    NotOwner: "ownership",
    KeyConflict: "key",
}
