"""One happening, one event; and a message never moves back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.journal.correlation import correlate
from bridge.journal.tracks import RANK
from bridge.model import (
    Conversation,
    Deletion,
    Event,
    Intent,
    Message,
    Origin,
    Party,
    Status,
    StatusChange,
    TemplateChange,
    Text,
)
from bridge.model.keys import OURS, message_key
from bridge.testing.sample_events import NOON, template
from tests.bridge.events import (
    ACCOUNT,
    USER_PHONE,
    created,
    message,
    notice,
    numbered_status,
    sent,
    status,
)
from tests.bridge.journal.interleavings import NUMBER, WAMID, callbacks
from tests.bridge.journal.shelf import Shelf


def published(events: Sequence[Event], shelf: Shelf | None = None) -> list[Event]:
    shelf = shelf or Shelf()
    return [each for event in events for each in shelf.append(event)]


def changes(events: Sequence[Event], shelf: Shelf | None = None) -> list[StatusChange]:
    return [event for event in published(events, shelf) if isinstance(event, StatusChange)]


def seen(events: Sequence[Event]) -> list[tuple[Status, bool | None, Status | None]]:
    return [(change.status, change.advanced, change.current) for change in changes(events)]


# --- the laws ----------------------------------------------------------------------------


def told_statuses(events: Sequence[Event]) -> set[Status]:
    return {event.status for event in events if isinstance(event, StatusChange)}


@given(callbacks(tied_first=True))
def test_tied_messages_publish_each_fact_once(events: list[Event]) -> None:
    """Where the tie is known, any order of callbacks gives each fact once, in one lane."""
    shelf = Shelf()
    facts = changes(events, shelf)
    assert sorted(change.status for change in facts) == sorted(told_statuses(events))
    assert {(change.message_id, change.resolved) for change in facts} == {(WAMID, True)}
    assert {change.account for change in facts} == {ACCOUNT}
    furthest = max(told_statuses(events), key=lambda each: RANK[each])
    assert facts[-1].current is furthest
    steps = [change.current for change in facts if change.advanced]
    assert steps == sorted(set(steps), key=lambda each: RANK[each])


@given(callbacks(tied_first=False))
def test_any_interleaving_agrees(events: list[Event]) -> None:
    """Whenever the tie is learned, the same facts are published and the message ends alike."""
    shelf = Shelf()
    everything = published(events, shelf)
    facts = [event for event in everything if isinstance(event, StatusChange)]
    assert sum(isinstance(event, Message) for event in everything) == 1
    assert {change.status for change in facts} == told_statuses(events)
    # Until the tie is known a fact may go out under either name, but under each only once.
    names = [(change.message_id, change.status) for change in facts]
    assert len(names) == len(set(names))
    track = shelf.find(f"/message/whatsapp/{WAMID}")
    assert track is not None
    furthest = max(told_statuses(events), key=lambda each: RANK[each])
    assert track.standing == {"": furthest}
    # Everything is known by now, under whichever name it is told.
    assert published([*events, created(NUMBER, WAMID)], shelf) == []
    for name in {change.message_id for change in facts}:
        steps = [c.current for c in facts if c.advanced and c.message_id == name]
        assert steps == sorted(set(steps), key=lambda each: RANK[each])


@given(callbacks(tied_first=False))
def test_after_the_tie_nothing_is_said_again(events: list[Event]) -> None:
    """What was published before the tie was known is not published again after it."""
    cut = next(place for place, event in enumerate(events) if isinstance(event, Message))
    shelf = Shelf()
    before = {change.status for change in changes(events[:cut], shelf)}
    after = [change.status for change in changes(events[cut:], shelf)]
    assert not before & set(after)
    assert len(after) == len(set(after))


# --- orders of arrival, by hand ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrived", "expected"),
    [
        (
            [Status.READ, Status.DELIVERED],
            [(Status.READ, True, Status.READ), (Status.DELIVERED, False, Status.READ)],
        ),
        (
            [Status.FAILED, Status.DELIVERED],
            [(Status.FAILED, True, Status.FAILED), (Status.DELIVERED, True, Status.DELIVERED)],
        ),
        (
            [Status.DELIVERED, Status.FAILED],
            [(Status.DELIVERED, True, Status.DELIVERED), (Status.FAILED, False, Status.DELIVERED)],
        ),
        (
            [Status.EXPIRED, Status.DELIVERED],
            [(Status.EXPIRED, True, Status.EXPIRED), (Status.DELIVERED, True, Status.DELIVERED)],
        ),
        (
            [Status.DELIVERED, Status.PLAYED, Status.READ],
            [
                (Status.DELIVERED, True, Status.DELIVERED),
                (Status.PLAYED, True, Status.PLAYED),
                (Status.READ, False, Status.PLAYED),
            ],
        ),
    ],
    ids=lambda case: " ".join(case) if isinstance(case[0], Status) else "",
)
def test_order_of_arrival(arrived, expected) -> None:
    """A status that arrives late is published, and does not move the message back."""
    assert seen([status(each) for each in arrived]) == expected


def test_group() -> None:
    """In a group each participant's statuses are facts of their own."""
    anne, bert = "+16505551234", "+16505559876"
    told = [
        status(Status.READ, participant=anne),
        status(Status.DELIVERED, participant=bert),
        status(Status.READ, participant=anne),
        status(Status.READ, participant=bert),
    ]
    assert seen(told) == [
        (Status.READ, True, Status.READ),
        (Status.DELIVERED, True, Status.DELIVERED),
        (Status.READ, True, Status.READ),
    ]


def test_unknown_status() -> None:
    """A word that nobody has documented is published and moves nothing."""
    told = [
        status(Status.SENT),
        status(Status.UNKNOWN, word="warped"),
        status(Status.UNKNOWN, word="woven"),
        status(Status.UNKNOWN, word="warped"),
    ]
    assert seen(told) == [
        (Status.SENT, True, Status.SENT),
        (Status.UNKNOWN, False, Status.SENT),
        (Status.UNKNOWN, False, Status.SENT),
    ]


def test_unresolved_says_so() -> None:
    """Where the tie is not known, a status goes out under INCS's number and is unresolved."""
    (change,) = changes([numbered_status(Status.SENT, NUMBER)])
    assert (change.message_id, change.channel, change.resolved) == (NUMBER, "incs", False)
    assert (change.advanced, change.current) == (True, Status.SENT)


def test_tie_resolves() -> None:
    """A status under INCS's number takes on the message's names, account and conversation."""
    out = created(NUMBER, WAMID)
    (change,) = changes([out, numbered_status(Status.SENT, NUMBER)])
    assert change.key == "status/whatsapp/wamid.1/sent"
    assert (change.channel, change.account, change.aliases) == ("whatsapp", ACCOUNT, (NUMBER,))
    assert change.conversation == out.conversation


@pytest.mark.parametrize("other", [message(WAMID), created(NUMBER)], ids=["channel", "number"])
def test_two_callbacks_for_one_message(other: Message) -> None:
    """A message's other callback and its `message_created` come out once, in either order.

    Where the later one knows another id of it, that comes as a completion.
    """
    for order in permutations([other, created(NUMBER, WAMID)]):
        first, *more = published(order)
        assert first == order[0]
        assert [each.completes for each in more if isinstance(each, Message)] in ([], [first.key])


def test_outbound_without_channel_id() -> None:
    """A message first seen under INCS's number alone is tied when the channel's id comes."""
    shelf = Shelf()
    told = [
        created(NUMBER),
        numbered_status(Status.SENT, NUMBER),
        created(NUMBER, WAMID),
        status(Status.SENT, WAMID),
        numbered_status(Status.READ, NUMBER),
    ]
    first, sent, more, read = published(told, shelf)
    assert first == told[0]
    assert isinstance(more, Message)
    assert (more.completes, more.message_id, more.aliases) == (first.key, WAMID, (NUMBER,))
    assert isinstance(sent, StatusChange)
    assert isinstance(read, StatusChange)
    assert sent.message_id == NUMBER
    assert (read.message_id, read.resolved, read.current) == (WAMID, True, Status.READ)


def test_account_is_not_unlearned() -> None:
    """A callback that does not tell the account does not take it away."""
    told = [
        created(NUMBER, WAMID),
        created(NUMBER, WAMID, account=None),
        status(Status.SENT, WAMID, account=None),
    ]
    (change,) = changes(told)
    assert change.account == ACCOUNT


def test_other_events() -> None:
    """Any other happening comes out once, in a lane of its own kind."""
    shelf = Shelf()
    new, first = correlate(notice("1"), shelf)
    assert (new, first) == (True, ((notice("1"), f"whatsapp:{ACCOUNT}:notice:quality"),))
    assert correlate(notice("1"), shelf) == (False, ())


# --- what the bridge sends -----------------------------------------------------------------


OUR_ID = "6a1f0e1c-4a55-5d6e-9b1e-2f7d5f0c9a11"


def ours() -> Message:
    """Return a message that is sent through the bridge."""
    key = message_key(OURS, OUR_ID)
    intent = Intent(key="parcel")
    return sent(OUR_ID, key=key, id_space=OURS, origin=Origin.BRIDGE, intent=intent)


def accepted() -> StatusChange:
    """Return the provider's response, which alone ties its id to ours."""
    return status(Status.ACCEPTED, aliases=(OUR_ID,), id_space=OURS)


def completion_of(events: Sequence[Event]) -> Message:
    (found,) = [each for each in events if isinstance(each, Message) and each.completes is not None]
    return found


def test_what_the_bridge_sends() -> None:
    """The provider's response, or a status that repeats our id, ties its id to ours.

    Statuses carry the intent's key and our id from then on, and an echo of the message under
    the provider's id is the same message.
    """
    shelf = Shelf()
    found = published([ours(), status(Status.DELIVERED, correlation=OUR_ID), accepted()], shelf)
    assert shelf.append(attrs.evolve(ours(), content=Text(text="other"))) == []
    found += published([created(NUMBER, WAMID), numbered_status(Status.READ, NUMBER)], shelf)
    facts = [each for each in found if isinstance(each, StatusChange)]
    assert [(each.message_id, each.correlation) for each in facts] == [(WAMID, "parcel")] * 3
    assert all(OUR_ID in each.aliases for each in facts)
    assert [each.current for each in facts] == [Status.DELIVERED, Status.DELIVERED, Status.READ]
    completion = completion_of(found)
    assert (completion.completes, completion.origin) == (ours().key, Origin.BRIDGE)


@pytest.mark.parametrize("about", [WAMID, OUR_ID])
def test_a_deletion_that_is_asked_for(about: str) -> None:
    """It goes out as often as it is asked for, since one may fail, as what it was taken as."""
    shelf = Shelf()
    published([ours(), accepted(), created(NUMBER, WAMID)], shelf)
    asked = [
        attrs.evolve(
            ours(),
            key=message_key(OURS, name),
            message_id=name,
            intent=Intent(key=name),
            content=Deletion(message_id=about),
        )
        for name in ("first", "second")
    ]
    assert published(asked, shelf) == asked
    assert published(asked, shelf) == []  # the same intents once more


@pytest.mark.parametrize(
    "told",
    [
        None,
        Party(phone=USER_PHONE),
        Party(phone=USER_PHONE, user_id="ID.1"),
        Party(user_id="ID.1"),
        Party(phone="+16505559999"),  # as the provider knows the user
    ],
)
@pytest.mark.parametrize("before", [[], [message("a")], [status(Status.SENT)]])
def test_whomever_a_response_names(told: Party | None, before: list[Event]) -> None:
    """The message is tied to the provider's id, in its conversation, whatever came before."""
    shelf = Shelf()
    published([ours(), *before], shelf)
    accepts = attrs.evolve(accepted(), recipient=told, conversation=ours().conversation)
    first, *_ = changes([accepts], shelf)
    then, *_ = changes([status(Status.DELIVERED)], shelf)
    for fact in (first, then):
        assert (fact.message_id, fact.aliases) == (WAMID, (OUR_ID,))
        assert (fact.correlation, fact.resolved, fact.account) == ("parcel", True, ACCOUNT)
        assert fact.conversation == ours().conversation
    is_late = before == [status(Status.SENT)]
    assert first.current is (Status.SENT if is_late else Status.ACCEPTED)
    assert first.advanced is not is_late
    assert (then.current, then.advanced) == (Status.DELIVERED, True)
    assert changes([accepts], shelf) == []
    completion = completion_of(published([created(NUMBER, WAMID)], shelf))
    assert completion.completes == ours().key


def any_accounts() -> st.SearchStrategy[list[Event]]:
    """Return what may be told of a message of ours and of its user, in any order."""
    users = (Party(phone=USER_PHONE), Party(user_id="ID.1"), Party(phone="+16505559999"), None)
    responses = [
        attrs.evolve(accepted(), recipient=user, conversation=ours().conversation) for user in users
    ]
    statuses = (Status.SENT, Status.READ, Status.FAILED)
    told = [status(each, correlation=OUR_ID) for each in statuses] + [*map(status, statuses)]
    echoes = [created(NUMBER, WAMID), numbered_status(Status.READ, NUMBER)]
    return st.lists(st.sampled_from([ours(), message("a"), *responses, *told, *echoes]), max_size=6)


@given(before=any_accounts(), after=any_accounts())
def test_our_own_comes_out_alike_without_its_short_way(
    before: list[Event], after: list[Event]
) -> None:
    """In any history, the short way for our messages and responses decides as the long one."""
    response = attrs.evolve(
        accepted(), recipient=Party(phone=USER_PHONE), conversation=ours().conversation
    )
    history = [*before, ours(), response, *after]
    short, long = Shelf(), Shelf()
    made = published(history, short)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge.journal.ours.sent", lambda *_: None)
        patch.setattr("bridge.journal.ours.answered", lambda *_: None)
        assert made == published(history, long)
    assert vars(short) == vars(long)


def test_a_message_goes_out_in_its_user_s_conversation() -> None:
    """Also where that has the name under which the user was known first, and once for its key."""
    shelf = Shelf()
    known = message("a", user="+5541999998888")
    elsewhere = attrs.evolve(
        ours(),
        recipient=Party(phone="+554199998888"),
        conversation=Conversation(id=f"whatsapp:{ACCOUNT}:+554199998888"),
    )
    _, found = published([known, elsewhere], shelf)
    assert isinstance(found, Message)
    assert found.conversation == known.conversation
    assert published([elsewhere], shelf) == []


def test_an_echo_that_overtakes_the_response() -> None:
    """What waits until somebody knows whose it is, is ours once the response names it.

    It is never published as another's, and what waited behind it is published.
    """
    echo = created(NUMBER, WAMID, settle=30.0)
    shelf = Shelf()
    assert published([ours(), echo, message("b")], shelf) == [ours()]
    found = published([accepted()], shelf)
    assert published([attrs.evolve(echo, settle=None)], shelf) == []
    found += published([numbered_status(Status.READ, NUMBER)], shelf)
    told = [(each.message_id, each.origin) for each in found if isinstance(each, Message)]
    assert Origin.API not in {origin for _, origin in told}
    assert "b" in {message_id for message_id, _ in told}
    completion = completion_of(found)
    assert (completion.completes, completion.origin) == (ours().key, Origin.BRIDGE)
    facts = [each for each in found if isinstance(each, StatusChange)]
    assert {each.correlation for each in facts} == {"parcel"}
    assert facts[-1].current is Status.READ


def test_what_the_bridge_could_not_send() -> None:
    """A failure under our own id is the message's, and a later status overtakes it."""
    failed = attrs.evolve(numbered_status(Status.FAILED, OUR_ID), id_space=OURS)
    echoed = status(Status.SENT, correlation=OUR_ID)
    facts = changes([ours(), failed, echoed, status(Status.DELIVERED)])
    assert [each.current for each in facts] == [Status.FAILED, Status.FAILED, Status.DELIVERED]
    assert {each.correlation for each in facts} == {"parcel"}


# --- what comes without a time -------------------------------------------------------------


def test_back_to_what_it_was() -> None:
    """Within an hour a state is new where another one was told since, and else told once."""
    told = ("PAUSED", 1), ("PAUSED", 2), ("APPROVED", 3), ("PAUSED", 4), ("PAUSED", 5)
    late = ("APPROVED", 0)
    found = published(
        [template(word, NOON + timedelta(minutes=minute)) for word, minute in (*told, late)]
    )
    words = [each.value for each in found if isinstance(each, TemplateChange)]
    assert words == ["PAUSED", "APPROVED", "PAUSED"]
