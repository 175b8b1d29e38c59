"""The outbox: what is to go out is made durable first, and then delivered like any other event.

`send` and its siblings append a message of the bridge's own. The subscriber `outbox` gets it from
the journal, sends it, and appends the status that tells what the provider said.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self, Unpack, final
from uuid import uuid4

import attrs

from bridge.adapter import Accepted, Control, Controlling, Outcome, Refused, Remedy, Request, Route
from bridge.adapter.capabilities import Receipts
from bridge.clock import SYSTEM_CLOCK
from bridge.delivery import Delivery
from bridge.delivery.attempt import FIRST, Attempt, Later, current
from bridge.delivery.subscriber import Subscriber
from bridge.errors import (
    ConfigurationError,
    JournalError,
    KeyConflict,
    NotOwner,
    OptedOut,
    Unsendable,
    WindowClosed,
)
from bridge.journal.lanes import lane_of
from bridge.journal.ledger import Track
from bridge.journal.protocol import Entry, Journal, SharedJournal
from bridge.journal.tracks import in_domain, names_of
from bridge.model import (
    Content,
    ConversationKind,
    Direction,
    Event,
    Intent,
    Media,
    Message,
    Origin,
    Party,
    ProviderError,
    Reaction,
    Receipt,
    Status,
    StatusChange,
)
from bridge.model.frozen import changer
from bridge.model.keys import OURS, message_key
from bridge.outbox.client import Client, Sends
from bridge.outbox.composing import (
    Answering,
    Asking,
    Wish,
    answer,
    check_others,
    first,
    in_its_place,
    is_same,
    part_before,
)
from bridge.outbox.consent import check_consent
from bridge.outbox.doubts import Doubts
from bridge.outbox.failures import CUT_OFF, EXPIRED, FAILED, IN_DOUBT, UNSENDABLE
from bridge.outbox.following import following
from bridge.outbox.ownership import check_ours, handover, newest_message
from bridge.outbox.sending import Sending
from bridge.outbox.statuses import change_of
from bridge.outbox.uploads import Details, accepting, described, uploaded
from bridge.outbox.ways import FOLLOWER, NAME, Way, Ways
from bridge.outbox.windows import Windows
from bridge.settings import DeliverySettings, OutboxSettings
from bridge.throttle import Throttle

_AFTER_JOURNAL_ERROR: Final = 1.0  # seconds
_LONGEST_PAUSE: Final = 600.0
_STOPPED: Final = 60.0  # seconds until an account is tried again that a person has to look at
_TO_BE_SURE: Final = 10.0  # seconds beside those of a request

_log: Final = logging.getLogger(__name__)
_begun: Final = changer(Intent, "begun_by")
_meant: Final = changer(Message, "intent")


@final
class Outbox:
    """Takes messages to send, and sends them; an async context manager while the bridge runs."""

    def __init__(self, journal: Journal, settings: OutboxSettings) -> None:
        self.journal = journal
        self.clock = SYSTEM_CLOCK
        self._settings = settings
        self._throttle = Throttle(_log)
        self.ways: Final = Ways(lambda: self.clock.monotonic())  # noqa: PLW0108 - of the clock at that time
        self._doubts = Doubts(lambda: self.journal, lambda: self.clock, NAME, settings.doubt)
        self.delivery: Delivery | None = None
        self._run = ""
        self._tells_begun = False
        self.refusals: Final = Counter[str]()
        """How many messages were refused at once since the start: by window, consent,
        ownership, key or content."""
        self.windows: Final = Windows(lambda: self.journal)
        self.client: Final = Client(
            timeout=settings.timeout,
            connect_timeout=settings.connect_timeout,
            connections=settings.concurrency,
        )
        self.sends: Sends = self.client

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.time(), UTC)

    async def __aenter__(self) -> Self:
        """Open the HTTP client."""
        self._run = uuid4().hex
        is_alone = not isinstance(self.journal, SharedJournal)  # asked once: it takes long
        self._tells_begun = is_alone and self._settings.in_doubt == "send"
        await self._doubts.begin()
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the HTTP client."""
        await self.client.__aexit__(*error)

    # --- taking --------------------------------------------------------------------------

    async def send(
        self, to: str | Party, content: Content | str, *, via: str, **options: Unpack[Asking]
    ) -> Sending:
        """See `Bridge.send`."""
        with self._counting():
            wish = Wish(content=content, now=self._now, **options)
            return await self._take(self._first(to, via, wish), wish)

    async def send_file(
        self, to: str | Party, file: Path, details: Details, *, via: str, **options: Unpack[Asking]
    ) -> Sending:
        """Send a file as `send` sends a content, once the provider has it.

        One that was sent under its key before is not uploaded again. Raises `Unanswered` too.
        """
        with self._counting():
            media = await self.described(file, via=via, **details)
            wish = Wish(content=media, now=self._now, **options)
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
        with self._counting():
            wish = Wish(content=content, now=self._now, **options)
            messages = answer(self.ways, message, wish)
            check_others(self.ways, messages[0], wish)
            if not message.owned and await self.journal.find(messages[0].key) is None:
                await check_ours(message, self.journal)
            return await self._take(messages, wish, answered=message)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        try:
            yield
        except Unsendable as error:
            self.refusals[_REFUSALS.get(type(error), "content")] += 1
            raise

    def compose(
        self, to: str | Party, content: Content | str, *, via: str, **options: Unpack[Asking]
    ) -> Sequence[Request]:
        """Return the requests that would go out for `send`; nothing is kept, and none goes."""
        messages = self._first(to, via, Wish(content=content, now=self._now, **options))
        way, _ = self.ways.find(via)
        return [way.sender.compose(message) for message in messages]

    async def react(
        self, message: Message, emoji: str | None, *, key: str | None = None
    ) -> Sending:
        """See `Bridge.react`."""
        return await self.reply(
            message, Reaction(message_id=message.message_id, emoji=emoji), key=key
        )

    async def mark_read(self, message: Message, *, typing: bool = False) -> Sending | None:
        """See `Bridge.mark_read`."""
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
        if self.sends is not self.client:  # a rehearsal, which leaves the file where it is
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
        if self.sends is not self.client:
            raise Unsendable("this is a rehearsal, in which no conversation is handed over")
        outcome = await self.client.control(sender, request)
        if isinstance(outcome, Refused):
            raise outcome.as_error
        await self.journal.append([handover(conversation, action, self._now)])

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
            messages = (self._at_once(messages[0]),)
        is_new = known is None and (await self.journal.append(messages)).duplicates == 0
        if not is_new and wish.key is not None:
            known = known or await self.journal.find(messages[0].key)
            if known is not None and not is_same(known.event, messages[0], wish.otherwise):
                raise KeyConflict(f"something else was sent under the key {wish.key!r}")
        return Sending(messages=messages, is_new=is_new, journal=self.journal, ways=self.ways)

    def _at_once(self, message: Message) -> Message:
        """Let a message say that it is begun with as soon as it is durable, where it will be.

        So that needs no note of its own. What may be sent twice needs none anyway, and of several
        processes it is not known yet which one sends.
        """
        intent, delivery = message.intent, self.delivery
        if (
            intent is None
            or intent.not_before is not None
            or delivery is None
            or not self._tells_begun
            or self.ways.of(message.source).is_repeatable(message)
            or not delivery.is_free(lane_of(message))
        ):
            return message
        said: Message = _meant(message, intent=_begun(intent, begun_by=self._run))
        return said

    # --- sending -------------------------------------------------------------------------

    def subscriber(self) -> Subscriber:
        """Return the subscriber that sends."""
        return Subscriber(
            name=NAME,
            function=self.deliver,
            events=Message,
            direction=Direction.OUTBOUND,
            origin=Origin.BRIDGE,
            owned=None,
            when_paused=True,
        )

    def follower(self) -> Subscriber:
        """Return the subscriber that sends what is next after a failure."""
        return _Failures(name=FOLLOWER, function=self.follow, events=StatusChange, when_paused=True)

    async def follow(self, change: StatusChange) -> None:
        """Send what is next after a failure, if there is something."""
        for ours in (change.message_id, *change.aliases):
            entry = await self.journal.find(in_domain(change, message_key(OURS, ours)))
            if entry is not None and isinstance(entry.event, Message):
                self._heed(entry.event, change)
                messages = following(self.ways, entry.event, change)
                if messages:
                    await self.journal.append(messages)
                return

    def _heed(self, message: Message, change: StatusChange) -> None:
        """Slow down or stop what a status says is too fast or may not send, unless that is over."""
        if (self._now - change.received_at).total_seconds() > _STOPPED:
            return
        with suppress(ConfigurationError, KeyError):
            way = self.ways.of(message.source)
            error = change.error or ProviderError()
            refused = Refused(error=error, remedy=way.sender.remedy(error))
            if not refused.remedy.is_final:
                self._pause(way, message, refused)

    @property
    def policy(self) -> DeliverySettings:
        """How the subscriber is served: what it waits for is a request."""
        settings = self._settings
        longest = 2 * (settings.timeout + settings.connect_timeout) + _TO_BE_SURE  # with a token
        return DeliverySettings(concurrency=settings.concurrency, timeout=longest)

    async def deliver(self, message: Message) -> None:
        """Send a message, and append what became of it; raises `Later` where that is not known."""
        now = self._now
        intent = message.intent
        if intent is not None and intent.not_before is not None and intent.not_before > now:
            wait = (intent.not_before - now).total_seconds()
            raise Later(wait, "it is not time yet", counted=False)
        attempt = current()
        # Also where the journal has held it since, for as long as nobody has noted a try.
        begun_by = None if intent is None or attempt != FIRST else intent.begun_by
        if begun_by not in (None, self._run):
            attempt = attrs.evolve(attempt, begun=True)
        if await self._doubts.has_gone(message, attempt):
            return
        left = self._time_left(message, now)
        if left <= 0:
            if self._may_have_gone(message, attempt):
                await self._tell(message, Status.FAILED, error=IN_DOUBT)
            else:
                await self._tell(message, Status.EXPIRED, error=EXPIRED)
            return
        try:
            way = self.ways.of(message.source)
            limits = way.limits[message.channel]
        except (ConfigurationError, KeyError) as error:
            raise Later(_STOPPED, f"nothing can be sent: {error}", begun=attempt.begun) from error
        if not (attempt.begun or attempt.replayed) and await self._is_cut_off(message):
            await self._tell(message, Status.FAILED, error=CUT_OFF)
            return
        is_repeatable = way.is_repeatable(message)
        if attempt.begun and not is_repeatable:
            copy = await self._doubts.copy_of(way, message)
            if copy is not None:
                accepted = Accepted(message_id=_id_of(copy))
                await self._tell(message, Status.ACCEPTED, accepted=accepted)
                return
            self._doubts.wait(way, message)
            if self._settings.in_doubt == "fail":
                await self._tell(message, Status.FAILED, error=IN_DOUBT)
                return
        pause = limits.enter(message.account, message.conversation.id)
        if pause:
            raise Later(min(pause, left), "its limit", counted=False, begun=attempt.begun)
        self._doubts.end(message)
        if self.delivery is not None and begun_by == self._run:
            self.delivery.has_begun(message)
        elif self.delivery is not None and not is_repeatable:
            await asyncio.sleep(0)  # the delivery knows what has waited
            await self.delivery.note_begun(message)
        ttl = left if intent is not None and intent.expires_at is not None else None
        try:
            outcome = await self.sends.send(way.sender, message, ttl=ttl)
        except Unsendable as error:
            told = ProviderError(code=UNSENDABLE, title=error.reason)
            await self._tell(message, Status.FAILED, error=told)
            return
        await self._conclude(way, message, outcome, left)

    async def _is_cut_off(self, message: Message) -> bool:
        """Return whether the part of a text before this one has failed. Raises `JournalError`."""
        before = part_before(message)
        if before is None:
            return False
        track = await self.journal.record(names_of(before)[0])
        return isinstance(track, Track) and not FAILED.isdisjoint(track.standing.values())

    def _may_have_gone(self, message: Message, attempt: Attempt) -> bool:
        """Return whether a message is in doubt, and the settings say that it fails then."""
        if not attempt.begun or self._settings.in_doubt == "send":
            return False
        try:
            return not self.ways.of(message.source).is_repeatable(message)
        except (ConfigurationError, Unsendable):
            return True

    def _time_left(self, message: Message, now: datetime) -> float:
        intent = message.intent
        if intent is not None and intent.expires_at is not None:
            return (intent.expires_at - now).total_seconds()
        begun = message.occurred_at
        if intent is not None and intent.not_before is not None:
            begun = max(begun, intent.not_before)
        return self._settings.expires - (now - begun).total_seconds()

    async def _conclude(self, way: Way, message: Message, outcome: Outcome, left: float) -> None:
        limits = way.limits[message.channel]
        if isinstance(outcome, Accepted):
            limits.accepted(message.account, message.conversation.id)
            await self._tell(message, Status.ACCEPTED, accepted=outcome)
        elif outcome.remedy.is_final:
            await self._tell(message, Status.FAILED, error=outcome.error)
        else:
            pause = min(self._pause(way, message, outcome), left)  # then it expires, in time
            raise Later(pause, outcome.reason, begun=outcome.in_doubt)

    def _pause(self, way: Way, message: Message, refused: Refused) -> float:
        """Return for how long a message waits that was refused for now."""
        limits, asked = way.limits[message.channel], refused.retry_after
        match refused.remedy:
            case Remedy.SLOW_ACCOUNT:
                return limits.slow(message.account, asked)
            case Remedy.HOLD_CONVERSATION:
                return limits.hold(message.conversation.id, asked)
            case Remedy.STOP_ACCOUNT:
                about = f"adapter {way.source}: nothing goes out from {message.account}"
                self._throttle.log(logging.ERROR, f"{about}: {refused.reason}", key=about)
                return limits.slow(message.account, max(asked or 0.0, _STOPPED))
        spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, no secret
        pause = min(2.0 ** min(current().tries, 60) * spread, _LONGEST_PAUSE)
        return pause if asked is None else max(asked, pause)

    # --- telling -------------------------------------------------------------------------

    async def _tell(
        self,
        message: Message,
        status: Status,
        *,
        accepted: Accepted | None = None,
        error: ProviderError | None = None,
    ) -> None:
        """Append what became of a message, however long that takes: else it would be sent again."""
        change = change_of(message, status, accepted, error, self._now)
        while True:
            try:
                await self.journal.append([change])
            except JournalError as failure:
                text = f"cannot note what became of {message.key}: {failure}"
                self._throttle.log(logging.ERROR, text, key="note")
                await asyncio.sleep(_AFTER_JOURNAL_ERROR)
            else:
                return


class _Failures(Subscriber):
    """Wants only failures; a late one of what has arrived is none."""

    def wants(self, event: Event) -> bool:
        """See `Subscriber.wants`."""
        has_failed = isinstance(event, StatusChange) and event.current in FAILED
        return has_failed and super().wants(event)


_REFUSALS: Final[Mapping[type[Unsendable], str]] = {
    WindowClosed: "window",
    OptedOut: "consent",
    NotOwner: "ownership",
    KeyConflict: "key",
}


def _id_of(copy: Message) -> str | None:
    """Return the channel's id of what a provider told; None where it has only one of its own."""
    has_id = copy.key == in_domain(copy, message_key(copy.channel, copy.message_id))
    return copy.message_id if has_id else None
