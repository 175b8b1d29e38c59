# ruff: noqa: S101, PLR2004 - this is a suite: asserting is what it does, on literal values
"""What every journal makes of several accounts and names, as tests; a part of `JournalContract`.

Every engine decides alike; here the decisions have to survive the engine's transactions, restarts
and clocks.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from bridge.errors import CodecError, JournalError
from bridge.journal.identity import name_of
from bridge.journal.ledger import User
from bridge.journal.protocol import Appended, Entry, Journal, Start
from bridge.journal.query import JOINED
from bridge.model import (
    Conversation,
    ConversationKind,
    Deletion,
    Direction,
    Event,
    Intent,
    Message,
    Notice,
    Origin,
    Pricing,
    Status,
    StatusChange,
    TemplateChange,
    Text,
)
from bridge.model.keys import (
    OURS,
    conversation_id,
    group_conversation_id,
    in_domain,
    message_key,
)
from bridge.testing.sample_events import (
    ACCOUNT,
    ANNE,
    ANNES_ID,
    BERT,
    NOON,
    ids,
    message,
    poorly,
    read,
    status,
    template,
    unshown,
    unwritable,
)

_OUT: Final = Direction.OUTBOUND
_OUR_ID: Final = "6a1f0e1c-4a55-5d6e-9b1e-2f7d5f0c9a11"
_SOON: Final = 0.05  # seconds


def _ours(key: str) -> Message:
    """Return a message that is sent through the bridge."""
    return message(
        _OUR_ID,
        direction=_OUT,
        key=message_key(OURS, _OUR_ID),
        id_space=OURS,
        origin=Origin.BRIDGE,
        intent=Intent(key=key),
    )


class CorrelationContract(ABC):
    """The part of the suite about what is one, and what belongs together."""

    @abstractmethod
    def make_journal(self, place: Path) -> Journal:
        """Return a journal that is not open yet; the same `place` means the same journal."""

    async def _published(self, journal: Journal, count: int) -> list[Entry]:
        """Return the first entries; waits for them."""
        return await read(await journal.follow(start=Start.BEGINNING), count)

    # --- statuses --------------------------------------------------------------------------

    async def test_status_moves_on(self, tmp_path: Path) -> None:
        """Every observation is published, and a late one does not move the message back."""
        async with self.make_journal(tmp_path) as journal:
            for seen_as in (Status.SENT, Status.READ, Status.DELIVERED, Status.READ):
                await journal.append([status(seen_as, "a")])
            entries = await read(await journal.follow(start=Start.BEGINNING), 3)
        seen = [
            (entry.event.status, entry.event.advanced, entry.event.current)
            for entry in entries
            if isinstance(entry.event, StatusChange)
        ]
        assert seen == [
            (Status.SENT, True, Status.SENT),
            (Status.READ, True, Status.READ),
            (Status.DELIVERED, False, Status.READ),
        ]

    async def test_tie_known(self, tmp_path: Path) -> None:
        """Once the two ids are tied, a status under INCS's number is the channel's status."""
        out = message("a", direction=_OUT, aliases=("9001",))
        async with self.make_journal(tmp_path) as journal:
            await journal.append([out])
            await journal.append([status(Status.DELIVERED, "9001", resolved=False)])
            again = await journal.append([status(Status.DELIVERED, "a")])
            entries = await read(await journal.follow(start=Start.BEGINNING), 2)
        assert again == Appended(published=0, duplicates=1)
        change = entries[1].event
        assert isinstance(change, StatusChange)
        assert (change.key, change.message_id) == ("status/whatsapp/a/delivered", "a")
        assert (change.channel, change.account, change.resolved) == ("whatsapp", "123456123", True)
        assert change.aliases == ("9001",)
        assert entries[1].lane == entries[0].lane

    async def test_what_the_bridge_sends(self, tmp_path: Path) -> None:
        """The provider's response, or a status that repeats our id, ties its id to ours.

        Statuses carry the intent's key and our id from then on, and an echo of the message under
        the provider's id is the same message.
        """
        ours = _ours("parcel")
        accepted = status(
            Status.ACCEPTED, "a", aliases=(ours.message_id,), id_space=OURS, resolved=True
        )
        journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([ours])
            echoed = status(Status.DELIVERED, "a", correlation=ours.message_id)
            await journal.append([echoed])
        if journal.durable:
            journal = self.make_journal(tmp_path)
        async with journal:
            if not journal.durable:
                await journal.append([ours, echoed])
            await journal.append([accepted])
            again = await journal.append([attrs.evolve(ours, content=Text(text="other"))])
            echo = await journal.append([message("a", direction=_OUT, aliases=("9001",))])
            await journal.append([status(Status.READ, "9001", resolved=False)])
            entries = await self._published(journal, 5)
        assert again == Appended(published=0, duplicates=1)
        assert echo == Appended(published=1, duplicates=0)
        changes = [entry.event for entry in entries if isinstance(entry.event, StatusChange)]
        assert [(each.message_id, each.correlation) for each in changes] == [("a", "parcel")] * 3
        assert all(ours.message_id in each.aliases for each in changes)
        assert [each.current for each in changes] == [
            *(Status.DELIVERED, Status.DELIVERED, Status.READ)
        ]
        assert {entry.lane for entry in entries} == {ours.conversation.id}
        (completion,) = [each for each in _messages(entries) if each.completes is not None]
        assert (completion.completes, completion.origin) == (ours.key, Origin.BRIDGE)

    async def test_an_echo_that_overtakes_the_response(self, tmp_path: Path) -> None:
        """What waits until somebody knows whose it is, is ours once the response names it.

        It is never published as another's, and what waited behind it is published.
        """
        ours = _ours("parcel")
        echo = message(
            "a",
            direction=_OUT,
            aliases=("9001",),
            origin=Origin.API,
            settle=30.0,
            received_at=datetime.now(UTC),
        )
        behind = message("b")
        accepted = status(
            Status.ACCEPTED, "a", aliases=(ours.message_id,), id_space=OURS, resolved=True
        )
        journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([ours])
            await journal.append([echo, behind])
        if journal.durable:
            journal = self.make_journal(tmp_path)
        async with journal:
            if not journal.durable:
                await journal.append([ours, echo, behind])
            await journal.append([accepted])
            again = await journal.append([attrs.evolve(echo, settle=None)])
            await journal.append([status(Status.READ, "9001", resolved=False)])
            entries = await self._published(journal, 5)
        assert again.published == 0
        told = [(each.message_id, each.origin) for each in _messages(entries)]
        assert Origin.API not in {origin for _, origin in told}
        assert "b" in {message_id for message_id, _ in told}
        (completion,) = [each for each in _messages(entries) if each.completes is not None]
        assert (completion.completes, completion.origin) == (ours.key, Origin.BRIDGE)
        changes = [entry.event for entry in entries if isinstance(entry.event, StatusChange)]
        assert {each.correlation for each in changes} == {"parcel"}
        assert changes[-1].current is Status.READ

    async def test_what_the_bridge_could_not_send(self, tmp_path: Path) -> None:
        """A failure under our own id is the message's, and a later status overtakes it."""
        ours = _ours("parcel")
        failed = status(Status.FAILED, ours.message_id, resolved=False)
        failed = attrs.evolve(failed, id_space=OURS)
        async with self.make_journal(tmp_path) as journal:
            await journal.append([ours])
            await journal.append([failed])
            await journal.append([status(Status.SENT, "a", correlation=ours.message_id)])
            await journal.append([status(Status.DELIVERED, "a")])
            entries = await self._published(journal, 4)
        changes = [entry.event for entry in entries if isinstance(entry.event, StatusChange)]
        assert [each.current for each in changes] == [
            *(Status.FAILED, Status.FAILED, Status.DELIVERED)
        ]
        assert {each.correlation for each in changes} == {"parcel"}

    async def test_tie_learned_late(self, tmp_path: Path) -> None:
        """Learning the tie later does not publish the same status twice."""
        out = message("a", direction=_OUT, aliases=("9001",))
        async with self.make_journal(tmp_path) as journal:
            await journal.append([status(Status.DELIVERED, "9001", resolved=False)])
            await journal.append([out])
            again = await journal.append([status(Status.DELIVERED, "a")])
            later = await journal.append([status(Status.SENT, "a")])
            entries = await read(await journal.follow(start=Start.BEGINNING), 3)
        assert again == Appended(published=0, duplicates=1)
        assert later == Appended(published=1, duplicates=0)
        first, last = entries[0].event, entries[2].event
        assert isinstance(first, StatusChange)
        assert isinstance(last, StatusChange)
        assert first.resolved is False
        assert (last.advanced, last.current) == (False, Status.DELIVERED)

    async def test_a_status_that_says_more(self, tmp_path: Path) -> None:
        """A repeated status is published where it says more, and moves nothing; else it is not."""
        bare = status(Status.SENT, "a")
        priced = attrs.evolve(bare, pricing=Pricing(category="marketing"))
        async with self.make_journal(tmp_path) as journal:
            counts = [await journal.append([event]) for event in (bare, bare, priced, bare, priced)]
            first, more = (entry.event for entry in await self._published(journal, 2))
        assert [count.published for count in counts] == [1, 0, 1, 0, 0]
        assert isinstance(first, StatusChange)
        assert isinstance(more, StatusChange)
        assert (first.pricing, first.advanced) == (None, True)
        assert (more.pricing, more.advanced, more.current) == (priced.pricing, False, Status.SENT)

    # --- accounts of one message -----------------------------------------------------------

    async def test_told_whole(self, tmp_path: Path) -> None:
        """A poor account waits for the full one, and one message comes out with all they know."""
        full = message("a")
        async with self.make_journal(tmp_path) as journal:
            first = await journal.append([poorly(full)])
            nothing = await journal.find(full.key)
            second = await journal.append([full])
            again = await journal.append([poorly(full), full])
            (entry,) = await self._published(journal, 1)
        assert (first.published, second.duplicates, again.duplicates) == (1, 1, 2)
        assert nothing is None
        assert isinstance(entry.event, Message)
        assert entry.event == attrs.evolve(full, aliases=("9001",), id_space="incs")

    async def test_told_whole_in_one_append(self, tmp_path: Path) -> None:
        """It makes no difference whether accounts come together or one after the other."""
        full = message("a")
        async with self.make_journal(tmp_path) as journal:
            appended = await journal.append([poorly(full), full, message("b"), poorly(full)])
            entries = await self._published(journal, 2)
        assert appended == Appended(published=2, duplicates=2)
        assert ids(entries) == ["a", "b"]

    async def test_what_is_not_shown_waits_too(self, tmp_path: Path) -> None:
        """A poor account that shows nothing waits for the message, also through a restart."""
        full, late = message("a"), message("b", phone=BERT)
        journal = self.make_journal(tmp_path)
        async with journal:
            first = await journal.append([unshown(full)])
            await journal.append([late])
        if journal.durable:
            journal = self.make_journal(tmp_path)
        async with journal:
            second = await journal.append([full])
            third = await journal.append([unshown(late, "9002")])
            again = await journal.append([unshown(full), full, unshown(late, "9002")])
            entries = await self._published(journal, 3)
        assert [each.published for each in (first, second, third, again)] == [1, 0, 1, 0]
        assert ids(entries) == ["b", "a", "b"]
        assert entries[1].event == attrs.evolve(full, aliases=("9001",), id_space="incs")
        more = entries[2].event
        assert isinstance(more, Message)
        assert (more.completes, more.content, more.aliases) == (late.key, late.content, ("9002",))

    async def test_what_is_not_shown_bars_nothing(self, tmp_path: Path) -> None:
        """It is published once its time is over, and the message itself when it comes.

        Told again, it completes the message with what only it knows.
        """
        full = message("a")
        async with self.make_journal(tmp_path) as journal:
            poor = unshown(full, settle=_SOON)
            await journal.append([poor])
            await self._published(journal, 1)
            counts = [await journal.append([event]) for event in (poor, full, full, poor)]
            entries = await self._published(journal, 3)
        assert [count.published for count in counts] == [0, 1, 0, 1]
        assert [entry.event for entry in entries[:2]] == [poor, full]
        more = entries[2].event
        assert isinstance(more, Message)
        assert (more.completes, more.content, more.aliases) == (full.key, full.content, ("9001",))

    async def test_told_poorly_alone(self, tmp_path: Path) -> None:
        """Where no full account comes, the poor one is published once its time is over."""
        poor = poorly(message("a"), settle=_SOON)
        async with self.make_journal(tmp_path) as journal:
            await journal.append([poor])
            (entry,) = await self._published(journal, 1)
            found = await journal.find(poor.key)
            again = await journal.append([poor])
        assert entry.event == poor
        assert found == entry
        assert again == Appended(published=0, duplicates=1)

    async def test_told_late(self, tmp_path: Path) -> None:
        """A later account that knows more completes the first, once."""
        full = message("a")
        async with self.make_journal(tmp_path) as journal:
            await journal.append([poorly(full, settle=_SOON)])
            await self._published(journal, 1)
            counts = [await journal.append([event]) for event in (full, full, poorly(full))]
            first, more = (entry.event for entry in await self._published(journal, 2))
        assert [count.published for count in counts] == [1, 0, 0]
        assert isinstance(more, Message)
        assert (more.completes, more.content, more.aliases) == (first.key, full.content, ("9001",))

    async def test_told_under_another_name(self, tmp_path: Path) -> None:
        """A message is added to under every name that leads to it."""
        numbered = attrs.evolve(
            message("9001", direction=_OUT), key="message/incs/9001", id_space="incs"
        )
        tied = message("a", direction=_OUT, aliases=("9001",))
        better = message("a", direction=_OUT, content=Text(text="hello"))
        better = attrs.evolve(better, sender=attrs.evolve(better.sender, name="Support"))
        async with self.make_journal(tmp_path) as journal:
            for event in (numbered, tied, better):
                await journal.append([event])
            first, second, third = (entry.event for entry in await self._published(journal, 3))
        assert isinstance(second, Message)
        assert isinstance(third, Message)
        assert first.key == second.completes == third.completes
        assert (second.message_id, second.aliases) == ("a", ("9001",))
        assert (third.message_id, third.sender.name) == ("a", "Support")

    async def test_the_lane_waits(self, tmp_path: Path) -> None:
        """Events behind a poor account come out behind it, and other lanes go on."""
        full, behind = message("a"), message("b")
        async with self.make_journal(tmp_path) as journal:
            await journal.append([poorly(full)])
            appended = await journal.append([behind, message("c", phone=BERT)])
            await journal.append([status(Status.READ, "z", conversation=full.conversation)])
            await journal.append([full])
            entries = await self._published(journal, 4)
        assert appended == Appended(published=2, duplicates=0)
        assert ids(entries) == ["c", "a", "b"]
        assert isinstance(entries[3].event, StatusChange)

    async def test_the_lane_goes_on_in_time(self, tmp_path: Path) -> None:
        """A lane that waited is given out in order when the time of its first event is over."""
        poor = poorly(message("a"), settle=_SOON)
        async with self.make_journal(tmp_path) as journal:
            await journal.append([poor, message("b"), poorly(message("c"), "9002", settle=_SOON)])
            entries = await self._published(journal, 3)
        assert ids(entries) == ["a", "b", "c"]

    async def test_a_restart_between(self, tmp_path: Path) -> None:
        """Waiting events are durable: the full account meets it after a restart."""
        full, late = message("a"), message("b", phone=BERT)
        journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([poorly(full), message("behind")])
            await journal.append([poorly(late, "9002", settle=_SOON)])
        if journal.durable:
            journal = self.make_journal(tmp_path)
        async with journal:
            assert ids(await self._published(journal, 1)) == ["b"]
            again = await journal.append([poorly(full), message("behind")])
            await journal.append([full])
            first, *entries = await self._published(journal, 3)
        assert again == Appended(published=0, duplicates=2)
        assert (ids([first]), ids(entries)) == (["b"], ["a", "behind"])
        assert isinstance(entries[0].event, Message)
        assert entries[0].event == attrs.evolve(full, aliases=("9001",), id_space="incs")

    async def test_what_fails_waits_for_nothing(self, tmp_path: Path) -> None:
        """An append that fails by itself leaves nothing waiting, and no name known."""
        full = message("a", user_id=ANNES_ID)
        async with self.make_journal(tmp_path) as journal:
            bad, good = await asyncio.gather(
                journal.append([poorly(full), unwritable("x")]),
                journal.append([poorly(message("b", phone=BERT), "9002")]),
                return_exceptions=True,
            )
            unwritten = poorly(message("a", raw=object()))
            worse, *_ = await asyncio.gather(journal.append([unwritten]), return_exceptions=True)
            await journal.append([message("c", phone="", user_id=ANNES_ID), full])
            await journal.append([message("b", phone=BERT)])
            entries = await self._published(journal, 3)
        assert isinstance(bad, CodecError)
        assert isinstance(worse, CodecError)
        assert good == Appended(published=1, duplicates=0)
        assert [type(entry.event) for entry in entries] == [Message] * 3
        assert ids(entries) == ["c", "a", "b"]
        assert [each.aliases for each in _messages(entries)] == [(), (), ("9002",)]

    # --- what comes without a time ---------------------------------------------------------

    async def test_back_to_what_it_was(self, tmp_path: Path) -> None:
        """Within an hour a state is new where another one was told since, and else told once."""
        at = [NOON + timedelta(minutes=minute) for minute in range(6)]
        told = [template("PAUSED", at[1]), template("PAUSED", at[2]), template("APPROVED", at[3])]
        back = [template("PAUSED", at[4]), template("PAUSED", at[5])]
        journal = self.make_journal(tmp_path)
        async with journal:
            first = [(await journal.append([event])).published for event in told]
        if journal.durable:
            journal = self.make_journal(tmp_path)
        async with journal:
            second = [(await journal.append([event])).published for event in back]
            late = await journal.append([template("APPROVED", at[0])])
            entries = await self._published(journal, 3)
        assert (first, second, late.published) == ([1, 0, 1], [1, 0], 0)
        words = [each.event.value for each in entries if isinstance(each.event, TemplateChange)]
        assert words == ["PAUSED", "APPROVED", "PAUSED"]

    # --- users -------------------------------------------------------------------------------

    async def test_one_user(self, tmp_path: Path) -> None:
        """One user is one conversation, whichever name is told, and after a restart."""
        lane = message("a").conversation.id
        journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([message("a", user_id=ANNES_ID)])
        if journal.durable:
            journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([message("b", phone="", user_id=ANNES_ID)])
            await journal.append([message("c", phone="", user_id=ANNES_ID, direction=_OUT)])
            await journal.append([status(Status.READ, "c")])
            entries = await self._published(journal, 4)
        assert [entry.lane for entry in entries] == [lane] * 4
        assert {each.conversation.id for each in _messages(entries)} == {lane}

    async def test_joined(self, tmp_path: Path) -> None:
        """Two conversations that turn out to be one go on as the older one; a notice says so."""
        first = message("a", phone="", user_id=ANNES_ID)
        later = [message("b"), message("c", user_id=ANNES_ID), message("d")]
        later = [attrs.evolve(each, received_at=datetime.now(UTC)) for each in later]
        async with self.make_journal(tmp_path) as journal:
            for event in (first, *later):
                await journal.append([event])
            entries = await self._published(journal, 5)
        a, b, notice, c, d = entries
        assert [entry.lane for entry in (a, b)] == [first.conversation.id, later[0].conversation.id]
        assert isinstance(notice.event, Notice)
        assert (notice.event.topic, notice.event.details) == (
            JOINED,
            {"from": b.lane, "to": a.lane},
        )
        assert [entry.lane for entry in (notice, c, d)] == [a.lane] * 3

    async def test_a_deletion_of_nobody(self, tmp_path: Path) -> None:
        """A deletion that names nobody is of the user whose message is deleted."""
        told = message("a")
        gone = attrs.evolve(
            message("a", phone=""),
            key="deletion/whatsapp/a",
            conversation=attrs.evolve(told.conversation, id="nobody's"),
            content=Deletion(message_id="a"),
        )
        journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([told])
        if journal.durable:
            journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([gone])
            entries = await self._published(journal, 2)
        assert [entry.lane for entry in entries] == [told.conversation.id] * 2
        assert [each.sender for each in _messages(entries)] == [told.sender] * 2

    async def test_what_waits_is_joined(self, tmp_path: Path) -> None:
        """Events that wait in a conversation that ends come out in the one that goes on."""
        first = message("a", phone="", user_id=ANNES_ID)
        waits = poorly(message("b"))
        tie = message("c", user_id=ANNES_ID, received_at=waits.received_at)
        journal = self.make_journal(tmp_path)
        async with journal:
            for event in (first, waits, message("behind"), tie):
                await journal.append([event])
        if journal.durable:
            journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([message("b")])
            entries = await self._published(journal, 5)
        assert ids(entries) == ["a", "b", "behind", "c"]
        assert {entry.lane for entry in entries} == {first.conversation.id}

    async def test_purge_under_all_names(self, tmp_path: Path) -> None:
        """Everything about a user goes, under whichever name it came, waiting or not."""
        events: list[Event] = [
            message("a", user_id=ANNES_ID),
            message("b", phone="", user_id=ANNES_ID),
            message("c", phone=BERT),
        ]
        waits = [poorly(message("w", phone="", user_id=ANNES_ID)), message("behind")]
        async with self.make_journal(tmp_path) as journal:
            await journal.append([*events, *waits])
            assert await journal.purge(ANNE) == 4
            assert ids(await self._published(journal, 1)) == ["c"]
            again = await journal.append([*events, *waits, message("w")])
            assert again == Appended(published=0, duplicates=6)
            assert await journal.purge(ANNE) == 0
            await journal.append([message("d", phone="", user_id=ANNES_ID)])
            entries = await self._published(journal, 2)
        assert entries[1].lane == conversation_id("whatsapp", ACCOUNT, ANNES_ID)

    async def test_domains(self, tmp_path: Path) -> None:
        """An event of one trust domain neither bars, completes nor moves anything of another's."""
        events = [
            poorly(message("a")),
            message("a", user_id=ANNES_ID),
            message("b", phone="", user_id=ANNES_ID),
            status(Status.READ, "b"),
            status(Status.SENT, "b"),
        ]
        async with self.make_journal(tmp_path) as journal:
            for event in events:
                for domain in ("evil", "acme"):
                    await journal.append([in_domain(event, domain)])
            entries = await self._published(journal, 8)
            assert await journal.purge(ANNES_ID) == 4
        told = {
            domain: [
                attrs.evolve(each, domain=None, key=each.key.removeprefix(f"{domain}/"))
                for each in (entry.event for entry in entries)
                if each.domain == domain
            ]
            for domain in ("evil", "acme")
        }
        assert [each.key for each in told["acme"]] == [each.key for each in told["evil"]]
        assert len(told["acme"]) == 4
        lanes = [{e.lane for e in entries if e.event.domain == name} for name in told]
        assert not lanes[0] & lanes[1]

    # --- on what terms a user may be written to ----------------------------------------------

    async def test_terms(self, tmp_path: Path) -> None:
        """The furthest end of the window is found by any name of the user, after a restart too."""
        advertised = message("a", reply_until=NOON + timedelta(hours=72))
        later = message("b", user_id=ANNES_ID, reply_until=NOON + timedelta(hours=25))
        journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([advertised])
            await journal.append([later])
            by_id = conversation_id("whatsapp", ACCOUNT, ANNES_ID)
            assert await _open_until(journal, by_id) == NOON + timedelta(hours=72)
        journal = self.make_journal(tmp_path) if journal.durable else journal
        async with journal:
            again = message("c", reply_until=NOON + timedelta(hours=73))
            for conversation in (by_id, again.conversation.id):
                assert await _open_until(journal, conversation) == NOON + timedelta(hours=72)
            await journal.append([again])
            assert await _open_until(journal, by_id) == NOON + timedelta(hours=73)
            assert await _open_until(journal, conversation_id("whatsapp", ACCOUNT, BERT)) is None

    async def test_terms_of_a_group(self, tmp_path: Path) -> None:
        """Whoever writes in a group opens the group's window, and not a window of their own."""
        group = Conversation(
            id=group_conversation_id("whatsapp", ACCOUNT, "G1"), kind=ConversationKind.GROUP
        )
        async with self.make_journal(tmp_path) as journal:
            for number, who in enumerate((ANNE, BERT)):
                until = NOON + timedelta(hours=24 + number)
                said = message(who, phone=who, conversation=group, reply_until=until)
                await journal.append([said])
                assert await _open_until(journal, group.id) == until
            assert await _open_until(journal, conversation_id("whatsapp", ACCOUNT, ANNE)) is None

    async def test_terms_while_they_change(self, tmp_path: Path) -> None:
        """A user is known at every moment, while what is remembered of them is written anew."""
        said = message("0", reply_until=NOON + timedelta(hours=24))
        async with self.make_journal(tmp_path) as journal:
            await journal.append([said])

            async def go_on() -> None:
                for day in range(1, 40):
                    later = NOON + timedelta(days=2 * day)
                    until = later + timedelta(hours=24)
                    again = message(str(day), received_at=later, reply_until=until)
                    await journal.append([again])

            going_on = asyncio.create_task(go_on())
            found = [await _open_until(journal, said.conversation.id)]
            while not going_on.done():
                found += await asyncio.gather(
                    *(_open_until(journal, said.conversation.id) for _ in range(5))
                )
            await going_on
            assert None not in found
            last = NOON + timedelta(days=78, hours=24)
            assert await _open_until(journal, said.conversation.id) == last

    async def test_terms_of_a_closed_journal(self, tmp_path: Path) -> None:
        """A journal that is not open says so."""
        journal = self.make_journal(tmp_path)
        if not journal.durable:
            return
        for _ in range(2):
            try:
                await journal.record("/user/whatsapp/+16505551234")
            except JournalError:
                pass
            else:
                raise AssertionError("a closed journal was read")
            async with journal:
                await journal.append([])

    async def test_terms_are_erased(self, tmp_path: Path) -> None:
        """Of somebody who is erased nothing of this is left."""
        said = message("a", reply_until=NOON + timedelta(hours=24))
        async with self.make_journal(tmp_path) as journal:
            await journal.append([said])
            await journal.purge(ANNE)
            assert await _open_until(journal, said.conversation.id) is None


async def _open_until(journal: Journal, conversation: str) -> datetime | None:
    name, account = name_of(conversation)
    user = await journal.record(name)
    if not isinstance(user, User) or account not in user.reply_until:
        return None
    return datetime.fromtimestamp(user.reply_until[account], UTC)


def _messages(entries: Sequence[Entry]) -> list[Message]:
    return [entry.event for entry in entries if isinstance(entry.event, Message)]
