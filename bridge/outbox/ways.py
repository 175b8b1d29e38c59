"""The ways out: which configured adapters can send, on which channels and from which accounts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, final

import attrs

from bridge.adapter import Adapter, Capabilities, ChannelSource, Pace, Route, Sender, SenderSource
from bridge.errors import ConfigurationError, Problem, Unsendable
from bridge.model import Message, Receipt
from bridge.outbox.limits import Limits
from bridge.settings import PaceSettings
from bridge.settings.wording import unknown

NAME: Final = "outbox"
"""The subscriber that sends."""

FOLLOWER: Final = "outbox.next"
"""The subscriber that sends what is next after a failure."""


def sender_of(adapter: object) -> Sender | None:
    """Return what sends for an adapter, where its settings have what that takes."""
    if not isinstance(adapter, SenderSource):
        return None
    try:
        return adapter.sender()
    except ConfigurationError:
        return None


@final
@attrs.frozen(kw_only=True, eq=False)
class Way:
    """A configured adapter that can send; `limits` are those of each of its channels.

    `domain` is the trust domain of what it sends.
    """

    source: str
    domain: str
    sender: Sender
    limits: dict[str, Limits]

    def capabilities(self, channel: str) -> Capabilities:
        """Return what a channel carries. Raises `Unsendable` where nothing can be sent there."""
        found = self.sender.channels.get(channel)
        if found is None:
            raise Unsendable(f"adapter {self.source} sends nothing on {channel}")
        return found

    def is_repeatable(self, message: Message) -> bool:
        """Return whether a message that is sent twice does what sending it once does."""
        return self.capabilities(message.channel).repeatable or isinstance(message.content, Receipt)


@final
class Ways:
    """Finds the way out for an answer or for a word of the caller's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ways: dict[str, Way] = {}
        self._refusals: dict[str, tuple[Problem, ...]] = {}
        self._paces: dict[str, Mapping[str, PaceSettings]] = {}
        self._found: dict[str, tuple[Way, Route]] = {}

    def __bool__(self) -> bool:
        """Return whether anything can be sent at all."""
        return bool(self._ways)

    def add(
        self, source: str, adapter: Adapter, domain: str, pace: Mapping[str, PaceSettings]
    ) -> None:
        """Send through an adapter, if it can; else remember which settings it lacks.

        `pace` is that of a channel or an account of its. Raises `ConfigurationError` for one that
        it has not.
        """
        self._paces[source] = pace
        if not isinstance(adapter, SenderSource):
            self._refusals[source] = (Problem("", "this adapter cannot send"),)
            return
        try:
            sender = adapter.sender()
        except ConfigurationError as error:
            self._refusals[source] = error.problems
        else:
            known = {*sender.channels, *(name for route in sender.routes for name in _names(route))}
            for name in pace.keys() - known:
                if not isinstance(adapter, ChannelSource) or adapter.accounts is not None:
                    told = unknown("channel or account", name, known)
                    raise ConfigurationError((Problem(f"pace.{name}", told),))
            self.put(source, sender, domain)

    def put(self, source: str, sender: Sender, domain: str) -> None:
        """Send through this, in the place of the adapter's own sender."""
        limits = self._limits(source, sender)
        self._ways[source] = Way(source=source, domain=domain, sender=sender, limits=limits)
        self._found.clear()

    def remove(self, source: str) -> None:
        """Send through nothing for an adapter."""
        self._ways.pop(source, None)
        self._found.clear()

    def forget_limits(self) -> None:
        """Begin anew with how fast everybody may send, as where the clock is another one."""
        for source, way in self._ways.items():
            self._ways[source] = attrs.evolve(way, limits=self._limits(source, way.sender))
        self._found.clear()

    def _limits(self, source: str, sender: Sender) -> dict[str, Limits]:
        wanted, limits = self._paces.get(source, {}), {}
        for name, each in sender.channels.items():
            pace = _paced(each.pace, wanted.get(name))
            own: dict[str | None, Pace] = {
                account: _paced(pace, told) for account, told in wanted.items()
            }
            for route in sender.routes:
                if route.name is not None and route.name in wanted:
                    own.setdefault(route.account, _paced(pace, wanted[route.name]))
            limits[name] = Limits(pace, self._clock, own)
        return limits

    def of(self, source: str) -> Way:
        """Return the way out through an adapter.

        Raises `ConfigurationError` with the settings that it lacks.
        """
        way = self._ways.get(source)
        if way is None:
            problems = self._refusals.get(source) or (
                Problem("", unknown("adapter", source, (*self._ways, *self._refusals))),
            )
            raise ConfigurationError(
                tuple(
                    attrs.evolve(each, key=".".join(filter(None, ("adapters", source, each.key))))
                    for each in problems
                )
            )
        return way

    def find(self, via: str) -> tuple[Way, Route]:
        """Return the way out that a word names.

        That is an adapter, an account, what its owner calls it, or a channel; `ADAPTER:ACCOUNT`
        and `CHANNEL:ACCOUNT` are both at once, by either name. Raises `ConfigurationError` where
        the word names none of them, or several.
        """
        if not isinstance(via, str):
            raise ConfigurationError((Problem("via", f"expected a word, found {via!r}"),))
        if via in self._found:
            return self._found[via]
        for names in _NAMES:
            found = [(way, route) for way, route in self._routes() if via in names(way, route)]
            if len(found) == 1:
                self._found[via] = found[0]
                return found[0]
            if found:
                many = ", ".join(f"{way.source}:{route.account}" for way, route in found)
                raise ConfigurationError((Problem("via", f"{via!r} may be any of {many}"),))
        if via in self._refusals:
            self.of(via)
        known = {f"{way.source}:{route.account}" for way, route in self._routes()}
        raise ConfigurationError((Problem("via", unknown("account to send from", via, known)),))

    def _routes(self) -> Iterator[tuple[Way, Route]]:
        for way in self._ways.values():
            for route in way.sender.routes:
                yield way, route


def _paced(pace: Pace, wanted: PaceSettings | None) -> Pace:
    """Return the provider's pace with what is wanted in its place."""
    if wanted is None:
        return pace
    told = {name: value for name, value in attrs.asdict(wanted).items() if value is not None}
    pace = attrs.evolve(pace, **told)
    return attrs.evolve(
        pace,
        rate=None if pace.rate == math.inf else pace.rate,
        pair_every=pace.pair_every or None,
    )


def _names(route: Route) -> tuple[str, ...]:
    """Return what an account is called: its own name, and its owner's."""
    return tuple(filter(None, (route.account, route.name)))


def _in_full(way: Way, route: Route) -> Iterator[str]:
    for name in _names(route):
        yield from (f"{way.source}:{name}", f"{route.channel}:{name}")


# The closest first: a channel may be served by several adapters.
_NAMES: Final[tuple[Callable[[Way, Route], Iterable[str]], ...]] = (
    _in_full,
    lambda way, _: (way.source,),
    lambda _, route: _names(route),
    lambda _, route: (route.channel,),
)
