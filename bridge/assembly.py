"""From settings to objects: installed adapters, the journal, the functions to call.

Installed adapters are the entry points of the group `bridge.adapters`, and engines of journals
those of `bridge.journals`; the built-in ones are found in the same way as anyone else's.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from bridge.adapter import Adapter, AdapterClass, ChannelSource, Repeating
from bridge.delivery.console import Console
from bridge.delivery.functions import where_of
from bridge.delivery.subscriber import Subscriber
from bridge.errors import ConfigurationError, Problem, UnknownAdapter
from bridge.journal.protocol import Journal, JournalClass
from bridge.model import Event
from bridge.raised import described
from bridge.settings import CONSOLE, MEDIA, WEBHOOK, AdapterEntry, JournalSettings, SubscriberEntry
from bridge.settings.wording import unknown

if TYPE_CHECKING:
    from bridge.outbox.keeping import Keeper

ADAPTERS: Final = "bridge.adapters"
JOURNALS: Final = "bridge.journals"
_REPEATED: Final = timedelta(days=8)


@attrs.frozen(kw_only=True)
class Installed:
    """An adapter that some distribution offers; nothing of it is imported before `load`."""

    name: str
    distribution: str
    version: str
    entry_points: tuple[metadata.EntryPoint, ...] = attrs.field(repr=False)

    def load(self) -> AdapterClass:
        """Import the adapter's class.

        Raises `ConfigurationError` where it cannot be imported, is no adapter, or is offered by
        several distributions that differ: which one is meant nobody could tell.
        """
        if len(self.entry_points) > 1:
            values = ", ".join(_origin(entry_point) for entry_point in self.entry_points)
            raise ConfigurationError(f"adapter {self.name} is offered more than once: {values}")
        (entry_point,) = self.entry_points
        try:
            candidate = entry_point.load()
        except Exception as error:  # a broken package may raise anything as it is imported
            raise self._unusable(f"{type(error).__name__}: {error}") from error
        fault = _fault(candidate)
        if fault is not None:
            raise self._unusable(fault)
        return cast("AdapterClass", candidate)

    def fault(self) -> str | None:
        """Return why the adapter cannot be used, or None where it can; this imports it."""
        try:
            self.load()
        except ConfigurationError as error:
            return str(error)
        return None

    def _unusable(self, reason: str) -> ConfigurationError:
        origin = _origin(self.entry_points[0])
        return ConfigurationError(f"adapter {self.name} cannot be used ({origin}): {reason}")


def installed() -> Mapping[str, Installed]:
    """Return every adapter that is offered, by name; a broken one is listed like any other."""
    return {name: _installed(name, entries) for name, entries in _offers(ADAPTERS).items()}


def _offers(group: str) -> Mapping[str, tuple[metadata.EntryPoint, ...]]:
    offers: dict[str, list[metadata.EntryPoint]] = {}
    for entry_point in _entry_points(group, tuple(sys.path)):
        same_name = offers.setdefault(entry_point.name, [])
        # One distribution may be found twice, as a source tree and as what was built from it.
        if all(entry_point.value != other.value for other in same_name):
            same_name.append(entry_point)
    return {name: tuple(offers[name]) for name in sorted(offers)}


@lru_cache(maxsize=2)  # a start asks six times for two groups, and each look takes tens of ms
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:  # noqa: ARG001 - where it looks
    """Return what is installed of a group."""
    return tuple(metadata.entry_points(group=group))


def load(name: str) -> AdapterClass:
    """Return the class of an installed adapter.

    Raises `UnknownAdapter` where there is none of this name, and `ConfigurationError` where it
    is there but cannot be used.
    """
    offers = installed()
    if name not in offers:
        raise UnknownAdapter(unknown("adapter", name, offers))
    return offers[name].load()


def settings_class(name: str) -> type[Any] | None:
    """Return the settings class of an adapter, or None where none of this name is installed.

    This is what `settings.load` asks for. Raises `ConfigurationError` as `load` does.
    """
    offer = installed().get(name)
    return None if offer is None else offer.load().Settings


class NeedsSettings(ConfigurationError):
    """An adapter cannot be made without a configuration."""


def without_secrets(name: str) -> Adapter:
    """Make an installed adapter that verifies nothing, to translate without a configuration.

    Raises `UnknownAdapter`, `NeedsSettings`, or another `ConfigurationError` where it is broken.
    """
    cls = load(name)
    fields = {field.name for field in attrs.fields(cls.Settings)}
    try:
        settings = cls.Settings(**({"insecure": True} if "insecure" in fields else {}))
    except TypeError as error:
        raise NeedsSettings(f"adapter {name} needs settings: give --config FILE") from error
    return cls(name, settings)


def _installed(name: str, entry_points: tuple[metadata.EntryPoint, ...]) -> Installed:
    distribution = _distribution(entry_points[0])
    return Installed(
        name=name,
        distribution=distribution.name,
        version=distribution.version,
        entry_points=entry_points,
    )


def _distribution(entry_point: metadata.EntryPoint) -> metadata.Distribution:
    assert entry_point.dist is not None  # noqa: S101 - it was found through its distribution
    return entry_point.dist


def _origin(entry_point: metadata.EntryPoint) -> str:
    distribution = _distribution(entry_point)
    return f"{entry_point.value} of {distribution.name} {distribution.version}"


def _fault(candidate: Any) -> str | None:  # noqa: ANN401 - whatever an entry point names
    """Return why something is not an `AdapterClass`, or None where it looks like one."""
    if not callable(candidate):
        return "it is not a class"
    settings = getattr(candidate, "Settings", None)
    if not (isinstance(settings, type) and attrs.has(settings)):
        return "its Settings is not an attrs class"
    try:
        inspect.signature(candidate).bind("name", settings)
    except (TypeError, ValueError):
        return "it is not made from a name and its settings"
    # A function that makes adapters is as good; what it makes shows only when it is called.
    if isinstance(candidate, type):
        missing = [name for name in ("verify", "parse") if not hasattr(candidate, name)]
        if missing:
            return f"it has no method {' and no method '.join(missing)}"
    return None


def engines() -> Mapping[str, Callable[[], type[attrs.AttrsInstance]]]:
    """Return what `settings.load` asks for: the engines of journals that are installed."""
    return {
        name: partial(_settings_of_engine, entry_points)
        for name, entry_points in _offers(JOURNALS).items()
    }


def _settings_of_engine(entry_points: Sequence[metadata.EntryPoint]) -> type[attrs.AttrsInstance]:
    return _journal_class(entry_points).Settings


def _journal_class(entry_points: Sequence[metadata.EntryPoint]) -> JournalClass:
    """Import an engine. Raises `ConfigurationError`."""
    if len(entry_points) > 1:
        values = ", ".join(map(_origin, entry_points))
        raise ConfigurationError(f"this engine is offered more than once: {values}")
    (entry_point,) = entry_points
    try:
        return cast("JournalClass", entry_point.load())
    except Exception as error:  # a broken package may raise anything as it is imported
        told = f"cannot be used ({_origin(entry_point)}): {type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and entry_point.extras:
            offer = f"{_distribution(entry_point).name}[{','.join(entry_point.extras)}]"
            told = f"needs the extra: pip install {offer}"
        raise ConfigurationError(told) from error


def journal_of(settings: JournalSettings) -> Journal:
    """Return the journal; nothing is opened yet. Raises `ConfigurationError`."""
    offers = _offers(JOURNALS)
    told = unknown("engine", settings.engine, offers)
    if settings.engine in offers:
        try:
            cls = _journal_class(offers[settings.engine])
        except ConfigurationError as error:
            told = str(error)
        else:
            return cls.from_settings(settings, local=_local)
    raise ConfigurationError((Problem("journal.engine", told),))


def _local(path: Path, max_size: int) -> Journal:
    # What has been taken out of it need not stay.
    return journal_of(JournalSettings(path=path, keep=0, max_size=max_size))


def subscriber_of(entry: SubscriberEntry, keeper: Callable[[str | Path], Keeper]) -> Subscriber:
    """Return the subscriber; `keeper` makes what keeps files in a folder.

    Raises `ConfigurationError` where its function is not there.
    """
    given: dict[str, Any] = {
        key: getattr(entry, key)
        for key in attrs.fields_dict(Subscriber)
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
    for key, found in (
        ("channel", [None if each is None else each.channels for each in sources]),
        ("account", [None if each is None else each.accounts for each in sources]),
    ):
        if None in found or not found:
            continue  # an adapter that does not tell can have any
        known = sorted(frozenset[str]().union(*(each for each in found if each is not None)))
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
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit too: a script that parses its arguments leaves as soon as it is imported.
        message = f"cannot import {module!r}: {described(error)}"
        if isinstance(error, SystemExit):
            message += '; put what runs as a program under `if __name__ == "__main__":`'
        where = where_of(error)
        if where is not None:
            message += f" ({where})"
        raise ConfigurationError((Problem(key, message),)) from error
    for step in path.split("."):
        found = getattr(found, step, None)
    return found
