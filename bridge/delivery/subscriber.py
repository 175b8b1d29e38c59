"""A named subscriber: which events it wants, checked as soon as somebody says so."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

import attrs

from bridge.delivery.functions import is_async, plain
from bridge.errors import ConfigurationError, Problem
from bridge.journal.start import Start
from bridge.model import CONTENT_CLASSES, EVENT_CLASSES, Content, Direction, Event, Message, Origin
from bridge.process.raised import described, writable
from bridge.settings import DeliverySettings, seconds
from bridge.settings.wording import quoted, unknown

Function: TypeAlias = Callable[[Any], object]
"""What a subscriber runs: called with the event; what it returns is awaited if it can be."""

_EVENTS: Final[Mapping[str, type[Event]]] = {
    Event.kind: Event,
    **{cls.kind: cls for cls in EVENT_CLASSES},
}
_LONGEST: Final = 60.0  # seconds of silence
_FILTERS: Final = ("channel", "account", "source", "domain", "direction", "origin")
"""What an event must be equal in, where it is given; only a message has the last two."""
_CONTENTS: Final[Mapping[str, type[Content]]] = {cls.kind: cls for cls in CONTENT_CLASSES}


def _several(value: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever somebody gives
    """Return one or several things as a tuple; None is none."""
    if value is None:
        return ()
    if get_origin(value) in (UnionType, Union):
        return get_args(value)
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)


def _events(value: Any) -> tuple[type[Event], ...]:  # noqa: ANN401 - checked afterwards
    given = [each for one in _several(value) for each in _several(one) or (None,)]
    return tuple(_named(each, _EVENTS) for each in given)


def _contents(value: Any) -> tuple[type[Content], ...]:  # noqa: ANN401 - checked afterwards
    return tuple(_named(each, _CONTENTS) for each in _several(value))


def _direction(value: Any) -> Any:  # noqa: ANN401 - checked afterwards
    return Direction(value) if value in tuple(Direction) else value


def _origin(value: Any) -> Any:  # noqa: ANN401 - checked afterwards
    return Origin(value) if value in tuple(Origin) else value


def _named(value: Any, classes: Mapping[str, type[Any]]) -> Any:  # noqa: ANN401
    return classes.get(value, value) if isinstance(value, str) else value


def _gather(value: Any) -> Any:  # noqa: ANN401 - checked afterwards
    return seconds(value) or value if isinstance(value, str) else value


@attrs.frozen(kw_only=True, eq=False)
class Subscriber:
    """A named listener and the events it wants; None filters nothing.

    `source` is a configured adapter's name, `domain` its trust domain. With `completions`, a
    message that was told with less before comes once more with what is known now. `owned` is True
    for messages in conversations that are ours to answer, False for the copies of others, None
    for both; who asks for `Message` gets ours unless it says otherwise, who asks for `Event` both.

    `when_paused` is True for users' messages in paused conversations too; who asks for `Event`
    gets them unless it says otherwise, who asks for `Message` does not.

    With `transaction`, the function is async and called with an event and a connection.

    Events and contents are classes or the words of TOML, one or several. `direction`, `origin`
    and `content` are about messages, so with any of them nothing else is wanted. With `gather`,
    seconds or "3s", the function is called with a list of messages: those of one conversation
    between which no more time passed, 100 at most and for ten times as long at most.

    Raises `ConfigurationError` with everything that is wrong.
    """

    name: str
    function: Function
    events: tuple[type[Event], ...] = attrs.field(default=(Event,), converter=_events)
    channel: str | None = None
    account: str | None = None
    source: str | None = None
    domain: str | None = None
    direction: Direction | None = attrs.field(default=None, converter=_direction)
    origin: Origin | None = attrs.field(default=None, converter=_origin)
    content: tuple[type[Content], ...] = attrs.field(default=(), converter=_contents)
    completions: bool = False
    gather: float | None = attrs.field(default=None, converter=_gather)
    transaction: bool = False
    owned: bool | None = attrs.field()

    @owned.default
    def _ours(self) -> bool | None:
        return None if Event in self.events else True

    when_paused: bool = attrs.field()

    @when_paused.default
    def _all(self) -> bool:
        return Event in self.events

    _filters: tuple[tuple[str, object], ...] = attrs.field(init=False, repr=False)

    @_filters.default
    def _given(self) -> tuple[tuple[str, object], ...]:
        given = ((name, getattr(self, name)) for name in _FILTERS)
        return tuple((name, value) for name, value in given if value is not None)

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot be meant."""
        problems = tuple(_problems(self))
        if problems:
            raise ConfigurationError(problems)

    def wants(self, event: Event) -> bool:
        """Return whether all filters let this event through."""
        if not isinstance(event, self.events):
            return False
        for name, value in self._filters:
            if getattr(event, name, None) != value:
                return False
        if not isinstance(event, Message):
            return not self.content
        if event.owned is not self.owned and self.owned is not None:
            return False
        if event.completes is not None and not self._wants_completion(event):
            return False
        return not self.content or isinstance(event.content, self.content)

    def _wants_completion(self, message: Message) -> bool:
        """Return whether a later account is wanted, or the first one had been filtered out."""
        return (
            self.completions
            or (self.owned is True and message.newly_owned is True)
            or (self.origin is not None and message.newly_live is True)
        )


OPTIONS: Final = tuple(field.name for field in attrs.fields(Subscriber) if field.init)
"""What can be said of a subscriber."""


def _problems(subscriber: Subscriber) -> Iterator[Problem]:
    name: object = subscriber.name
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        yield Problem("name", f"expected a word that can be printed, found {found(name)}")
    fault = fault_of(subscriber.function, in_transaction=subscriber.transaction)
    if fault is not None:
        yield Problem("function", fault)
    if not subscriber.events:
        yield Problem("events", "none is given; name a class, or Event for all: on(Message)")
    for event in subscriber.events:
        if event not in _EVENTS.values():
            yield Problem("events", _no_event(event))
    for content in subscriber.content:
        if content not in _CONTENTS.values():
            yield Problem("content", _no_content(content))
    for key in ("channel", "account", "source", "domain"):
        value: object = getattr(subscriber, key)
        if value is not None and not (isinstance(value, str) and value):
            yield Problem(key, f"expected one string, found {found(value)}")
    direction: object = subscriber.direction
    if not isinstance(direction, Direction | None):
        yield Problem("direction", _no_word("direction", direction, tuple(Direction)))
    origin: object = subscriber.origin
    if not isinstance(origin, Origin | None):
        yield Problem("origin", _no_word("origin", origin, tuple(Origin)))
    owned: object = subscriber.owned
    if not isinstance(owned, bool | None):
        yield Problem("owned", f"expected True, False or None, found {found(owned)}")
    when_paused: object = subscriber.when_paused
    if not isinstance(when_paused, bool):
        yield Problem("when_paused", f"expected True or False, found {found(when_paused)}")
    if not any(each in (Event, Message) for each in subscriber.events):
        for key in ("content", "direction", "origin"):
            if getattr(subscriber, key):
                names = ", ".join(getattr(each, "__name__", "?") for each in subscriber.events)
                yield Problem(key, f"only a Message has one, and the events are {names}")
    yield from _gather_problems(subscriber)


def _gather_problems(subscriber: Subscriber) -> Iterator[Problem]:
    gather: object = subscriber.gather
    if gather is None:
        return
    if type(gather) not in (int, float) or not 0 < float(subscriber.gather or 0) <= _LONGEST:
        told = f'expected a duration up to "1m", such as "3s", found {found(gather)}'
        yield Problem("gather", told)
    if subscriber.events != (Message,):
        yield Problem("gather", "gathers messages: on(Message, gather=...)")
    if subscriber.transaction:
        yield Problem("gather", "does not go with transaction, which is about one event")


def check_options(events: object, options: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Check what somebody says about a subscriber before there is a function.

    Raises `ConfigurationError` with everything that is wrong.
    """
    problems = [Problem(key, _unknown(key, allowed)) for key in options if key not in allowed]
    filters = {key: options[key] for key in OPTIONS if key in options}
    try:
        Subscriber(**{"name": "unnamed", "function": repr, **filters, "events": events})
    except ConfigurationError as error:
        problems += error.problems
    problems += serving_problems(options.get("start", Start.END), options.get("policy"))
    if problems:
        raise ConfigurationError(tuple(problems))


def serving_problems(start: object, policy: object) -> Iterator[Problem]:
    """Yield what is wrong with how a subscriber is to be served."""
    if start not in tuple(Start):
        yield Problem("start", _no_word("start", start, tuple(Start)))
    if not isinstance(policy, DeliverySettings | None):
        yield Problem("policy", f"expected DeliverySettings(...), found {found(policy)}")


def _unknown(key: str, allowed: Iterable[str]) -> str:
    if key in attrs.fields_dict(DeliverySettings):
        return f"is of the policy: policy=DeliverySettings({key}=...)"
    return unknown("option", key, allowed)


def fault_of(function: object, *, in_transaction: bool = False) -> str | None:
    """Return why something cannot be a subscriber's function, or None."""
    try:
        return _fault_of(function, in_transaction=in_transaction)
    except Exception as error:  # noqa: BLE001 - an object's own attributes may raise
        return f"this cannot be looked at: {described(error)}"


def _fault_of(function: object, *, in_transaction: bool) -> str | None:
    if inspect.iscoroutine(function):
        function.close()
        return "this is a coroutine, as a call returns it; give the function itself"
    if not callable(function):
        return f"expected a function, found {found(function)}"
    inner = plain(function)
    if isinstance(inner, type):
        return "this is a class, of which each event would only make another; give an instance"
    called = getattr(inner, "__call__", None)  # noqa: B004 - an object's own call
    for each in (inner, called):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            return "this is a generator, of which nothing would run; it must not yield"
    if in_transaction and not is_async(function):
        return "with transaction=True it has to be async: the connection is"
    try:
        # What a decorator wraps may take more, which the decorator gives to it.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # as some functions in C have none
        return None
    try:
        signature.bind(*((None, None) if in_transaction else (None,)))
    except TypeError as error:
        given = "an event and a connection" if in_transaction else "one event"
        return f"it is called with {given}, which it cannot take: {error}"
    return None


def _no_event(value: object) -> str:
    if isinstance(value, str):
        return unknown("event", value, _EVENTS)
    if value in _CONTENTS.values():
        name = getattr(value, "__name__", "")
        return f"{name} is the content of a message: on(Message, content={name})"
    origin = get_origin(value)
    if origin in _EVENTS.values():
        return "a class with brackets is for type checkers: on(Message, content=Text)"
    if inspect.isroutine(value):
        return "this is a function: on() takes event classes, as in @bridge.on(Message)"
    return f"expected event classes such as Message, found {found(value)}"


def _no_content(value: object) -> str:
    if isinstance(value, str):
        return unknown("content", value, _CONTENTS)
    return f"expected contents of messages such as Text, found {found(value)}"


def _no_word(what: str, value: object, words: Iterable[str]) -> str:
    if isinstance(value, str):
        return unknown(what, value, words)
    return f"expected one of {', '.join(words)}, found {found(value)}"


def found(value: object) -> str:
    """Describe what somebody gave, by its name where it has one."""
    if value is None:
        return "None"
    if isinstance(value, str | int | float):
        return writable(quoted(value))
    return value.__name__ if isinstance(value, type) else f"a {type(value).__name__}"
