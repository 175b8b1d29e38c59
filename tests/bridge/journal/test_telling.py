"""A message is told whole, whichever callback tells it first."""

from __future__ import annotations

from itertools import permutations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.journal.lanes import lane_of
from bridge.model import (
    Event,
    Location,
    Message,
    Party,
    Pricing,
    ProviderError,
    Reaction,
    Status,
    StatusChange,
    Text,
    Unsupported,
)
from bridge.model.keys import unshown_key
from tests.bridge.events import USER_PHONE, created, message, numbered_status, status
from tests.bridge.journal.accounts import (
    USER_ID,
    both_accounts,
    facts_of,
    histories,
    poorly,
    told,
)
from tests.bridge.journal.shelf import Shelf

PHONE = Party(phone=USER_PHONE)
TAJ = Location(latitude=27.17, longitude=78.04, name="Taj Mahal")
FULL = told(party=attrs.evolve(PHONE, name="Kerry"), content=TAJ)
POOR = poorly(told(party=PHONE, content=Text(text="[location]")))


def play(history: list[Event | None], shelf: Shelf | None = None) -> Shelf:
    """Append events, and let time go by where there is none, and at the end."""
    shelf = shelf or Shelf()
    for event in (*history, None):
        shelf.wait() if event is None else shelf.append(event)
    return shelf


def not_shown(account: Message) -> Message:
    """Return an account that tells the same but for the content."""
    hidden = Unsupported(provider_type="106")
    return attrs.evolve(account, key=unshown_key(account.key), content=hidden)


def messages(shelf: Shelf) -> list[Message]:
    return [event for event in shelf.published if isinstance(event, Message)]


# --- the laws ------------------------------------------------------------------------------


@given(st.data())
def test_every_history_ends_with_the_same_facts(data: st.DataObject) -> None:
    """In any order, repeated, early or late: one message, its facts complete, one conversation."""
    full, poor = data.draw(both_accounts())
    expected = play([poor, full])
    shelf = play(data.draw(histories([full, poor])))
    first, *more = messages(shelf)
    assert first.completes is None
    assert {each.completes for each in more} <= {first.key}
    assert len({event.key for event in shelf.published}) == len(shelf.published)
    assert len({each.conversation.id for each in messages(shelf)}) == 1
    assert facts_of(messages(shelf)[-1]) == facts_of(messages(expected)[-1])


@given(st.data())
def test_what_is_not_shown_bars_nothing(data: st.DataObject) -> None:
    """In any order the message comes out whole, and what is not shown at most once, before it."""
    full, poor = data.draw(both_accounts())
    hidden = attrs.evolve(poor, key=unshown_key(full.key), content=Unsupported(provider_type="106"))
    history = data.draw(histories([full, hidden]))
    shelf = play([*history, hidden])
    told = messages(shelf)
    shown = [each for each in told if not isinstance(each.content, Unsupported)]
    assert told[len(told) - len(shown) :] == shown
    assert len(told) - len(shown) <= (1 if None in history else 0)
    first, *more = shown
    assert (first.key, first.completes) == (full.key, None)
    assert {each.completes for each in more} <= {full.key}
    assert facts_of(shown[-1]) == facts_of(messages(play([hidden, full]))[-1])


@given(st.data())
def test_no_account_of_what_is_not_shown_stands_for_the_message(data: st.DataObject) -> None:
    """Each form may show it or not, in any order: it comes out once, as itself, and whole."""
    full, poor = data.draw(both_accounts().filter(lambda accounts: accounts[1].sender.phone))
    accounts = [full, poor, *map(not_shown, (full, poor))]
    told = data.draw(st.permutations(accounts).map(lambda each: each[: len(each) - 1]))
    shelf = play(data.draw(histories(told)))
    found = messages(shelf)
    shown = [each for each in found if not isinstance(each.content, Unsupported)]
    (root,) = (each for each in shown if each.completes is None)
    hidden = [each for each in found if each not in shown]
    assert root.key == full.key
    assert {each.completes for each in shown} <= {None, full.key}
    assert {each.completes for each in hidden} <= {None, unshown_key(full.key)}
    assert len([each for each in hidden if each.completes is None]) <= 1
    assert len({event.key for event in shelf.published}) == len(shelf.published)
    names = {alias for each in told for alias in each.aliases}
    assert names <= set(shown[-1].aliases)


@given(st.data())
def test_only_more_is_more(data: st.DataObject) -> None:
    """What is told again once everything is known publishes nothing."""
    accounts = list(data.draw(both_accounts()))
    shelf = play(data.draw(histories(accounts)))
    count = len(shelf.published)
    again = data.draw(st.permutations([*accounts, *accounts]))
    assert len(play(list(again), shelf).published) == count


@given(st.data())
def test_a_lane_keeps_its_order(data: st.DataObject) -> None:
    """However much of a conversation waits, its events come out as they were first told."""
    events: list[Event] = []
    for number in range(data.draw(st.integers(2, 5))):
        full = told(f"wamid.{number}", party=PHONE)
        family = data.draw(st.sampled_from(("full", "poor", "both", "reaction")))
        if family in ("full", "both"):
            events.append(full)
        if family in ("poor", "both"):
            events.append(poorly(full, f"90{number}"))
        if family == "reaction":
            events.append(attrs.evolve(full, content=Reaction(message_id="wamid.0", emoji="👍")))
    history = data.draw(histories(events))
    shelf = play(history)
    roots = [event.key for event in messages(shelf) if event.completes is None]
    assert roots == list(dict.fromkeys(event.key for event in history if event is not None))


# --- what comes out when -------------------------------------------------------------------


def test_a_poor_account_waits_for_a_full_one() -> None:
    """One message comes out, at once with the full account, with all that the two know."""
    shelf = Shelf()
    assert shelf.append(POOR) == []
    (whole,) = shelf.append(FULL)
    assert isinstance(whole, Message)
    assert (whole.key, whole.completes, whole.settle) == (FULL.key, None, None)
    assert (whole.message_id, whole.aliases, whole.id_space) == ("wamid.1", ("9001",), "incs")
    assert (whole.content, whole.sender) == (TAJ, FULL.sender)
    assert whole.conversation.provider_id == "260400000100"
    assert (whole.raw, whole.received_at) == (FULL.raw, FULL.received_at)
    assert shelf.wait() == []


def test_a_poor_account_alone() -> None:
    """Where no full account comes, the poor one is published once its time is over."""
    shelf = Shelf()
    shelf.append(POOR)
    assert shelf.wait() == [POOR]
    assert shelf.append(POOR) == []


def test_the_full_account_comes_late() -> None:
    """It is published as a completion of the first, under a key of its own, and only once."""
    shelf = play([POOR])
    (more,) = shelf.append(FULL)
    assert isinstance(more, Message)
    assert (more.completes, more.key) == (POOR.key, f"{POOR.key}/more/1")
    assert (more.content, more.sender, more.aliases) == (TAJ, FULL.sender, ("9001",))
    assert shelf.append(FULL) == []
    assert shelf.append(POOR) == []


def test_what_shows_a_message_comes_late() -> None:
    """A message that was published as not shown has, once it is shown, what either account told."""
    hidden = attrs.evolve(POOR, key=unshown_key(FULL.key), content=Unsupported(provider_type="106"))
    _, shown = messages(play([hidden, None, FULL]))
    assert (shown.key, shown.content, shown.raw) == (FULL.key, TAJ, FULL.raw)
    assert shown.aliases == POOR.aliases
    assert shown.conversation.provider_id == POOR.conversation.provider_id
    assert (shown.completes, shown.settle) == (None, None)


def test_the_poor_account_comes_late() -> None:
    """The full one waits for nobody; what only the poor one knows completes it."""
    shelf = Shelf()
    assert shelf.append(FULL) == [FULL]
    (more,) = shelf.append(POOR)
    assert isinstance(more, Message)
    assert (more.completes, more.aliases, more.content) == (FULL.key, ("9001",), TAJ)
    assert shelf.append(attrs.evolve(POOR, aliases=(), id_space=None)) == []


def test_what_differs_is_as_the_full_account_says() -> None:
    """A full account corrects a poor one of the same kind, and never the other way round."""
    full = attrs.evolve(FULL, content=Text(text="See you at the Taj Mahal"))
    poor = attrs.evolve(POOR, content=Text(text="See you at the…"))
    for history in ([poor, full], [poor, None, full], [full, poor]):
        assert messages(play(history))[-1].content == full.content


def test_a_third_account_adds_to_both() -> None:
    """Each completion holds all that is known, and the next one adds to that."""
    with_reply = attrs.evolve(FULL, reply_to=None, forwarded="often", content=TAJ)
    shelf = play([POOR, None, FULL, with_reply])
    first, second, third = messages(shelf)
    assert [each.completes for each in (first, second, third)] == [None, POOR.key, POOR.key]
    assert third.key == f"{POOR.key}/more/2"
    assert (third.aliases, third.content, third.forwarded) == (("9001",), TAJ, "often")


def test_what_is_known_under_another_name_of_a_message_is_added_to() -> None:
    """The full account may know but one of the names that lead to what was published."""
    numbered = created("9001")
    tied = created("9001", "wamid.1")
    echo = attrs.evolve(
        message("wamid.1"),
        **{name: getattr(tied, name) for name in ("direction", "origin", "sender", "recipient")},
        content=TAJ,
    )
    last = messages(play([numbered, tied, echo]))[-1]
    assert last.completes == numbered.key
    assert (last.message_id, last.aliases, last.content) == ("wamid.1", ("9001",), TAJ)


@pytest.mark.parametrize("sender", [PHONE, Party(user_id=USER_ID)], ids=["phone", "id"])
def test_two_that_turn_out_to_be_one(sender: Party) -> None:
    """Once an account ties two messages of which one waits, that one comes out no more."""
    numbered = poorly(told("9001", party=sender), aliases=(), key="message/incs/9001")
    shelf = play([])
    shelf.append(numbered)
    shelf.append(FULL)  # behind the other, or in a conversation of its own
    shelf.append(POOR)
    shelf.wait()
    first, *more = messages(shelf)
    assert first.key == FULL.key
    assert {each.completes for each in more} <= {FULL.key}
    last = messages(shelf)[-1]
    assert (last.message_id, last.aliases, last.content) == ("wamid.1", ("9001",), TAJ)
    assert last.sender == attrs.evolve(FULL.sender, user_id=sender.user_id)


def test_what_comes_behind_waits_its_turn() -> None:
    """Others of the conversation come out behind the one that waits; other conversations go on."""
    reply, read = told("wamid.2", party=PHONE), status(Status.READ, "wamid.9", recipient=PHONE)
    read = attrs.evolve(read, conversation=FULL.conversation)
    other = told("wamid.3", party=Party(phone="+16505559876"))
    shelf = play([])
    assert [shelf.append(event) for event in (POOR, reply, read)] == [[], [], []]
    assert shelf.append(other) == [other]
    assert [event.key for event in shelf.append(FULL)] == [FULL.key, reply.key, read.key]


def test_a_queue_has_an_end() -> None:
    """Where too much has come behind it, a message waits no longer."""
    shelf = Shelf()
    shelf.append(POOR)
    behind = [told(f"behind.{number}", party=PHONE) for number in range(200)]
    published = [event for each in behind for event in shelf.append(each)]
    assert [event.key for event in published] == [POOR.key, *(event.key for event in behind)]


def test_a_large_message_does_not_wait() -> None:
    """What waits is bounded in bytes as well."""
    large = attrs.evolve(POOR, content=Text(text="x" * (1 << 20)))
    assert Shelf().append(large) == [large]


def test_nothing_waits_for_long() -> None:
    """An adapter that asks for an hour gets a minute."""
    shelf = Shelf()
    shelf.append(attrs.evolve(POOR, settle=3600.0))
    (queue,) = shelf.queues.values()
    assert queue.due == POOR.received_at.timestamp() + 60.0


def test_no_time_to_settle() -> None:
    """A poor account that need not wait is published at once, and is still the poorer one."""
    poor = attrs.evolve(POOR, settle=0.0)
    shelf = Shelf()
    assert shelf.append(poor) == [poor]
    (more,) = shelf.append(FULL)
    assert isinstance(more, Message)
    assert more.content == TAJ


def test_completions_have_an_end() -> None:
    """However many accounts differ, a message is not completed for ever."""
    accounts = [attrs.evolve(POOR, aliases=(f"90{number}",)) for number in range(50)]
    assert len(messages(play([FULL, *accounts]))) == 9


def test_two_texts_and_something_better() -> None:
    """Between two full accounts of an outbound message, a text gives way to what it stands for."""
    tied = created("9001", "wamid.1", text="[location]")
    echo = attrs.evolve(created("9001", "wamid.1"), content=TAJ, aliases=(), id_space=None)
    for history in permutations([tied, echo]):
        assert messages(play(list(history)))[-1].content == TAJ


def test_an_identity_that_only_one_account_tells() -> None:
    """The user whom the one names by phone and the other by id is one user from then on."""
    full = told(party=Party(user_id=USER_ID), content=TAJ)
    shelf = play([POOR, full, told("wamid.2", party=Party(user_id=USER_ID))])
    first, second = messages(shelf)
    assert first.sender == Party(phone=USER_PHONE, user_id=USER_ID)
    assert first.conversation.id == second.conversation.id == POOR.conversation.id


def test_whose_it_is_is_told_late() -> None:
    """A message without a sender is in the sender's conversation, once that is known."""
    nobody = poorly(told(party=Party(), content=TAJ))
    (whole,) = messages(play([nobody, FULL]))
    assert (whole.sender, whole.conversation.id) == (FULL.sender, FULL.conversation.id)
    _, more, reply = messages(play([nobody, None, FULL, told("wamid.2", party=PHONE)]))
    assert more.conversation.id == reply.conversation.id == FULL.conversation.id


# --- statuses ------------------------------------------------------------------------------

PRICING = Pricing(billable=True, model="PMP", category="marketing")


@pytest.mark.parametrize(
    "fact",
    [
        {"pricing": PRICING},
        {"error": ProviderError(code="131049", title="ecosystem")},
        {"correlation": "order-17"},
        {"recipient": PHONE},
    ],
    ids=lambda fact: next(iter(fact)),
)
def test_a_repeated_status_that_says_more(fact) -> None:
    """It is published under a key of its own and moves nothing; its repetition is not."""
    bare, more = status(Status.SENT), attrs.evolve(status(Status.SENT), **fact)
    shelf = Shelf()
    (first,) = shelf.append(bare)
    assert shelf.append(bare) == []
    (second,) = shelf.append(more)
    assert isinstance(first, StatusChange)
    assert isinstance(second, StatusChange)
    ((name, value),) = fact.items()
    assert getattr(second, name) == value
    assert second.key == f"{bare.key}/more/1"
    assert (first.advanced, second.advanced, second.current) == (True, False, Status.SENT)
    assert shelf.append(more) == []
    assert shelf.append(bare) == []


@given(st.data())
def test_statuses_end_with_the_same_facts(data: st.DataObject) -> None:
    """In whichever order the accounts of a status come, the last one that is published has all."""
    facts = {
        "pricing": PRICING,
        "error": ProviderError(code="1"),
        "correlation": "order-17",
        "recipient": PHONE,
    }
    accounts = [
        attrs.evolve(status(Status.FAILED), **{name: facts[name] for name in names})
        for names in data.draw(st.lists(st.sets(st.sampled_from(sorted(facts))), min_size=1))
    ]
    shelf = play([*accounts])
    last = shelf.published[-1]
    assert isinstance(last, StatusChange)
    known = {name for each in accounts for name in facts if getattr(each, name) is not None}
    assert {name: getattr(last, name) for name in facts if getattr(last, name)} == {
        name: facts[name] for name in known
    }
    assert len(shelf.published) <= 1 + len(known)


@given(st.lists(st.sampled_from(["marketing", "service", "utility"]), min_size=1, max_size=9))
def test_each_price_and_error_of_a_status_is_told_once(told: list[str]) -> None:
    """However often prices and errors take turns, each one is published when it is first told."""
    for field, made in (
        ("pricing", lambda each: Pricing(billable=each == "marketing", category=each)),
        ("error", lambda each: ProviderError(code=each)),
    ):
        accounts = [attrs.evolve(status(Status.FAILED), **{field: made(each)}) for each in told]
        found = [getattr(each, field) for each in play([*accounts]).published]
        assert found == [made(each) for each in dict.fromkeys(told)]


def test_a_status_is_added_to_under_its_other_name() -> None:
    """What was published under the number before the tie is completed under the channel's id."""
    priced = attrs.evolve(status(Status.SENT), pricing=PRICING)
    shelf = play([numbered_status(Status.SENT), created("9001", "wamid.1"), priced])
    first, _, more = shelf.published
    assert isinstance(more, StatusChange)
    assert (more.key, more.pricing) == (f"{first.key}/more/1", PRICING)
    assert (more.message_id, more.advanced, more.current) == ("wamid.1", False, Status.SENT)


def test_a_status_waits_behind_what_waits() -> None:
    """An account of a status keeps its turn in its conversation, like everything else."""
    shelf = Shelf()
    shelf.append(created("9002", "wamid.out"))
    shelf.append(POOR)
    priced = attrs.evolve(status(Status.SENT, "wamid.out"), pricing=PRICING)
    assert shelf.append(status(Status.SENT, "wamid.out")) == []
    assert shelf.append(priced) == []
    assert [type(event) for event in shelf.wait()] == [Message, StatusChange, StatusChange]
    assert {lane_of(event) for event in shelf.published} == {POOR.conversation.id}
