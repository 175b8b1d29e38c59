"""A conversation that a person has taken over is kept from the bots for a while."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import attrs
import pytest

from bridge.assembly import subscriber_of
from bridge.delivery import current
from bridge.delivery.pauses import Pauses
from bridge.errors import ConfigurationError, JournalError, NotRunning
from bridge.journal.memory import MemoryJournal
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Direction, Event, Message, Notice, Origin
from bridge.model.keys import conversation_id
from bridge.process.clock import SYSTEM_CLOCK
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings, OutboxSettings
from bridge.settings.tables import SubscriberEntry
from tests.bridge.events import ACCOUNT, USER_PHONE, message, notice
from tests.bridge.serving import PATIENCE

CONVERSATION = conversation_id("whatsapp", ACCOUNT, USER_PHONE)
HOUR = timedelta(hours=1)


def said(number: int, *, user: str = USER_PHONE, **fields) -> Message:
    """Return what a user says now."""
    now = datetime.now(UTC)
    made = message(f"wamid.{number}", user=user)
    return attrs.evolve(made, **({"occurred_at": now, "received_at": now} | fields))


def answered(number: int, origin: Origin, at: datetime) -> Message:
    """Return what a business says to the user."""
    return said(number, direction=Direction.OUTBOUND, origin=origin, occurred_at=at)


class Bots:
    """A bridge with functions that heed pauses, and one that does not."""

    def __init__(self, journal=None, outbox: OutboxSettings | None = None) -> None:
        self.bridge = Bridge(journal=journal or MemoryJournal(), outbox=outbox)
        self.bot: list[str] = []
        self.recorder: list[str] = []
        self.everything: list[Event] = []
        inbound = {"direction": "inbound"}
        self.bridge.on(Message, name="bot", **inbound)(self.hear)
        self.bridge.on(Message, name="recorder", when_paused=True, **inbound)(self.record)
        self.bridge.on(Event, name="everything")(self.everything.append)

    async def hear(self, event: Message) -> None:
        self.bot.append(event.key)

    async def record(self, event: Message) -> None:
        self.recorder.append(event.key)

    async def take(self, *events: Event) -> None:
        await self.bridge.journal.append(events)
        await self.bridge.caught_up()


async def test_a_bot_gets_no_message_of_a_paused_conversation():
    """Until it is resumed; whoever says `when_paused` or asks for every event gets all."""
    bots = Bots()
    async with bots.bridge:
        before = said(1)
        await bots.take(before)
        until = await bots.bridge.pause(before, for_="1h")
        assert HOUR - timedelta(minutes=1) < until - datetime.now(UTC) <= HOUR
        during = said(2)
        await bots.take(during)
        await bots.bridge.resume(before.conversation)
        after = said(3)
        await bots.take(after)
    assert bots.bot == [before.key, after.key]
    assert bots.recorder == [before.key, during.key, after.key]
    keys = [event.key for event in bots.everything if isinstance(event, Message)]
    assert keys == [before.key, during.key, after.key]


async def test_other_conversations_go_on():
    """A pause is of one conversation."""
    bots = Bots()
    async with bots.bridge:
        await bots.bridge.pause(CONVERSATION, for_=HOUR)
        other = said(1, user="+16505550000")
        await bots.take(other)
    assert bots.bot == [other.key]


async def test_a_pause_is_told():
    """It is a `Notice` in the conversation, with the time until when."""
    bots = Bots()
    async with bots.bridge:
        until = await bots.bridge.pause(CONVERSATION, for_=60)
        await bots.bridge.caught_up()
    (notice,) = bots.everything
    assert isinstance(notice, Notice)
    assert notice.topic == "conversation_paused"
    assert notice.details == {"conversation": CONVERSATION, "until": until.isoformat()}


async def test_a_pause_survives_a_restart(tmp_path):
    """Another process knows of it, and of its end."""
    path = tmp_path / "bridge.db"
    first = Bots(SqliteJournal(path))
    async with first.bridge:
        await first.bridge.pause(CONVERSATION, for_="1h")
    second = Bots(SqliteJournal(path))
    async with second.bridge:
        await second.take(said(1))
        await second.bridge.resume(CONVERSATION)
    third = Bots(SqliteJournal(path))
    async with third.bridge:
        after = said(2)
        await third.take(after)
    assert (first.bot, second.bot, third.bot) == ([], [], [after.key])


async def test_what_came_in_a_pause_is_not_given_after_it(tmp_path):
    """A bot that was away meanwhile does not answer what a person has answered."""
    path = tmp_path / "bridge.db"
    first = Bots(SqliteJournal(path))
    async with first.bridge:
        await first.bridge.pause(CONVERSATION, for_="1h")
    journal = SqliteJournal(path)
    async with journal:  # nobody is served
        await journal.append([said(1)])
    second = Bots(SqliteJournal(path))
    async with second.bridge:
        await second.bridge.resume(CONVERSATION)
        await second.bridge.caught_up()
    assert second.bot == []


async def test_a_pause_ends_by_itself():
    """Once its time is over, what comes is given; a later word takes the place of an earlier."""
    bots = Bots()
    async with bots.bridge:
        await bots.bridge.pause(CONVERSATION, for_="7d")
        until = await bots.bridge.pause(CONVERSATION, for_=0.001)
        late = said(1, received_at=until + timedelta(seconds=1))
        while datetime.now(UTC) < until:
            await asyncio.sleep(0)
        await bots.take(late)
    assert bots.bot == [late.key]


async def test_a_retry_in_a_pause_is_passed_over():
    """A bot that failed before a person took over does not come back to it."""
    bridge = Bridge(journal=MemoryJournal())
    tries = []

    @bridge.on(Message, name="bot", policy=DeliverySettings(first_delay=0.01, tries=5))
    async def bot(event: Message) -> None:
        tries.append(current().tries)
        await bridge.pause(event, for_="1h")
        raise RuntimeError("not yet")

    async with bridge:
        await bridge.journal.append([said(1)])
        while not tries or bridge.at_work or bridge.deliveries["bot"].held_lanes:
            await asyncio.sleep(0.001)
        assert await bridge.journal.dead_letters() == ()
    assert tries == [0]


class Shared(MemoryJournal):
    """A journal that says that other processes use it too."""

    def watch(self, changed) -> None:
        """Take no notice: nobody else is there."""

    async def is_served(self, name: str) -> bool:
        return bool(name)


async def test_another_process_s_pause_is_known():
    """On a journal that processes share, also before one of its lanes is ours to serve."""
    async with Shared() as journal:
        ours, theirs = (Pauses(lambda: journal, lambda: SYSTEM_CLOCK, None) for _ in range(2))
        async with ours, theirs:
            await theirs.pause(CONVERSATION, "1h")
            async with asyncio.timeout(PATIENCE):
                while not ours.covers(said(1)):
                    await asyncio.sleep(0.001)


class Away(Shared):
    """A shared journal in which nothing can be found at first."""

    is_away = False

    async def states(self, name=None):
        """Raise while it is away."""
        if self.is_away:
            raise JournalError("nobody answers")
        async for page in super().states(name):
            yield page


async def test_a_journal_that_is_away_at_the_start(caplog):
    """The bridge starts, and says so; bots wait until it is known who is paused."""
    journal = Away()
    first = Bots(journal)
    async with first.bridge:
        await first.bridge.pause(CONVERSATION, for_="1h")
        await first.bridge.caught_up()
    journal.is_away = True
    second = Bots(journal)
    async with second.bridge, asyncio.timeout(PATIENCE):
        during, other = said(1), said(2, user="+16505550000")
        await journal.append([during, other])
        while len(second.recorder) < 2:
            await asyncio.sleep(0.001)
        assert second.bot == []
        journal.is_away = False
        while not second.bot:
            await asyncio.sleep(0.001)
    assert second.bot == [other.key]
    assert "which conversations are paused, and bots wait: nobody answers" in caplog.text


async def test_the_pause_of_a_conversation_that_turns_out_to_be_another_goes_on():
    """Where a user's two conversations become one, the one that goes on is paused."""
    async with MemoryJournal() as journal:
        first, second = (Pauses(lambda: journal, lambda: SYSTEM_CLOCK, None) for _ in range(2))
        async with first:
            await first.pause("whatsapp:30058:US.1", "1h")
            details = {"from": "whatsapp:30058:US.1", "to": CONVERSATION}
            first.note(attrs.evolve(notice(), topic="conversation_joined", details=details))
            assert first.covers(said(1))
            async with asyncio.timeout(PATIENCE):
                while await journal.read_state(CONVERSATION, "\tpaused") is None:
                    await asyncio.sleep(0)
        async with second:
            assert second.covers(said(1))


async def test_a_burst_is_passed_over_too():
    """What was gathered before the pause is not given in it."""
    bridge = Bridge(journal=MemoryJournal())
    bursts = []
    bridge.on(Message, name="bot", gather=0.02)(bursts.append)
    async with bridge:
        await bridge.journal.append([said(1), said(2)])
        await bridge.pause(CONVERSATION, for_="1h")
        await bridge.caught_up()
        while bridge.deliveries["bot"].held_lanes:
            await asyncio.sleep(0.001)
    assert bursts == []


async def test_an_operator_s_replay_is_given_all_the_same():
    """Who asks for an event again means it."""
    bots = Bots()
    async with bots.bridge:
        await bots.bridge.pause(CONVERSATION, for_="1h")
        during = said(1)
        await bots.take(during)
        await bots.bridge.operators.replay([during.key], "bot")
        await bots.bridge.caught_up()
    assert bots.bot == [during.key]


@pytest.mark.parametrize("origin", [Origin.AGENT, Origin.APP])
async def test_a_person_s_message_pauses_by_itself(origin, tmp_path):
    """With `pause_for_agents`, from when it was written; also for who starts afterwards."""
    outbox = OutboxSettings(pause_for_agents=1800)
    first = Bots(SqliteJournal(tmp_path / "bridge.db"), outbox)
    async with first.bridge:
        await first.take(answered(1, origin, datetime.now(UTC)), said(2))
    second = Bots(SqliteJournal(tmp_path / "bridge.db"), outbox)
    async with second.bridge:
        await second.take(said(3))
    assert first.bot == second.bot == []


@pytest.mark.parametrize(
    ("origin", "ago", "setting"),
    [
        (Origin.AGENT, timedelta(), None),
        (Origin.AGENT, timedelta(minutes=31), 1800.0),
        (Origin.API, timedelta(), 1800.0),
        (Origin.HISTORY, timedelta(), 1800.0),
    ],
)
async def test_what_pauses_nothing(origin, ago, setting):
    """Without the setting, long ago, or by a program, a message leaves the bots alone."""
    bots = Bots(outbox=OutboxSettings(pause_for_agents=setting))
    async with bots.bridge:
        await bots.take(answered(1, origin, datetime.now(UTC) - ago), said(2))
    assert len(bots.bot) == 1


async def test_a_person_s_message_shortens_no_pause():
    """A pause that was asked for lasts as long as that, and a resumed one stays resumed."""
    began = datetime.now(UTC)
    clock = SimpleNamespace(time=began.timestamp)

    def covered(after: timedelta) -> bool:
        clock.time = (began + after).timestamp
        return pauses.covers(said(1, received_at=began + after))

    async with MemoryJournal() as journal:
        pauses = Pauses(lambda: journal, lambda: clock, HOUR.total_seconds())
        await pauses.pause(CONVERSATION, "3h")
        wrote = answered(2, Origin.AGENT, began + HOUR / 2)
        pauses.note(wrote)
        assert covered(2 * HOUR)
        clock.time = (began + HOUR).timestamp
        await pauses.resume(CONVERSATION)
        pauses.note(wrote)  # by another delivery, which is slower
        assert not covered(HOUR + timedelta(minutes=1))


@pytest.mark.parametrize("for_", ["soon", "", "8d", 0, -1, float("nan"), float("inf"), None])
async def test_a_wrong_duration_is_refused(for_):
    """The error says what would do, and nothing is paused."""
    bots = Bots()
    async with bots.bridge:
        with pytest.raises(ConfigurationError, match="at most 7 days"):
            await bots.bridge.pause(CONVERSATION, for_=for_)
        await bots.take(said(1))
    assert len(bots.bot) == 1


async def test_only_while_the_bridge_runs():
    """Before it is entered there is nowhere to keep a pause."""
    bots = Bots()
    with pytest.raises(NotRunning):
        await bots.bridge.pause(CONVERSATION, for_="1h")
    with pytest.raises(NotRunning):
        await bots.bridge.resume(CONVERSATION)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"use": "json:dumps", "events": ("message",)}, False),
        ({"use": "json:dumps"}, True),
        ({"use": "json:dumps", "events": ("message",), "when_paused": True}, True),
        ({"use": "json:dumps", "when_paused": False}, False),
        ({"use": "console", "events": ("message",)}, True),
    ],
)
def test_toml_says_the_same(fields, expected):
    """`when_paused` is a subscriber's setting; what is no function hears everything."""
    entry = SubscriberEntry(name="one", delivery=DeliverySettings(), **fields)
    assert subscriber_of(entry, lambda _: None).when_paused is expected


def test_when_paused_is_yes_or_no():
    """Another word is refused."""
    with pytest.raises(ConfigurationError, match="when_paused: expected True or False, found"):
        Bridge(journal=MemoryJournal()).on(Message, when_paused="yes")
