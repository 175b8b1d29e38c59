# ruff: noqa: S101, PLR2004 - this is a suite: asserting is what it does, on literal values
"""What every journal makes of several accounts and names, as tests; a part of `JournalContract`.

Every engine decides alike, as one law says. Beside it stands what is about time, about what fails
and about what is forgotten.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import CodecError, JournalError
from bridge.journal.identity import name_of, name_of_former
from bridge.journal.ledger import User
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Appended, Entry, Journal
from bridge.journal.query import MOST, Query
from bridge.model import (
    ConsentChange,
    Conversation,
    ConversationKind,
    Deletion,
    Direction,
    Event,
    Intent,
    Message,
    Notice,
    Origin,
    Party,
    Pricing,
    Status,
    System,
    SystemKind,
    TemplateChange,
)
from bridge.model.keys import (
    OURS,
    conversation_id,
    deletion_key,
    group_conversation_id,
    in_domain,
    message_key,
)
from bridge.testing.operators import Suite
from bridge.testing.sample_events import (
    ACCOUNT,
    ANNE,
    ANNES_ID,
    BERT,
    NOON,
    ids,
    message,
    poorly,
    status,
    template,
    unread,
    unshown,
    unwritable,
)

_OUT: Final = Direction.OUTBOUND
_SOON: Final = 0.05  # seconds
_LONG: Final = 3600.0  # seconds; longer than all histories take: one may find what another leaves
_AHEAD: Final = datetime(2100, 1, 1, tzinfo=UTC)  # after all that is received
_GROUP: Final = Conversation(
    id=group_conversation_id("whatsapp", ACCOUNT, "G1"), kind=ConversationKind.GROUP
)
_USERS: Final = (
    *((ANNE, None), (ANNE, ANNES_ID), ("", ANNES_ID), ("", None)),
    *((BERT, None), (BERT, "DE.1"), (BERT, "DE.2")),
)

Run: TypeAlias = tuple[bool, Sequence[tuple[str, Event]]]
"""Whether the journal is opened again first, and what is appended together: events in domains."""


def _told(number: str, phone: str, user_id: str | None) -> list[Event]:
    """Return everything that may be told of one message."""
    until = NOON + timedelta(hours=24 * int(number))
    full = message(f"wamid.{number}", phone=phone, user_id=user_id, reply_until=until)
    out = message(full.message_id, phone=phone, user_id=user_id, direction=_OUT)
    ours_id = f"ours-{number}"
    ours = attrs.evolve(
        out,
        message_id=ours_id,
        key=message_key(OURS, ours_id),
        id_space=OURS,
        origin=Origin.BRIDGE,
        intent=Intent(key=number),
    )
    accepted = status(Status.ACCEPTED, out.message_id, aliases=(ours_id,), id_space=OURS)
    deletion = Deletion(message_id=full.message_id)
    change = System(change=SystemKind.USER_ID, previous="DE.1", current="DE.2")
    moved = System(
        change=SystemKind.NUMBER, before=Party(phone=ANNE), after=Party(phone=BERT, user_id="DE.2")
    )
    stop = ConsentChange(
        source=full.source,
        channel=full.channel,
        account=full.account,
        received_at=full.received_at,
        key=f"consent_change/whatsapp/{number}/{phone or user_id}",
        occurred_at=until,
        raw={"detail": "stop"},
        party=full.sender,
        granted=False,
        conversation=full.conversation,
    )
    in_group = attrs.evolve(full, key=f"message/group/{number}", conversation=_GROUP)
    seen = [
        told
        for each in (Status.SENT, Status.READ, Status.FAILED)
        for told in (status(each, out.message_id), status(each, number, resolved=False))
    ]
    return [
        *(full, poorly(full, number, settle=_LONG), unshown(full, number, settle=_LONG), out),
        attrs.evolve(unshown(out), aliases=(), id_space=None, settle=None),
        *(ours, accepted, in_group, unread(number), attrs.evolve(full, content=change)),
        attrs.evolve(out, aliases=(number,), id_space="incs"),
        attrs.evolve(out, message_id=number, key=f"message/incs/{number}", id_space="incs"),
        attrs.evolve(full, key=deletion_key("whatsapp", full.message_id), content=deletion),
        _named("revoked", attrs.evolve(full, content=deletion)),
        attrs.evolve(full, origin=Origin.HISTORY),
        _named("moved", attrs.evolve(full, content=moved)),
        _named("later", attrs.evolve(full, occurred_at=until)),
        _named("left", attrs.evolve(full, content=moved, occurred_at=_AHEAD)),
        _named("after", attrs.evolve(full, occurred_at=_AHEAD + timedelta(hours=1))),
        stop,
        *seen,
        *(attrs.evolve(each, pricing=Pricing(category="marketing")) for each in seen[:2]),
        *(attrs.evolve(each, correlation=ours_id) for each in seen[::2]),
        attrs.evolve(status(Status.FAILED, ours_id, resolved=False), id_space=OURS),
        *(template(word, NOON + timedelta(minutes=int(number))) for word in ("PAUSED", "APPROVED")),
    ]


def _named(word: str, event: Message) -> Message:
    """Return another message than that, of the same user."""
    own = f"{event.message_id}.{word}"
    return attrs.evolve(event, message_id=own, key=message_key("whatsapp", own))


_EVENTS: Final = [each for number in "123" for user in _USERS for each in _told(number, *user)]
_some: Final = st.tuples(st.sampled_from("ab"), st.sampled_from(_EVENTS))
RUNS: Final = st.lists(
    st.tuples(st.booleans(), st.lists(_some, min_size=1, max_size=4)), min_size=1, max_size=6
)
_histories: Final = itertools.count()


def in_order(runs: Sequence[Run]) -> list[tuple[bool, list[Event]]]:
    """Return the events as they come: each later than the last, in a domain of this history's."""
    number, now, history = itertools.count(), datetime.now(UTC), next(_histories)

    def come(domain: str, event: Event) -> Event:
        if not isinstance(event, TemplateChange):  # the key of which says the hour
            received_at = now + timedelta(microseconds=next(number))
            event = attrs.evolve(event, received_at=received_at)
        return in_domain(event, f"{domain}{history}")

    return [(again, [come(*each) for each in some]) for again, some in runs]


async def made_of(
    make: Callable[[], Journal], runs: Sequence[tuple[bool, Sequence[Event]]]
) -> tuple[list[Appended], list[tuple[str, Event]], dict[str, User | None]]:
    """Return what a journal counts, what it publishes in which lanes, and whom it knows there."""
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(make())
        start = (await journal.follow()).position
        counts = []
        for again, events in runs:
            if again and journal.durable:
                await stack.aclose()
                journal = await stack.enter_async_context(make())
            counts.append(await journal.append(events))
        found = await journal.search(Query(after=start, limit=MOST))
        users = {entry.lane: await _user(journal, entry.lane) for entry in found}
    return counts, [(entry.lane, entry.event) for entry in found], users


class CorrelationContract(Suite):
    """The part of the suite about what is one, and what belongs together."""

    @settings(
        deadline=None,
        suppress_health_check=[
            *(HealthCheck.differing_executors, HealthCheck.function_scoped_fixture),
            HealthCheck.too_slow,
        ],
    )
    @given(runs=RUNS)
    def test_any_history(self, tmp_path: Path, runs: Sequence[Run]) -> None:
        """Whatever comes, together or not and over restarts, comes to what it does elsewhere.

        What that is, is proved of the journal in memory.
        """
        told = in_order(runs)
        expected = asyncio.run(made_of(MemoryJournal, told))
        assert asyncio.run(made_of(lambda: self.make_journal(tmp_path), told)) == expected

    # --- accounts of one message -----------------------------------------------------------

    async def test_told_whole(self, tmp_path: Path) -> None:
        """A poor account waits for the full one, and one message comes out with all they know."""
        full = message("a")
        async with self.make_journal(tmp_path) as journal:
            first = await journal.append([poorly(full)])
            nothing = await journal.find(full.key)
            together = await journal.append([full, message("b"), poorly(full)])
            entries = await self.published(journal, 2)
        assert first == Appended(published=1, duplicates=0)
        assert together == Appended(published=1, duplicates=2)
        assert nothing is None
        assert ids(entries) == ["a", "b"]
        assert entries[0].event == attrs.evolve(full, aliases=("9001",), id_space="incs")

    async def test_what_is_not_shown_bars_nothing(self, tmp_path: Path) -> None:
        """It is published once its time is over, and the message when it comes, with both accounts.

        Told again, neither is new.
        """
        full = message("a")
        async with self.make_journal(tmp_path) as journal:
            poor = unshown(full, settle=_SOON)
            await journal.append([poor])
            await self.published(journal, 1)
            counts = [await journal.append([event]) for event in (poor, full, full, poor)]
            first, second = (entry.event for entry in await self.published(journal, 2))
        assert [count.published for count in counts] == [0, 1, 0, 0]
        assert first == poor
        assert isinstance(second, Message)
        assert (second.key, second.content, second.completes) == (full.key, full.content, None)
        assert second.aliases == ("9001",)

    async def test_every_name_that_is_known(self, tmp_path: Path) -> None:
        """A user's phone and id that were told together are told with either, over a restart."""
        both, journal = Party(phone=ANNE, user_id=ANNES_ID), self.make_journal(tmp_path)
        async with journal:
            for each in (message("a"), message("b", user_id=ANNES_ID), message("c")):
                await journal.append([each])
            await journal.append([message("d", phone="", user_id=ANNES_ID)])
        journal = self.again(journal, tmp_path)
        async with journal:
            for each in (message("e"), message("f", phone="", user_id=ANNES_ID), message("g")):
                await journal.append([each])
            entries = await self.published(journal, 7)
        senders = [each.sender for each in _messages(entries)]
        assert senders == [Party(phone=ANNE), *[both] * 6]

    async def test_not_shown_under_an_id_and_shown_under_a_phone(self, tmp_path: Path) -> None:
        """That a message has one id ties its user's names, over a restart, and it is told whole."""
        hidden = message("a", phone="", user_id=ANNES_ID)
        journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([message("before")])
            await journal.append([attrs.evolve(unshown(hidden), settle=None)])
        journal = self.again(journal, tmp_path)
        async with journal:
            counts = [await journal.append([message("a")]) for _ in range(2)]
            entries = await self.published(journal, 4)
        assert [count.published for count in counts] == [1, 0]
        assert [type(entry.event) for entry in entries] == [Message, Message, Notice, Message]
        shown = _messages(entries)[-1]
        assert (shown.key, shown.sender) == (message("a").key, Party(phone=ANNE, user_id=ANNES_ID))
        assert entries[3].lane == entries[0].lane

    async def test_not_shown_under_an_id_with_another_of_the_phone_between(
        self, tmp_path: Path
    ) -> None:
        """So it is where the phone's conversation is known by a message that came between."""
        hidden = message("a", phone="", user_id=ANNES_ID)
        async with self.make_journal(tmp_path) as journal:
            for each in (attrs.evolve(unshown(hidden), settle=None), message("b"), message("a")):
                await journal.append([each])
            entries = await self.published(journal, 4)
        shown = _messages(entries)[-1]
        assert (shown.key, shown.sender) == (message("a").key, Party(phone=ANNE, user_id=ANNES_ID))

    async def test_deleted_before_it_is_told(self, tmp_path: Path) -> None:
        """A deletion of nobody's is in the conversation of its message once that comes.

        Over a restart, and where others of that conversation came before, as they mostly have.
        """
        told = message("a", user_id=ANNES_ID)
        alone = Conversation(id=conversation_id("whatsapp", ACCOUNT, "message:a"))
        deleted = attrs.evolve(
            told,
            key=deletion_key("whatsapp", "a"),
            content=Deletion(message_id="a"),
            sender=Party(),
            conversation=alone,
        )
        journal = self.make_journal(tmp_path)
        async with journal:
            for each in (message("b", user_id=ANNES_ID), message("c", user_id=ANNES_ID), deleted):
                await journal.append([each])
            await journal.append([message("d", user_id=ANNES_ID)])
        journal = self.again(journal, tmp_path)
        async with journal:
            counts = [await journal.append([each]) for each in (told, told)]
            entries = await self.published(journal, 6)
        notice = entries[4].event
        assert [count.published for count in counts] == [1, 0]
        assert isinstance(notice, Notice)
        assert notice.details == {"from": alone.id, "to": told.conversation.id}
        assert ids(entries) == ["b", "c", "a", "d", "a"]
        assert entries[5].lane == entries[0].lane

    async def test_told_poorly_alone(self, tmp_path: Path) -> None:
        """Where no full account comes in time, the poor one is published; a late one completes it.

        That is done once.
        """
        full = message("a")
        poor = poorly(full, settle=_SOON)
        async with self.make_journal(tmp_path) as journal:
            await journal.append([poor])
            (entry,) = await self.published(journal, 1)
            found = await journal.find(poor.key)
            counts = [await journal.append([event]) for event in (poor, full, full, poor)]
            _, more = (entry.event for entry in await self.published(journal, 2))
        assert entry.event == poor
        assert found == entry
        assert [count.published for count in counts] == [0, 1, 0, 0]
        assert isinstance(more, Message)
        assert (more.completes, more.content, more.aliases) == (poor.key, full.content, ("9001",))

    async def test_the_lane_goes_on_in_time(self, tmp_path: Path) -> None:
        """A lane that waited is given out in order when the time of its first event is over."""
        poor = poorly(message("a"), settle=_SOON)
        async with self.make_journal(tmp_path) as journal:
            await journal.append([poor, message("b"), poorly(message("c"), "9002", settle=_SOON)])
            entries = await self.published(journal, 3)
        assert ids(entries) == ["a", "b", "c"]

    async def test_a_restart_between(self, tmp_path: Path) -> None:
        """Waiting events are durable: the full account meets it after a restart."""
        full, late = message("a"), message("b", phone=BERT)
        journal = self.make_journal(tmp_path)
        async with journal:
            await journal.append([poorly(full), message("behind")])
            await journal.append([poorly(late, "9002", settle=_SOON)])
        journal = self.again(journal, tmp_path)
        async with journal:
            assert ids(await self.published(journal, 1)) == ["b"]
            again = await journal.append([poorly(full), message("behind")])
            await journal.append([full])
            first, *entries = await self.published(journal, 3)
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
            entries = await self.published(journal, 3)
        assert isinstance(bad, CodecError)
        assert isinstance(worse, CodecError)
        assert good == Appended(published=1, duplicates=0)
        assert [type(entry.event) for entry in entries] == [Message] * 3
        assert ids(entries) == ["c", "a", "b"]
        assert [each.aliases for each in _messages(entries)] == [(), (), ("9002",)]

    # --- what is erased ----------------------------------------------------------------------

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
            assert ids(await self.published(journal, 1)) == ["c"]
            again = await journal.append([*events, *waits, message("w")])
            assert again == Appended(published=0, duplicates=6)
            assert await journal.purge(ANNE) == 0
            await journal.append([message("d", phone="", user_id=ANNES_ID)])
            entries = await self.published(journal, 2)
        assert entries[1].lane == conversation_id("whatsapp", ACCOUNT, ANNES_ID)

    async def test_purge_in_domains(self, tmp_path: Path) -> None:
        """The same user is erased in every trust domain."""
        events = [message("a", user_id=ANNES_ID), message("b", phone="", user_id=ANNES_ID)]
        async with self.make_journal(tmp_path) as journal:
            for domain in ("evil", "acme"):
                await journal.append([in_domain(event, domain) for event in events])
            assert await journal.purge(ANNES_ID) == 4

    # --- on what terms a user may be written to ----------------------------------------------

    async def test_a_former_holder_of_a_number_who_is_joined(self, tmp_path: Path) -> None:
        """What comes late is of whoever had the number then, under an older user's name, too.

        Until when that one may be answered is found by the conversation held with the number.
        """

        def at(minute: float, event: Message, received: float | None = None) -> Message:
            when = NOON + timedelta(minutes=minute)
            late = when if received is None else NOON + timedelta(minutes=received)
            return attrs.evolve(event, occurred_at=when, received_at=late)

        day, other = timedelta(days=1), "+4915700000"
        change = System(
            change=SystemKind.NUMBER, before=Party(phone=ANNE), after=Party(phone=other)
        )
        by_id = message("0", phone="", user_id=ANNES_ID)
        by_phone = message("1", reply_until=NOON + day)
        async with self.make_journal(tmp_path) as journal:
            for event in (
                at(0, by_id),
                at(0, message("6", phone="", user_id="DE.9")),
                at(1, by_phone),
                at(3, message("2", content=change)),
                at(10, message("3", reply_until=NOON + 9 * day)),
                at(11, message("4", phone=other, user_id=ANNES_ID)),
                at(2.5, message("5"), received=20),
                at(30, message("7", user_id="DE.9")),
            ):
                await journal.append([event])
            late = await journal.find(message("5").key)
            assert late is not None
            assert late.lane == by_id.conversation.id
            former = name_of_former(by_phone.conversation.id)
            user = await journal.record(former)
            assert isinstance(user, User)
            assert user.reply_until == {ACCOUNT: (NOON + day).timestamp()}
            since = await journal.find(message("3").key)
            assert since is not None
            assert await _open_until(journal, since.lane) == NOON + 9 * day

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
            with pytest.raises(JournalError):
                await journal.record("/user/whatsapp/+16505551234")
            async with journal:
                await journal.append([])

    async def test_terms_are_erased(self, tmp_path: Path) -> None:
        """Of somebody who is erased nothing of this is left."""
        said = message("a", reply_until=NOON + timedelta(hours=24))
        async with self.make_journal(tmp_path) as journal:
            await journal.append([said])
            await journal.purge(ANNE)
            assert await _open_until(journal, said.conversation.id) is None


async def _user(journal: Journal, conversation: str) -> User | None:
    user = await journal.record(name_of(conversation)[0])
    return user if isinstance(user, User) else None


async def _open_until(journal: Journal, conversation: str) -> datetime | None:
    user = await _user(journal, conversation)
    until = None if user is None else user.reply_until.get(name_of(conversation)[1])
    return None if until is None else datetime.fromtimestamp(until, UTC)


def _messages(entries: Sequence[Entry]) -> list[Message]:
    return [entry.event for entry in entries if isinstance(entry.event, Message)]
