"""What can be said of a subscriber, and how mistakes are told."""

from __future__ import annotations

from functools import partial, wraps
from typing import Union

import pytest

from bridge.delivery.subscriber import Subscriber
from bridge.errors import ConfigurationError, Problem, Unfetchable, Unsendable
from bridge.journal.memory import MemoryJournal
from bridge.model import Direction, Event, Location, Media, Message, Origin, StatusChange, Text
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings
from bridge.testing import TestBridge
from tests.bridge.events import message
from tests.bridge.fakes import Plain


def a_bridge() -> Bridge:
    return Bridge(journal=MemoryJournal())


async def take(event): ...


async def nothing(): ...


async def two(event, other): ...


def generator(event):
    yield event


async def async_generator(event):
    yield event


class Caller:
    def __call__(self, event):
        yield event


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"events": Message}, (Message,)),
        ({"events": "message"}, (Message,)),
        ({"events": ["message", StatusChange]}, (Message, StatusChange)),
        ({"events": Message | StatusChange}, (Message, StatusChange)),
        ({"events": "event"}, (Event,)),
        # As `on` gives them, where somebody has put several into one.
        ({"events": ([Message, "status_change"],)}, (Message, StatusChange)),
        ({"events": (Message | StatusChange,)}, (Message, StatusChange)),
        ({"events": (Union[Message, StatusChange],)}, (Message, StatusChange)),  # noqa: UP007
    ],
)
def test_events_are_classes_or_the_words_of_toml(said, expected):
    """One or several, in whatever collection."""
    assert Subscriber(name="crm", function=take, **said).events == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, ()),
        (Text, (Text,)),
        ("text", (Text,)),
        ([Text, "media"], (Text, Media)),
        ({Location}, (Location,)),
    ],
)
def test_contents_are_classes_or_the_words_of_toml(content, expected):
    """One or several, in whatever collection."""
    assert Subscriber(name="crm", function=take, content=content).content == expected


def test_a_direction_may_be_a_word():
    """As in TOML."""
    assert Subscriber(name="crm", function=take, direction="inbound").direction is Direction.INBOUND


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"events": Message}, [True]),
        ({"events": (Message, StatusChange)}, [True]),
        ({"events": Event}, [True, False]),
        ({"events": Message, "owned": None}, [True, False]),
        ({"events": Message, "owned": False}, [False]),
        ({"events": Event, "owned": True}, [True]),
    ],
)
def test_who_answers_gets_what_is_ours_to_answer(options, wanted):
    """Copies of what another responder answers come to who asks for them, or for every event."""
    subscriber = Subscriber(name="crm", function=take, **options)
    copies = [message(owned=owned) for owned in (True, False)]
    assert [each.owned for each in copies if subscriber.wants(each)] == wanted


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [False, True]),
        ({"owned": None}, [True, False]),
        ({"owned": False}, [True, False]),
        ({"completions": True}, [False, True]),
        ({"completions": True, "owned": None}, [True, True]),
    ],
)
def test_what_becomes_ours_comes_once(options, wanted):
    """Who gets only ours gets a message when it becomes ours; others have had the copy."""
    subscriber = Subscriber(name="crm", function=take, events=Message, **options)
    copy = message(owned=False)
    ours = message(key="more", completes=copy.key, newly_owned=True)
    assert [subscriber.wants(each) for each in (copy, ours)] == wanted


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [True, False]),
        ({"origin": "user"}, [False, True]),
        ({"origin": "history"}, [True, False]),
        ({"origin": "app"}, [False, False]),
        ({"completions": True}, [True, True]),
    ],
)
def test_what_is_told_live_after_its_import_comes_once(options, wanted):
    """Who asks for what users write gets it when it is told live; others have had the import."""
    subscriber = Subscriber(name="crm", function=take, events=Message, **options)
    imported = message(origin=Origin.HISTORY)
    live = message(key="more", completes=imported.key, origin=Origin.USER, newly_live=True)
    assert [subscriber.wants(each) for each in (imported, live)] == wanted


def test_both_may_be_asked_for():
    """`owned=None` is said, and is not what is left unsaid."""
    bridge = a_bridge()
    bridge.on(Message, name="crm", owned=None)(take)
    (crm,) = bridge.bus.subscribers
    assert crm.owned is None


@pytest.mark.parametrize(
    ("events", "options", "problem"),
    [
        ((take,), {}, "events: this is a function: on() takes event classes, as in"),
        ((), {}, "events: none is given"),
        ((None,), {}, "events: expected event classes such as Message, found None"),
        ((Text,), {}, "events: Text is the content of a message: on(Message, content=Text)"),
        ((Message[Text],), {}, "events: a class with brackets is for type checkers"),
        (("mesage",), {}, 'events: unknown event "mesage"; did you mean "message"?'),
        (([],), {}, "events: expected event classes such as Message, found None"),
        ((Message | None,), {}, "events: expected event classes such as Message, found NoneType"),
        ((int,), {}, "events: expected event classes such as Message, found int"),
        (({},), {}, "events: expected event classes such as Message, found a dict"),
        ((Message,), {"content": "txt"}, 'content: unknown content "txt"; did you mean "text"?'),
        ((Message,), {"content": Message}, "content: expected contents of messages such as Text"),
        ((StatusChange,), {"content": Text}, "content: only a Message has one, and the events are"),
        ((StatusChange,), {"direction": "inbound"}, "direction: only a Message has one"),
        (
            (Message,),
            {"direction": "INBOUND"},
            'unknown direction "INBOUND"; did you mean "inbound',
        ),
        ((Message,), {"direction": 1}, "direction: expected one of inbound, outbound, found 1"),
        (
            (Message,),
            {"channel": ["rcs", "whatsapp"]},
            "channel: expected one string, found a",
        ),
        ((Message,), {"channel": ""}, 'channel: expected one string, found ""'),
        ((Message,), {"account": 5}, "account: expected one string, found 5"),
        ((Message,), {"start": "begin"}, 'unknown start "begin"; did you mean "beginning"?'),
        ((Message,), {"policy": {"tries": 1}}, "policy: expected DeliverySettings(...), found a"),
        ((Message,), {"chanel": "rcs"}, 'unknown option "chanel"; did you mean "channel"?'),
        ((Message,), {"tries": 1}, "tries: is of the policy: policy=DeliverySettings(tries=...)"),
        ((Message,), {"owned": "any"}, 'owned: expected True, False or None, found "any"'),
        ((Message,), {"events": "x"}, 'events: unknown option "events"'),
        ((Message,), {"name": 5}, "name: expected a word that can be printed, found 5"),
        ((Message,), {"name": "a\nb"}, "name: expected a word that can be printed"),
        ((Message,), {"name": "a\udce9"}, "name: expected a word that can be printed"),
        ((Message,), {"name": " "}, "name: expected a word that can be printed"),
    ],
)
def test_a_mistake_is_told_before_there_is_a_function(events, options, problem):
    """`on` refuses at once, and says what is wrong with which option and what would do."""
    with pytest.raises(ConfigurationError) as caught:
        a_bridge().on(*events, **options)
    assert problem in str(caught.value)
    str(caught.value).encode()  # it can be printed


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (None, "function: expected a function, found None"),
        ("shop:f", 'function: expected a function, found "shop:f"'),
        (nothing, "function: it is called with one event, which it cannot take"),
        (two, "function: it is called with one event, which it cannot take"),
        (lambda: None, "function: it is called with one event, which it cannot take"),
        (generator, "function: this is a generator"),
        (async_generator, "function: this is a generator"),
        (partial(generator), "function: this is a generator"),
        (Caller(), "function: this is a generator"),
        (ValueError, "function: this is a class"),
        (partial(ValueError, "x"), "function: this is a class"),
    ],
)
def test_a_function_that_cannot_take_an_event_is_refused(function, problem):
    """At its decoration, not at the first event."""
    with pytest.raises(ConfigurationError) as caught:
        a_bridge().on(Message, name="crm")(function)
    assert problem in str(caught.value)


def test_a_coroutine_is_refused():
    """Somebody called the function instead of giving it."""
    with pytest.raises(ConfigurationError, match="this is a coroutine, as a call returns it"):
        a_bridge().on(Message)(take(None))


@wraps(two)
def given_another(event):
    """As a decorator makes of `two`, that gives it a connection."""
    return two(event, None)


@pytest.mark.parametrize(
    "function", [print, [].append, partial(two, None), lambda event: None, given_another]
)
def test_whatever_can_take_an_event_is_accepted(function):
    """Also functions in C, methods, partials, lambdas, and what a decorator gives more to."""
    a_bridge().on(Message, name="crm")(function)


def test_every_mistake_is_told_at_once():
    """Several wrong options are one error with a problem for each."""
    with pytest.raises(ConfigurationError) as caught:
        a_bridge().on("mesage", content="txt", direction="in", start="now", nmae="x")
    assert {each.key for each in caught.value.problems} == {
        *("events", "content", "direction", "start", "nmae"),
    }


@pytest.mark.parametrize("given", [take, None, "crm"])
def test_subscribe_takes_a_subscriber(given):
    """A function, or whatever else is given to it, is told where functions go."""
    with pytest.raises(ConfigurationError, match=r"a function goes to bridge\.on"):
        a_bridge().subscribe(given)


def test_subscribe_checks_as_on_does():
    """A start or policy that is none is refused there too."""
    crm = Subscriber(name="crm", function=take)
    with pytest.raises(ConfigurationError, match="start"):
        a_bridge().subscribe(crm, start="begin")
    with pytest.raises(ConfigurationError, match="policy"):
        a_bridge().subscribe(crm, policy={"tries": 1})
    a_bridge().subscribe(crm, start="beginning", policy=DeliverySettings(tries=1))


class Telling(Plain):
    """An adapter that knows its channels and accounts."""

    channels = frozenset({"plain"})
    accounts = frozenset({"1"})


@pytest.mark.parametrize(
    ("adapter", "filters", "warned"),
    [
        (Telling(), {"channel": "PLAIN"}, ["channel"]),
        (Telling(), {"channel": "rcs", "account": "2"}, ["channel", "account"]),
        (Telling(), {"channel": "plain", "account": "1"}, []),
        (Plain(), {"channel": "rcs", "account": "2"}, []),
    ],
)
async def test_waiting_for_what_no_adapter_has_is_a_warning(adapter, filters, warned, caplog):
    """The bridge starts, and says which channel or account no configured adapter can have."""
    bridge = a_bridge()
    bridge.add_adapter("plain", adapter)
    bridge.on(Message, name="crm", **filters)(take)
    async with bridge:
        pass
    told = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert told == [f"subscribers.crm.{key}" for key in warned]


def test_an_adapters_class_is_no_adapter():
    """Whoever forgets to make an instance is told so."""
    with pytest.raises(ConfigurationError, match="'plain': expected an adapter, not its class"):
        a_bridge().add_adapter("plain", Plain)


class Ours(Unsendable): ...


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unsendable("a menu takes 10 options"), "Unsendable (a menu takes 10 options) at "),
        (Unfetchable("the file has expired"), "Unfetchable (the file has expired) at "),
        (
            ConfigurationError((Problem("via", "no '+6281519140327'"), Problem("a", "is missing"))),
            "ConfigurationError (via: no '+****27'; a: is missing) at ",
        ),
        (Ours("Maya wrote hello"), "Ours at "),
        (ValueError("Maya wrote hello"), "ValueError at "),
    ],
)
async def test_what_the_log_tells_of_an_error(error, told, caplog):
    """A log tells the text of an error of ours, which quotes no event, and of no other."""
    bridge = a_bridge()

    @bridge.on(Message, name="crm")
    async def fail(_: Message) -> None:
        raise error

    async with TestBridge(bridge) as test:
        with pytest.raises(type(error)):
            await test.publish(message())
    (line,) = [line for line in caplog.messages if "crm failed on" in line]
    assert f": {told}" in line
