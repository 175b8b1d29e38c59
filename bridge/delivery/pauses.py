"""Conversations that a person has taken over, which bots leave alone meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Self, final
from uuid import uuid4

import attrs
import orjson

from bridge.adapter import build
from bridge.errors import ConfigurationError, JournalError
from bridge.journal.protocol import Cursor, Journal, SharedJournal
from bridge.journal.query import PAUSED, Query, conversation_of, joined
from bridge.journal.states import State
from bridge.model import Direction, Event, JsonValue, Message, Notice, Origin
from bridge.model.keys import OURS, event_key
from bridge.process.clock import Clock
from bridge.process.supervised import Tasks
from bridge.process.throttle import Throttle
from bridge.settings import seconds

LONGEST: Final = timedelta(days=7)
"""How long a pause can be, and for how long after its end it is known what came in it."""

_PAGE: Final = 500
_AFTER_JOURNAL_ERROR: Final = 1.0  # seconds
_NAME: Final = "\tpaused"  # which no state of a subscriber's can have
_log: Final = logging.getLogger(__name__)
_PEOPLE: Final = (Origin.AGENT, Origin.APP)


@attrs.frozen
class _Pause:
    """From when until when a conversation is paused, by what was said of it at `at`."""

    at: datetime
    since: datetime
    until: datetime

    def encode(self) -> bytes:
        return orjson.dumps(attrs.asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        times = orjson.loads(data).items()
        return cls(**{name: datetime.fromisoformat(time) for name, time in times})


@final
class Pauses:
    """Knows which conversations are paused.

    A pause is a state of the journal's, for the next start, and a notice in its conversation.
    Every delivery that heeds pauses waits until they are `known` and notes what it reads, so that
    a pause counts for all that follows it; a journal that processes share is followed, as soon as
    it can be read. An async context manager while the bridge runs. `for_agents` is for how many
    seconds a person's own message pauses its conversation, if it does. `paused` has the pauses by
    conversation, and `heeded` the classes of events that may tell of one; both are for reading.
    """

    def __init__(
        self,
        journal: Callable[[], Journal],
        clock: Callable[[], Clock],
        for_agents: float | None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._for_agents = None if for_agents is None else timedelta(seconds=for_agents)
        self.paused: dict[str, _Pause] = {}  # in the order of what was said last
        self.heeded = (Notice,) if for_agents is None else (Notice, Message)
        self._found = asyncio.Event()
        self._tasks = Tasks("the pauses")
        self._throttle = Throttle(_log)

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock().time(), UTC)

    async def __aenter__(self) -> Self:
        """Find in the journal what still counts. Raises `JournalError` where nobody shares it."""
        self.paused.clear()
        self._found = asyncio.Event()
        self._tasks = Tasks("the pauses")
        journal = self._journal()
        if isinstance(journal, SharedJournal):  # other processes read lanes that may become ours
            self._tasks.start("follow", partial(self._follow, journal))
        else:
            await self._find(journal)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what follows the journal."""
        await self._tasks.close()

    async def known(self) -> None:
        """Return once it is known which conversations are paused."""
        await self._found.wait()

    async def _find(self, journal: Journal) -> None:
        found = [
            (each.conversation, _Pause.decode(each.value))
            async for page in journal.states(_NAME)
            for each in page
            if each.expires_at > self._clock().time()
        ]
        for conversation, pause in sorted(found, key=lambda each: each[1].at):
            self._set(conversation, pause)
        if self._for_agents is not None:
            since = self._now - self._for_agents
            search = Query(kinds=(Message.kind,), since=since, limit=_PAGE)
            async with aclosing(journal.scan(search)) as pages:
                async for entries in pages:
                    for entry in entries:
                        self.note(entry.event)
        self._found.set()

    async def _follow(self, journal: Journal) -> None:
        cursor: Cursor | None = None
        while True:
            try:
                if cursor is None:
                    following = await journal.follow()  # first, so that nothing lies between
                    await self._find(journal)
                    cursor = following
                entries = await cursor.read(_PAGE)
            except JournalError as error:
                message = "cannot read which conversations are paused, and bots wait"
                self._throttle.log(logging.WARNING, f"{message}: {error}", key=message)
                await asyncio.sleep(_AFTER_JOURNAL_ERROR)
                continue
            for entry in entries:
                self.note(entry.event)

    async def pause(self, conversation: str, for_: timedelta | float | str) -> datetime:
        """See `Bridge.pause`."""
        now = self._now
        until = now + _checked(for_)
        await self._tell(conversation, _Pause(now, now, until))
        return until

    async def resume(self, conversation: str) -> None:
        """See `Bridge.resume`."""
        now = self._now
        await self._tell(conversation, _Pause(now, now, now))

    async def _tell(self, conversation: str, pause: _Pause) -> None:
        await self._keep(conversation, self._continued(conversation, pause))
        details: JsonValue = {"conversation": conversation, "until": pause.until.isoformat()}
        notice = build.notice(
            key=event_key(Notice.kind, OURS, f"{PAUSED}/{uuid4().hex}"),
            source=OURS,
            channel=OURS,
            occurred_at=pause.at,
            received_at=pause.at,
            raw=details,
            topic=PAUSED,
            details=details,
        )
        await self._journal().append([notice])
        self.note(notice)

    async def _keep(self, conversation: str, pause: _Pause) -> None:
        """Note durably what a start is to find."""
        expires_at = (pause.until + LONGEST).timestamp()
        await self._journal().write_state(
            State(
                conversation=conversation, name=_NAME, value=pause.encode(), expires_at=expires_at
            )
        )

    async def _move(self, conversation: str, pause: _Pause) -> None:
        try:
            await self._keep(conversation, pause)
        except JournalError as error:
            _log.warning("%s is paused until the bridge stops: %s", conversation, error)

    def note(self, event: Event) -> None:
        """Note what an event says of pauses, if it does."""
        if isinstance(event, Notice):
            conversation = conversation_of(event)
            match joined(event), event.details:
                case (ended, str(goes_on)), _ if ended in self.paused:
                    pause = self.paused.pop(ended)
                    self._set(goes_on, pause)
                    self._tasks.start("move", partial(self._move, goes_on, pause))
                case None, {"until": str(told)} if (
                    event.topic == PAUSED and conversation is not None
                ):
                    at, until = event.occurred_at, datetime.fromisoformat(told)
                    self._set(conversation, _Pause(at, at, until))
        elif (
            self._for_agents is not None
            and isinstance(event, Message)
            and event.origin in _PEOPLE
            and event.direction is Direction.OUTBOUND
        ):
            at, until = event.occurred_at, event.occurred_at + self._for_agents
            known = self.paused.get(event.conversation.id)
            until = until if known is None else max(until, known.until)
            self._set(event.conversation.id, _Pause(at, at, until))

    def _set(self, conversation: str, pause: _Pause) -> None:
        known = self.paused.get(conversation)
        if known is not None and pause.at < known.at:
            return  # several deliveries tell of the same, each in its own time
        pause = self._continued(conversation, pause)
        self.paused.pop(conversation, None)
        self.paused[conversation] = pause
        oldest = next(iter(self.paused))
        if self.paused[oldest].until < self._now - LONGEST:
            del self.paused[oldest]

    def _continued(self, conversation: str, pause: _Pause) -> _Pause:
        """Return a pause with the beginning of the one that it continues, if it does."""
        known = self.paused.get(conversation)
        if known is None or known.until < pause.at:
            return pause
        return attrs.evolve(pause, since=known.since)

    def covers(self, event: Event) -> bool:
        """Return whether an event is a user's message that came, or would be given, in a pause."""
        if not self.paused or not isinstance(event, Message):
            return False
        pause = self.paused.get(event.conversation.id)
        if pause is None or event.direction is not Direction.INBOUND:
            return False
        return any(pause.since <= at < pause.until for at in (event.received_at, self._now))


def _checked(for_: timedelta | float | str) -> timedelta:
    found = seconds(for_) if isinstance(for_, str) else for_
    try:
        length = found if isinstance(found, timedelta) else timedelta(seconds=found or 0)
    except (OverflowError, TypeError, ValueError):  # as NaN and infinity are
        length = timedelta()
    if not timedelta() < length <= LONGEST:
        raise ConfigurationError(
            f"for_: expected seconds or a duration such as '1h', at most 7 days, found {for_!r}"
        )
    return length
