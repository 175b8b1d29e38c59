"""One user is one conversation, under whichever names; and nothing crosses a trust domain."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.journal.erasure import Subject
from bridge.journal.identity import name_of, phone_of
from bridge.journal.lanes import lane_of
from bridge.journal.ledger import Track, User, decode_record, encode_record
from bridge.journal.memory import MemoryJournal
from bridge.journal.query import JOINED, Query
from bridge.model import (
    ConsentChange,
    Conversation,
    ConversationKind,
    Deletion,
    Event,
    Handover,
    Intent,
    Message,
    Notice,
    Party,
    Reaction,
    Status,
    StatusChange,
    System,
    SystemKind,
    Text,
    Unsupported,
)
from bridge.model.keys import (
    conversation_id,
    deletion_key,
    folded,
    group_conversation_id,
    in_domain,
    message_key,
)
from tests.bridge.events import ACCOUNT, BUSINESS, NOON, created, notice, numbered_status, status
from tests.bridge.journal.accounts import poorly, told
from tests.bridge.journal.shelf import Shelf

ANNE, BERT, OTHER = "+4917012345678", "+4917099999999", "+4915700000"
ANNES_ID, BERTS_ID = "DE.20260401998877", "DE.20260401998899"
_numbers = iter(range(10**9))


def says(phone: str | None = None, user_id: str | None = None, **fields: object) -> Message:
    """Return a new message of a user, in the conversation that an adapter makes of the names."""
    party, number = Party(phone=phone, user_id=user_id), next(_numbers)
    at = NOON + timedelta(milliseconds=number)
    return told(f"wamid.{number}", party=party, **{"received_at": at, **fields})


def to(phone: str | None = None, user_id: str | None = None, **fields: object) -> Message:
    """Return a new message to a user."""
    message = says(phone, user_id)
    sides = {"sender": BUSINESS, "recipient": message.sender}
    outbound = created("1", "wamid.1")
    how = {"direction": outbound.direction, "origin": outbound.origin}
    return attrs.evolve(message, **{**sides, **how, **fields})


def reached(message: Message, *, phone: str | None = None, user_id: str | None = None):
    """Return a status of a message, whose recipient is told by these names."""
    where = Conversation(id=conversation_id("whatsapp", ACCOUNT, phone or user_id or ""))
    party, at = Party(phone=phone, user_id=user_id), message.received_at
    return status(
        Status.READ, message.message_id, recipient=party, conversation=where, received_at=at
    )


def changed(
    kind: SystemKind, previous: str, current: str, *, phone: str | None = None, **fields: object
) -> Message:
    """Return what the channel reports when a user's number or id has changed."""
    content = System(change=kind, previous=previous, current=current)
    return attrs.evolve(says(phone or previous), content=content, **fields)


def play(events: Iterable[Event], shelf: Shelf | None = None) -> list[Event]:
    shelf = shelf or Shelf()
    return [event for each in events for event in shelf.append(each)]


def conversations(events: Iterable[Event]) -> list[str]:
    return [lane_of(event) for event in events if not isinstance(event, Notice)]


def joined(events: Iterable[Event]) -> list[tuple[str, str]]:
    notices = [event for event in events if isinstance(event, Notice) and event.topic == JOINED]
    return [(each.details["from"], each.details["to"]) for each in notices]


def of(identity: str) -> str:
    return conversation_id("whatsapp", ACCOUNT, identity)


# --- one user ------------------------------------------------------------------------------


def test_the_phone_is_hidden_later():
    """Who came with phone and id, and later with the id alone, goes on in one conversation."""
    found = play([says(ANNE, ANNES_ID), says(None, ANNES_ID), says(ANNE)])
    assert conversations(found) == [of(ANNE)] * 3
    assert joined(found) == []


@pytest.mark.parametrize("kind", [Handover, ConsentChange, Notice])
def test_a_repetition_tells_a_further_name(kind):
    """What is told again with the user's id is published once, and the id is the user's then."""
    values = {
        "key": "test/1",
        "source": "test",
        "channel": "whatsapp",
        "account": ACCOUNT,
        "occurred_at": NOON,
        "received_at": NOON,
        "raw": {},
        "party": Party(phone=ANNE),
        "conversation": Conversation(id=of(ANNE)),
        **({"granted": False} if kind is ConsentChange else {}),
        **({"topic": "calls", "details": {}} if kind is Notice else {}),
    }
    first = kind(**values)
    again = attrs.evolve(first, party=Party(phone=ANNE, user_id=ANNES_ID))
    shelf = Shelf()
    assert len(shelf.append(first)) == 1
    assert shelf.append(again) == []
    (later,) = shelf.append(says(None, ANNES_ID))
    assert lane_of(later) == of(ANNE)
    assert later.sender.phone == ANNE


def test_the_phone_is_shown_later():
    """Who came with an id first keeps that conversation when the phone comes, alone too."""
    found = play([says(None, ANNES_ID), says(ANNE, ANNES_ID), says(ANNE), says(None, ANNES_ID)])
    assert conversations(found) == [of(ANNES_ID)] * 4


def test_two_conversations_turn_out_to_be_one():
    """The older one goes on for both names, and one notice says so, before what it is about."""
    events = [says(None, ANNES_ID), says(ANNE), says(ANNE, ANNES_ID), says(ANNE), says(ANNE)]
    found = play(events)
    assert conversations(found) == [of(ANNES_ID), of(ANNE), *[of(ANNES_ID)] * 3]
    (notice,) = (event for event in found if isinstance(event, Notice))
    assert notice.details == {"from": of(ANNE), "to": of(ANNES_ID)}
    assert found.index(notice) == 2
    assert (notice.account, lane_of(notice)) == (ACCOUNT, of(ANNES_ID))


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("+5511987654321", "+551187654321"),  # Brazil's ninth digit
        ("+5215512345678", "+525512345678"),  # Mexico's 1
        ("+5491112345678", "+541112345678"),  # Argentina's 9
    ],
)
def test_two_spellings_of_a_phone(long, short):
    """A digit that comes and goes does not split a conversation."""
    assert conversations(play([to(long), says(short), says(long)])) == [of(long)] * 3
    assert conversations(play([says(short), to(long)])) == [of(short)] * 2


def test_phones_that_only_look_alike():
    """A landline of eight digits, or a number elsewhere, is nobody's other spelling."""
    for one, other in [
        ("+5511934567890", "+551134567890"),
        ("+4411987654321", "+441187654321"),
        ("+52155123456", "+5255123456"),
    ]:
        assert conversations(play([says(one), says(other)])) == [of(one), of(other)]


def test_a_number_changes():
    """Whoever has a new number stays in the old one's conversation, under both numbers."""
    change = changed(SystemKind.NUMBER, ANNE, BERT)
    found = play([says(ANNE), change, says(BERT), says(ANNE)])
    assert conversations(found) == [of(ANNE)] * 4


def test_a_number_changes_to_one_that_is_known():
    """Where the new number has written before, its conversation is joined to the older one."""
    found = play([says(ANNE), says(BERT), changed(SystemKind.NUMBER, ANNE, BERT), says(BERT)])
    assert conversations(found) == [of(ANNE), of(BERT), of(ANNE), of(ANNE)]
    assert joined(found) == [(of(BERT), of(ANNE))]


def test_a_user_id_changes():
    """So does a new id; a new number with a new id of its own is told by `before` and `after`."""
    change = changed(SystemKind.USER_ID, ANNES_ID, BERTS_ID, phone=ANNE)
    found = play([says(ANNE, ANNES_ID), change, says(ANNE, BERTS_ID), says(None, BERTS_ID)])
    assert conversations(found) == [of(ANNE)] * 4
    content = System(
        change=SystemKind.NUMBER,
        before=Party(phone=ANNE, user_id=ANNES_ID),
        after=Party(phone=BERT, user_id=BERTS_ID),
    )
    moved = attrs.evolve(says(ANNE), content=content)
    found = play([says(ANNE, ANNES_ID), moved, says(None, BERTS_ID), says(BERT), says(ANNE)])
    assert conversations(found) == [of(ANNE)] * 5


def test_a_key_is_no_name():
    """What changes of a user's identity is no name that anybody goes by."""
    changes = [changed(SystemKind.IDENTITY, who, "same hash", phone=who) for who in (ANNE, BERT)]
    assert conversations(play(changes)) == [of(ANNE), of(BERT)]


def test_linked_businesses():
    """The id that is the same across linked businesses names a user, too."""
    both = attrs.evolve(says(ANNE, ANNES_ID), sender=Party(phone=ANNE, parent_user_id="DE.P"))
    again = attrs.evolve(says(None, "DE.P"), sender=Party(parent_user_id="DE.P"))
    assert conversations(play([both, again])) == [of(ANNE)] * 2


def test_accounts_have_conversations_of_their_own():
    """One user talks to two accounts in two conversations, and is known by name in both."""
    other = conversation_id("whatsapp", "77", ANNE)
    there = {"account": "77", "conversation": Conversation(id=other)}
    elsewhere = {"account": "77", "conversation": Conversation(id=f"whatsapp:77:{ANNES_ID}")}
    found = play(
        [says(ANNE, ANNES_ID), says(ANNE, **there), says(None, ANNES_ID, **elsewhere), says(ANNE)]
    )
    assert conversations(found) == [of(ANNE), other, other, of(ANNE)]


def test_channels_have_users_of_their_own():
    """The same phone on two channels is two users, since each channel has ids of its own."""
    rcs = Conversation(id=conversation_id("rcs", ACCOUNT, ANNE))
    found = play(
        [says(None, ANNES_ID), says(ANNE, ANNES_ID), says(ANNE, channel="rcs", conversation=rcs)]
    )
    assert conversations(found) == [of(ANNES_ID), of(ANNES_ID), rcs.id]


# --- a phone that goes to somebody else ------------------------------------------------------


def test_a_phone_goes_to_somebody_else():
    """A phone that comes with another id is another user's, in a conversation of their own."""
    found = play(
        [
            says(ANNE, ANNES_ID),
            says(ANNE, BERTS_ID),  # nobody has told of a change
            says(ANNE),
            says(None, BERTS_ID),
            says(None, ANNES_ID),
        ]
    )
    assert conversations(found) == [of(ANNE), of(BERTS_ID), of(BERTS_ID), of(BERTS_ID), of(ANNE)]
    assert joined(found) == []


def test_a_phone_goes_to_somebody_who_is_known():
    """The new holder of a phone stays in the conversation that they have."""
    found = play([says(ANNE, ANNES_ID), says(BERT, BERTS_ID), says(ANNE, BERTS_ID), says(ANNE)])
    assert conversations(found) == [of(ANNE), of(BERT), of(BERT), of(BERT)]


def test_the_change_is_told_late():
    """An id that came before the word of its change leads back, and a notice says so."""
    change = changed(SystemKind.USER_ID, ANNES_ID, BERTS_ID, phone=ANNE)
    found = play([says(ANNE, ANNES_ID), says(ANNE, BERTS_ID), change, says(None, BERTS_ID)])
    assert conversations(found) == [of(ANNE), of(BERTS_ID), of(ANNE), of(ANNE)]
    assert joined(found) == [(of(BERTS_ID), of(ANNE))]


# --- statuses, groups, and who is not told ----------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [{"phone": ANNE}, {"user_id": ANNES_ID}, {"phone": BERT}, {"phone": ANNE, "user_id": ANNES_ID}],
    ids=str,
)
def test_a_status_is_in_its_message_s_conversation(names):
    """Whatever the recipient of a status looks like, and without moving anybody else."""
    message = to(ANNE)
    found = play([message, reached(message, **names), says(BERT), says(ANNE)])
    assert conversations(found) == [of(ANNE), of(ANNE), of(BERT), of(ANNE)]
    assert joined(found) == []


def test_a_status_names_the_user():
    """The id to which a message for a phone was delivered is the same user's."""
    message = to(ANNE)
    found = play([message, reached(message, user_id=ANNES_ID), says(None, ANNES_ID)])
    assert conversations(found) == [of(ANNE)] * 3


def test_a_status_comes_before_its_message():
    """The user whom a status names and the one whom its message names are one."""
    message = to(ANNE)
    found = play([reached(message, user_id=ANNES_ID), message, says(ANNE), says(None, ANNES_ID)])
    assert conversations(found) == [of(ANNES_ID)] * 4


def test_a_status_follows_a_joined_conversation():
    """A message's later statuses are where its conversation has gone."""
    first, message = says(None, ANNES_ID), to(ANNE)
    bare = status(Status.READ, message.message_id)
    found = play([first, message, says(ANNE, ANNES_ID), bare])
    assert conversations(found) == [of(ANNES_ID), of(ANNE), of(ANNES_ID), of(ANNES_ID)]


GROUP = Conversation(
    id=group_conversation_id("whatsapp", ACCOUNT, "g1"), kind=ConversationKind.GROUP
)


def read_by(**names: str) -> StatusChange:
    read = status(Status.READ, "wamid.g", participant=names.get("phone") or names["user_id"])
    return attrs.evolve(read, recipient=Party(**names), conversation=GROUP)


def test_one_participant():
    """Who reads in a group is one participant under phone and id, and has one status."""
    anne = {"phone": ANNE, "user_id": ANNES_ID}
    found = play([read_by(**anne), read_by(user_id=ANNES_ID), read_by(phone=ANNE)])
    assert [event.key for event in found] == [f"status/whatsapp/wamid.g/read/{ANNE}"]
    found = play([read_by(user_id=ANNES_ID), read_by(**anne), read_by(phone=ANNE)])
    assert [event.key for event in found if "/more/" not in event.key] == [
        f"status/whatsapp/wamid.g/read/{ANNES_ID}"
    ]
    found = play([read_by(phone=ANNE), read_by(phone=BERT), read_by(phone=ANNE)])
    assert len(found) == 2


def test_a_participant_whose_names_are_tied_late():
    """What was published under both names is published under neither of them again."""
    both = says(ANNE, ANNES_ID, conversation=GROUP)
    found = play([read_by(user_id=ANNES_ID), read_by(phone=ANNE), both, read_by(phone=ANNE)])
    assert [event.key for event in found] == [
        f"status/whatsapp/wamid.g/read/{ANNES_ID}",
        f"status/whatsapp/wamid.g/read/{ANNE}",
        both.key,
    ]


def test_a_group_is_no_user():
    """A group is one conversation, and its participants have their own beside it."""
    outbound = to(None, "g1", conversation=GROUP)
    found = play([outbound, says(ANNE, ANNES_ID, conversation=GROUP), says(None, ANNES_ID)])
    assert conversations(found) == [GROUP.id, GROUP.id, of(ANNES_ID)]
    assert joined(found) == []


def test_who_is_not_told():
    """A message without a user is where its message is known to belong."""
    placeholder = to(ANNE, content=Unsupported(provider_type="media_placeholder"), key="shown/1")
    again = attrs.evolve(
        to(),
        message_id=placeholder.message_id,
        key="message/whatsapp/later",
        content=Text(text="x"),
    )
    found = play([placeholder, again])
    assert conversations(found) == [of(ANNE)] * 2
    inbound = attrs.evolve(
        says(), message_id=placeholder.message_id, content=Deletion(message_id="wamid.0")
    )
    assert conversations(play([placeholder, inbound])) == [of(ANNE)] * 2
    alone = says()
    assert conversations(play([alone])) == [alone.conversation.id]


def test_what_waits_goes_along():
    """What waits when two conversations turn out to be one comes out in the one that goes on."""
    shelf = Shelf()
    play([says(None, ANNES_ID), says(ANNE)], shelf)
    waits, behind = poorly(says(ANNE)), says(ANNE)
    assert play([waits, behind], shelf) == []
    found = [*play([says(ANNE, ANNES_ID), says(ANNE)], shelf), *shelf.wait()]
    assert conversations(found) == [of(ANNES_ID)] * 4
    keys = [event.key for event in found if isinstance(event, Message)]
    assert keys[:2] == [waits.key, behind.key]


def open_until(shelf: Shelf, conversation: str) -> datetime | None:
    name, account = name_of(conversation)
    user = shelf.find(name)
    until = user.reply_until.get(account) if isinstance(user, User) else None
    return None if until is None else datetime.fromtimestamp(until, UTC)


def test_until_when_a_user_may_be_answered():
    """The furthest end of the window is found by any name of the user."""
    shelf = Shelf()
    far, near, further = (NOON + timedelta(hours=hours) for hours in (72, 25, 73))
    play([says(ANNE, reply_until=far), says(ANNE, ANNES_ID, reply_until=near)], shelf)
    for names in (of(ANNE), of(ANNES_ID)):
        assert open_until(shelf, names) == far
    play([says(ANNE, reply_until=further)], shelf)
    assert open_until(shelf, of(ANNES_ID)) == further
    assert open_until(shelf, of(BERT)) is None


def test_until_when_a_group_may_be_answered():
    """Whoever writes in a group opens the group's window, and not a window of their own."""
    shelf = Shelf()
    for hours, who in ((24, ANNE), (25, BERT)):
        until = NOON + timedelta(hours=hours)
        play([says(who, conversation=GROUP, reply_until=until)], shelf)
        assert open_until(shelf, GROUP.id) == until
    assert open_until(shelf, of(ANNE)) is None


def users(shelf: Shelf) -> list[User]:
    return [record for record in shelf.records.values() if isinstance(record, User)]


def test_a_user_is_noted_once_a_day():
    """All names of a user are kept as long as the user is heard of under any of them."""
    shelf, first = Shelf(), says(ANNE, ANNES_ID)
    play([first], shelf)
    names = set(shelf.records)
    for hours, is_noted in ((1, False), (25, True), (26, False), (50, True)):
        shelf.noted.clear()
        at = first.received_at + timedelta(hours=hours)
        play([says(None, ANNES_ID, received_at=at)], shelf)
        assert shelf.noted == (names if is_noted else set())
    (user,) = users(shelf)
    assert (user.since, user.seen) == (first.received_at.timestamp(), at.timestamp())


def test_a_user_has_so_many_names():
    """However many phones come with one id, a user's record stays small."""
    shelf = Shelf()
    play((says(f"+49170{number:07}", ANNES_ID) for number in range(100)), shelf)
    assert max(len(user.identities) for user in users(shelf)) == 32


def test_a_user_has_left_so_many_numbers():
    """However often a user changes the number and others take it up, the record stays small."""
    shelf = Shelf()
    at = NOON
    for number in range(50):
        before, after = (f"+49170{each:07}" for each in (number, number + 1))
        content = System(
            change=SystemKind.NUMBER, before=Party(phone=before), after=Party(phone=after)
        )
        at += timedelta(minutes=1)
        later = at + timedelta(seconds=1)
        play([attrs.evolve(says(before), content=content, occurred_at=at)], shelf)
        play([says(before, occurred_at=later)], shelf)
    assert max(len(user.left) for user in users(shelf)) <= 32


def test_numbers_that_an_earlier_version_noted():
    """It kept no time with a number that was left; whoever writes from it is the user still."""
    shelf = Shelf()
    play([says(ANNE, ANNES_ID), says(BERT, ANNES_ID)], shelf)
    (user,) = users(shelf)
    fields = orjson.loads(encode_record(user)) | {"left": [ANNE]}
    shelf.save(decode_record(orjson.dumps(fields)))
    (moved,) = users(shelf)
    assert phone_of(moved) == BERT
    found = play([says(ANNE, occurred_at=NOON + timedelta(days=1))], shelf)
    assert conversations(found) == [of(ANNE)]


# --- the laws ------------------------------------------------------------------------------

PEOPLE = [
    (("+5511987654321", "+551187654321", "+5511955554444"), "BR.1"),
    (("+4917012345678",), "DE.1"),
    (("+525512345678", "+5215512345678"), "MX.1"),
]


@st.composite
def names_of_one(draw: st.DrawFn) -> tuple[int, str | None, str | None]:
    """Return a person, and under which of their names an event comes."""
    who = draw(st.integers(0, len(PEOPLE) - 1))
    phones, user_id = PEOPLE[who]
    phone = draw(st.sampled_from([None, *phones]))
    return who, phone, draw(st.sampled_from([None, user_id])) if phone else user_id


@given(st.lists(names_of_one(), min_size=1, max_size=12))
def test_whatever_is_known_to_be_one_is_one(told_names) -> None:
    """Names that came together lead to one conversation, at the end and by the notices."""
    shelf = Shelf()
    found = play((says(phone, user_id) for _, phone, user_id in told_names), shelf)
    goes_on = dict(joined(found))

    def last(conversation: str) -> str:
        while conversation in goes_on:
            conversation = goes_on[conversation]
        return conversation

    ends: dict[int, set[str]] = {}
    for (who, phone, user_id), conversation in zip(told_names, conversations(found), strict=True):
        for names in ((phone, None), (None, user_id)):
            if any(names):
                (now,) = conversations(play([says(*names)], shelf))
                assert now == last(conversation)
                ends.setdefault(who, set()).add(now)
    everybody = [each for found in ends.values() for each in found]
    assert len(everybody) == len(set(everybody))  # nobody is in another's


@given(st.lists(names_of_one(), min_size=1, max_size=12))
def test_a_party_has_every_name_that_is_known(told_names) -> None:
    """Whichever name a user is told by, the party has the phone and the id that were told with it.

    A phone that is one of several, spelled otherwise or not, is not made up.
    """
    shelf, tied = Shelf(), {who: set() for who in range(len(PEOPLE))}
    for who, phone, user_id in told_names:
        ((*_, event),) = [play([says(phone, user_id)], shelf)]
        tied[who] |= {(phone, user_id)} if phone and user_id else set()
        theirs, own_id = {folded(each) for each, _ in tied[who]}, PEOPLE[who][1]
        is_tied = user_id is not None or folded(phone) in theirs
        assert event.sender.user_id == (own_id if is_tied and (theirs or user_id) else None)
        if phone is not None:
            assert event.sender.phone == phone
        elif len(theirs) == 1:
            assert folded(event.sender.phone) in theirs
        else:
            assert event.sender.phone is None


def test_an_id_is_told_while_it_is_the_user_s():
    """After a change the new id is told, in each account its own, and of nobody else."""
    shelf = Shelf()
    new, elsewhere = "DE.new", "DE.elsewhere"
    play([says(ANNE, ANNES_ID), changed(SystemKind.USER_ID, ANNES_ID, new, phone=ANNE)], shelf)
    play([says(None, new)], shelf)
    play([says(ANNE, elsewhere, account="another")], shelf)
    found = play(
        [
            says(ANNE),
            says(ANNE, account="another"),
            says(ANNE, account="a third"),
            attrs.evolve(to(ANNE), intent=Intent(key="a")),
            reached(to(ANNE), phone=ANNE),
            says(BERT),
        ],
        shelf,
    )
    messages = [each for each in found if isinstance(each, Message)]
    parties = [each.sender if each.sender != BUSINESS else each.recipient for each in messages]
    assert [each.user_id for each in parties] == [new, elsewhere, None, None, None]
    (seen,) = (each for each in found if isinstance(each, StatusChange))
    assert seen.recipient == Party(phone=ANNE, user_id=new)


def names_changed(before: Party, after: Party) -> Message:
    """Return what a provider reports of a change, with all names from before it and after it."""
    kind = SystemKind.USER_ID if before.phone == after.phone else SystemKind.NUMBER
    if kind is SystemKind.USER_ID:
        words = {"previous": before.user_id, "current": after.user_id}
    else:
        words = {"previous": before.phone[1:], "current": after.phone[1:]}
    content = System(change=kind, before=before, after=after, **words)
    return attrs.evolve(says(before.phone, before.user_id), content=content)


def in_account(message: Message, account: str) -> Message:
    """Return a user's message to another account of the business."""
    where = conversation_id("whatsapp", account, message.sender.phone or message.sender.user_id)
    return attrs.evolve(message, account=account, conversation=Conversation(id=where))


def deleted(message: Message, **names: str) -> Message:
    """Return a status by which the user has deleted a message, and which tells these names."""
    party = Party(**names)
    told_by = party.phone or party.user_id or f"message:{message.message_id}"
    return attrs.evolve(
        message,
        key=deletion_key("whatsapp", message.message_id),
        content=Deletion(message_id=message.message_id),
        sender=party,
        conversation=Conversation(id=of(told_by)),
    )


ANNES_NEW_ID = "DE.20270101000001"
NEW_ID = names_changed(Party(phone=ANNE, user_id=ANNES_ID), Party(phone=ANNE, user_id=ANNES_NEW_ID))
NEW_NUMBER = names_changed(Party(phone=ANNE), Party(phone=OTHER, user_id=ANNES_NEW_ID))


@pytest.mark.parametrize("change", [NEW_ID, NEW_NUMBER])
@pytest.mark.parametrize("is_retried", [True, False])
def test_a_change_that_is_told_again(change, is_retried):
    """The id after it is the user's still, so that a phone with another id is somebody else's."""
    again = change if is_retried else attrs.evolve(says(), content=change.content)
    phone = change.content.after.phone
    events = [says(ANNE, ANNES_ID), change, says(phone, ANNES_NEW_ID), again]
    found = play([*events, says(phone), says(phone, BERTS_ID)])
    *_, anne, bert = found
    assert (anne.sender.user_id, lane_of(anne)) == (ANNES_NEW_ID, of(ANNE))
    assert lane_of(bert) == of(BERTS_ID)


def test_a_change_of_id_is_one_in_every_account_that_had_the_id():
    """An account tells the id that another one was told of, and ids of its own stay."""
    shelf = Shelf()
    told_before = [says(ANNE, ANNES_ID), in_account(says(ANNE, ANNES_ID), "second")]
    play([*told_before, in_account(says(ANNE, "DE.own"), "third"), NEW_ID], shelf)
    accounts = [says(ANNE), in_account(says(ANNE), "second"), in_account(says(ANNE), "third")]
    senders = [each.sender.user_id for each in play(accounts, shelf)]
    assert senders == [ANNES_NEW_ID, ANNES_NEW_ID, "DE.own"]


def test_a_change_of_number_is_one_in_every_account():
    """No account tells an id that went with the number, and all take the new one as the user's."""
    shelf = Shelf()
    moved = names_changed(Party(phone=ANNE), Party(phone=OTHER))
    play([says(ANNE, ANNES_ID), in_account(says(ANNE, ANNES_ID), "second"), moved], shelf)
    new = [says(OTHER), in_account(says(OTHER), "second")]
    new += [in_account(says(OTHER, ANNES_NEW_ID), "second"), in_account(says(OTHER), "second")]
    found = play(new, shelf)
    assert [each.sender.user_id for each in found] == [None, None, ANNES_NEW_ID, ANNES_NEW_ID]
    second = conversation_id("whatsapp", "second", ANNE)
    assert conversations(found) == [of(ANNE), second, second, second]


def test_what_comes_late_tells_no_id_anew():
    """A message from before a change of id, told days after it, does not bring back the old id."""
    late = says(ANNE, ANNES_ID)
    received = {"received_at": late.received_at + timedelta(days=2)}
    events = [says(ANNE, ANNES_ID), NEW_ID, attrs.evolve(late, **received)]
    *_, old, now = play([*events, attrs.evolve(says(ANNE), **received)])
    assert (old.sender.user_id, now.sender.user_id) == (ANNES_ID, ANNES_NEW_ID)


def test_ids_that_an_earlier_version_did_not_keep():
    """A user who was known to have an id tells which it is with the next message that has it."""
    shelf = Shelf()
    play([says(ANNE, ANNES_ID)], shelf)
    name = name_of(of(ANNE))[0]
    fields = orjson.loads(encode_record(shelf.find(name)))
    shelf.save(decode_record(orjson.dumps({**fields, "identified": [ACCOUNT]})))
    found = play([says(ANNE), says(ANNE, ANNES_ID), says(ANNE)], shelf)
    assert [each.sender.user_id for each in found] == [None, ANNES_ID, ANNES_ID]


# --- whose a message is, once its user's phone is somebody else's -----------------------------


def test_statuses_of_what_went_to_a_phone_before():
    """However many of them tell the phone, whoever has it now is not taken for who had it."""
    sent = to(ANNE, ANNES_ID)
    seen = reached(sent, phone=ANNE)
    arrived = status(Status.DELIVERED, sent.message_id, recipient=seen.recipient)
    arrived = attrs.evolve(arrived, conversation=seen.conversation)
    events = [says(ANNE, ANNES_ID), sent, says(ANNE, BERTS_ID), seen, arrived]
    found = play([*events, says(None, ANNES_ID), says(None, BERTS_ID)])
    assert joined(found) == []
    assert conversations(found)[3:] == [of(ANNE)] * 3 + [of(BERTS_ID)]


@pytest.mark.parametrize("kind", ["deletion", "status"])
def test_what_is_told_of_a_message_by_its_user_s_id(kind):
    """Of a message that was told before its user changed to another number, and somebody came."""
    message = says(None, ANNES_ID) if kind == "deletion" else to(None, ANNES_ID)
    before = deleted(message, user_id=ANNES_ID) if kind == "deletion" else message
    after = message if kind == "deletion" else reached(message, user_id=ANNES_ID)
    moved = names_changed(Party(phone=ANNE), Party(phone=OTHER))
    bert = says(ANNE, occurred_at=NOON + timedelta(seconds=5))
    found = play([says(ANNE, ANNES_ID), before, moved, bert, after])
    assert joined(found) == []
    *_, theirs, hers = conversations(found)
    assert hers == of(ANNE) != theirs


def test_a_message_that_was_deleted_before_it_is_told_by_a_phone_that_another_had():
    """It is of who has the phone now, as its deletion is."""
    minutes = [{"occurred_at": NOON + timedelta(minutes=2 * number)} for number in range(1, 4)]
    moved = names_changed(Party(phone=ANNE), Party(phone=OTHER))
    came = names_changed(Party(phone=BERT), Party(phone=ANNE))
    message = says(ANNE, **minutes[2])
    changes = [attrs.evolve(moved, **minutes[0]), attrs.evolve(came, **minutes[1])]
    found = play([says(ANNE), says(BERT), *changes, deleted(message, phone=ANNE), message])
    assert conversations(found)[4:] == [of(BERT)] * 2


def test_a_change_to_a_phone_that_another_has_left():
    """Who had both of its phones, one after another, is not who changes from one to the other."""
    minutes = [{"occurred_at": NOON + timedelta(minutes=2 * number)} for number in range(1, 5)]
    numbers = ((ANNE, OTHER), (BERT, ANNE), (OTHER, "+4915755555"), (ANNE, OTHER))
    changes = [names_changed(*(Party(phone=each) for each in both)) for both in numbers]
    changes = [attrs.evolve(each, **at) for each, at in zip(changes, minutes, strict=True)]
    found = play([says(ANNE), says(BERT), *changes, says(OTHER, **minutes[-1])])
    assert joined(found) == []
    assert conversations(found) == [of(each) for each in (ANNE, BERT, ANNE, BERT, ANNE, BERT, BERT)]


def test_a_late_message_after_a_change_of_number():
    """It does not tell an id of now, so that the id of the new number is no other user's."""
    late = says(ANNE, ANNES_ID)
    moved = names_changed(Party(phone=ANNE), Party(phone=OTHER))
    moved = attrs.evolve(moved, occurred_at=NOON + timedelta(minutes=5))
    after = {"received_at": late.received_at + timedelta(minutes=9)}
    found = play([says(ANNE), moved, attrs.evolve(late, **after), says(OTHER, ANNES_NEW_ID)])
    assert conversations(found) == [of(ANNE)] * 4


async def test_a_change_from_a_phone_that_somebody_else_has():
    """It is whose id is told, also where a status has told the new phone with a third id before."""
    sent = to(ANNE, ANNES_ID)
    seen = reached(sent, phone=BERT, user_id=BERTS_ID)
    changed_by = names_changed(Party(phone=ANNE, user_id="DE.C"), Party(phone=BERT))
    async with MemoryJournal() as journal:
        for each in (says(ANNE, ANNES_ID), says(BERT, ANNES_ID), sent, seen, says(None, "DE.C")):
            await journal.append([each])
        await journal.append([changed_by])
        (entry,) = await journal.search(Query(newest_first=True, limit=1))
    assert (entry.event.key, entry.lane) == (changed_by.key, of("DE.C"))


def test_a_message_by_the_phone_of_one_and_its_deletion_by_the_id_of_another():
    """Two users who go by other ids are not one because of it."""
    message = says(ANNE)
    events = [says(ANNE, ANNES_ID), deleted(message, user_id=BERTS_ID), message]
    found = play([*events, says(None, ANNES_ID), says(None, BERTS_ID)])
    assert joined(found) == []
    assert conversations(found) == [of(ANNE), *[of(BERTS_ID)] * 2, of(ANNE), of(BERTS_ID)]


def anything() -> st.SearchStrategy[Event]:
    """Return events of few ids, so that they meet."""
    party = st.sampled_from(
        [Party(phone=ANNE), Party(user_id=ANNES_ID), Party(phone=ANNE, user_id=ANNES_ID)]
    )
    ids = st.sampled_from(["wamid.1", "wamid.2"])
    full = st.builds(lambda message_id, party: told(message_id, party=party), ids, party)
    statuses = st.sampled_from([Status.SENT, Status.READ, Status.FAILED])
    numbers = st.sampled_from(["9001", "9002"])
    return st.one_of(
        full,
        st.builds(poorly, full, numbers),
        st.builds(created, numbers, ids),
        st.builds(status, statuses, ids),
        st.builds(numbered_status, statuses, numbers),
        st.builds(notice, st.sampled_from("ab")),
    )


@given(st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.none(), anything())), max_size=14))
def test_domains_share_nothing(history) -> None:
    """What is published of one domain is what would be, if there were no other."""

    def publish(domains: str) -> list[Event]:
        shelf = Shelf()
        for domain, event in history:
            if event is None:
                shelf.wait()
            elif domain in domains:
                shelf.append(in_domain(event, domain))
        shelf.wait()
        return shelf.published

    together = publish("ab")
    for domain in "ab":
        assert [event for event in together if event.domain == domain] == publish(domain)
    lanes = {domain: {lane_of(each) for each in publish(domain)} for domain in "ab"}
    assert not lanes["a"] & lanes["b"]


def test_a_provider_s_word_stays_in_its_domain():
    """A notice with the journal's topic is no way into another domain's conversation."""
    for ended, is_told in (("acme/x", True), ("evil/x", False)):
        details = {"from": ended, "to": f"acme/{of(ANNE)}"}
        forged = notice("1", topic=JOINED, details=details)
        assert lane_of(in_domain(forged, "evil")) == f"evil/whatsapp:{ACCOUNT}:notice:{JOINED}"
        own = of(ANNE) if is_told else f"whatsapp:{ACCOUNT}:notice:{JOINED}"
        assert lane_of(in_domain(forged, "acme")) == f"acme/{own}"


@given(
    before=st.lists(st.booleans(), min_size=1, max_size=3),
    after=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=6),
    told_before=st.booleans(),
    told_after=st.booleans(),
    again=st.integers(0, 6),
)
def test_a_number_that_changes_hands(before, after, told_before, told_after, again):
    """Whoever changes the number and whoever has it then have one conversation each, and no more.

    Both may tell their user ids or not, and so may the change, which may be told once more.
    """
    at = NOON + timedelta(minutes=5)
    content = System(
        change=SystemKind.NUMBER,
        before=Party(phone=ANNE, user_id="DE.1" if told_before else None),
        after=Party(phone=BERT, user_id="DE.2" if told_after else None),
    )
    change = says(ANNE, "DE.1" if told_before else None, content=content, occurred_at=at)
    theirs = [says(ANNE, "DE.1" if with_id else None, occurred_at=NOON) for with_id in before]
    events = [*theirs, change]
    taken = 0
    for is_anothers, with_id in after:
        at += timedelta(minutes=1)
        phone, user_id = (ANNE, "DE.9") if is_anothers else (BERT, "DE.2")
        events.append(says(phone, user_id if with_id else None, occurred_at=at))
        theirs += [] if is_anothers else events[-1:]
        taken += is_anothers
    events.insert(min(len(before) + 1 + again, len(events)), change)
    found = [each for each in play(events) if isinstance(each, Message)]
    keys = {each.key for each in (*theirs, change)}
    old = {each.conversation.id for each in found if each.key in keys}
    new = {each.conversation.id for each in found if each.key not in keys}
    assert old == {of(ANNE)}
    assert len(new) == min(taken, 1)
    assert old.isdisjoint(new)


HOLDERS = 3  # of one number, one after another
WITHIN = 10  # minutes for which each of them has it


@st.composite
def late(draw: st.DrawFn) -> tuple[int, str, bool]:
    """Return a minute in which something was, what it was, and whether the user id is told."""
    what = draw(st.sampled_from(["says", "hears", "reached", "deletes", "reacts"]))
    is_identified = draw(st.booleans()) if what in ("says", "hears") else False
    return draw(st.integers(0, HOLDERS * WITHIN - 1)), what, is_identified


@given(
    identified=st.lists(st.booleans(), min_size=HOLDERS, max_size=HOLDERS),
    known=st.lists(st.booleans(), min_size=HOLDERS, max_size=HOLDERS),
    events=st.lists(late(), max_size=8),
    again=st.booleans(),
)
def test_what_comes_late_is_of_whoever_had_the_number(identified, known, events, again):
    """Each user of a number changes to another one; what comes after that goes by its time.

    A deletion and a reaction are of whoever wrote the message that they are about, whenever it was.
    """
    shelf, told_in, changes = Shelf(), [], []
    for number, is_known in enumerate(known):
        if is_known and identified[number]:  # by another number, before
            before = NOON - timedelta(days=1)
            user = (f"+4917055511{number:02}", f"DE.{number}")
            play([says(*user, occurred_at=before, received_at=before)], shelf)
    for number, with_id in enumerate(identified):
        at = NOON + timedelta(minutes=number * WITHIN)
        user_id = f"DE.{number}" if with_id else None
        own = f"wamid.first.{number}"
        named = {"message_id": own, "key": message_key("whatsapp", own)}
        first = says(ANNE, user_id, occurred_at=at, received_at=at)
        (said,) = play([attrs.evolve(first, **named)], shelf)
        told_in.append(said.conversation.id)
        after = Party(phone=f"+4917055500{number:02}")
        content = System(change=SystemKind.NUMBER, before=Party(phone=ANNE), after=after)
        end = at + timedelta(minutes=WITHIN, milliseconds=-1)
        changes.append(says(ANNE, content=content, occurred_at=end))
        if number < HOLDERS - 1:
            play(changes[-1:], shelf)
    assert len(set(told_in)) == HOLDERS
    if again:
        play(changes[:-1], shelf)
    for minute, what, is_identified in events:
        holder, at = minute // WITHIN, NOON + timedelta(minutes=minute)
        user_id = f"DE.{holder}" if is_identified and identified[holder] else None
        about = f"wamid.first.{holder}"
        event: Event = says(ANNE, user_id, occurred_at=at)
        if what == "hears":
            event = to(ANNE, user_id, occurred_at=at)
        elif what == "reached":
            event = attrs.evolve(reached(event, phone=ANNE), occurred_at=at)
        elif what == "deletes":
            content = Deletion(message_id=about)
            event = says(ANNE, content=content, occurred_at=NOON + timedelta(hours=9))
        elif what == "reacts":
            content = Reaction(message_id=about, emoji="+")
            event = says(ANNE, content=content, occurred_at=NOON + timedelta(hours=9))
        event = attrs.evolve(event, received_at=NOON + timedelta(hours=9))
        found = conversations(play([event], shelf))
        assert set(found) == {told_in[holder]} or (what == "deletes" and not found)


@given(
    id_of_first=st.sampled_from([None, BERTS_ID]),
    id_of_mover=st.sampled_from([None, ANNES_ID]),
    new_id=st.sampled_from([None, "DE.NEW"]),
    known=st.booleans(),
    again=st.booleans(),
)
def test_a_number_that_was_somebody_else_s(id_of_first, id_of_mover, new_id, known, again):
    """Whoever changes to a number is not the one who wrote from it before that.

    What the latter wrote, and comes late, stays theirs.
    """
    moved, after = NOON + timedelta(minutes=10), NOON + timedelta(minutes=20)
    content = System(
        change=SystemKind.NUMBER,
        before=Party(phone=ANNE, user_id=id_of_mover),
        after=Party(phone=BERT, user_id=new_id),
    )
    change = says(ANNE, id_of_mover, content=content, occurred_at=moved, received_at=moved)
    events = [
        says(BERT, id_of_first, occurred_at=NOON),
        *([says(ANNE, id_of_mover, occurred_at=NOON)] if known else []),
        change,
        says(BERT, occurred_at=after),
        says(BERT, new_id, occurred_at=after),
        says(BERT, occurred_at=NOON + timedelta(minutes=1)),
        *([attrs.evolve(change, key="message/whatsapp/again")] if again else []),
        says(BERT, occurred_at=after),
    ]
    found = play(events)
    theirs = [of(ANNE)] * known
    ends = [of(ANNE)] * again
    assert conversations(found) == [
        *(of(BERT), *theirs, of(ANNE), of(ANNE), of(ANNE), of(BERT), *ends, of(ANNE))
    ]
    assert joined(found) == []


def at_minute(event: Message, minute: float, *, received: float | None = None) -> Message:
    """Return an event of a time, which was received then, or later."""
    when = NOON + timedelta(minutes=minute)
    late = when if received is None else NOON + timedelta(minutes=received)
    return attrs.evolve(event, occurred_at=when, received_at=late)


def moves(before: str, after: str, minute: float, user_id: str | None = None) -> Message:
    """Return what the channel reports when a user changes to another number."""
    content = System(
        change=SystemKind.NUMBER,
        before=Party(phone=before, user_id=user_id),
        after=Party(phone=after),
    )
    return at_minute(says(before, user_id, content=content), minute)


@pytest.mark.parametrize(
    "known_by",
    [
        [at_minute(says(None, BERTS_ID), 1), at_minute(says(BERT, BERTS_ID), 2)],
        [at_minute(says(OTHER), 1), moves(OTHER, BERT, 2), at_minute(says(BERT), 3)],
    ],
    ids=["by the user id before", "by another number before"],
)
def test_a_number_that_was_not_its_holder_s_first_name(known_by):
    """Whoever changes to a number is not the one who had it, however that one was known."""
    found = play([at_minute(says(ANNE), 0), *known_by, moves(ANNE, BERT, 5000)])
    assert joined(found) == []


def test_a_number_whose_holder_has_no_name_left():
    """A change to a number is told, also where nobody who had it has a name any more."""
    found = play(
        [
            moves(OTHER, ANNE, 1),
            moves("+4917020000", "+4917040000", 100, "DE.3"),
            at_minute(says("+4917020000"), 200),
            at_minute(says(OTHER, "DE.2"), 300),
            moves("+4917020000", ANNE, 400, "DE.3"),
        ]
    )
    assert len(conversations(found)) == 5


def test_the_new_holder_of_a_number_is_known_in_another_account():
    """Two holders of a number have two conversations, though one is known elsewhere already."""
    shelf = Shelf()
    elsewhere = attrs.evolve(
        says(None, BERTS_ID),
        account="999000",
        conversation=Conversation(id=conversation_id("whatsapp", "999000", BERTS_ID)),
    )
    play([says(ANNE, ANNES_ID), elsewhere], shelf)
    told = [says(ANNE, BERTS_ID), says(None, ANNES_ID), says(ANNE), says(None, BERTS_ID)]
    assert conversations(play(told, shelf)) == [of(BERTS_ID), of(ANNE), of(BERTS_ID), of(BERTS_ID)]


def test_who_has_no_name_any_more_is_erased():
    """A number finds whoever had it before somebody else changed to it."""
    shelf, moved = Shelf(), NOON + timedelta(minutes=10)
    change = changed(SystemKind.NUMBER, ANNE, BERT, occurred_at=moved)
    play([says(BERT, occurred_at=NOON), change, says(BERT, occurred_at=moved)], shelf)
    subject = Subject.of(BERT).known_from(users(shelf))
    left = [each for each in users(shelf) if not subject.is_known_by(each)]
    assert len(users(shelf)) == 2
    assert left == []


def test_a_message_to_who_had_a_number_before_is_erased_with_the_number():
    """What is remembered of it names the number, whichever name the user has in its account."""
    shelf = Shelf()
    play([says(ANNE, ANNES_ID), in_account(says(None, ANNES_ID), "second")], shelf)
    sent = to(None, ANNES_ID)
    where = Conversation(id=conversation_id("whatsapp", "second", ANNES_ID))
    sent = attrs.evolve(sent, account="second", conversation=where)
    play([says(ANNE, BERTS_ID), sent], shelf)
    subject = Subject.of(ANNE).known_from(users(shelf))
    tracks = [each for each in shelf.records.values() if isinstance(each, Track)]
    assert [ANNE in str(encode_record(each)) for each in tracks] == [True]
    assert all(map(subject.is_known_by, tracks))


def test_whoever_has_had_more_ids_than_are_kept_is_erased_by_the_last_one():
    """A user is found by the id that is told of them, however many there were before."""
    shelf, ids = Shelf(), [f"DE.{number}" for number in range(40)]
    parties = [Party(phone=ANNE, user_id=each) for each in ids]
    changes = [names_changed(*each) for each in itertools.pairwise(parties)]
    play([says(ANNE, ids[0]), *changes, says(ANNE, ids[-1])], shelf)
    (user,) = {each.name: each for each in users(shelf) if ANNE in each.identities}.values()
    subject = Subject.of(ids[-1]).known_from(users(shelf))
    assert ids[-1] in str(encode_record(user))
    assert subject.is_known_by(user)


@given(st.permutations(["phone and parent", "phone and id", "phone"]))
def test_a_parent_s_id_beside_a_phone(told_names):
    """It is one more name of a user, and tells nobody from whoever has an id of their own."""
    names = {
        "phone": Party(phone=ANNE),
        "phone and parent": Party(phone=ANNE, parent_user_id="DE.P"),
        "phone and id": Party(phone=ANNE, user_id=ANNES_ID),
    }
    events = [attrs.evolve(says(ANNE), sender=names[each]) for each in told_names]
    ids = [attrs.evolve(says(None, "DE.P"), sender=Party(parent_user_id="DE.P"))]
    found = play([*events, *ids, says(None, ANNES_ID), says(ANNE)])
    assert conversations(found) == [of(ANNE)] * 6


@given(st.permutations(["phone", "id", "parent", "phone and id", "phone and parent"]))
def test_three_names_of_one_user(told_names):
    """Whichever names come together first, all of them lead to one conversation in the end."""
    shelf, names = Shelf(), {"phone": ANNE, "id": ANNES_ID, "parent": "DE.P"}
    for told_name in told_names:
        told = {each: names[each] for each in told_name.split(" and ")}
        party = Party(
            phone=told.get("phone"), user_id=told.get("id"), parent_user_id=told.get("parent")
        )
        play([attrs.evolve(says(*told.values()), sender=party)], shelf)
    everybody = [Party(phone=ANNE), Party(user_id=ANNES_ID), Party(parent_user_id="DE.P")]
    found = play([attrs.evolve(says(ANNE), sender=each) for each in everybody], shelf)
    assert len(set(conversations(found))) == 1
    whole = Party(phone=ANNE, user_id=ANNES_ID, parent_user_id="DE.P")
    assert [each.sender for each in found if isinstance(each, Message)] == [whole] * 3


def test_a_phone_of_one_told_with_the_parent_of_another():
    """A phone whose user has an id of their own is not joined with another id's parent."""
    shelf = Shelf()
    other = attrs.evolve(
        says(None, BERTS_ID), sender=Party(user_id=BERTS_ID, parent_user_id="DE.P")
    )
    mixed = attrs.evolve(says(ANNE), sender=Party(phone=ANNE, parent_user_id="DE.P"))
    found = play([says(ANNE, ANNES_ID), other, mixed, says(None, ANNES_ID)], shelf)
    assert conversations(found) == [of(ANNE), of(BERTS_ID), of(BERTS_ID), of(ANNE)]
