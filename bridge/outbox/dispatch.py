"""Sends what the outbox has taken, and appends the statuses that tell what the provider said."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Self, final
from uuid import uuid4

import attrs

from bridge.adapter import Accepted, Outcome, Refused, Remedy
from bridge.clock import SYSTEM_CLOCK, Clock
from bridge.delivery import Delivery
from bridge.delivery.attempt import FIRST, Attempt, Later, current
from bridge.delivery.subscriber import Subscriber
from bridge.errors import ConfigurationError, JournalError, Unsendable
from bridge.journal.ledger import Track
from bridge.journal.protocol import Journal, SharedJournal
from bridge.journal.tracks import in_domain, names_of
from bridge.model import (
    Direction,
    Event,
    Intent,
    Message,
    Origin,
    ProviderError,
    Status,
    StatusChange,
)
from bridge.model.frozen import changer
from bridge.model.keys import OURS, message_key
from bridge.outbox.client import Client, Sends
from bridge.outbox.composing import part_before
from bridge.outbox.consent import opted_out_since
from bridge.outbox.doubts import Doubts
from bridge.outbox.failures import CUT_OFF, EXPIRED, FAILED, IN_DOUBT, OPTED_OUT, UNSENDABLE
from bridge.outbox.following import following
from bridge.outbox.limits import Limits
from bridge.outbox.outcomes import Outcomes
from bridge.outbox.statuses import change_of
from bridge.outbox.ways import FOLLOWER, NAME, Way, Ways
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
class Dispatch:
    """Sends messages that are durable; an async context manager while the bridge runs.

    `delivery` is that of the subscriber. In a rehearsal `journal`, `clock` and `sends` are others.
    """

    def __init__(self, journal: Journal, settings: OutboxSettings) -> None:
        self.journal = journal
        self.clock: Clock = SYSTEM_CLOCK
        self.delivery: Delivery | None = None
        self.ways: Final = Ways(lambda: self.clock.monotonic())  # noqa: PLW0108 - of the clock at that time
        self.client: Final = Client(
            timeout=settings.timeout,
            connect_timeout=settings.connect_timeout,
            connections=settings.concurrency,
        )
        self.sends: Sends = self.client
        self._settings = settings
        self._throttle = Throttle(_log)
        self.outcomes = Outcomes(lambda: self.journal)
        self._doubts = Doubts(lambda: self.journal, lambda: self.clock, settings.doubt)
        self._run = ""
        self._tells_begun = False
        self._new_after = math.inf

    @property
    def now(self) -> datetime:
        """Return what the clock says."""
        return datetime.fromtimestamp(self.clock.time(), UTC)

    async def __aenter__(self) -> Self:
        """Open the HTTP client."""
        self._run = uuid4().hex
        self.outcomes = Outcomes(lambda: self.journal)  # what was read is of one life
        is_alone = not isinstance(self.journal, SharedJournal)  # asked once: it takes long
        self._tells_begun = is_alone and self._settings.in_doubt == "send"
        self._new_after = (await self.journal.follow()).position if is_alone else math.inf
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the HTTP client."""
        await self.client.__aexit__(*error)

    def subscribers(self) -> Iterator[Subscriber]:
        """Yield the subscriber that sends, and the one that sends what is next after a failure."""
        yield Subscriber(
            name=NAME,
            function=self.deliver,
            events=Message,
            direction=Direction.OUTBOUND,
            origin=Origin.BRIDGE,
            owned=None,
            when_paused=True,
        )
        yield _Failures(name=FOLLOWER, function=self.follow, events=StatusChange, when_paused=True)

    def serve_with(self, delivery: Delivery) -> None:
        """Send with this delivery of the subscriber, until the bridge starts again."""
        self.delivery = delivery
        delivery.new_after = self._new_after

    @property
    def policy(self) -> DeliverySettings:
        """How the subscribers are served: what they wait for is a request."""
        settings = self._settings
        longest = 2 * (settings.timeout + settings.connect_timeout) + _TO_BE_SURE  # with a token
        return DeliverySettings(concurrency=settings.concurrency, timeout=longest)

    def at_once(self, message: Message) -> Message:
        """Let a message say that it is begun with as soon as it is durable, where it will be.

        So that needs no note of its own, nor is it asked for what was noted of it before. Of
        several processes it is not known yet which one sends.
        """
        intent, delivery = message.intent, self.delivery
        if (
            intent is None
            or intent.not_before is not None
            or delivery is None
            or not self._tells_begun
            or not delivery.expect(message)
        ):
            return message
        said: Message = _meant(message, intent=_begun(intent, begun_by=self._run))
        return said

    def not_taken(self, message: Message) -> None:
        """Take note that a message has not become durable, whatever it says of itself."""
        said = message.intent is not None and message.intent.begun_by == self._run
        if self.delivery is not None and said:
            self.delivery.expect_no_more(message)

    # --- what follows a failure ----------------------------------------------------------

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
        if (self.now - change.received_at).total_seconds() > _STOPPED:
            return
        with suppress(ConfigurationError, KeyError):
            way = self.ways.of(message.source)
            error = change.error or ProviderError()
            refused = Refused(error=error, remedy=way.sender.remedy(error))
            if not refused.remedy.is_final:
                self._pause(way, message, refused)

    # --- sending -------------------------------------------------------------------------

    async def deliver(self, message: Message) -> None:
        """Send a message, and append what became of it; raises `Later` where that is not known."""
        await self._deliver(message, self._attempt_at(message))
        self._doubts.end(message)

    def _attempt_at(self, message: Message) -> Attempt:
        """Return which try of a message this is; what an earlier life has begun with has begun.

        So it is where the journal has held it since, for as long as nobody has noted a try.
        """
        attempt, intent = current(), message.intent
        if attempt != FIRST or intent is None or intent.begun_by in (None, self._run):
            return attempt
        if self.delivery is not None:
            self.delivery.has_begun(message)  # also where this try fails before anything is known
        return attrs.evolve(attempt, begun=True, is_new=False)

    def _says_begun(self, message: Message, attempt: Attempt) -> bool:
        """Return whether a message says itself that it is begun with, and it is for the first time.

        So where its first try waits in memory for its limit.
        """
        return (
            attempt == FIRST and message.intent is not None and message.intent.begun_by == self._run
        )

    async def _deliver(self, message: Message, attempt: Attempt) -> None:
        now, intent = self.now, message.intent
        if intent is not None and intent.not_before is not None and intent.not_before > now:
            wait = (intent.not_before - now).total_seconds()
            raise Later(wait, "it is not time yet", counted=False, begun=attempt.begun)
        if not attempt.is_new and await self._doubts.has_gone(message, attempt):
            return
        left = self._time_left(message, now)
        if left <= 0:
            if self._may_have_gone(message, attempt):
                await self._tell(message, Status.FAILED, error=IN_DOUBT)
            else:
                await self._tell(message, Status.EXPIRED, error=EXPIRED)
            return
        way, limits = self._way_of(message, attempt)
        if not (attempt.begun or attempt.replayed) and await self._is_cut_off(message):
            await self._tell(message, Status.FAILED, error=CUT_OFF)
            return
        if attempt.begun and await self._is_settled(way, message):
            return
        if await self._is_unwanted(message):
            await self._tell(message, Status.FAILED, error=OPTED_OUT)
            return
        pause = limits.enter(message.account, message.conversation.id)
        if pause:
            raise Later(min(pause, left), "its limit", counted=False, begun=attempt.begun)
        await self._begin(way, message, attempt)
        ttl = left if intent is not None and intent.expires_at is not None else None
        try:
            outcome = await self.sends.send(way.sender, message, ttl=ttl)
        except Unsendable as error:
            told = ProviderError(code=UNSENDABLE, title=error.reason)
            await self._tell(message, Status.FAILED, error=told)
            return
        await self._conclude(way, message, outcome, left)

    def _time_left(self, message: Message, now: datetime) -> float:
        intent = message.intent
        if intent is not None and intent.expires_at is not None:
            return (intent.expires_at - now).total_seconds()
        begun = message.occurred_at
        if intent is not None and intent.not_before is not None:
            begun = max(begun, intent.not_before)
        return self._settings.expires - (now - begun).total_seconds()

    def _way_of(self, message: Message, attempt: Attempt) -> tuple[Way, Limits]:
        try:
            way = self.ways.of(message.source)
            return way, way.limits[message.channel]
        except (ConfigurationError, KeyError) as error:
            raise Later(_STOPPED, f"nothing can be sent: {error}", begun=attempt.begun) from error

    async def _is_cut_off(self, message: Message) -> bool:
        """Return whether the part of a text before this one has failed. Raises `JournalError`."""
        before = part_before(message)
        if before is None:
            return False
        track = await self.journal.record(names_of(before)[0])
        return isinstance(track, Track) and not FAILED.isdisjoint(track.standing.values())

    async def _is_unwanted(self, message: Message) -> bool:
        """Return whether the user has opted out since it was asked for. Raises `JournalError`."""
        if message.intent is not None and message.intent.forced:
            return False
        return await opted_out_since(message, self.journal) is not None

    def _may_have_gone(self, message: Message, attempt: Attempt) -> bool:
        """Return whether a message is in doubt, and the settings say that it fails then."""
        if not attempt.begun or self._settings.in_doubt == "send":
            return False
        try:
            return not self.ways.of(message.source).is_repeatable(message)
        except (ConfigurationError, Unsendable):
            return True

    async def _is_settled(self, way: Way, message: Message) -> bool:
        """Return whether what is in doubt is not sent again; raises `Later` while nobody knows."""
        if way.is_repeatable(message):
            return False
        copy = await self._doubts.copy_of(way, message)
        if copy is not None:
            accepted = Accepted(message_id=_id_of(copy))
            await self._tell(message, Status.ACCEPTED, accepted=accepted)
            return True
        self._doubts.wait(way, message)
        if self._settings.in_doubt == "fail":
            await self._tell(message, Status.FAILED, error=IN_DOUBT)
            return True
        return False

    async def _begin(self, way: Way, message: Message, attempt: Attempt) -> None:
        """Let the journal know that a request for a message begins. Raises `JournalError`."""
        self._doubts.end(message)
        if self.delivery is None:
            return
        if self._says_begun(message, attempt):
            self.delivery.has_begun(message)
        elif not way.is_repeatable(message):
            await self.delivery.note_begun(message)

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

    async def _tell(
        self,
        message: Message,
        status: Status,
        *,
        accepted: Accepted | None = None,
        error: ProviderError | None = None,
    ) -> None:
        """Append what became of a message, however long that takes: else it would be sent again."""
        change = change_of(message, status, accepted, error, self.now)
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


def _id_of(copy: Message) -> str | None:
    """Return the channel's id of what a provider told; None where it has only one of its own."""
    has_id = copy.key == in_domain(copy, message_key(copy.channel, copy.message_id))
    return copy.message_id if has_id else None
