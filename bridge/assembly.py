"""From settings to objects: the subscribers, and what is doubtful about all of them."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from bridge import installed
from bridge.adapter import Adapter, ChannelSource, Repeating
from bridge.delivery.console import Console
from bridge.delivery.functions import where_of
from bridge.delivery.subscriber import OPTIONS, Subscriber, found
from bridge.delivery.subscribers import Subscribers
from bridge.errors import ConfigurationError, NotRunning, Problem
from bridge.ingress.domains import Member
from bridge.journal.start import Start
from bridge.model import Event
from bridge.outbox.ways import FOLLOWER, NAME, Ways
from bridge.process.meant import meant
from bridge.process.raised import described
from bridge.settings import (
    CONSOLE,
    MEDIA,
    WEBHOOK,
    AdapterEntry,
    DeliverySettings,
    OutboxSettings,
    PaceSettings,
    ServerSettings,
    Settings,
    SubscriberEntry,
)
from bridge.settings.wording import unknown

if TYPE_CHECKING:
    from bridge.observer import Observer
    from bridge.outbox.keeping import Keeper

_PARTS: Final = {"policy": DeliverySettings, "server": ServerSettings, "outbox": OutboxSettings}
_REPEATED: Final = timedelta(days=8)


def check_parts(journal: object, **settings: object) -> None:
    """Check what a program makes a bridge of, where it is not None.

    Raises `ConfigurationError` with everything that is wrong.
    """
    problems = [
        Problem(name, f"expected {_PARTS[name].__name__}(...), found {found(value)}")
        for name, value in settings.items()
        if not (value is None or isinstance(value, _PARTS[name]))
    ]
    if journal is not None and (isinstance(journal, type) or not hasattr(journal, "subscribe")):
        path = journal if isinstance(journal, str | PurePath) else "bridge.db"
        meant = f'a journal such as SqliteJournal("{path}")'
        problems.insert(0, Problem("journal", f"expected {meant}, found {found(journal)}"))
    if problems:
        raise ConfigurationError(tuple(problems))


def subscriber_of(entry: SubscriberEntry, keeper: Callable[[str | Path], Keeper]) -> Subscriber:
    """Return the subscriber; `keeper` makes what keeps files in a folder.

    Raises `ConfigurationError` where its function is not there.
    """
    given: dict[str, Any] = {
        key: getattr(entry, key)
        for key in OPTIONS
        if key != "function" and getattr(entry, key) is not None
    }
    if not entry.events:
        given["events"] = Event.kind
    if entry.owned == "any":
        given["owned"] = None
    if entry.use in (CONSOLE, WEBHOOK, MEDIA):
        given.setdefault("when_paused", True)  # only functions are bots
    return Subscriber(function=_function_of(entry, keeper), **given)


def _function_of(
    entry: SubscriberEntry, keeper: Callable[[str | Path], Keeper]
) -> Callable[[Any], object]:
    if entry.use == CONSOLE:
        return Console(show_personal_data=entry.show_personal_data)
    if entry.use == WEBHOOK:
        from bridge.outbox.webhook import Webhook  # noqa: PLC0415 - HTTP, which commands do without

        return Webhook(entry.url or "", entry.secret)
    if entry.use == MEDIA:
        return keeper(entry.folder or entry.url or "")
    found = imported(entry.use, "use")
    if not callable(found):
        module, _, path = entry.use.partition(":")
        raise ConfigurationError((Problem("use", f"{module!r} has no function {path!r}"),))
    return found


class Assembled(Protocol):
    """What is made of settings: a `Bridge`, or a `Draft` of one."""

    @property
    def observe(self) -> Callable[[Observer], None]:
        """See `Bridge.observe`."""
        ...

    @property
    def add_adapter(self) -> Callable[..., None]:
        """See `Bridge.add_adapter`."""
        ...

    @property
    def subscribe(self) -> Callable[..., None]:
        """See `Bridge.subscribe`."""
        ...

    @property
    def media_keeper(self) -> Callable[[str | Path], Keeper]:
        """See `Bridge.media_keeper`."""
        ...


def assemble(settings: Settings, bridge: Assembled) -> None:
    """Give a bridge everything that the settings name.

    Raises `ConfigurationError` with every adapter that refuses its settings and every subscriber
    whose function cannot be imported.
    """
    if settings.tracing.enabled:
        from bridge.ops.tracing import Tracing  # noqa: PLC0415 - an extra, which few have

        bridge.observe(Tracing.exporting())
    problems: list[Problem] = []
    for name, entry in settings.adapters.items():
        try:
            adapter = installed.load(entry.type)(name, entry.settings)
            bridge.add_adapter(
                name,
                adapter,
                domain=entry.domain,
                believe_unsigned=entry.believe_unsigned,
                max_age=max_age_of(entry, adapter, settings.journal.keep),
                stale=entry.stale,
                accounts=entry.accounts,
                allow_networks=entry.allow_networks,
                pace=entry.pace,
            )
        except ConfigurationError as error:
            problems += settings.locate(f"adapters.{name}", error)
    for name, wanted in settings.subscribers.items():
        try:
            bridge.subscribe(
                subscriber_of(wanted, bridge.media_keeper),
                start=Start(wanted.start),
                policy=wanted.delivery,
            )
        except ConfigurationError as error:
            problems += settings.locate(f"subscribers.{name}", error)
    if problems:
        raise ConfigurationError(tuple(problems))


class Draft(Subscribers):
    """What a bridge would refuse, without one: for commands that start nothing."""

    def __init__(self) -> None:
        super().__init__(DeliverySettings())
        self._members: list[Member] = []
        self._ways = Ways(time.monotonic)

    def observe(self, _: Observer, /) -> None:
        """Take an observer, which will have nothing to observe."""

    def add_adapter(
        self,
        name: str,
        adapter: Adapter,
        /,
        *,
        domain: str | None,
        believe_unsigned: bool,
        pace: Mapping[str, PaceSettings],
        **_: object,
    ) -> None:
        """See `Bridge.add_adapter`."""
        member = Member(name, adapter, domain, believe_unsigned=believe_unsigned)
        member.check(self._members)
        self._members.append(member)
        self._ways.add(name, adapter, member.domain, pace)
        if self._ways and NAME not in self._policies:
            for reserved in (NAME, FOLLOWER):
                self.subscribe(Subscriber(name=reserved, function=print))

    def media_keeper(self, folder: str | Path, /) -> Keeper:
        """See `Bridge.media_keeper`; what it returns is never called."""
        from bridge.outbox.keeping import Keeper  # noqa: PLC0415 - HTTP, as in `_function_of`

        return Keeper(folder, _never, _never)


async def _never(*_: object, **__: object) -> NoReturn:
    raise NotRunning("a draft of a bridge does nothing")


def max_age_of(entry: AdapterEntry, adapter: object, keep: float) -> float:
    """Return how many seconds old an event may be when it comes; 0 means any age.

    What the journal has forgotten must not come out as new, and what a provider still repeats
    has to come out; `_REPEATED` is for one that does not say for how long it does. Where nothing
    is checked, whoever posts an old body could as well date it anew.
    """
    if entry.max_age is not None:
        return entry.max_age
    if getattr(entry.settings, "insecure", False):
        return 0
    repeats_for = adapter.repeats_for if isinstance(adapter, Repeating) else _REPEATED
    return max(keep, repeats_for.total_seconds())


def doubts(subscribers: Iterable[Subscriber], adapters: Iterable[Adapter]) -> Iterator[Problem]:
    """Yield for which channels and accounts subscribers wait though no adapter has them."""
    sources = [each if isinstance(each, ChannelSource) else None for each in adapters]
    for key, told in (
        ("channel", [None if each is None else each.channels for each in sources]),
        ("account", [None if each is None else each.accounts for each in sources]),
    ):
        if None in told or not told:
            continue  # an adapter that does not tell can have any
        known = sorted(frozenset[str]().union(*(each for each in told if each is not None)))
        for subscriber in subscribers:
            wanted = getattr(subscriber, key)
            if wanted is not None and wanted not in known:
                message = f"no configured adapter has this: {unknown(key, wanted, known)}"
                yield Problem(f"subscribers.{subscriber.name}.{key}", message)


def imported(name: str, key: str) -> object:
    """Return what `package.module:name` names, or None where the module has no such name.

    Raises `ConfigurationError` about `key` where the module cannot be imported.
    """
    module, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module)
        for step in path.split("."):
            found = getattr(found, step, None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit too: a script that parses its arguments leaves as soon as it is imported.
        message = f"cannot import {module!r}: {described(error)}"
        if isinstance(error, SystemExit):
            message += '; put what runs as a program under `if __name__ == "__main__":`'
        elif (near := meant(error, module)) is not None:
            message += f"; did you mean {near!r}?"
        where = where_of(error)
        if where is not None:
            message += f" ({where})"
        raise ConfigurationError((Problem(key, message),)) from error
    return found
