"""The round trip: answer once, on any channel, and hear what became of it."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import attrs
import orjson
import pytest

from bridge.adapter import Pace, Request
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.delivery import current
from bridge.errors import (
    ConfigurationError,
    JournalError,
    KeyConflict,
    NotRunning,
    Unsendable,
    WindowClosed,
)
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Held, Settlement, Start
from bridge.journal.query import Query
from bridge.journal.sqlite import SqliteJournal
from bridge.model import (
    Choice,
    ChoiceSource,
    Media,
    MediaKind,
    Menu,
    Message,
    Option,
    Origin,
    Reaction,
    Status,
    Template,
    Text,
)
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings, OutboxSettings, PaceSettings
from bridge.testing.providers import SimulatedProvider, Trouble
from tests.adapters.sending import outbound
from tests.bridge.fakes import Plain
from tests.bridge.outbox.providers import ADAPTERS
from tests.bridge.outbox.trips import CHANNELS, USER, planned, told, under_way
from tests.bridge.serving import PATIENCE

NAMES = tuple(ADAPTERS)
QUICK = DeliverySettings(first_delay=0.01)


def furthest(trip, message_id: str) -> Status | None:
    changes = trip.statuses(message_id)
    return changes[-1].current if changes else None


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("name", NAMES)
class TestEveryAdapter:
    async def test_a_bot_answers_and_hears_what_became_of_it(self, name, early, tmp_path):
        """The answer arrives once; its statuses carry the caller's key and our id, and advance.

        Whether the provider's callback comes before its HTTP response or after it.
        """
        journal = SqliteJournal(tmp_path / "bridge.db")
        async with planned(name, journal=journal) as trip:
            trip.provider.early = early
            sent = []

            @trip.bridge.on(Message, content=Text, direction="inbound", name="greeter")
            async def greet(message: Message[Text]) -> None:
                answer = f"you said {message.content.text}"
                sent.append(await trip.bridge.reply(message, answer, key="order-17"))

            async with under_way(trip):
                await trip.say("hello")
                await trip.until(lambda: sent and furthest(trip, sent[0].message_id) is Status.READ)
                changes = trip.statuses()
        assert trip.said == ["you said hello"]
        assert [each.is_new for each in sent] == [True]
        (message,) = [
            event
            for event in trip.events
            if isinstance(event, Message) and event.origin is Origin.BRIDGE and not event.completes
        ]
        assert message.message_id == sent[0].message_id
        assert message.intent.key == sent[0].key == "order-17"
        tied = [each for each in changes if sent[0].message_id in (each.message_id, *each.aliases)]
        assert {each.correlation for each in tied} == {"order-17"}
        assert {each.conversation.id for each in tied} == {message.conversation.id}
        assert tied[-1].current is Status.READ
        if name != "incs" or not early:  # INCS repeats no id of ours before its response
            assert tied == changes
            moved = [each.status for each in changes if each.advanced]
            order = [Status.ACCEPTED, Status.SENT, Status.DELIVERED, Status.READ]
            assert moved == [each for each in order if each in moved]


class TestOncePerIntent:
    async def test_an_event_that_is_given_again_sends_nothing_again(self):
        """A subscriber that fails after its answers answers once all the same, and in order."""
        async with planned("whatsapp") as trip:
            tries = []

            @trip.bridge.on(Message, direction="inbound", name="bot", policy=QUICK)
            async def bot(message: Message) -> None:
                tries.append(current().tries)
                first = await trip.bridge.reply(message, "one")
                second = await trip.bridge.reply(message, "two")
                assert first.message_id != second.message_id
                assert (first.is_new, second.is_new) == (len(tries) == 1,) * 2
                if len(tries) < 3:
                    raise RuntimeError("not yet")

            async with under_way(trip):
                await trip.say()
                await trip.until(lambda: len(trip.statuses()) >= 8 and len(tries) == 3)
            assert tries == [0, 1, 2]
            assert trip.said == ["one", "two"]

    async def test_a_restart_sends_nothing_again(self, tmp_path):
        """An event that is replayed to a bridge that started anew is answered no second time."""
        path = tmp_path / "bridge.db"
        given = []

        def subscribe(trip):
            @trip.bridge.on(Message, direction="inbound", name="bot")
            async def bot(message: Message) -> None:
                given.append(await trip.bridge.reply(message, "once"))

        async with planned("rcs", journal=SqliteJournal(path)) as trip:
            subscribe(trip)
            async with under_way(trip):
                await trip.say()
                await trip.until(lambda: len(trip.statuses()) == 3)
                inbound = trip.events[0]
        async with planned("rcs", journal=SqliteJournal(path)) as again:
            subscribe(again)
            async with under_way(again):
                await again.bridge.operators.replay([inbound.key], "bot")
                await again.until(lambda: len(given) == 2)
            assert again.provider.requests == []
        assert len(trip.said) == 1
        assert [each.is_new for each in given] == [True, False]
        assert given[0].message_id == given[1].message_id

    async def test_another_content_under_the_same_key_is_refused(self):
        """A key names one intent: the same again is known, another is a conflict."""
        async with planned("whatsapp") as trip, under_way(trip):
            send = trip.bridge.send
            first = await send(USER, "your code is 1", via="whatsapp", key="code")
            again = await send(USER, "your code is 1", via="whatsapp", key="code")
            assert (first.is_new, again.is_new) == (True, False)
            assert again.message_id == first.message_id
            with pytest.raises(KeyConflict, match="'code'"):
                await send(USER, "your code is 2", via="whatsapp", key="code")
            with pytest.raises(KeyConflict):
                await send("+4915112345678", "your code is 1", via="whatsapp", key="code")

    async def test_what_was_said_first_counts(self):
        """A bot that says something else on its next try has said what it said first, once."""
        async with planned("whatsapp") as trip:
            tries = []

            @trip.bridge.on(Message, direction="inbound", name="bot", policy=QUICK)
            async def bot(message: Message) -> None:
                tries.append(message)
                words = ["short", " ".join(["long"] * 1200)][len(tries) - 1]
                await trip.bridge.reply(message, words)
                if len(tries) < 2:
                    raise RuntimeError("not yet")

            async with under_way(trip):
                await trip.say()
                await trip.until(lambda: len(tries) == 2)
                sending = await trip.bridge.send(USER, "after", via="whatsapp")
                await sending.outcome(10)
            assert trip.said == ["short", "after"]
            assert not [each for each in trip.events if getattr(each, "completes", None)]

    async def test_without_a_key_each_call_is_an_intent(self):
        """Outside of a subscriber the same words twice are two messages."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.window = None
            for _ in range(2):
                sending = await trip.bridge.send(USER, "hello", via="whatsapp")
                await sending.outcome(10, until="read")
            assert trip.said == ["hello", "hello"]

    async def test_an_operator_s_replay_does_not_send_again(self):
        """What was accepted is not sent again, whoever is given it; what failed is."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.window = None
            trip.provider.rules.errors.append("132001")
            failed = await trip.bridge.send(USER, "one", via="whatsapp")
            assert (await failed.outcome(10)).status is Status.FAILED
            sent = await trip.bridge.send(USER, "two", via="whatsapp")
            await sent.outcome(10, until="read")
            await until_done(trip)
            keys = [each.messages[0].key for each in (sent, failed)]
            await trip.bridge.operators.replay(keys)
            change = await failed.outcome(10, until="delivered")
            assert change.current is Status.FAILED
            await trip.until(lambda: furthest(trip, failed.message_id) is Status.READ)
            assert trip.said == ["two", "one"]


async def until_done(trip) -> None:
    """Wait until the journal knows that the subscribers are done with all that was published."""
    async with asyncio.timeout(PATIENCE):
        while any(each.lag for each in await trip.bridge.journal.subscribers()):
            await asyncio.sleep(0)


class TestWhatGoesOut:
    async def test_a_menu_is_answered_by_a_choice(self):
        """A menu goes out in the channel's own form, and what the user picks comes back."""
        async with planned("whatsapp") as trip:
            picked = []

            @trip.bridge.on(Message, content=Text, direction="inbound", name="menu")
            async def ask(message: Message[Text]) -> None:
                options = (Option("track", "Track my order"), Option("agent", "Talk to us"))
                await trip.bridge.reply(message, Menu("What next?", options=options), quote=True)

            @trip.bridge.on(Message, content=Choice, direction="inbound", name="choice")
            async def chosen(message: Message[Choice]) -> None:
                picked.append(message.content.id)

            async with under_way(trip):
                await trip.say()
                await trip.until(lambda: trip.provider.arrived)
                body = trip.provider.arrived[0].body
                buttons = body["interactive"]["action"]["buttons"]
                assert [each["reply"]["id"] for each in buttons] == ["track", "agent"]
                assert body["context"]["message_id"] == trip.events[0].message_id
                choice = Choice(source=ChoiceSource.BUTTON, id="agent", title="Talk to us")
                assert await trip.provider.say(USER, choice)
                await trip.until(lambda: picked)
            assert picked == ["agent"]

    async def test_a_reaction_and_a_receipt(self):
        """A message of the user's is reacted to, and marked as read with typing."""
        async with planned("whatsapp") as trip:

            @trip.bridge.on(Message, direction="inbound", name="bot")
            async def bot(message: Message) -> None:
                await trip.bridge.mark_read(message, typing=True)
                await trip.bridge.react(message, "\N{THUMBS UP SIGN}")

            async with under_way(trip):
                await trip.say()
                await trip.until(lambda: len(trip.statuses()) == 5)
            bodies = [orjson.loads(request.body) for request in trip.provider.requests]
            assert bodies[0]["status"] == "read"
            assert bodies[0]["typing_indicator"] == {"type": "text"}
            assert bodies[1]["reaction"]["emoji"] == "\N{THUMBS UP SIGN}"

    async def test_where_no_receipts_are_shown_none_is_sent(self):
        """Marking as read costs nothing on a channel that has no such thing."""
        async with planned("incs") as trip, under_way(trip):
            await trip.say()
            await trip.until(lambda: trip.events)
            assert await trip.bridge.mark_read(trip.events[0]) is None

    async def test_no_receipt_is_shown_to_a_group(self):
        """A bot that marks each message as read does not fail at those of a group."""
        async with told() as one:
            text = {"type": "text", "text": {"body": "hi"}, "group_id": "Y2FwaV9ncm91cDox"}
            item = {"from": USER[1:], "id": "wamid.G", "timestamp": "1790000000", **text}
            card = {"profile": {"name": "Maya"}, "wa_id": USER[1:]}
            await one.tell("messages", {"contacts": [card], "messages": [item]})
            for typing in (False, True):
                message = one.trip.events[-1]
                assert await one.trip.bridge.mark_read(message, typing=typing) is None

    async def test_a_long_text_goes_in_parts_and_is_taken_up_at_the_one_that_failed(self):
        """Parts arrive in order, once each, though the second one is refused at first."""
        words = " ".join(f"word{number}" for number in range(1200))
        settings = OutboxSettings(doubt=0.1)
        async with planned("whatsapp", outbox=settings) as trip, under_way(trip):
            trip.provider.rules.window = None
            trip.provider.troubles.extend([None, Trouble.HTML])
            sending = await trip.bridge.send(USER, words, via="whatsapp", key="long")
            assert len(sending.messages) == 3
            await sending.outcome(20, until="delivered")
            assert "".join(trip.said) == words
            assert len(trip.provider.requests) == 4
            again = await trip.bridge.send(USER, words, via="whatsapp", key="long")
            assert not again.is_new

    async def test_a_long_text_ends_at_the_part_that_has_failed(self):
        """What comes behind a part that was refused for good would say half of it: it fails too."""
        words = " ".join(f"word{number}" for number in range(1200))
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.window = None
            trip.provider.troubles.extend([None, None])
            first = await trip.bridge.send(USER, "first", via="whatsapp")
            await first.outcome(10)
            trip.provider.rules.errors.append("131026")
            sending = await trip.bridge.send(USER, words, via="whatsapp")
            assert (await sending.outcome(10)).error.code == "131026"
            after = await trip.bridge.send(USER, "after", via="whatsapp")
            await after.outcome(10)
            assert trip.said == ["first", "after"]
            await trip.until(
                lambda: all(trip.statuses(each.message_id) for each in sending.messages)
            )
            told = [trip.statuses(each.message_id)[-1] for each in sending.messages]
            assert [each.status for each in told] == [Status.FAILED] * 3
            assert [each.error.code for each in told] == ["131026", "cut_off", "cut_off"]
            await until_done(trip)
            await trip.bridge.operators.replay([sending.messages[1].key], "outbox")
            await trip.until(lambda: len(trip.said) == 3)  # an operator means it

    async def test_a_long_text_takes_another_way_from_the_part_that_has_failed(self):
        """All that is left of it arrives there, in order; the outcome is that of the last part."""
        words = " ".join(f"word{number:05}" for number in range(1200))
        async with planned("incs") as trip, under_way(trip):
            trip.provider.rules.window = None
            trip.provider.rules.errors.append("10004")
            sending = await trip.bridge.send(USER, words, via="30059", fallback=["viber"])
            change = await sending.outcome(10)
            assert (change.status, change.channel) == (Status.ACCEPTED, "viber")
            assert "".join(trip.said) == words

    @pytest.mark.parametrize("name", NAMES)
    async def test_a_long_text_for_later_goes_in_parts_and_in_order(self, name):
        """Also what is sent after it for the same moment comes after it."""
        words = " ".join(f"word{number:05}" for number in range(2400))
        later = datetime.now(UTC) + timedelta(seconds=0.3)
        async with planned(name) as trip, under_way(trip):
            trip.provider.rules.window = None
            for text in (words, "end"):
                await trip.bridge.send(USER, text, via=CHANNELS[name], not_before=later)
            await trip.until(lambda: "end" in trip.said)
            assert "".join(trip.said) == f"{words}end"

    async def test_what_the_channel_cannot_carry_is_refused_before_it_is_kept(self):
        """The error names the limit, and nothing was made durable."""
        async with planned("rcs") as trip, under_way(trip):
            with pytest.raises(Unsendable, match="there are no reactions"):
                await trip.bridge.send(USER, Reaction(message_id="1", emoji="x"), via="rcs")
            with pytest.raises(Unsendable, match="3100 characters"):
                await trip.bridge.send(USER, "a" * 3100, via="rcs", adapt="strict")
            with pytest.raises(Unsendable, match='expected "degrade" or "strict"'):
                await trip.bridge.send(USER, "hello", via="rcs", adapt="never")
            with pytest.raises(Unsendable, match="nobody to send to"):
                await trip.bridge.send("", "hello", via="rcs")
            assert (await trip.bridge.journal.follow()).position == 0

    async def test_a_message_of_the_business_is_not_answered(self):
        """A bot that hears its own answers cannot answer them, so that it never talks to itself."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.window = None
            await trip.bridge.send(USER, "hello", via="whatsapp")
            await trip.until(lambda: trip.events)
            with pytest.raises(Unsendable, match='direction="inbound"'):
                await trip.bridge.reply(trip.events[0], "hello myself")

    async def test_what_is_to_go_later_holds_up_nobody(self):
        """A message for tomorrow does not keep the conversation from one for now."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.window = None
            await trip.bridge.send(USER, "tomorrow", via="whatsapp", not_before="24h")
            now = await trip.bridge.send(USER, "now", via="whatsapp")
            await now.outcome(10)
            assert trip.said == ["now"]

    async def test_what_is_to_go_in_a_moment_goes_then(self):
        """`not_before` is kept to."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.window = None
            sending = await trip.bridge.send(USER, "soon", via="whatsapp", not_before="300ms")
            change = await sending.outcome(10)
            assert change.occurred_at >= sending.messages[0].intent.not_before


class TestNumbers:
    """A provider may know a user by another number than the one that a message was sent to."""

    @pytest.mark.parametrize("early", [False, True])
    @pytest.mark.parametrize(
        ("given", "known_as"),
        [
            ("+5511987654321", "551187654321"),
            ("+525512345678", "5215512345678"),
            ("+5491123456789", "541123456789"),
            ("+4401701234567", "441701234567"),
        ],
    )
    async def test_the_number_of_the_answer_is_the_same_user_s(self, given, known_as, early):
        """What is sent, its statuses, and what the user answers are in one conversation."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.window = None
            trip.provider.early = early
            trip.provider.rules.known_as[given.removeprefix("+")] = known_as
            sending = await trip.bridge.send(given, "hello", via="whatsapp")
            await sending.outcome(10, until="read")
            await trip.until(
                lambda: any(each.provider_status == "accepted" for each in trip.statuses())
            )
            await trip.say("here I am", user=f"+{known_as}")
            await trip.until(lambda: len(messages_of(trip)) == 2)
            _, said = messages_of(trip)
            assert {each.conversation.id for each in trip.events} == {
                f"whatsapp/whatsapp:106540352242922:{given}"
            }
            assert await trip.bridge.window(sending.messages[0]) == said.reply_until


class TestTrouble:
    @pytest.mark.parametrize("name", NAMES)
    async def test_what_passes_is_tried_again(self, name):
        """Whatever a provider in trouble answers, the message arrives in the end, in order."""

        async def meet(trouble: Trouble) -> None:
            async with planned(name, outbox=OutboxSettings(doubt=0.1)) as trip:

                @trip.bridge.on(Message, direction="inbound", name="bot")
                async def bot(message: Message) -> None:
                    await trip.bridge.reply(message, "one")
                    await trip.bridge.reply(message, "two")

                async with under_way(trip):
                    trip.provider.troubles.extend([trouble, None, trouble])
                    await trip.say()
                    await trip.until(lambda: len(trip.said) >= 2 and len(trip.statuses()) >= 4)
                assert list(dict.fromkeys(trip.said)) == ["one", "two"], trouble
                assert not await trip.bridge.journal.dead_letters("outbox"), trouble

        async with asyncio.TaskGroup() as meeting:  # at once, since each waits for seconds
            for trouble in (Trouble.DOWN, Trouble.HTML, Trouble.REDIRECT, Trouble.ERROR_INSIDE):
                meeting.create_task(meet(trouble))

    async def test_a_permanent_refusal_is_a_failure_at_once(self):
        """The status tells the provider's code, and neither a retry nor a dead letter follows."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.errors.append("131026")
            sending = await trip.bridge.send(USER, "hello", via="whatsapp", key="k")
            change = await sending.outcome(10, until="read")
            assert (change.status, change.error.code) == (Status.FAILED, "131026")
            assert (change.correlation, change.message_id) == ("k", sending.message_id)
            assert (change.id_space, change.resolved) == ("bridge", False)
            assert len(trip.provider.requests) == 1
            assert not await trip.bridge.journal.dead_letters("outbox")

    async def test_what_cannot_be_sent_in_time_expires(self):
        """A message that is refused for longer than it is worth is given up, and told so."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.trouble = Trouble.HTML
            sending = await trip.bridge.send(USER, "hello", via="whatsapp", expires=0.5)
            change = await sending.outcome(30)
            assert (change.status, change.error.code) == (Status.EXPIRED, "expired")

    @pytest.mark.parametrize("error", ["131031", "130429"])
    async def test_a_pause_is_no_longer_than_a_message_is_worth(self, error):
        """A message expires on time where its account, its user or the provider has to wait."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.errors.extend([error] * 50)
            await trip.bridge.send(USER, "first", via="whatsapp", expires="1ms")
            for words in ("second", "third"):
                sending = await trip.bridge.send(USER, words, via="whatsapp", expires="800ms")
                assert (await sending.outcome(5)).status is Status.EXPIRED

    async def test_one_who_is_too_fast_is_slowed_down_and_keeps_the_order(self):
        """Refused as too fast, and asked to wait, messages of a conversation keep their order."""
        async with planned("whatsapp") as trip, under_way(trip):
            trip.provider.rules.window = None
            trip.provider.rules.errors.extend(["130429", "131056", "130429"])
            sendings = [
                await trip.bridge.send(USER, str(number), via="whatsapp") for number in range(5)
            ]
            await sendings[-1].outcome(30)
            assert trip.said == list("01234")

    async def test_limits_hold_back_without_a_refusal(self):
        """More messages to one user than may go at once wait, and the provider refuses none."""
        async with planned("whatsapp") as trip:
            for limits in trip.bridge._outbox.ways.of("whatsapp").limits.values():
                limits._pace = Pace(rate=100.0, pair_every=0.02, pair_burst=2)
            trip.provider.rules.window = None
            async with under_way(trip):
                sendings = [
                    await trip.bridge.send(USER, str(number), via="whatsapp") for number in range(9)
                ]
                await sendings[-1].outcome(30)
            assert trip.said == list("012345678")
            assert len(trip.provider.requests) == 9


class TestWindow:
    """For 24 hours after a user's message anything may go, and then only a template."""

    TEMPLATE = Template(name="hello_again", language="en")

    async def test_a_message_says_until_when_it_may_be_answered(self):
        """24 hours after it was written, which `window` finds for its conversation too."""
        async with planned("whatsapp") as trip, under_way(trip):
            await trip.say()
            await trip.until(lambda: trip.events)
            message = trip.events[0]
            assert message.reply_until == message.occurred_at + timedelta(hours=24)
            assert await trip.bridge.window(message) == message.reply_until
            assert await trip.bridge.window("whatsapp:1:+4915112345678") is None

    async def test_too_late_is_refused_at_once(self):
        """A free-form answer to an old message raises, and nothing is sent."""
        async with planned("whatsapp") as trip:
            trip.provider.clock = lambda: datetime.now(UTC) - timedelta(hours=25)
            async with under_way(trip):
                await trip.say()
                await trip.until(lambda: trip.events)
                closed = trip.events[0].occurred_at + timedelta(hours=24)
                with pytest.raises(WindowClosed) as caught:
                    await trip.bridge.reply(trip.events[0], "hello?")
                assert caught.value.until == closed
                with pytest.raises(WindowClosed):
                    await trip.bridge.send(USER, "hello?", via="whatsapp")
                assert trip.provider.requests == []

    async def test_a_later_message_of_the_user_s_opens_the_window_again(self):
        """An old message is answered freely where the user has written since."""
        async with planned("whatsapp") as trip:
            trip.provider.clock = lambda: datetime.now(UTC) - timedelta(hours=25)
            async with under_way(trip):
                await trip.say("long ago")
                trip.provider.clock = lambda: datetime.now(UTC)
                await trip.say("now")
                await trip.until(lambda: len(trip.events) == 2)
                sending = await trip.bridge.reply(trip.events[0], "welcome back")
                await sending.outcome(10, until="read")
            assert trip.said == ["welcome back"]

    async def test_otherwise_a_template_goes(self):
        """What is known to come too late goes as a template, once under its key."""
        async with planned("whatsapp") as trip:
            trip.provider.clock = lambda: datetime.now(UTC) - timedelta(hours=25)
            async with under_way(trip):
                await trip.say()
                await trip.until(lambda: trip.events)
                for is_new in (True, False):
                    sending = await trip.bridge.send(
                        USER, "hello?", via="whatsapp", key="k", otherwise=self.TEMPLATE
                    )
                    assert sending.is_new is is_new
                await sending.outcome(10, until="read")
            (arrived,) = trip.provider.arrived
            assert arrived.body["template"]["name"] == "hello_again"

    async def test_otherwise_a_template_goes_where_the_provider_says_so(self):
        """The provider's 131047 for a user whom the journal does not know has the template follow.

        The outcome is that of the template, and both statuses carry the caller's key.
        """
        async with planned("whatsapp") as trip, under_way(trip):
            sending = await trip.bridge.send(
                USER, "hello?", via="whatsapp", key="k", otherwise=self.TEMPLATE
            )
            change = await sending.outcome(10, until="read")
            assert change.current is Status.READ
            (arrived,) = trip.provider.arrived
            assert arrived.body["type"] == "template"
            assert {each.correlation for each in trip.statuses()} == {"k"}

    async def test_without_a_template_it_has_failed(self):
        """The status tells the provider's code."""
        async with planned("whatsapp") as trip, under_way(trip):
            sending = await trip.bridge.send(USER, "hello?", via="whatsapp")
            change = await sending.outcome(10, until="read")
            assert (change.status, change.error.code) == (Status.FAILED, "131047")


class TestFallback:
    async def test_another_way_is_tried_where_the_user_cannot_be_reached(self):
        """The next way out has the message, once, and the outcome names its channel."""
        async with planned("rcs") as trip, SimulatedProvider() as other:
            adapter = ADAPTERS["whatsapp"](other.url)
            trip.bridge.add_adapter("whatsapp", adapter)
            async with under_way(trip):
                other.play(adapter, f"{trip.url}/callbacks/whatsapp")
                other.rules.window = None
                trip.provider.rules.unreachable.add(USER)
                sending = await trip.bridge.send(
                    USER, "hello", via="rcs", key="k", fallback=["whatsapp"]
                )
                change = await sending.outcome(10, until="read")
                other.callbacks.direct(adapter, None)
            assert (change.channel, change.current) == ("whatsapp", Status.READ)
            assert change.correlation == "k"
            assert [each.body["text"]["body"] for each in other.arrived] == ["hello"]
            assert trip.said == []

    async def test_where_no_way_is_left_it_has_failed(self):
        """The outcome is the last way's."""
        async with planned("incs") as trip, under_way(trip):
            trip.provider.rules.errors.extend(["10004", "10003"])
            sending = await trip.bridge.send(USER, "hello", via="rcs", fallback=["viber"])
            change = await sending.outcome(10)
            assert (change.channel, change.status) == ("viber", Status.FAILED)

    async def test_no_way_leads_around_an_opt_out(self):
        """What the provider fails since the user has opted out goes nowhere else."""
        template = Template(name="spring_sale", language="en")
        async with planned("whatsapp") as trip, SimulatedProvider() as other:
            adapter = ADAPTERS["incs"](other.url)
            trip.bridge.add_adapter("incs", adapter)
            other.play(adapter)
            async with under_way(trip):
                trip.provider.rules.opted_out.add(USER)
                sending = await trip.bridge.send(
                    USER, template, via="whatsapp:106540352242922", fallback=["30058"]
                )
                change = await sending.outcome(10, until="delivered")
                assert (change.status, change.error.code) == (Status.FAILED, "131050")
            assert other.requests == []

    async def test_a_way_that_is_none_is_refused_at_once(self):
        """A misspelt way out is found before anything is sent."""
        async with planned("incs") as trip, under_way(trip):
            with pytest.raises(ConfigurationError, match="via"):
                await trip.bridge.send(USER, "hello", via="rcs", fallback=["vibre"])


class TestEchoes:
    """INCS tells of each message that was sent, ours among them, sooner or later."""

    @pytest.mark.parametrize("early", [False, True])
    async def test_an_echo_of_ours_is_no_message_of_its_own(self, early):
        """Before the response or after it, it is our message, which now has INCS's number."""
        async with planned("incs") as trip, under_way(trip):
            trip.provider.early = early
            sending = await trip.bridge.send(USER, "hello", via="whatsapp")
            await sending.outcome(10, until="read")
            await trip.until(lambda: len(messages_of(trip)) == 2)
            first, more = messages_of(trip)
            assert (first.origin, more.origin) == (Origin.BRIDGE, Origin.BRIDGE)
            assert more.completes == first.key
            assert set(more.aliases) > set(first.aliases)

    async def test_what_another_program_sends_is_its_own(self):
        """It comes out once the time for a response of ours is over."""
        async with planned("incs") as trip, under_way(trip):
            answer = trip.provider.simulation.answer(others(trip), datetime.now(UTC))
            await trip.provider.callbacks.post(answer.callbacks[0].body)
            await trip.until(lambda: messages_of(trip))
            assert messages_of(trip)[0].origin is Origin.API


def messages_of(trip) -> list[Message]:
    return [each for each in trip.events if isinstance(each, Message)]


def others(trip) -> Request:
    """Return a request with our code that did not go through us."""
    message = outbound(Text(text="hello"), channel="whatsapp")
    return trip.adapter.sender().compose(attrs.evolve(message, account="30058"))


class Away(SqliteJournal):
    """Cannot be asked for a record the first time."""

    asked = False

    async def record(self, name):
        if not self.asked:
            self.asked = True
            raise JournalError("the disk does not answer")
        return await super().record(name)


class Closed(SqliteJournal):
    """Gives its subscribers nothing until it is open."""

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self.is_open = asyncio.Event()

    async def subscribe(self, name, *, start=Start.END):
        cursor = await super().subscribe(name, start=start)
        read = cursor.read

        async def once_open(limit):
            await self.is_open.wait()
            return await read(limit)

        cursor.read = once_open
        return cursor


def says_begun(sending):
    return sending.messages[0].intent.begun_by is not None


async def killed_while_sending(name, folder, *words, in_doubt):
    """Return the journal as a kill leaves it while the first message of some is under way."""
    journal, killed = SqliteJournal(folder / "bridge.db"), folder / "killed.db"
    settings = OutboxSettings(in_doubt=in_doubt)
    async with (
        planned(name, journal=journal, outbox=settings, patience=0.1) as trip,
        under_way(trip),
    ):
        trip.provider.rules.window = None
        trip.provider.callbacks.loss = 1.0
        trip.provider.slowness = 600.0
        trip.provider.troubles.extend([None] * (name == "rcs"))  # for its token
        trip.provider.troubles.append(Trouble.SLOW)
        sending = [await trip.bridge.send(USER, each, via=CHANNELS[name]) for each in words]
        await trip.until(lambda: trip.provider.arrived)
        await asyncio.to_thread(journal.backup, killed)
    return killed, sending


class TestDoubt:
    """The answer is lost after the provider took the message: nobody here knows that it did."""

    @pytest.mark.parametrize("trouble", [Trouble.LOST, Trouble.HALF, Trouble.EMPTY])
    @pytest.mark.parametrize("name", ["whatsapp", "rcs", "incs"])
    async def test_what_can_be_settled_arrives_once(self, name, trouble):
        """RCS takes it twice and delivers it once; WhatsApp's status that repeats our id tells.

        INCS tells of the message itself, with its words.
        """
        async with planned(name) as trip, under_way(trip):
            trip.provider.rules.window = None
            trip.provider.troubles.append(trouble)
            sending = await trip.bridge.send(USER, "hello", via=CHANNELS[name])
            await sending.outcome(30, until="read")
            await (await trip.bridge.send(USER, "bye", via=CHANNELS[name])).outcome(30)
            assert trip.said == ["hello", "bye"]

    async def test_a_file_that_incs_tells_of_arrives_once(self):
        """A file is known by its link."""
        file = Media(media=MediaKind.IMAGE, url="https://example.com/a.png")
        async with planned("incs") as trip, under_way(trip):
            trip.provider.troubles.append(Trouble.LOST)
            sending = await trip.bridge.send(USER, file, via="viber")
            await sending.outcome(30, until="read")
            assert len(trip.provider.arrived) == 1

    async def test_the_same_words_twice_are_two_messages(self):
        """What INCS tells of the first of two like messages does not settle the second."""
        async with planned("incs", outbox=OutboxSettings(doubt=0.3)) as trip, under_way(trip):
            # It comes so long before the answer that it is told as another's message.
            trip.provider.early, trip.provider.slowness = True, 2.5
            trip.provider.troubles.extend([Trouble.SLOW, Trouble.DOWN])
            both = [await trip.bridge.send(USER, "ok", via="whatsapp") for _ in range(2)]
            for sending in both:
                assert (await sending.outcome(30)).status is Status.ACCEPTED
            assert trip.said == ["ok", "ok"]

    async def test_another_s_message_settles_nothing(self):
        """Other words to the user, or the same to somebody else, are other messages."""
        async with planned("incs", outbox=OutboxSettings(doubt=0.3)) as trip, under_way(trip):
            trip.provider.early = True
            other = await trip.bridge.send("+16505550000", "hello", via="whatsapp")
            await other.outcome(30)
            trip.provider.troubles.append(Trouble.DOWN)
            sending = await trip.bridge.send(USER, "hello", via="whatsapp")
            await sending.outcome(30)
            assert trip.said == ["hello", "hello"]

    @pytest.mark.parametrize("name", ["whatsapp", "incs"])
    @pytest.mark.parametrize(("in_doubt", "times"), [("send", 2), ("fail", 1)])
    async def test_what_cannot_be_settled_goes_as_the_settings_say(self, name, in_doubt, times):
        """Without a status that tells, it is sent again or counts as failed."""
        settings = OutboxSettings(in_doubt=in_doubt, doubt=0.2)
        async with planned(name, outbox=settings) as trip, under_way(trip):
            trip.provider.rules.window = None
            trip.provider.callbacks.loss = 1.0
            trip.provider.troubles.append(Trouble.LOST)
            sending = await trip.bridge.send(USER, "hello", via=CHANNELS[name])
            change = await sending.outcome(30)
            assert trip.said == ["hello"] * times
            if in_doubt == "fail":
                assert (change.status, change.error.code) == (Status.FAILED, "in_doubt")
            else:
                assert change.status is Status.ACCEPTED

    @pytest.mark.parametrize("held", [False, True])
    async def test_what_an_earlier_life_was_done_with_is_not_sent_again(self, tmp_path, held):
        """After a kill the journal gives out again what came after a message under way.

        What is told of them already has gone; also where a life in between let the journal hold
        them, behind what it had to wait for.
        """
        path = tmp_path / "bridge.db"
        journal, settings = SqliteJournal(path), OutboxSettings(in_doubt="fail")
        async with planned("incs", journal=journal, outbox=settings) as trip, under_way(trip):
            for number in range(3):
                sending = await trip.bridge.send(USER, str(number), via="whatsapp")
                await sending.outcome(10)
        async with SqliteJournal(path) as journal:
            assert await journal.forget("outbox")
            cursor = await journal.subscribe("outbox", start=Start.BEGINNING)  # nothing was noted
            if held:
                entries = await journal.search(Query())
                some = [Held(entry=each) for each in entries if isinstance(each.event, Message)]
                await cursor.settle(Settlement(position=entries[-1].position, held=some))
        async with planned("incs", journal=SqliteJournal(path)) as again, under_way(again):
            await again.bridge.send(USER, "3", via="whatsapp")
            await again.until(lambda: again.said)
            assert again.said == ["3"]

    async def test_a_clock_that_was_set_back(self, tmp_path):
        """What an earlier life sent is known by the journal, whose times may lie ahead."""
        path, late = tmp_path / "bridge.db", timedelta(hours=1)
        async with planned("incs") as trip, under_way(trip):
            for number in range(3):
                sending = await trip.bridge.send(USER, str(number), via="whatsapp")
                await sending.outcome(10)
            await trip.until(lambda: furthest(trip, sending.message_id) is Status.READ)
            told = list(trip.events)
        async with SqliteJournal(path) as journal:
            await journal.subscribe("outbox", start=Start.BEGINNING)
            await journal.append(
                [attrs.evolve(each, received_at=each.received_at + late) for each in told]
            )
        async with planned("incs", journal=SqliteJournal(path)) as again, under_way(again):
            await again.bridge.send(USER, "3", via="whatsapp")
            await again.until(lambda: again.said)
            assert again.said == ["3"]

    @pytest.mark.parametrize(
        ("in_doubt", "held", "opened"),
        [
            ("send", False, SqliteJournal),
            ("send", False, Away),
            ("send", True, SqliteJournal),
            ("fail", False, SqliteJournal),
        ],
    )
    async def test_what_a_killed_life_had_begun_with_is_in_doubt(
        self, tmp_path, in_doubt, held, opened
    ):
        """The next life knows what was under way, and that what waited behind it has not gone.

        So it does where the journal came to hold both just before the first one went out, and
        where it cannot be asked at first.
        """
        killed, sending = await killed_while_sending(
            "whatsapp", tmp_path, "a", "b", in_doubt=in_doubt
        )
        if held:
            async with SqliteJournal(killed) as journal:
                cursor = await journal.subscribe("outbox")
                both = [Held(entry=each) for each in await journal.search(Query())]
                await cursor.settle(Settlement(position=both[-1].entry.position, held=both))
        settings = OutboxSettings(in_doubt="fail", doubt=0.1)
        async with planned("whatsapp", journal=opened(killed), outbox=settings) as again:
            again.provider.rules.window = None
            async with under_way(again):
                await again.until(lambda: all(again.statuses(each.message_id) for each in sending))
                first, second = (again.statuses(each.message_id)[0] for each in sending)
            assert (first.status, first.error.code) == (Status.FAILED, "in_doubt")
            assert (second.status, again.said) == (Status.ACCEPTED, ["b"])

    async def test_what_waits_behind_a_limit_is_in_no_doubt(self, tmp_path):
        """However many messages wait, at most twice `concurrency` say that they are begun with."""
        journal = SqliteJournal(tmp_path / "bridge.db")
        bridge = Bridge(journal=journal, outbox=OutboxSettings(concurrency=2))
        pace = {"whatsapp": PaceSettings(rate=0.001)}
        async with SimulatedProvider() as provider:
            bridge.add_adapter("whatsapp", ADAPTERS["whatsapp"](provider.url), pace=pace)
            provider.troubles += [Trouble.DOWN] * 100
            begun = 0
            async with bridge, asyncio.timeout(PATIENCE):
                for number in range(20):
                    sending = await bridge.send(f"+165055501{number:02}", "hello", via="whatsapp")
                    begun += says_begun(sending)
                    position = (await journal.find(sending.messages[0].key)).position
                    while min(each.position for each in await journal.subscribers()) < position:
                        await asyncio.sleep(0.001)
        assert 0 < begun <= 4

    @pytest.mark.parametrize(
        ("users", "least", "most"), [(range(20), 1, 4), ([0] * 20, 1, 1)], ids=["many", "one"]
    )
    async def test_what_comes_at_once_is_in_no_doubt(self, tmp_path, users, least, most):
        """Only what has its turn says that it is begun with; what comes behind a backlog does not.

        That is one message of a conversation, and of all twice `concurrency`.
        """
        journal, settings = SqliteJournal(tmp_path / "bridge.db"), OutboxSettings(concurrency=2)
        async with (
            planned("whatsapp", journal=journal, outbox=settings, patience=0.1) as trip,
            under_way(trip),
        ):
            trip.provider.slowness = 600.0
            trip.provider.rules.window = None
            trip.provider.trouble = Trouble.SLOW

            def sending(user):
                return trip.bridge.send(f"+165055501{user:02}", "hello", via="whatsapp")

            at_once = await asyncio.gather(*map(sending, users))
            await trip.until(lambda: trip.provider.arrived)
            later = [await sending(user) for user in users]
        assert least <= sum(says_begun(each) for each in at_once) <= most
        assert not any(says_begun(each) for each in later)

    async def test_what_comes_behind_what_an_earlier_life_left_is_in_no_doubt(self, tmp_path):
        """While that is unread or waits, no message says that it is begun with."""
        journal, killed = SqliteJournal(tmp_path / "bridge.db"), tmp_path / "killed.db"
        few = OutboxSettings(in_doubt="fail", concurrency=2)
        async with planned("whatsapp", journal=journal, outbox=few, patience=0.1) as trip:
            trip.provider.rules.window = None
            trip.provider.slowness, trip.provider.trouble = 600.0, Trouble.SLOW
            async with under_way(trip):
                for user in range(20):
                    await trip.bridge.send(f"+165055501{user:02}", "hello", via="whatsapp")
                await trip.until(lambda: len(trip.provider.arrived) == 2)
                await asyncio.to_thread(journal.backup, killed)
        more = OutboxSettings(concurrency=3, doubt=600.0)
        kept = Closed(killed)
        again = planned("whatsapp", journal=kept, outbox=more, patience=0.1)
        async with again as trip:
            trip.provider.rules.window = None
            trip.provider.slowness, trip.provider.trouble = 600.0, Trouble.SLOW
            async with under_way(trip):
                unread = await trip.bridge.send("+16505550199", "hello", via="whatsapp")
                kept.is_open.set()
                await trip.until(lambda: len(trip.provider.arrived) == 3)
                waiting = await trip.bridge.send("+16505550198", "hello", via="whatsapp")
        assert not says_begun(unread)
        assert not says_begun(waiting)

    async def test_what_waits_says_why_in_the_log(self, tmp_path, caplog):
        """A doubt that lasts, and a limit that is reached, are a line each, however many wait."""
        caplog.set_level(logging.INFO)
        killed, _ = await killed_while_sending("whatsapp", tmp_path, "a", in_doubt="send")
        more = OutboxSettings(doubt=600.0)
        again = planned("whatsapp", journal=SqliteJournal(killed), outbox=more, patience=0.1)
        async with again as trip, under_way(trip):
            await trip.until(lambda: "provider may have it" in caplog.text)
        async with SimulatedProvider() as provider:
            bridge = Bridge(journal=MemoryJournal())
            pace = {"whatsapp": PaceSettings(rate=0.001)}
            bridge.add_adapter("whatsapp", ADAPTERS["whatsapp"](provider.url), pace=pace)
            async with bridge, asyncio.timeout(PATIENCE):
                for number in range(5):
                    await bridge.send(f"+165055501{number:02}", "hello", via="whatsapp")
                await bridge.caught_up()
        told = [each for each in caplog.records if "holds events back" in each.message]
        assert [(each.levelname, each.message) for each in told] == [
            (
                "WARNING",
                "subscriber outbox holds events back: the provider may have it already",
            ),
            ("INFO", "subscriber outbox holds events back: its limit"),
        ]

    @pytest.mark.parametrize("in_doubt", ["send", "fail"])
    async def test_what_may_be_sent_twice_is_never_in_doubt(self, tmp_path, in_doubt):
        """RCS delivers it once: what was under way at a kill is sent again, without a wait."""
        killed, (sending,) = await killed_while_sending("rcs", tmp_path, "a", in_doubt=in_doubt)
        settings = OutboxSettings(in_doubt="fail", doubt=600.0)
        async with planned("rcs", journal=SqliteJournal(killed), outbox=settings) as again:
            async with under_way(again):
                await again.until(lambda: again.statuses(sending.message_id))
            assert again.statuses(sending.message_id)[0].status is Status.ACCEPTED
            assert again.said == ["a"]

    async def test_what_goes_on_after_a_doubt_is_no_doubt(self):
        """A refusal that is none in doubt is followed by an ordinary retry."""
        settings = OutboxSettings(in_doubt="fail")
        async with planned("incs", outbox=settings) as trip, under_way(trip):
            trip.provider.troubles.append(Trouble.REDIRECT)
            sending = await trip.bridge.send(USER, "hello", via="whatsapp")
            assert (await sending.outcome(30)).status is Status.ACCEPTED


class TestWhatIsMissing:
    async def test_missing_credentials_are_named_at_once(self):
        """Sending without a token names the setting that lacks, and keeps nothing."""
        settings = WhatsAppSettings(app_secrets="s")
        bridge = Bridge(journal=MemoryJournal())
        bridge.add_adapter("meta", WhatsApp("meta", settings))
        async with bridge:
            with pytest.raises(ConfigurationError, match=r"adapters\.meta\.access_token"):
                await bridge.send(USER, "hello", via="meta")
            with pytest.raises(ConfigurationError, match="via"):
                await bridge.send(USER, "hello", via="nobody")

    async def test_an_adapter_that_cannot_send_says_so(self):
        """An adapter of somebody's without a sender is named."""
        bridge = Bridge(journal=MemoryJournal())
        bridge.add_adapter("plain", Plain())
        async with bridge:
            with pytest.raises(ConfigurationError, match="this adapter cannot send"):
                await bridge.send(USER, "hello", via="plain")

    async def test_nothing_is_sent_before_the_bridge_runs(self):
        """Sending before the start is a mistake that is named."""
        async with planned("whatsapp") as trip:
            with pytest.raises(NotRunning):
                await trip.bridge.send(USER, "hello", via="whatsapp")

    @pytest.mark.parametrize(
        ("via", "account"),
        [("30058", "30058"), ("incs:30060", "30060"), ("viber", "30060"), ("rcs:30059", "30059")],
    )
    async def test_a_word_names_the_way_out(self, via, account):
        """An account, a channel, or an adapter's account names where a message goes out from."""
        async with planned("incs") as trip, under_way(trip):
            sending = await trip.bridge.send(USER, "hello", via=via)
            assert sending.messages[0].account == account

    async def test_a_word_that_may_mean_several_is_refused(self):
        """An adapter with several accounts has to be told which one."""
        async with planned("incs") as trip, under_way(trip):
            with pytest.raises(ConfigurationError, match="incs:30058, incs:30059, incs:30060"):
                await trip.bridge.send(USER, "hello", via="incs")
