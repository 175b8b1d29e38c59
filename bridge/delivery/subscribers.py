"""The subscribers of a bridge: `on` and `subscribe` add them, before it starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack, overload

from bridge.delivery.bus import Bus
from bridge.delivery.functions import name_of
from bridge.delivery.life import Life
from bridge.delivery.subscriber import Subscriber, check_options, serving_problems
from bridge.errors import ConfigurationError
from bridge.journal.start import Start
from bridge.model import Content, Direction, Event, Message, Origin
from bridge.settings import DeliverySettings

E = TypeVar("E", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)
C = TypeVar("C", bound=Content)
C2 = TypeVar("C2", bound=Content)
C3 = TypeVar("C3", bound=Content)
R = TypeVar("R")
T = TypeVar("T", bound=Callable[[Any, Any], Awaitable[object]])

_Contents: TypeAlias = type[Content] | tuple[type[Content], ...] | None


class Options(TypedDict, total=False):
    """What may be said of a subscriber; see `Bridge.on`.

    With `channel`, `account`, `source` (an adapter's name), `domain`, `direction` or `origin`,
    only events of that one come; with `completions` also what completes an earlier message.
    `owned` is True for messages that are ours to answer, False for the copies of what another
    responder answers, None for both. Without it, `on(Message)` gets what is ours and `on(Event)`
    gets both; what was a copy at first comes once it is ours, and what was imported at first comes
    with an `origin` once it is told live. `when_paused` is True for users'
    messages in paused conversations too, which `on(Event)` gets. Progress is kept under `name`.
    `start` is "end" or "beginning". `policy` bounds tries, waits and time.
    """

    channel: str | None
    account: str | None
    source: str | None
    domain: str | None
    completions: bool
    owned: bool | None
    when_paused: bool
    direction: Direction | str | None
    origin: Origin | str | None
    name: str | None
    start: Start | str
    policy: DeliverySettings | None


class Subscribers(Life):
    """Who gets which events, and how each of them is served; a part of `Bridge`."""

    def __init__(self, policy: DeliverySettings) -> None:
        Life.__init__(self)
        self.bus = Bus()
        self._policy = policy
        self._policies: dict[str, tuple[DeliverySettings, Start]] = {}

    @overload
    def on(
        self,
        event: type[Message[Any]],
        /,
        *,
        gather: float | str,
        content: type[C],
        **options: Unpack[Options],
    ) -> Callable[[Callable[[list[Message[C]]], R]], Callable[[list[Message[C]]], R]]: ...

    @overload
    def on(
        self,
        event: type[Message[Any]],
        /,
        *,
        gather: float | str,
        content: tuple[type[Content], ...] | None = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[list[Message]], R]], Callable[[list[Message]], R]]: ...

    @overload
    def on(
        self,
        *events: type[Event] | str,
        transaction: Literal[True],
        content: object = ...,
        **options: Unpack[Options],
    ) -> Callable[[T], T]: ...

    @overload
    def on(
        self, event: type[Message[Any]], /, *, content: type[C], **options: Unpack[Options]
    ) -> Callable[[Callable[[Message[C]], R]], Callable[[Message[C]], R]]: ...

    @overload
    def on(  # type: ignore[overload-overlap] # as below
        self,
        event: type[Message[Any]],
        /,
        *,
        content: tuple[type[C], type[C2]],
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Message[C | C2]], R]], Callable[[Message[C | C2]], R]]: ...

    @overload
    def on(  # type: ignore[overload-overlap] # as below
        self,
        event: type[Message[Any]],
        /,
        *,
        content: tuple[type[C], type[C2], type[C3]],
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Message[C | C2 | C3]], R]], Callable[[Message[C | C2 | C3]], R]]: ...

    @overload
    def on(  # type: ignore[overload-overlap] # a Message is an E too, yet its content is lost there
        self,
        event: type[Message[Any]],
        /,
        *,
        content: tuple[type[Content], ...] | None = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Message], R]], Callable[[Message], R]]: ...

    @overload
    def on(
        self,
        event: type[E],
        /,
        *,
        content: tuple[type[Content], ...] | None = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[E], R]], Callable[[E], R]]: ...

    @overload
    def on(
        self,
        event: type[E],
        second: type[E2],
        /,
        *,
        content: _Contents = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[E | E2], R]], Callable[[E | E2], R]]: ...

    @overload
    def on(
        self,
        event: type[E],
        second: type[E2],
        third: type[E3],
        /,
        *,
        content: _Contents = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[E | E2 | E3], R]], Callable[[E | E2 | E3], R]]: ...

    @overload
    def on(
        self,
        event: str,
        /,
        *events: str,
        content: str | Sequence[str] | None = ...,
        gather: float | str | None = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Any], R]], Callable[[Any], R]]: ...

    def on(
        self,
        *events: type[Event] | str,
        content: object = None,
        gather: float | str | None = None,
        transaction: bool = False,
        **options: Unpack[Options],
    ) -> Any:
        """Subscribe a function to the events of these classes; use `Event` for all of them.

        With `content`, only messages that hold it come, as `Message[Text]` to a type checker;
        `Options` says what else there is to choose. The words of TOML do as well as classes.

        With `gather` ("3s"), the function gets a list: the messages that a user sent in a burst,
        once nothing has followed the last of them for so long. They fail and come again together.

        An async function runs on the event loop, a plain one in a thread. Each subscriber has
        its own progress in the journal under its `name`, by default `module:function`. A new
        one begins with what comes next, or with all that is kept if `start` is "beginning".

        With `transaction`, on a journal in PostgreSQL, the function is called with an event and an
        `AsyncConnection` of psycopg in a transaction. Its statements and its progress commit
        together, or not at all: its effects there happen exactly once.

        Raises `ConfigurationError` for whatever cannot be meant, where the name is taken, and
        where the bridge runs already.
        """
        given: dict[str, Any] = {
            "content": content,
            **({} if gather is None else {"gather": gather}),
            **{k: v for k, v in options.items() if v is not None or k == "owned"},
        }
        # Before there is a function: `@bridge.on` without parentheses never gets one.
        check_options(events, given, ("content", "gather", "transaction", *Options.__annotations__))
        serving: dict[str, Any] = {
            key: given.pop(key) for key in ("start", "policy") if key in given
        }

        def subscribe(function: Callable[..., R]) -> Callable[..., R]:
            own = {"function": function, "events": events, "transaction": transaction}
            subscriber = Subscriber(**{"name": name_of(function), **own, **given})
            self.subscribe(subscriber, **serving)
            return function

        return subscribe

    def subscribe(
        self,
        subscriber: Subscriber,
        *,
        start: Start | str = Start.END,
        policy: DeliverySettings | None = None,
    ) -> None:
        """Add a subscriber, as `on` does. Raises `ConfigurationError`."""
        if not isinstance(subscriber, Subscriber):
            raise ConfigurationError("subscribe() takes a Subscriber; a function goes to bridge.on")
        problems = tuple(serving_problems(start, policy))
        if problems:
            raise ConfigurationError(problems)
        if self._is_running:
            raise ConfigurationError(f"subscribe {subscriber.name!r} before the bridge starts")
        self.bus.add(subscriber)
        self._policies[subscriber.name] = (policy or self._policy, Start(start))
